"""The front door, `python -m tvm_shufflenet`; see cli/door.py."""

import sys

from .cli.door import enter

if __name__ == "__main__":
    sys.exit(enter())
