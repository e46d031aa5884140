"""A program of a detector of two stages: what its regions go through one after the other, and where they leave it.

The calls for a region stand side by side: they are a pass, gone through once for each region, whose planes stay in the
cache (`Program.passes`).  What a region finds it reads where `proposals` has left it, and what it leaves for the end of
the network has a place for each region.
"""

from __future__ import annotations

from ..graph import Node
from ..schedules import Plane
from .program import Channels, Program, Root, View

EDGES = 4  # floats of a region


def edges(step: Node, found: Channels, view: View) -> tuple[Channels, View]:
    """What a step for each region reads of `proposals`, which lie in `view`: the edges of the first region."""
    held, size = found[: EDGES * step.copies], view.root.itemsize * view.root.plane.size
    root = Root(
        f"{step.name}.edges", Plane.dense(1, 1), EDGES, memory=view.root, offset=view.first * size, holds=held,
        dtype=view.root.dtype, step=EDGES * size,
    )  # fmt: skip
    return found[:EDGES], View(root, tuple(range(EDGES)))


def give_places(program: Program) -> None:
    """Gives each root that regions write and others read a place for each of them."""
    copies = {call.output.root.home: call.copies for call in program.calls}
    for call in program.calls:
        for view in call.inputs:
            if copies.get(view.root.home, 1) > call.copies:
                view.root.home.places = copies[view.root.home]
