"""What all commands share: options, and how a command ends."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from .errors import UserError


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from "224" (a square) or "480x640"; else `UserError`."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise UserError(f"--size {text}: expected pixels such as 224, or height x width such as 480x640")
    return size


def run(main: Callable[[], int | None]) -> int:
    """Calls a command and returns its exit status: 2 and one line on stderr for a `UserError`.

    For the last line of a command: `sys.exit(run(main))`.
    """
    try:
        status = main() or 0
        sys.stdout.flush()  # here, where a closed pipe can still be caught
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.  What is left must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
