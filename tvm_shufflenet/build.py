"""The command `python -m tvm_shufflenet.build`; see cli/build.py."""

import sys

from .cli.build import main
from .cli.command import run

if __name__ == "__main__":
    sys.exit(run(main))
