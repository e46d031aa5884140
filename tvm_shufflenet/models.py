"""The command `python -m tvm_shufflenet.models`; see cli/models.py."""

import sys

from .cli.command import run
from .cli.models import main

if __name__ == "__main__":
    sys.exit(run(main))
