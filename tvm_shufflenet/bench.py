"""The command `python -m tvm_shufflenet.bench`; see cli/bench.py."""

import sys

from .cli.bench import main
from .cli.command import run

if __name__ == "__main__":
    sys.exit(run(main))
