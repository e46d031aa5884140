"""The post-processing of a detector: from scores and boxes on maps to the best boxes, in memory of a fixed size.

    a score above `least` takes part, of each class the best `candidates`; of equal ones the first default box's
    box = default box + what its map says, cut off at the input's edges; see `bridge/detections.py` for the formula
    of two boxes of a class that overlap by more than `overlap` (intersection by union) the better one stays
    out = the `best` of all classes: their boxes, their scores, their labels, and how many there are; zeros behind them

Strategy: scores are read once for each class, those that pass are noted, and the best of them chosen (`shortlist.py`);
only the boxes of these are computed, by `box_selection.py`.

Proposals of a detector of two stages are the same with one class: `proposals` of `NetworkBuilder`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from .box_selection import CENTRE, DELTAS, HALF, LANES, SIDES, WIDTH, BoxWriter, X, number
from .common import Plane
from .functions import exp
from .workload import INPUT, Operand, Workload

MOST, TOTAL, WEIGHED = range(3)  # of an edge's numbers
SUMS = 3


@dataclass(frozen=True)
class Detections(Workload):
    """`height` and `width` are the input's, in pixels.  Of each map there is a number in each tuple.

    `sides`: default boxes of a pixel; `rows` and `columns`: its pixels; pitch and size of its planes of scores, in
    which the background is the first of each default box's classes, and of its planes of boxes.  `centre` and `ratio`
    say what a map's numbers are worth.  A candidate that is narrower or lower than `smallest` pixels is none.  With
    `bins` a map says of each edge how far it is from the pixel's centre, by the default box's side: so many numbers
    whose softmax are the shares of the distances 0, 1, 2, ...  Without `background` there is no class in front.  With
    `corners` a pixel stands for its number times the default box's side, else for the middle of its share of the input.
    """

    height: int
    width: int
    classes: int
    sides: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    score_pitches: tuple[int, ...]
    score_sizes: tuple[int, ...]
    box_pitches: tuple[int, ...]
    box_sizes: tuple[int, ...]
    least: float
    overlap: float
    candidates: int
    best: int
    centre: float = CENTRE
    ratio: float = SIDES
    smallest: float = 0.0
    bins: int = 0
    background: bool = True
    corners: bool = False

    name = "detections"

    def __post_init__(self):
        if self.total * self.classes >= 1 << 24:
            raise ValueError(f"ids are floats, of which not all above 2^24 are whole: {self}")

    @staticmethod
    def of(
        size: tuple[int, int], classes: int, sides: Sequence[int], scores: Sequence[Plane], boxes: Sequence[Plane],
        least: float, overlap: float, candidates: int, best: int, **how: Any,
    ) -> Detections:  # fmt: skip
        def each(planes: Sequence[Plane], what: str) -> tuple[int, ...]:
            return tuple(getattr(plane, what) for plane in planes)

        return Detections(
            *size, classes, tuple(sides), each(scores, "height"), each(scores, "width"), each(scores, "pitch"),
            each(scores, "size"), each(boxes, "pitch"), each(boxes, "size"), least, overlap, candidates, best, **how,
        )  # fmt: skip

    @property
    def channels(self) -> tuple[int, int]:
        """Of the maps of scores and of boxes, for each default box."""
        return self.classes + self.background, 4 * max(self.bins, 1)

    @property
    def starts(self) -> list[int]:
        """The number of the first default box of each map, and of all."""
        counts = (sides * rows * columns for sides, rows, columns in zip(self.sides, self.rows, self.columns))
        return list(accumulate(counts, initial=0))

    @property
    def total(self) -> int:
        """Default boxes of all maps."""
        return self.starts[-1]

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the parameters that are maps, in order."""
        kinds = ("scores", "boxes")
        return tuple(f"{kind}{index}" for kind in kinds for index in range(len(self.sides)))

    @property
    def external(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.data, "out")

    def operands(self) -> tuple[Operand, ...]:
        return tuple(
            dataclasses.replace(operand, role=INPUT) if operand.name in self.data else operand
            for operand in super().operands()
        )

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return [rng.uniform(10, 100, shape).astype("float32") for shape in shapes]

    def definition(self) -> tirx.PrimFunc:
        with IRBuilder() as builder:
            with T.prim_func(is_private=True, s_tir=True):
                T.func_name("detections")
                _Writer(self).write()
        return builder.get()


