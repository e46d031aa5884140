"""The command `python -m tvm_shufflenet.doctor`; see cli/doctor.py."""

import sys

from .cli.command import run
from .cli.doctor import main

if __name__ == "__main__":
    sys.exit(run(main))
