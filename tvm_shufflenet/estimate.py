"""The command `python -m tvm_shufflenet.estimate`; see cli/estimate.py."""

import sys

from .cli.command import run
from .cli.estimate import main

if __name__ == "__main__":
    sys.exit(run(main))
