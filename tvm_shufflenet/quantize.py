"""The command `python -m tvm_shufflenet.quantize`; see cli/quantize.py."""

import sys

from .cli.command import run
from .cli.quantize import main

if __name__ == "__main__":
    sys.exit(run(main))
