"""The command `python -m tvm_shufflenet.report`; see cli/report.py."""

import sys

from .cli.command import run
from .cli.report import main

if __name__ == "__main__":
    sys.exit(run(main))
