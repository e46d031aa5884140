"""A file of lines that several processes read, append to and replace at the same time.

    with locked(path) as file:
        lines = list(file.lines())
        file.append([{"task": ...}])

Lines are only ever appended, each time in one write, so a killed process leaves at most one torn line at the
end: whoever appends next cuts it off.  Who replaces the file holds the lock of the one that is replaced, and
who has waited for that lock looks whether the file is still the one that has the name.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ..errors import UserError
from ..files import write_bytes

BLOCK = 1 << 16  # bytes
NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # Windows has the other one of the two


class Locked:
    """A file that no other process writes to as long as the block of `locked` lasts."""

    def __init__(self, path: Path, file: IO[bytes]):
        self.path, self._file = path, file

    def append(self, entries: Iterable[dict]) -> None:
        """Adds lines behind the last whole one; leaves the file as it was, with a `UserError`, if it can't."""
        data = _encode(entries)
        with _told(self.path):
            end = _whole(self._file)
            try:
                if self._file.write(data) != len(data):
                    raise OSError(28, "the disk is full")
            except OSError:
                self._file.truncate(end)
                raise

    def replace(self, entries: Iterable[dict]) -> None:
        """Puts these lines in the place of all, all or nothing."""
        write_bytes(self.path, _encode(entries))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Locked]:
    """The file at `path`, made if there is none, once no other process holds it.  `UserError` if not writable."""
    try:
        import fcntl
    except ImportError:
        raise UserError(
            f"cannot write {path}: this system has no locks for files, so records can only be read"
        ) from None
    with contextlib.ExitStack() as stack:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = open(path, "ab+", buffering=0, opener=_open)
                stack.callback(file.close)
                fcntl.flock(file, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        break
        yield Locked(path, file)


def read_lines(path: Path, longest: int) -> Iterator[bytes]:
    """The lines of a file with their ends, none if there is no file; of longer ones only so many bytes and one more.

    The last one has no end if it is torn.  `UserError` if the file can't be read.
    """
    with _told(path, "read"):
        try:
            file = open(path, "rb", opener=_open)
        except FileNotFoundError:
            return
        with file:
            while line := file.readline(longest + 1):
                if len(line) > longest and not line.endswith(b"\n"):
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(BLOCK)
                    line += rest[-1:]
                yield line


def _open(name: str, flags: int) -> int:
    """Only a file: a pipe would keep whoever opens it."""
    found = os.open(name, flags | NOT_WAITING, 0o666)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(22, "it is no file")
    return found


@contextlib.contextmanager
def _told(path: Path, what: str = "write"):
    try:
        yield
    except OSError as error:
        safe = "; the records before are safe" if what == "write" else ""
        raise UserError(f"cannot {what} {path}: {error.strerror}{safe}") from None


def _encode(entries: Iterable[dict]) -> bytes:
    return "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()


def _whole(file) -> int:
    """Cuts off a torn last line; the length of the file then."""
    end = file.seek(0, os.SEEK_END)
    size = end
    while end:
        file.seek(max(0, end - BLOCK))
        block = file.read(min(end, BLOCK))
        if (newline := block.rfind(b"\n")) >= 0:
            end = end - len(block) + newline + 1
            break
        end -= len(block)
    if end != size:
        file.truncate(end)
    return end