class _Writer(BoxWriter):
    """Writes the function; what is said of `Detections` is not repeated."""

    def __init__(self, of: Detections):
        self.of = of
        each, numbers = of.channels
        self.scores = [
            self.parameter(f"scores{i}", sides * each, size)
            for i, (sides, size) in enumerate(zip(of.sides, of.score_sizes))
        ]
        self.boxes = [
            self.parameter(f"boxes{i}", numbers * sides, size)
            for i, (sides, size) in enumerate(zip(of.sides, of.box_sizes))
        ]
        self.defaults = self.parameter("defaults", sum(of.sides), 2)  # width and height in pixels
        super().__init__((of.height, of.width), of.classes, of.total, of.least, of.overlap, of.candidates, of.best,
                         of.smallest, 4 * of.bins * LANES)  # fmt: skip
        self.centre, self.ratio = of.centre, of.ratio
        self.passing = self.local(1, "int32")
        self.sums = self.local(SUMS * LANES, "float32") if of.bins else None

    def note_all(self, label: tirx.Expr) -> None:
        of = self.of
        for index, scores in enumerate(self.scores):
            sides, columns = of.sides[index], of.columns[index]

            def score(y: tirx.Expr, x: tirx.Expr, side: tirx.Expr, index: int = index, scores: Any = scores):
                channel = side * of.channels[0] + int(of.background) + label
                return scores[channel, y * of.score_pitches[index] + x]

            with T.serial(0, of.rows[index]) as y:
                # Without a background nearly all scores are low: most rows are passed over, in vectors.
                T.buffer_store(self.passing, int(of.background), [0])
                if not of.background:
                    with T.grid(sides, columns) as (side, x):
                        passes = tirx.Select(score(y, x, side) > self.limit[0], 1, 0)
                        T.buffer_store(self.passing, self.passing[0] + passes, [0])
                with T.If(self.passing[0] > 0):
                    with T.Then():
                        with T.grid(columns, sides) as (x, side):
                            number_of = T.cast(of.starts[index] + (y * columns + x) * sides + side, "float32")
                            its = score(y, x, side)
                            self.candidates.note(its, number_of, its > self.limit[0])

    def find(self, which: tirx.Expr, label: tirx.Expr, lane: tirx.Expr) -> None:
        of, first = self.of, 0
        for index, boxes in enumerate(self.boxes):
            start, end = of.starts[index : index + 2]
            sides, rows, columns = of.sides[index], of.rows[index], of.columns[index]
            with T.If(tirx.all(which >= start, which < end)):
                with T.Then():
                    side, pixel = tirx.floormod(which - start, sides), tirx.floordiv(which - start, sides)
                    y, x = tirx.floordiv(pixel, columns), tirx.floormod(pixel, columns)
                    pixel_at = y * of.box_pitches[index] + x
                    if of.bins:
                        with T.serial(0, 4 * of.bins) as bin:
                            value = boxes[4 * of.bins * side + bin, pixel_at]
                            T.buffer_store(self.room, value, [self.more_at + bin * LANES + lane])
                    else:
                        self.keep(lane, DELTAS, [boxes[4 * side + i, pixel_at] for i in range(4)])
                    if of.corners:
                        centres = [
                            T.cast(i, "float32") * self.defaults[first + side, axis] for axis, i in enumerate((x, y))
                        ]
                    else:
                        centres = [
                            (T.cast(place, "float32") + number(0.5)) / number(count) * number(extent)
                            for place, count, extent in ((x, columns, of.width), (y, rows, of.height))
                        ]
                    self.keep(lane, X, centres)
                    self.keep(lane, WIDTH, [self.defaults[first + side, axis] for axis in range(2)])
            first += sides

    def settle(self) -> None:
        """Distances of each edge from the centre, by the default box's side."""
        bins, sums = self.of.bins, self.sums
        if sums is None:
            return
        for edge in range(4):

            def at(bin: tirx.Expr | int, lane: tirx.Expr, edge: int = edge) -> tirx.Expr:
                return self.room[self.more_at + (edge * bins + bin) * LANES + lane]

            def add(which: int, lane: tirx.Expr, value: tirx.Expr) -> None:
                T.buffer_store(sums, sums[which * LANES + lane] + value, [which * LANES + lane])

            with T.serial(0, LANES) as lane:
                T.buffer_store(sums, at(0, lane), [MOST * LANES + lane])
                for which in (TOTAL, WEIGHED):
                    T.buffer_store(sums, number(0), [which * LANES + lane])
            with T.serial(1, bins) as bin, T.serial(0, LANES) as lane:
                T.buffer_store(sums, tirx.max(sums[MOST * LANES + lane], at(bin, lane)), [MOST * LANES + lane])
            with T.serial(0, bins) as bin, T.serial(0, LANES) as lane:
                self.keep(lane, HALF, [exp(at(bin, lane) - sums[MOST * LANES + lane])])
                add(TOTAL, lane, self.kept(HALF, lane))
                add(WEIGHED, lane, T.cast(bin, "float32") * self.kept(HALF, lane))
            with T.serial(0, LANES) as lane:
                self.keep(lane, DELTAS + edge, [sums[WEIGHED * LANES + lane] / sums[TOTAL * LANES + lane]])

    def edges(self, axis: int, lane: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        if not self.of.bins:
            return super().edges(axis, lane)
        centre, low, high, side = (self.kept(which + axis, lane) for which in (X, DELTAS, DELTAS + 2, WIDTH))
        return centre - low * side, centre + high * side
