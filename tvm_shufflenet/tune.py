"""The command `python -m tvm_shufflenet.tune`; see cli/tune.py."""

import sys

from .cli.command import run
from .cli.tune import main

if __name__ == "__main__":
    sys.exit(run(main))
