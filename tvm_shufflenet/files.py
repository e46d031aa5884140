"""Files of the user are written all or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .errors import UserError


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
