"""The end of a detector of two stages: from scores and boxes of each region to the best boxes.

    a score above `least` takes part, of equal ones that of the first region
    box = region + what its class says of it, cut off at the input's edges; see `bridge/regions.py` for the formula
    then as `detections`

Strategy: as there.  A region is a pixel of the planes of its block of regions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from .box_selection import BOTTOM, CENTRE, DELTAS, LEFT, RIGHT, SIDES, TOP, WIDTH, BoxWriter, X, number
from .workload import INPUT, Operand, Workload


@dataclass(frozen=True)
class RegionDetections(Workload):
    """`height` and `width` are the input's, in pixels; `regions` are at most as many as `proposals` gives.

    The planes of scores are those of the background and of each class, of boxes there are four for each of them.  Each
    block of `block` regions has its own: `score_size` and `box_size` are floats of a plane, `score_pitch` and
    `box_pitch` those from a block's planes to the next one's.
    """

    height: int
    width: int
    classes: int
    regions: int
    block: int
    score_size: int
    box_size: int
    score_pitch: int
    box_pitch: int
    least: float
    overlap: float
    best: int

    name = "region_detections"
    external = ("found", "scores", "boxes", "out")
    inputs = ("found", "scores", "boxes")

    def operands(self) -> tuple[Operand, ...]:
        return tuple(
            dataclasses.replace(operand, role=INPUT) if operand.name in self.inputs else operand
            for operand in super().operands()
        )

    @property
    def gathers(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inputs[1:]

    @property
    def gathered(self) -> int:
        return -(-self.regions // self.block)

    def definition(self) -> tirx.PrimFunc:
        with IRBuilder() as builder:
            with T.prim_func(is_private=True, s_tir=True):
                T.func_name("region_detections")
                _Writer(self).write()
        return builder.get()


class _Writer(BoxWriter):
    centre, ratio = CENTRE, SIDES

    def __init__(self, of: RegionDetections):
        self.of = of
        self.regions = self.parameter("found", 6 * of.regions + 1, 1)
        last = of.gathered - 1
        self.scores = self.parameter("scores", last * of.score_pitch + (1 + of.classes) * of.score_size)
        self.boxes = self.parameter("boxes", last * of.box_pitch + 4 * (1 + of.classes) * of.box_size)
        super().__init__((of.height, of.width), of.classes, of.regions, of.least, of.overlap, of.regions,
                         of.best)  # fmt: skip

    def note_all(self, label: tirx.Expr) -> None:
        with T.serial(0, T.cast(self.regions[6 * self.of.regions, 0], "int32")) as region:
            score = self.scores[self._place(region, 1 + label, self.of.score_pitch, self.of.score_size)]
            self.candidates.note(score, T.cast(region, "float32"), score > self.limit[0])

    def find(self, which: tirx.Expr, label: tirx.Expr, lane: tirx.Expr) -> None:
        of = self.of
        places = [self._place(which, 4 * (1 + label) + i, of.box_pitch, of.box_size) for i in range(4)]
        self.keep(lane, DELTAS, [self.boxes[place] for place in places])
        left, top, right, bottom = (self.regions[4 * which + edge, 0] for edge in (LEFT, TOP, RIGHT, BOTTOM))
        self.keep(lane, X, [number(0.5) * (left + right), number(0.5) * (top + bottom)])
        self.keep(lane, WIDTH, [right - left, bottom - top])

    def _place(self, region: tirx.Expr, channel: tirx.Expr, pitch: int, size: int) -> tirx.Expr:
        """Where the number of a region and a channel lies, in the planes of the region's block."""
        block, pixel = (operator(region, self.of.block) for operator in (tirx.floordiv, tirx.floormod))
        return block * pitch + channel * size + pixel
