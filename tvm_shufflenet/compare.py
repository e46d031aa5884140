"""The command `python -m tvm_shufflenet.compare`; see cli/compare.py."""

import sys

from .cli.command import run
from .cli.compare import main

if __name__ == "__main__":
    sys.exit(run(main))
