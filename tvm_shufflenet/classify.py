"""The command `python -m tvm_shufflenet.classify`; see cli/classify.py."""

import sys

from .cli.classify import main
from .cli.command import run

if __name__ == "__main__":
    sys.exit(run(main))
