"""What the list holds of a network beside its layers: how it is made, what is published of it, how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .network import Network

# How sure a description is: a paper or public code says it; it reproduces published figures, but no source says it;
# or neither.
MARKS = SETTLED, FITTED, UNCERTAIN = ("settled", "fitted", "uncertain")


@dataclass(frozen=True)
class Published:
    """What the literature prints of a network.

    `paper` is the ShuffleNet paper that names it, "v1" (arXiv:1707.01083) or "v2" (arXiv:1807.11164), `table` where.
    `multiply_adds`: millions at 224x224; `error`: ImageNet top-1, %; None where nothing is printed.  `mark` is one of
    `MARKS`; `note` says in a line what is fitted, uncertain or else unlike its source.
    """

    paper: str
    table: str
    multiply_adds: float | None = None
    error: float | None = None
    mark: str = SETTLED
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A network of the list: `build(name, size, classes)` makes it; `aliases` are its names elsewhere."""

    build: Callable[[str, tuple[int, int], int], Network]
    published: Published
    aliases: tuple[str, ...] = ()
