"""The post-processing of a detector: from scores and boxes on maps to the best boxes, in memory of a fixed size.

    a score above `least` takes part, of each class the best `candidates`; of equal ones the first default box's
    box = default box + what its map says, cut off at the input's edges; see `bridge/detections.py` for the formula
    of two boxes of a class that overlap by more than `overlap` (intersection by union) the better one stays
    out = the `best` of all classes: their boxes, their scores, their labels, and how many there are; zeros behind them

Strategy: scores are read once, and few pass; those are kept in a heap (`heap.py`), so that no list of all is needed,
and only their boxes are computed.  A box is compared with all behind it at once, in vectors.  Nothing depends on how
many pass but time: a heap and a list have places for `candidates` and for `best`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from .common import Plane
from .functions import exp
from .heap import STATES, Heap
from .workload import INPUT, Operand, Workload

CENTRE, SIDES = 0.1, 0.2  # what a map's number is worth: by the default box's side, and of the logarithm of its ratio
LARGEST = math.log(1000 / 16)  # of such a logarithm
LEFT, TOP, RIGHT, BOTTOM, AREA, ALIVE = range(6)  # columns of the candidates' boxes
DELTAS, X, Y, HALF, LIMIT = 0, 4, 5, 6, 7  # of the floats that are kept at hand


@dataclass(frozen=True)
class Detections(Workload):
    """`height` and `width` are the input's, in pixels.  Of each map there is a number in each tuple.

    `sides`: default boxes of a pixel; `rows` and `columns`: its pixels; pitch and size of its planes of scores, in
    which the background is the first of each default box's classes, and of its planes of boxes.
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

    name = "detections"

    def __post_init__(self):
        if self.total * self.classes >= 1 << 24:
            raise ValueError(f"ids are floats, of which not all above 2^24 are whole: {self}")

    @staticmethod
    def of(
        size: tuple[int, int], classes: int, sides: Sequence[int], scores: Sequence[Plane], boxes: Sequence[Plane],
        least: float, overlap: float, candidates: int, best: int,
    ) -> Detections:  # fmt: skip
        def each(planes: Sequence[Plane], what: str) -> tuple[int, ...]:
            return tuple(getattr(plane, what) for plane in planes)

        return Detections(
            *size, classes, tuple(sides), each(scores, "height"), each(scores, "width"), each(scores, "pitch"),
            each(scores, "size"), each(boxes, "pitch"), each(boxes, "size"), least, overlap, candidates, best,
        )  # fmt: skip

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


