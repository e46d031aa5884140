"""What every command is: a parser with --version, and a way to end.  Nothing but the standard library is needed."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from .. import __version__
from ..errors import UserError
from ..files import check_links
from ..signals import Interruptible

FRONT_DOOR = "tvm-shufflenet "


class Parser(argparse.ArgumentParser):
    """Names every command as this one was called: `tvm-shufflenet build`, or `python -m tvm_shufflenet.build`."""

    def format_help(self) -> str:
        return as_called(super().format_help())


def as_called(text: str) -> str:
    """`text` with commands named in the user's way."""
    entered = PurePath(sys.argv[0]).stem == FRONT_DOOR.strip()
    return re.sub(r"python -m\s+tvm_shufflenet\.", FRONT_DOOR, text) if entered else text  # also across lines


def command_parser(name: str, **about: Any) -> Parser:
    """The parser of the command `name`; `about` is for `argparse.ArgumentParser`."""
    parser = Parser(prog=as_called(f"python -m tvm_shufflenet.{name}"), **about)
    add_version(parser)
    return parser


def add_version(parser: argparse.ArgumentParser) -> None:
    """Gives a parser --version."""
    parser.add_argument("--version", action="version", version=f"tvm-shufflenet {__version__}")


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """How many threads share the work of a picture."""
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads that share the work of a picture, "
                        "each on a processor of its own (1)")  # fmt: skip


def parse_pixels(text: str) -> tuple[int, int]:
    """Height and width in pixels from "224" (a square) or "480x640"; else `UserError`."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        shown = ascii(text if len(text) <= 40 else f"{text[:37]}...")[1:-1]
        raise UserError(f"--size {shown}: expected pixels such as 224, or height x width such as 480x640")
    return size


def add_entry_option(parser: argparse.ArgumentParser) -> None:
    """Which of a library's sizes is meant."""
    parser.add_argument("--size", help="of a library of several sizes: which, 224 or height x width as 480x640 (its "
                        "first)")  # fmt: skip


def run(main: Callable[[], int | None]) -> int:
    """Calls a command and returns its exit status: 2 and one line on stderr for a `UserError`.

    Ctrl-C gives 130 and SIGTERM 143, once the command has cleaned up; see `signals`.  For the last line of a command:
    `sys.exit(run(main))`.
    """
    with Interruptible() as signals:
        try:
            check_links()
            status = main() or 0
            sys.stdout.flush()  # here, where a closed pipe can still be caught
            return status
        except BaseException as error:
            if signals.status is not None:  # a library may have made another exception of it
                return signals.status
            if isinstance(error, UserError):
                print(f"error: {error}", file=sys.stderr)
                return 2
            if isinstance(error, BrokenPipeError):
                # The reader, such as `head`, has seen enough.  What is left must not fail again at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
