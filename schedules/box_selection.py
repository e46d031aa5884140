"""What the kernels that give boxes share: the best candidates of each class, decoded, without those that overlap.

A kernel says which candidates a class has, and where the box is that one of them moves and stretches.  A box is
compared with all behind it at once, in vectors.  Nothing depends on how many pass but time: the list of a class has
places for all, and the heap of all classes for the `best`.  Where that heap is full, only what is better than its worst
becomes a candidate: the others could neither be given nor drive out what is.
"""

from __future__ import annotations

import math

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from .functions import exp
from .heap import STATES, Heap
from .shortlist import BYTE, Shortlist
from .shortlist import STATES as LIST_STATES

CENTRE, SIDES = 0.1, 0.2  # what a map's number is worth: by the default box's side, and of the logarithm of its ratio
LARGEST = math.log(1000 / 16)  # of such a logarithm
LEFT, TOP, RIGHT, BOTTOM, AREA, ALIVE = range(6)  # columns of the candidates' boxes
COLUMNS = 6
LANES = 16  # that are compared with a box at a time: a divisor of a column's length
DELTAS, X, Y, HALF, LIMIT = 0, 4, 5, 6, 7  # of the floats that are kept at hand


def number(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")


class BoxWriter:
    """Writes such a function; the parameters in front of `out` are there already.

    Boxes lie in a picture of `size` = (height, width).  Each class has `total` possible candidates.
    """

    centre, ratio = CENTRE, SIDES

    def __init__(self, size: tuple[int, int], classes: int, total: int, least: float, overlap: float, candidates: int,
                 best: int, smallest: float = 0.0):  # fmt: skip
        self.size, self.classes, self.total, self.smallest = size, classes, total, smallest
        self.least, self.overlap = least, overlap
        most, self.most = min(candidates, total), best
        self.places = places = -(-most // LANES) * LANES
        self.out = self.parameter("out", 6 * best + 1, 1)
        self.boxes_at = 2 * total  # where the list of candidates is sorted, too
        best_at = self.boxes_at + COLUMNS * places
        self.room = self.parameter("scratch", best_at + 2 * best)

        def local(count: int, dtype: str) -> tirx.Buffer:
            return T.sblock_alloc_buffer((count,), dtype)

        self.local = local
        self.row = local(1, "int32")  # of the default boxes
        self.at_hand, self.found = local(8, "float32"), local(4, "float32")
        counts, held = [local(1, "int32") for _ in range(2)], local(2, "float32")
        at_list = local(LIST_STATES, "int32"), local(BYTE, "int32"), held
        self.candidates = Shortlist(self.room, 0, total, self.boxes_at, most, counts[0], *at_list)
        self.best = Heap(self.room, best_at, best_at + best, best, counts[1], local(STATES, "int32"), held)

    @staticmethod
    def parameter(name: str, *shape: int) -> tirx.Buffer:
        return T.arg(name, T.buffer(shape, "float32"))

    def note_all(self, label: tirx.Expr) -> None:
        """Notes the scores of a class that are above `at_hand[LIMIT]`, in the order of their ids."""
        raise NotImplementedError

    def find(self, which: tirx.Expr, label: tirx.Expr) -> None:
        """Keeps at hand what moves and stretches the box of that candidate, and the box's centre."""
        raise NotImplementedError

    def side(self, axis: int) -> tirx.Expr:
        """Width (0) or height (1) of the box that `find` has found."""
        raise NotImplementedError

    def keep(self, deltas: list[tirx.Expr], centres: list[tirx.Expr]) -> None:
        for which, delta in enumerate(deltas):
            T.buffer_store(self.at_hand, delta, [DELTAS + which])
        for where, centre in zip((X, Y), centres):
            T.buffer_store(self.at_hand, centre, [where])

    def column(self, which: int, place: tirx.Expr) -> tirx.Expr:
        """Where in the scratch a column of a candidate's box is."""
        return self.boxes_at + which * self.places + place

    def write(self) -> None:
        self.best.begin()
        with T.serial(0, self.classes) as label:
            worst = tirx.if_then_else(self.best.count[0] < self.most, number(0), self.room[self.best.scores])
            T.buffer_store(self.at_hand, tirx.max(number(self.least), worst), [LIMIT])
            self.candidates.begin()
            self.note_all(label)
            self.candidates.choose()
            with T.serial(0, self.candidates.count[0]) as place:
                self._decode(T.cast(self.room[self.candidates.ids + place], "int32"), label)
                for which in range(4):
                    T.buffer_store(self.room, self.found[which], [self.column(which, place)])
                width, height = self.found[RIGHT] - self.found[LEFT], self.found[BOTTOM] - self.found[TOP]
                T.buffer_store(self.room, width * height, [self.column(AREA, place)])
                alive = number(1)
                if self.smallest:
                    alive = tirx.Select(tirx.min(width, height) >= number(self.smallest), alive, number(0))
                T.buffer_store(self.room, alive, [self.column(ALIVE, place)])
            with T.serial(0, self.candidates.count[0]) as place:
                score = self.room[self.candidates.scores + place]
                alive = self.room[self.column(ALIVE, place)] > number(0)
                # Where one of a class does not belong to the best, none behind it does.
                with T.If(tirx.all(alive, self.best.takes(score))):
                    with T.Then():
                        which = self.room[self.candidates.ids + place] + T.cast(label * self.total, "float32")
                        self.best.push(score, which)
                        self._drive_out(place)
        self.best.sort()
        self._give()

    def _decode(self, which: tirx.Expr, label: tirx.Expr) -> None:
        """The box of that candidate, into `found`."""
        height, width = self.size
        self.find(which, label)
        for axis, extent in ((0, width), (1, height)):
            for edge, at in zip((LEFT + axis, RIGHT + axis), self.edges(axis)):
                T.buffer_store(self.found, tirx.min(tirx.max(at, number(0)), number(extent)), [edge])

    def edges(self, axis: int) -> tuple[tirx.Expr, tirx.Expr]:
        """Left and right, or top and bottom, of the box that was found: moved and stretched."""
        at_hand, side = self.at_hand, self.side(axis)
        centre = at_hand[X + axis] + number(self.centre) * at_hand[DELTAS + axis] * side
        ratio = number(self.ratio) * at_hand[DELTAS + 2 + axis]
        half = number(0.5) * side * exp(tirx.min(ratio, number(LARGEST)))
        T.buffer_store(at_hand, half, [HALF])
        return centre - at_hand[HALF], centre + at_hand[HALF]

    def _drive_out(self, place: tirx.Expr) -> None:
        """Those behind it that overlap one too much are no longer alive.

        Whole vectors of them: what stands in front of it is not asked again, nor what stands behind the last.
        """

        def shared(low: int, high: int, other: tirx.Expr) -> tirx.Expr:
            ends = [self.room[self.column(high, which)] for which in (place, other)]
            starts = [self.room[self.column(low, which)] for which in (place, other)]
            return tirx.max(tirx.min(*ends) - tirx.max(*starts), number(0))

        first, behind = place // LANES, (self.candidates.count[0] + LANES - 1) // LANES
        with T.serial(first, behind) as block, T.vectorized(0, LANES) as lane:
            other = block * LANES + lane
            both = shared(LEFT, RIGHT, other) * shared(TOP, BOTTOM, other)
            union = self.room[self.column(AREA, place)] + self.room[self.column(AREA, other)] - both
            alive = self.column(ALIVE, other)
            kept = tirx.Select(both > number(self.overlap) * union, number(0), self.room[alive])
            T.buffer_store(self.room, kept, [alive])

    def _give(self) -> None:
        best, count = self.most, self.best.count[0]
        with T.serial(0, best) as place:
            with T.If(place < count):
                with T.Then():
                    which = T.cast(self.room[self.best.ids + place], "int32")
                    label = tirx.floordiv(which, self.total)
                    self._decode(tirx.floormod(which, self.total), label)
                    for edge in range(4):
                        T.buffer_store(self.out, self.found[edge], [4 * place + edge, 0])
                    T.buffer_store(self.out, self.room[self.best.scores + place], [4 * best + place, 0])
                    T.buffer_store(self.out, T.cast(label, "float32"), [5 * best + place, 0])
                with T.Else():
                    for where in (*(4 * place + edge for edge in range(4)), 4 * best + place, 5 * best + place):
                        T.buffer_store(self.out, number(0), [where, 0])
        T.buffer_store(self.out, T.cast(count, "float32"), [6 * best, 0])
