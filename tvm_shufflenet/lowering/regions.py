"""A program of a detector of two stages: what its regions go through one after the other, and where they leave it.

The calls for a region stand side by side: they are a pass, gone through once for each region, whose planes stay in the
cache (`Program.passes`).  What a region finds it reads where `proposals` has left it, and what it leaves for what comes
behind the regions has a place for each of them.
"""

from __future__ import annotations

import dataclasses

from ..graph import Node
from ..schedules import Plane, RegionPixels
from .program import Channels, Pass, Program, Root, View

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
    """Gives what one pass through regions leaves for another a place for each of them.

    Who reads all of these is told how far apart they lie.
    """
    passes = {index: each for each in program.passes() for index in each.calls}
    writers: dict[Root, set[Pass]] = {}
    for index, call in enumerate(program.calls):
        writers.setdefault(call.output.root.home, set()).add(passes[index])
    for index, call in enumerate(program.calls):
        for view in call.inputs:
            for each in writers.get(view.root.home, set()) - {passes[index]}:
                view.root.home.places = each.times
        if isinstance(call.workload, RegionPixels):
            (view,) = call.inputs
            call.workload = dataclasses.replace(call.workload, pitch=view.root.home.pitch // view.root.itemsize)
