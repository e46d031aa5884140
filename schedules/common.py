"""What the kernels share: the machine they are tiled for, how planes lie in memory, tiling steps.

Every kernel file holds one frozen dataclass, the *workload*: its fields say what is computed, and

- `definition()` is the computation in TIR, unscheduled, with named blocks;
- `knobs(machine)` are the defaults for a machine, by name, each a small dict of integers;
- `schedule(sch, knobs)` tiles, vectorises and unrolls an `s_tir.Schedule` of the definition;
- `pack(knobs, ...)` puts the weights in the order in which the scheduled kernel reads them.

Activations are fp32 planes, channels outermost: pixels are the vector dimension.  With channels
outermost every group of a grouped convolution, however narrow, fills whole vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir
from tvm.script import tirx as T

Knobs = dict[str, int]


@dataclass(frozen=True)
class Machine:
    """What a register tile depends on: fp32 lanes of a vector, and how many vector registers.

    `by_element`: one instruction multiplies a vector by one lane of another and adds (NEON).  Where
    there is none, AVX multiplies by a scalar straight from memory.
    `in_order`: what stands late in the code starts late.  `loads_apart`, of such a core: a load behind
    a multiply-add waits for it, so loads had better come many at a time.
    """

    lanes: int
    registers: int
    by_element: bool = False
    in_order: bool = False
    loads_apart: bool = False

    @property
    def tile(self) -> int:
        """Accumulators of a register tile: the rest holds operands on their way."""
        return self.registers * 3 // 4


@dataclass(frozen=True)
class Plane:
    """One channel in memory: `height` rows of `width` pixels, `pitch` floats apart, in `size` floats.

    `pitch` > `width` and `size` > `height * pitch` leave floats that no result depends on: kernels
    may read and write them as they like.
    """

    height: int
    width: int
    pitch: int
    size: int

    @staticmethod
    def dense(height: int, width: int) -> Plane:
        """No padding: the network's input, and what a fully connected layer reads."""
        return Plane(height, width, width, height * width)

    @staticmethod
    def padded(height: int, width: int, lanes: int) -> Plane:
        """A whole number of vectors; rows are padded only where `row_vector` could not cut them."""
        pitch = width if row_vector(width, lanes) else round_up(width, lanes)
        return Plane(height, width, pitch, round_up(height * pitch, lanes))

    @staticmethod
    def padded_rows(height: int, width: int, lanes: int) -> Plane:
        """Every row a whole number of vectors."""
        pitch = round_up(width, lanes)
        return Plane(height, width, pitch, height * pitch)


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def row_vector(width: int, lanes: int) -> int:
    """Length of the equal vectors that a row of `width` pixels is cut into; 0 if there is none.

    A short row is one vector of odd length, which LLVM splits into registers and a narrow rest
    without any scalar predicate.
    """
    if width % lanes == 0:
        return lanes
    return width if width <= 4 * lanes else 0


def divisor_up_to(value: int, limit: int) -> int:
    """The largest divisor of `value` that is at most `limit`."""
    return next(d for d in range(min(value, limit), 0, -1) if value % d == 0)


def row_tile(rows: int, limit: int, near: float = 0.6) -> int:
    """Rows of a register tile, at most `limit`.

    A divisor of `rows` if one is at least `near` of the limit, because a tile that is cut off at the end
    has branches in its inner loop or code of its own; else the size that covers `rows` in the fewest,
    most even tiles.
    """
    divisor = divisor_up_to(rows, limit)
    return divisor if divisor >= near * limit else -(-rows // -(-rows // limit))


def pack_rows(weights: np.ndarray, axis: int, tile: int) -> np.ndarray:
    """Tiles `axis` by `tile` (zeros behind the last row) and moves the rows of a tile innermost.

    This is the layout `sch.transform_layout(..., row // tile, ..., row % tile)` makes a kernel read.
    """
    rows = weights.shape[axis]
    padding = [(0, 0)] * weights.ndim
    padding[axis] = (0, round_up(rows, tile) - rows)
    padded = np.pad(weights, padding)
    shape = padded.shape
    tiled = padded.reshape(*shape[:axis], shape[axis] // tile, tile, *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(tiled, axis + 1, -1), dtype=np.float32)


def relu(value):
    """max(value, 0), of the float's bits: a negative one is a negative integer.

    NEON takes half the time for a maximum of integers; where both are fast it makes no difference.
    """
    return T.reinterpret("float32", T.max(T.reinterpret("int32", value), T.int32(0)))


def cut_tails(sch: s_tir.Schedule, *tiles) -> None:
    """The last tile, cut off at the end, gets code of its own; the others have no test for it inside."""
    for loop in tiles:
        sch.annotate(loop, "pragma_loop_partition_hint", True)


def load_as_vectors(sch: s_tir.Schedule, block, buffer: str, loop) -> None:
    """Loads what `block` reads of `buffer` within `loop` as a vector; the block takes its lanes.

    For weights and `Machine.by_element`: a quarter of the loads, which an in-order core waits for.
    """
    loaded = sch.cache_read(block, buffer, "global")
    sch.compute_at(loaded, loop, preserve_unit_loops=True)
    sch.vectorize(sch.get_loops(loaded)[-1])


def unroll_and_vectorize(sch: s_tir.Schedule, *loops) -> None:
    """The last loop becomes vector lanes, the ones before it are unrolled."""
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])
