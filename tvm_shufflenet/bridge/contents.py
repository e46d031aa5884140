"""What a file of weights is, by its first bytes and not by its suffix."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import UserError

LARGEST = 4 << 30  # bytes of a file of weights, and of the tensors in it

SAFETENSORS, TORCH, ONNX, LIBRARY = "safetensors", "PyTorch", "ONNX", "a library"
# Of other files that people take for weights.
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras)", b"\x1f\x8b": "compressed (gzip): unpack it", b"BZh": "compressed "
    "(bzip2): unpack it", b"\xfd7zXZ\x00": "compressed (xz): unpack it", b"\x93NUMPY": "a single numpy array",
    b"GGUF": "a GGUF file", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture",
}  # fmt: skip


def kind_of(head: bytes) -> str | None:
    """The kind of a file by its first bytes, 16 or more; None if the kind is unknown."""
    if head[:4] == b"\x7fELF":
        return LIBRARY
    # First: the length that a safetensors file begins with may look like the beginning of a pickle.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < LARGEST:
        return SAFETENSORS
    if head[:2] == b"PK" or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[1:2]):
        return TORCH
    # The fields of a model: `ir_version`, which comes first, and one of the others.
    if head[:1] == b"\x08" and len(head) > 2 and head[1] < 64 and head[2:3] in b"\x12\x1a\x22\x28\x32\x3a\x42":
        return ONNX
    return None


def kind_of_file(path: Path) -> str | None:
    """`kind_of` for the file at `path`; None also if it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return kind_of(file.read(16))
    except OSError:
        return None


def other_kind(head: bytes) -> str | None:
    """The kind of a file that is no file of weights, in words; None if the kind is unknown."""
    return next((words for magic, words in _OTHERS.items() if head.startswith(magic)), None)


def read(path: Path, what: str) -> bytes:
    """The whole file; `UserError`, which calls it `what`, for one that cannot be read or is too large."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{what} {path} is a directory, expected a file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{what} {path} is a device or pipe, expected a file")
        if status.st_size > LARGEST:
            raise UserError(f"{what} {path} has {status.st_size / 2**30:.1f} GiB, expected at most {LARGEST >> 30}")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from None
    except ValueError:  # a null character
        raise UserError(f"cannot read {what} {str(path)!r}: no name of a file") from None
