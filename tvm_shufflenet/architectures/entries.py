"""What the list holds of a network beside its layers: how it is made, where it is from, how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .network import CLASSES, SIZE, Network

# How sure a description is, from the surest.
SETTLED, FITTED, UNCERTAIN = "settled", "fitted", "uncertain"
MARKS = {
    SETTLED: "by a paper or public code",
    FITTED: "reproduces published figures, no source says so",
    UNCERTAIN: "no source says it, and published figures do not settle it",
}
NOWHERE = "not in the paper"  # of a variant that no table of it names


@dataclass(frozen=True)
class About:
    """Where a network is from; the figures that are printed of it are in `published`.

    `paper` is the ShuffleNet paper that names it, "v1" (arXiv:1707.01083) or "v2" (arXiv:1807.11164), `table` where, or
    `NOWHERE`.
    `mark` is one of `MARKS`; `note` says in a line what is fitted, uncertain or else unlike its source.
    """

    paper: str
    table: str
    mark: str = SETTLED
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A network of the list: `build(name, size, classes)` makes it; `aliases` are its names elsewhere.

    `size` is that of its input, height and width in pixels, and `classes` how many it has, where nobody says otherwise;
    `backbone` names the classifier whose layers, under the same names, a detector begins with.
    """

    build: Callable[[str, tuple[int, int], int], Network]
    about: About
    aliases: tuple[str, ...] = ()
    size: tuple[int, int] = SIZE
    classes: int = CLASSES
    backbone: str = ""
