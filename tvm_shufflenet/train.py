"""The command `python -m tvm_shufflenet.train`; see cli/train.py."""

import sys

from .cli.common import run
from .cli.train import main

if __name__ == "__main__":
    sys.exit(run(main))
