"""What every command is: a parser with --version, and a way to end.  Nothing but the standard library is needed."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, NoReturn

from .. import __version__
from ..errors import UserError
from ..files import check_links
from ..signals import Interruptible

FRONT_DOOR = "tvm-shufflenet "
WIDTH = 100  # columns of a text, at most


class Formatter(argparse.HelpFormatter):
    """Fills texts up to `WIDTH` columns; examples and lists keep their lines, so that they can be copied.

    Commands are named in the user's way: `tvm-shufflenet build`, or `python -m tvm_shufflenet.build`.
    """

    def __init__(self, prog: str):
        super().__init__(prog, width=min(shutil.get_terminal_size().columns, WIDTH) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        text = as_called(text)
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(as_called(text), width)


class Parser(argparse.ArgumentParser):
    """Shows help in 100 columns, and says in one line what is wrong with options, as of all other wrong input."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **{"formatter_class": Formatter, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see `{self.prog} --help`\n")


def as_called(text: str) -> str:
    """`text` with commands named in the user's way."""
    entered = PurePath(sys.argv[0]).stem == FRONT_DOOR.strip()
    return re.sub(r"python -m tvm_shufflenet\.", FRONT_DOOR, text) if entered else text


def command_parser(name: str, **about: Any) -> Parser:
    """The parser of the command `name`; `about` is for `argparse.ArgumentParser`."""
    parser = Parser(prog=as_called(f"python -m tvm_shufflenet.{name}"), **about)
    add_version(parser)
    return parser


def add_version(parser: argparse.ArgumentParser) -> None:
    """Gives a parser --version."""
    parser.add_argument("--version", action="version", version=f"tvm-shufflenet {__version__}")


class OutputFile(argparse.Action):
    """An option that names a file to write; `UserError`, before all the work, for a folder or one in no folder."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, path: Any, option: str | None = None) -> None:
        if not Path(path).absolute().parent.is_dir():
            raise UserError(f"{option} {path}: there is no such folder")
        if Path(path).is_dir():
            raise UserError(f"{option} {path}: it is a folder, expected a file")
        setattr(namespace, self.dest, path)


def add_json_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Gives a parser --json; `what` is written there."""
    parser.add_argument("--json", metavar="FILE", action=OutputFile, help=f"also write {what} to this file")


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """Gives a parser --threads: how many threads share the work of a picture."""
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads that share the work of a picture, "
                        "each on a processor of its own (1)")  # fmt: skip


def split_names(text: str) -> list[str]:
    """The names of "one,two", each once."""
    return list(dict.fromkeys(filter(None, text.split(","))))


def parse_pixels(text: str) -> tuple[int, int]:
    """Height and width in pixels from "224" (a square) or "480x640"; else `UserError`."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        shown = ascii(text if len(text) <= 40 else f"{text[:37]}...")[1:-1]
        raise UserError(f"--size {shown}: expected pixels such as 224, or height x width such as 480x640")
    return size


def add_entry_option(parser: argparse.ArgumentParser) -> None:
    """Gives a parser --size: which size of a library of several is meant."""
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
                print(f"error: {as_called(str(error))}", file=sys.stderr)
                return 2
            if isinstance(error, BrokenPipeError):
                # The reader, such as `head`, has seen enough.  What is left must not fail again at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 1
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
