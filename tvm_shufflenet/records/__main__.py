"""The command `python -m tvm_shufflenet.records`; see cli/records.py."""

import sys

from ..cli.command import run
from ..cli.records import main

if __name__ == "__main__":
    sys.exit(run(main))
