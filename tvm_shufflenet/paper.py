"""The command `python -m tvm_shufflenet.paper`; see cli/paper.py."""

import sys

from .cli.command import run
from .cli.paper import main

if __name__ == "__main__":
    sys.exit(run(main))
