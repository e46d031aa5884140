"""The command `python -m tvm_shufflenet.targets`; see cli/targets.py."""

import sys

from ..cli.command import run
from ..cli.targets import main

if __name__ == "__main__":
    sys.exit(run(main))
