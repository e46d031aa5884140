"""Where the weights of a library are from, as its manifest says."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """A file and whose names its tensors have, or the seed of random weights; `notes`: what was assumed or left out."""

    source: str
    notes: tuple[str, ...] = ()
