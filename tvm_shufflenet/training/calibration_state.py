"""What `quantize` has seen so far, in a file beside its output: a second run with the same arguments goes on there.

It is written behind every picture, and belongs to the weights, the pictures' names and contents, and the options: with
others it is not taken.  A run that goes on finds the same scales, to the bit, as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..files import write_bytes
from .calibration import Watch
from .pictures import Pictures


def state_file(output: Path) -> Path:
    return output.with_name(f"{output.name}.seen")


def fingerprint(pictures: Pictures, **others: object) -> str:
    """A hash of the pictures' names and contents, and of the plain values `others`, which decide the scales."""
    found = hashlib.sha256(json.dumps(others, sort_keys=True).encode())
    for index, name in enumerate(pictures.names):
        try:
            content = hashlib.sha256(pictures.read(index)).hexdigest()
        except OSError as error:
            content = str(error.errno)
        found.update(f"{name}\0{content}\0".encode())
    return found.hexdigest()


def look_at_all(
    watch: Watch, prepared: Callable[[int], np.ndarray | None], count: int, file: Path, belongs_to: str,
    advance: Callable[[], None], say: Callable[[str], None],
) -> None:  # fmt: skip
    """Shows pictures 0 to `count` - 1 to `watch`, but for those that `file` says were seen.

    `prepared(index)` is a picture, or None for one to leave out.  `say` is told what becomes of a file that is there.
    """
    start = _restored(watch, file, belongs_to, say)
    for index in range(count):
        if index >= start:
            picture = prepared(index)
            if picture is not None:
                watch.look(picture)
            buffer = io.BytesIO()
            torch.save({"of": belongs_to, "next": index + 1, "watch": watch.state()}, buffer)
            write_bytes(file, buffer.getvalue())
        advance()


def _restored(watch: Watch, file: Path, belongs_to: str, say: Callable[[str], None]) -> int:
    """How many pictures were seen."""
    if not file.exists():
        return 0
    try:
        state = torch.load(file, weights_only=True)
        if state["of"] != belongs_to:
            say(f"{file} is of other weights, pictures or options: starting anew")
            return 0
        start = int(state["next"])
        watch.restore(state["watch"])
        say(f"{file}: going on behind picture {start}")
        return start
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        say(f"{file} is damaged ({type(error).__name__}): starting anew")
        return 0
