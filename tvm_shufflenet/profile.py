"""The command `python -m tvm_shufflenet.profile`; see cli/profile.py."""

import sys

from .cli.command import run
from .cli.profile import main

if __name__ == "__main__":
    sys.exit(run(main))
