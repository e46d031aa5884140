"""The command `python -m tvm_shufflenet.inspect`; see cli/inspect.py."""

import sys

from .cli.command import run
from .cli.inspect import main

if __name__ == "__main__":
    sys.exit(run(main))
