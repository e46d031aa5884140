"""The command `python -m tvm_shufflenet.detect`; see cli/detect.py."""

import sys

from .cli.command import run
from .cli.detect import main

if __name__ == "__main__":
    sys.exit(run(main))
