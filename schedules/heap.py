"""The best of many numbers, in order: a heap in memory that is given, of as many places as it has.

What is written here becomes TIR statements of the function that an `IRBuilder` is making.  The root is the worst of
those in the heap; of two equal numbers the one with the larger id is worse.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

HOLE, CHILD, MOVED = range(3)  # of `Heap.places`
STATES = 3


@dataclass(frozen=True)
class Heap:
    """Scores are `room[scores:]`, ids, which are whole numbers below 2^24, `room[ids:]`, both float32.

    `places` is an int32 buffer of `STATES` elements, and `held` a float32 buffer of two: both are free between calls.
    How many are in the heap is `count[0]`.
    """

    room: tirx.Buffer
    scores: int
    ids: int
    most: int
    count: tirx.Buffer
    places: tirx.Buffer
    held: tirx.Buffer

    def begin(self) -> None:
        T.buffer_store(self.count, 0, [0])

    def takes(self, score: tirx.Expr) -> tirx.Expr:
        """Whether a candidate belongs into the heap; of equal scores the one that comes later is worse."""
        return tirx.any(self.count[0] < self.most, score > self.room[self.scores])

    def push(self, score: tirx.Expr, number: tirx.Expr) -> None:
        """Adds a candidate that the heap takes; in a full heap it replaces the worst."""
        T.buffer_store(self.held, score, [0])
        T.buffer_store(self.held, number, [1])
        with T.If(self.count[0] < self.most):
            with T.Then():
                self._rise()
            with T.Else():
                self._sink(self.most)

    def sort(self) -> None:
        """Leaves the best first; then it is no heap any more."""
        with T.serial(0, tirx.max(self.count[0] - 1, 0)) as done:
            last = self.count[0] - 1 - done
            T.buffer_store(self.held, self.room[self.scores + last], [0])
            T.buffer_store(self.held, self.room[self.ids + last], [1])
            self._move(0, last)
            self._sink(last)

    def _move(self, source: tirx.Expr | int, target: tirx.Expr | int) -> None:
        for column in (self.scores, self.ids):
            T.buffer_store(self.room, self.room[column + source], [column + target])

    def _worse(self, place: tirx.Expr, score: tirx.Expr, number: tirx.Expr) -> tirx.Expr:
        """Whether what is at a place is worse than these."""
        here, its = self.room[self.scores + place], self.room[self.ids + place]
        return tirx.any(here < score, tirx.all(here == score, its > number))

    def _put(self) -> None:
        hole = self.places[HOLE]
        T.buffer_store(self.room, self.held[0], [self.scores + hole])
        T.buffer_store(self.room, self.held[1], [self.ids + hole])

    def _sink(self, count: tirx.Expr | int) -> None:
        """Moves the held candidate from the root of the first `count` places down to where it belongs."""
        places, held = self.places, self.held
        T.buffer_store(places, 0, [HOLE])
        T.buffer_store(places, 1, [MOVED])
        with T.While(places[MOVED] == 1):
            T.buffer_store(places, 0, [MOVED])
            T.buffer_store(places, 2 * places[HOLE] + 1, [CHILD])
            child = places[CHILD]
            with T.If(child + 1 < count):
                with T.Then():
                    with T.If(self._worse(child + 1, self.room[self.scores + child], self.room[self.ids + child])):
                        with T.Then():
                            T.buffer_store(places, child + 1, [CHILD])
            with T.If(child < count):
                with T.Then():
                    with T.If(self._worse(child, held[0], held[1])):
                        with T.Then():
                            self._move(child, places[HOLE])
                            T.buffer_store(places, child, [HOLE])
                            T.buffer_store(places, 1, [MOVED])
        self._put()

    def _rise(self) -> None:
        """Moves the held candidate from behind the last place up to where it belongs."""
        places, held = self.places, self.held
        T.buffer_store(places, self.count[0], [HOLE])
        T.buffer_store(self.count, self.count[0] + 1, [0])
        T.buffer_store(places, 1, [MOVED])
        with T.While(places[MOVED] == 1):
            T.buffer_store(places, 0, [MOVED])
            with T.If(places[HOLE] > 0):
                with T.Then():
                    parent = tirx.floordiv(places[HOLE] - 1, 2)
                    with T.If(tirx.Not(self._worse(parent, held[0], held[1]))):
                        with T.Then():
                            self._move(parent, places[HOLE])
                            T.buffer_store(places, parent, [HOLE])
                            T.buffer_store(places, 1, [MOVED])
        self._put()
