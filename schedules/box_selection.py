"""What the kernels that give boxes share: the best candidates of each class, decoded, without those that overlap.

A kernel says which candidates a class has, and where the box is that one of them moves and stretches.  A box is
compared with all behind it at once, in vectors.  Nothing depends on how many pass but time: the list of a class has
places for all, and the heap of all classes for the `best`.  Where that heap is full, only what is better than its worst
becomes a candidate: the others could neither be given nor drive out what is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

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
DELTAS, X, Y, WIDTH, HEIGHT, HALF = 0, 4, 5, 6, 7, 8  # of the numbers of a box that are kept at hand
AT_HAND = 9

Meant = Callable[[tirx.Expr], tuple[tirx.Expr, tirx.Expr]]


def number(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")


class BoxWriter:
    """Writes such a function; the parameters in front of `out` are there already.

    Boxes lie in a picture of `size` = (height, width).  Each class has `total` possible candidates.
    `more` floats of the scratch, from `more_at` on, are for what `find` leaves to `settle`.
    """

    centre, ratio = CENTRE, SIDES

    def __init__(self, size: tuple[int, int], classes: int, total: int, least: float, overlap: float, candidates: int,
                 best: int, smallest: float = 0.0, more: int = 0):  # fmt: skip
        self.size, self.classes, self.total, self.smallest = size, classes, total, smallest
        self.least, self.overlap = least, overlap
        most, self.most = min(candidates, total), best
        self.places = places = -(-most // LANES) * LANES
        self.out = self.parameter("out", 6 * best + 1, 1)
        self.boxes_at = 2 * total  # where the list of candidates is sorted, too
        best_at = self.boxes_at + COLUMNS * places
        self.more_at = best_at + 2 * best
        self.room = self.parameter("scratch", self.more_at + more)

        def local(count: int, dtype: str) -> tirx.Buffer:
            return T.sblock_alloc_buffer((count,), dtype)

        self.local = local
        self.at_hand, self.found = local(AT_HAND * LANES, "float32"), local(4 * LANES, "float32")
        self.limit = local(1, "float32")
        counts, held = [local(1, "int32") for _ in range(2)], local(2, "float32")
        at_list = local(LIST_STATES, "int32"), local(BYTE, "int32"), held
        self.candidates = Shortlist(self.room, 0, total, self.boxes_at, most, counts[0], *at_list)
        self.best = Heap(self.room, best_at, best_at + best, best, counts[1], local(STATES, "int32"), held)

    @staticmethod
    def parameter(name: str, *shape: int) -> tirx.Buffer:
        return T.arg(name, T.buffer(shape, "float32"))

    def note_all(self, label: tirx.Expr) -> None:
        """Notes the scores of a class that are above `limit`, in the order of their ids."""
        raise NotImplementedError

    def find(self, which: tirx.Expr, label: tirx.Expr, lane: tirx.Expr) -> None:
        """Keeps at hand, in that lane, what moves and stretches the box of that candidate, its centre and sides."""
        raise NotImplementedError

    def settle(self) -> None:
        """Makes, of all lanes, what is kept of what `find` has left."""

    def keep(self, lane: tirx.Expr, first: int, numbers: Iterable[tirx.Expr]) -> None:
        """Numbers of a box, from that one on."""
        for which, value in enumerate(numbers, first):
            T.buffer_store(self.at_hand, value, [which * LANES + lane])

    def kept(self, which: int, lane: tirx.Expr) -> tirx.Expr:
        return self.at_hand[which * LANES + lane]

    def column(self, which: int, place: tirx.Expr) -> tirx.Expr:
        """Where in the scratch a column of a candidate's box is."""
        return self.boxes_at + which * self.places + place

    def write(self) -> None:
        self.best.begin()
        with T.serial(0, self.classes) as label:
            worst = tirx.if_then_else(self.best.count[0] < self.most, number(0), self.room[self.best.scores])
            T.buffer_store(self.limit, tirx.max(number(self.least), worst), [0])
            self.candidates.begin()
            self.note_all(label)
            self.candidates.choose()
            with T.serial(0, self._blocks(self.candidates)) as block:
                self._decode(self.candidates, block, lambda which: (which, label))
                with T.serial(0, LANES) as lane:
                    self._keep_box(block * LANES + lane, [self.found[edge * LANES + lane] for edge in range(4)])
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

    @staticmethod
    def _blocks(of: Shortlist | Heap) -> tirx.Expr:
        return (of.count[0] + LANES - 1) // LANES

    @staticmethod
    def _used(of: Shortlist | Heap, block: tirx.Expr) -> tirx.Expr:
        """How many lanes of a block are."""
        return tirx.min(of.count[0] - block * LANES, LANES)

    def _decode(self, of: Shortlist | Heap, block: tirx.Expr, meant: Meant) -> None:
        """The boxes of a block of those, into `found`; `meant` makes candidate and label of an id."""
        with T.serial(0, self._used(of, block)) as lane:
            self.find(*meant(T.cast(self.room[of.ids + block * LANES + lane], "int32")), lane)
        self.settle()
        with T.serial(0, LANES) as lane:  # what stands in lanes behind the last is not used
            for axis, extent in ((0, self.size[1]), (1, self.size[0])):
                for edge, at in zip((LEFT + axis, RIGHT + axis), self.edges(axis, lane)):
                    limited = tirx.min(tirx.max(at, number(0)), number(extent))
                    T.buffer_store(self.found, limited, [edge * LANES + lane])

    def _keep_box(self, place: tirx.Expr, edges: list[tirx.Expr]) -> None:
        for which, edge in enumerate(edges):
            T.buffer_store(self.room, edge, [self.column(which, place)])
        width, height = edges[RIGHT] - edges[LEFT], edges[BOTTOM] - edges[TOP]
        T.buffer_store(self.room, width * height, [self.column(AREA, place)])
        alive = number(1)
        if self.smallest:
            alive = tirx.Select(tirx.min(width, height) >= number(self.smallest), alive, number(0))
        T.buffer_store(self.room, alive, [self.column(ALIVE, place)])

    def edges(self, axis: int, lane: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        """Left and right, or top and bottom, of the box that was found: moved and stretched."""
        side = self.kept(WIDTH + axis, lane)
        centre = self.kept(X + axis, lane) + number(self.centre) * self.kept(DELTAS + axis, lane) * side
        ratio = number(self.ratio) * self.kept(DELTAS + 2 + axis, lane)
        self.keep(lane, HALF, [number(0.5) * side * exp(tirx.min(ratio, number(LARGEST)))])
        return centre - self.kept(HALF, lane), centre + self.kept(HALF, lane)

    def _drive_out(self, place: tirx.Expr) -> None:
        """Those behind it that overlap one too much are no longer alive.

        Whole vectors of them: what stands in front of it is not asked again, nor what stands behind the last.
        """

        def shared(low: int, high: int, other: tirx.Expr) -> tirx.Expr:
            ends = [self.room[self.column(high, which)] for which in (place, other)]
            starts = [self.room[self.column(low, which)] for which in (place, other)]
            return tirx.max(tirx.min(*ends) - tirx.max(*starts), number(0))

        with T.serial(place // LANES, self._blocks(self.candidates)) as block, T.vectorized(0, LANES) as lane:
            other = block * LANES + lane
            both = shared(LEFT, RIGHT, other) * shared(TOP, BOTTOM, other)
            union = self.room[self.column(AREA, place)] + self.room[self.column(AREA, other)] - both
            alive = self.column(ALIVE, other)
            kept = tirx.Select(both > number(self.overlap) * union, number(0), self.room[alive])
            T.buffer_store(self.room, kept, [alive])

    def _give(self) -> None:
        most, count = self.most, self.best.count[0]
        with T.serial(0, self._blocks(self.best)) as block:
            self._decode(self.best, block, lambda which: (which % self.total, which // self.total))
            with T.serial(0, self._used(self.best, block)) as lane:
                place = block * LANES + lane
                label = T.cast(self.room[self.best.ids + place], "int32") // self.total
                for edge in range(4):
                    T.buffer_store(self.out, self.found[edge * LANES + lane], [4 * place + edge, 0])
                T.buffer_store(self.out, self.room[self.best.scores + place], [4 * most + place, 0])
                T.buffer_store(self.out, T.cast(label, "float32"), [5 * most + place, 0])
        with T.serial(count, most) as place:
            for where in (*(4 * place + edge for edge in range(4)), 4 * most + place, 5 * most + place):
                T.buffer_store(self.out, number(0), [where, 0])
        T.buffer_store(self.out, T.cast(count, "float32"), [6 * most, 0])
