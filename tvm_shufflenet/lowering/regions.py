"""A program of a detector of two stages: what its regions go through one after the other, and where they leave it.

The calls for a region stand side by side: they are a pass, gone through once for each region, whose planes stay in the
cache (`Program.passes`).  What a region finds it reads where `proposals` has left it, and what it leaves for what comes
behind the regions has a place for each of them.  Blocks of regions go through the calls behind that in the same way.
"""

from __future__ import annotations

import dataclasses

from ..graph import Node
from ..schedules import Plane, RegionDetections, RegionPixels, Workload
from .program import Call, Channels, Pass, Program, Root, View

EDGES = 4  # floats of a region


def edges(step: Node, found: Channels, view: View) -> tuple[Channels, View]:
    """The part of `proposals`, which lie in `view`, that a step of each region reads: the first region's edges."""
    held, size = found[: EDGES * step.copies], view.root.itemsize * view.root.plane.size
    root = Root(
        f"{step.name}.edges", Plane.dense(1, 1), EDGES, memory=view.root, offset=view.first * size, holds=held,
        dtype=view.root.dtype, step=EDGES * size,
    )  # fmt: skip
    return found[:EDGES], View(root, tuple(range(EDGES)))


def give_places(program: Program) -> None:
    """Gives what one pass leaves for another a place for each time that it is gone through.

    Who reads several of these is told how far apart they lie.
    """
    passes = {index: each for each in program.passes() for index in each.calls}
    writers: dict[Root, set[Pass]] = {}
    for index, call in enumerate(program.calls):
        writers.setdefault(call.output.root.home, set()).add(passes[index])
    for index, call in enumerate(program.calls):
        for view in call.inputs:
            for each in writers.get(view.root.home, set()) - {passes[index]}:
                view.root.home.places = each.times
    for call in program.calls:
        call.workload = _with_pitches(call)


def _with_pitches(call: Call) -> Workload:
    if isinstance(call.workload, RegionPixels):
        home = call.inputs[0].root.home
        home.places = call.copies * call.workload.gathered  # the last block may have fewer regions
        return dataclasses.replace(call.workload, pitch=_pitch(home))
    if isinstance(call.workload, RegionDetections):
        _, scores, boxes = (_pitch(view.root.home) for view in call.inputs)
        return dataclasses.replace(call.workload, score_pitch=scores, box_pitch=boxes)
    return call.workload


def _pitch(home: Root) -> int:
    """The distance of two places in elements."""
    return home.pitch // home.itemsize