class _Writer:
    """Writes the function; what is said of `Detections` is not repeated."""

    def __init__(self, workload: Detections):
        self.of = of = workload

        def parameter(name: str, *shape: int) -> tirx.Buffer:
            return T.arg(name, T.buffer(shape, "float32"))

        self.scores = [
            parameter(f"scores{i}", sides * (of.classes + 1), size)
            for i, (sides, size) in enumerate(zip(of.sides, of.score_sizes))
        ]
        self.boxes = [
            parameter(f"boxes{i}", 4 * sides, size) for i, (sides, size) in enumerate(zip(of.sides, of.box_sizes))
        ]
        self.defaults = parameter("defaults", sum(of.sides), 2)  # width and height in pixels
        self.out = parameter("out", 6 * of.best + 1, 1)
        places = of.candidates
        self.room = parameter("scratch", 8 * places + 2 * of.best)

        def local(count: int, dtype: str) -> tirx.Buffer:
            return T.sblock_alloc_buffer((count,), dtype)

        self.row = local(1, "int32")  # of `defaults`
        self.at_hand, self.found = local(8, "float32"), local(4, "float32")
        counts, states, held = [local(1, "int32") for _ in range(2)], local(STATES, "int32"), local(2, "float32")
        self.candidates = Heap(self.room, 0, places, places, counts[0], states, held)
        self.best = Heap(self.room, 8 * places, 8 * places + of.best, of.best, counts[1], states, held)

    def column(self, which: int, place: tirx.Expr) -> tirx.Expr:
        """Where in the scratch a column of a candidate's box is."""
        return (2 + which) * self.of.candidates + place

    def write(self) -> None:
        self.best.begin()
        with T.serial(0, self.of.classes) as label:
            self._choose(label)
            self.candidates.sort()
            with T.serial(0, self.candidates.count[0]) as place:
                self._decode(T.cast(self.room[self.candidates.ids + place], "int32"))
                for which in range(4):
                    T.buffer_store(self.room, self.found[which], [self.column(which, place)])
                area = (self.found[RIGHT] - self.found[LEFT]) * (self.found[BOTTOM] - self.found[TOP])
                T.buffer_store(self.room, area, [self.column(AREA, place)])
                T.buffer_store(self.room, _float(1), [self.column(ALIVE, place)])
            with T.serial(0, self.candidates.count[0]) as place:
                score = self.room[self.candidates.scores + place]
                alive = self.room[self.column(ALIVE, place)] > _float(0)
                # Where one of a class does not belong to the best, none behind it does.
                with T.If(tirx.all(alive, self.best.takes(score))):
                    with T.Then():
                        number = self.room[self.candidates.ids + place] + T.cast(label * self.of.total, "float32")
                        self.best.push(score, number)
                        self._drive_out(place)
        self.best.sort()
        self._give()

    def _choose(self, label: tirx.Expr) -> None:
        """The candidates of a class."""
        of, limit = self.of, self.at_hand
        self.candidates.begin()
        T.buffer_store(limit, _float(of.least), [LIMIT])
        for index, scores in enumerate(self.scores):
            sides, columns = of.sides[index], of.columns[index]
            with T.grid(of.rows[index], columns, sides) as (y, x, side):
                score = scores[side * (of.classes + 1) + 1 + label, y * of.score_pitches[index] + x]
                with T.If(score > limit[LIMIT]):
                    with T.Then():
                        number = of.starts[index] + (y * columns + x) * sides + side
                        self.candidates.push(score, T.cast(number, "float32"))
                        with T.If(self.candidates.count[0] == of.candidates):
                            with T.Then():
                                worst = self.room[self.candidates.scores]
                                T.buffer_store(limit, tirx.max(_float(of.least), worst), [LIMIT])

    def _decode(self, number: tirx.Expr) -> None:
        """The box of that number, into `found`."""
        of, at_hand, first = self.of, self.at_hand, 0
        for index, boxes in enumerate(self.boxes):
            start, end = of.starts[index : index + 2]
            sides, rows, columns = of.sides[index], of.rows[index], of.columns[index]
            with T.If(tirx.all(number >= start, number < end)):
                with T.Then():
                    side, pixel = tirx.floormod(number - start, sides), tirx.floordiv(number - start, sides)
                    y, x = tirx.floordiv(pixel, columns), tirx.floormod(pixel, columns)
                    for which in range(4):
                        delta = boxes[4 * side + which, y * of.box_pitches[index] + x]
                        T.buffer_store(at_hand, delta, [DELTAS + which])
                    for where, place, count, extent in ((X, x, columns, of.width), (Y, y, rows, of.height)):
                        centre = (T.cast(place, "float32") + _float(0.5)) / _float(count) * _float(extent)
                        T.buffer_store(at_hand, centre, [where])
                    T.buffer_store(self.row, first + side, [0])
            first += sides
        for axis, extent in ((0, of.width), (1, of.height)):
            side = self.defaults[self.row[0], axis]
            centre = at_hand[X + axis] + _float(CENTRE) * at_hand[DELTAS + axis] * side
            half = _float(0.5) * side * exp(tirx.min(_float(SIDES) * at_hand[DELTAS + 2 + axis], _float(LARGEST)))
            T.buffer_store(at_hand, half, [HALF])
            for which, edge in ((LEFT + axis, centre - at_hand[HALF]), (RIGHT + axis, centre + at_hand[HALF])):
                T.buffer_store(self.found, tirx.min(tirx.max(edge, _float(0)), _float(extent)), [which])

    def _drive_out(self, place: tirx.Expr) -> None:
        """Those behind it that overlap one too much are no longer alive."""

        def shared(low: int, high: int, other: tirx.Expr) -> tirx.Expr:
            ends = [self.room[self.column(high, which)] for which in (place, other)]
            starts = [self.room[self.column(low, which)] for which in (place, other)]
            return tirx.max(tirx.min(*ends) - tirx.max(*starts), _float(0))

        with T.serial(place + 1, self.candidates.count[0]) as other:
            both = shared(LEFT, RIGHT, other) * shared(TOP, BOTTOM, other)
            union = self.room[self.column(AREA, place)] + self.room[self.column(AREA, other)] - both
            alive = self.column(ALIVE, other)
            kept = tirx.Select(both > _float(self.of.overlap) * union, _float(0), self.room[alive])
            T.buffer_store(self.room, kept, [alive])

    def _give(self) -> None:
        best, count = self.of.best, self.best.count[0]
        with T.serial(0, best) as place:
            with T.If(place < count):
                with T.Then():
                    number = T.cast(self.room[self.best.ids + place], "int32")
                    self._decode(tirx.floormod(number, self.of.total))
                    for which in range(4):
                        T.buffer_store(self.out, self.found[which], [4 * place + which, 0])
                    T.buffer_store(self.out, self.room[self.best.scores + place], [4 * best + place, 0])
                    label = T.cast(tirx.floordiv(number, self.of.total), "float32")
                    T.buffer_store(self.out, label, [5 * best + place, 0])
                with T.Else():
                    for where in (*(4 * place + which for which in range(4)), 4 * best + place, 5 * best + place):
                        T.buffer_store(self.out, _float(0), [where, 0])
        T.buffer_store(self.out, T.cast(count, "float32"), [6 * best, 0])


def _float(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")
