"""The best of many positive numbers, in order, without a comparison that decides where the program goes on.

What is written here becomes TIR statements of the function that an `IRBuilder` is making.  Positive floats are in the
order of their bits.  All that pass are noted; where they are too many, the least that belongs to the best is found by
halving the range of bits; and the best are sorted by one byte after the other (radix sort).  Which numbers pass is
chance to the processor: a heap takes a wrong turn at each of its levels, and most of its time for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

LOW, HIGH, MIDDLE, SUM, TAKEN = range(5)  # of `Shortlist.state`
STATES = 5
BYTE, BYTES = 256, 4  # values of a byte, and bytes of a number
ABOVE_ALL = 0x7F800001  # the bits of infinity, and one


@dataclass(frozen=True)
class Shortlist:
    """Scores are `room[scores:]`, ids, which are whole numbers below 2^24, `room[ids:]`, both float32: as many as may
    pass.  `room[spare:]` has room for both of the `most` best.  `count[0]` says how many there are.

    `state` is an int32 buffer of `STATES` elements, `bins` one of `BYTE`, and `held` a float32 buffer of two: all are
    free between calls.
    """

    room: tirx.Buffer
    scores: int
    ids: int
    spare: int
    most: int
    count: tirx.Buffer
    state: tirx.Buffer
    bins: tirx.Buffer
    held: tirx.Buffer

    def begin(self) -> None:
        T.buffer_store(self.count, 0, [0])

    def note(self, score: tirx.Expr, number: tirx.Expr, passes: tirx.Expr) -> None:
        """Puts one behind the others if it passes; of equal scores the one that comes first is better."""
        self._put(self.scores, self.ids, self.count[0], score, number)
        T.buffer_store(self.count, self.count[0] + tirx.Select(passes, 1, 0), [0])

    def choose(self) -> None:
        """Leaves the `most` best, the best first."""
        with T.If(self.count[0] > self.most):
            with T.Then():
                self._find_least()
                self._cut()
        with T.If(self.count[0] > 1):  # of most classes there is none
            with T.Then():
                self._sort()

    def _put(self, scores: int, ids: int, place: tirx.Expr, score: tirx.Expr, number: tirx.Expr) -> None:
        T.buffer_store(self.room, score, [scores + place])
        T.buffer_store(self.room, number, [ids + place])

    def _bits(self, place: tirx.Expr) -> tirx.Expr:
        return T.reinterpret("int32", self.room[place])

    def _sum(self, of: Callable[[tirx.Expr], tirx.Expr]) -> None:
        """How many of the scores' bits are such."""
        T.buffer_store(self.state, 0, [SUM])
        with T.serial(0, self.count[0]) as place:
            taken = tirx.Select(of(self._bits(self.scores + place)), 1, 0)
            T.buffer_store(self.state, self.state[SUM] + taken, [SUM])

    def _find_least(self) -> None:
        """`LOW`: the bits of the least of the best, as many as `most`."""
        state = self.state
        T.buffer_store(state, 0, [LOW])
        T.buffer_store(state, ABOVE_ALL, [HIGH])
        with T.While(state[HIGH] - state[LOW] > 1):
            T.buffer_store(state, state[LOW] + T.shift_right(state[HIGH] - state[LOW], T.int32(1)), [MIDDLE])
            self._sum(lambda bits: bits >= state[MIDDLE])
            T.buffer_store(state, tirx.Select(state[SUM] >= self.most, state[MIDDLE], state[LOW]), [LOW])
            T.buffer_store(state, tirx.Select(state[SUM] >= self.most, state[HIGH], state[MIDDLE]), [HIGH])

    def _cut(self) -> None:
        """Keeps what is above the least, and of those that equal it the first ones."""
        state, held = self.state, self.held
        self._sum(lambda bits: bits > state[LOW])
        T.buffer_store(state, self.most - state[SUM], [SUM])  # of equal ones, still
        T.buffer_store(state, 0, [TAKEN])
        with T.serial(0, self.count[0]) as place:
            T.buffer_store(held, self.room[self.scores + place], [0])
            T.buffer_store(held, self.room[self.ids + place], [1])
            bits = T.reinterpret("int32", held[0])
            self._put(self.scores, self.ids, state[TAKEN], held[0], held[1])
            equal = tirx.all(bits == state[LOW], state[SUM] > 0)
            T.buffer_store(state, state[TAKEN] + tirx.Select(tirx.any(bits > state[LOW], equal), 1, 0), [TAKEN])
            T.buffer_store(state, state[SUM] - tirx.Select(bits == state[LOW], 1, 0), [SUM])
        T.buffer_store(self.count, self.most, [0])

    def _sort(self) -> None:
        """Of numbers with an equal byte each pass keeps the order: that of the bytes before, and of the ids."""
        pairs = (self.scores, self.ids), (self.spare, self.spare + self.most)
        bins = self.bins
        for byte in range(BYTES):
            source, target = pairs[byte % 2], pairs[(byte + 1) % 2]

            def bin(place: tirx.Expr, byte: int = byte, scores: int = source[0]) -> tirx.Expr:
                """The larger, the nearer to the front."""
                shifted = T.shift_right(self._bits(scores + place), T.int32(8 * byte))
                return BYTE - 1 - T.bitwise_and(shifted, T.int32(BYTE - 1))

            with T.serial(0, BYTE) as each:
                T.buffer_store(bins, 0, [each])
            with T.serial(0, self.count[0]) as place:
                T.buffer_store(bins, bins[bin(place)] + 1, [bin(place)])
            T.buffer_store(self.state, 0, [SUM])
            with T.serial(0, BYTE) as each:  # from how many there are to where the first one goes
                T.buffer_store(self.state, self.state[SUM] + bins[each], [SUM])
                T.buffer_store(bins, self.state[SUM] - bins[each], [each])
            with T.serial(0, self.count[0]) as place:
                T.buffer_store(self.state, bins[bin(place)], [TAKEN])
                T.buffer_store(bins, self.state[TAKEN] + 1, [bin(place)])
                score, number = (self.room[column + place] for column in source)
                self._put(*target, self.state[TAKEN], score, number)
