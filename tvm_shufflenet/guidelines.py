"""The command `python -m tvm_shufflenet.guidelines`; see cli/guidelines.py."""

import sys

from .cli.command import run
from .cli.guidelines import main

if __name__ == "__main__":
    sys.exit(run(main))
