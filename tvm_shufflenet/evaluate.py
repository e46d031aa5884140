"""The command `python -m tvm_shufflenet.evaluate`; see cli/evaluate.py."""

import sys

from .cli.command import run
from .cli.evaluate import main

if __name__ == "__main__":
    sys.exit(run(main))
