"""The command `python -m tvm_shufflenet.convert`; see cli/convert.py."""

import sys

from .cli.command import run
from .cli.convert import main

if __name__ == "__main__":
    sys.exit(run(main))
