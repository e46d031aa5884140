"""Where the project's own files are; how files of the user are written: all or nothing."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent


def held(name: str) -> Path:
    """The folder `tuning_logs` or `weights`, which are package data.

    In the source tree the package has links to the folders beside it: the answer is the folder itself.
    """
    return (PACKAGE / name).resolve()


def check_links() -> None:
    """`UserError` in a source tree where Git has put files in the place of links, as it may on Windows."""
    for name in ("schedules", "tuning_logs", "weights"):
        if (PACKAGE / name).is_file():
            raise UserError(
                f"{PACKAGE / name} should be a symbolic link: clone again with `git clone -c core.symlinks=true`, "
                "or install a wheel"
            )


def is_installed(folder: Path) -> bool:
    """Whether a folder is in an installed package, of which the next version removes what was added."""
    return folder.resolve().is_relative_to(PACKAGE)


def today() -> str:
    """The date of a figure, as 2026-01-31."""
    return datetime.date.today().isoformat()


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file all or nothing: whoever reads `path` finds the old bytes or the new ones.

    Raises `UserError` where `path` is a directory or cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if os.path.exists(path) and not target.is_file():
            Path(path).write_bytes(data)  # a device or pipe has nothing to replace; a directory fails here
            return
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def write_json(path: str | os.PathLike, data: object) -> None:
    """Writes `data` as indented JSON, as `write_bytes` does."""
    write_bytes(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
