"""The command `python -m tvm_shufflenet.train`; see cli/train.py."""

import sys

from .cli.command import run
from .cli.train import main

if __name__ == "__main__":
    sys.exit(run(main))
