"""What the kernels share: the machine they are tiled for, how planes lie in memory, tiling steps.

Every kernel file holds one frozen dataclass, the *workload*: its fields say what is computed, and

- `definition()` is the computation in TIR, unscheduled, with named blocks;
- `knobs(machine)` are the defaults for a machine, by name, each a small dict of integers;
- `schedule(sch, knobs)` tiles, vectorises and unrolls an `s_tir.Schedule` of the definition;
- `pack(knobs, ...)` puts the weights in the order in which the scheduled kernel reads them;
- `space(machine)` are the knobs that tuning may choose from, all of them legal; `tuning_space` adds
  the defaults, from which a knob that `space` does not name keeps its value.

Activations are fp32 planes, channels outermost: pixels are the vector dimension.  With channels
outermost every group of a grouped convolution, however narrow, fills whole vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tvm import s_tir

Knobs = dict[str, int]


@dataclass(frozen=True)
class Machine:
    """What a register tile depends on: fp32 lanes of a vector, and how many vector registers.

    `by_element`: one instruction multiplies a vector by one lane of another and adds (NEON).  Where
    there is none, AVX multiplies by a scalar straight from memory.
    """

    lanes: int
    registers: int
    by_element: bool = False

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


def row_tile(rows: int, limit: int) -> int:
    """Rows of a register tile, at most `limit`.

    A divisor of `rows` if one comes near the limit, because a tile that is cut off at the end has
    branches in its inner loop; else the size that covers `rows` in the fewest, most even tiles.
    """
    divisor = divisor_up_to(rows, limit)
    return divisor if divisor >= 0.6 * limit else -(-rows // -(-rows // limit))


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


def combinations(**values: Iterable[int]) -> list[Knobs]:
    """Every combination of the values of each knob."""
    return [dict(zip(values, chosen)) for chosen in itertools.product(*map(list, values.values()))]


def row_tiles(rows: int, limit: int) -> list[int]:
    """The sizes that cover `rows` in some number of most even tiles, up to `limit`: no other is better."""
    return sorted({-(-rows // tiles) for tiles in range(1, rows + 1)} & set(range(1, limit + 1)))


def divisors(value: int, limit: int) -> list[int]:
    return [d for d in range(1, min(value, limit) + 1) if value % d == 0]


def tuning_space(workload, machine: Machine) -> list[Knobs]:
    """The knobs that `workload` may be tuned to, the defaults first, each once."""
    default = workload.knobs(machine)
    chosen = [default] + [{**default, **knobs} for knobs in workload.space(machine)]
    return list({tuple(sorted(knobs.items())): knobs for knobs in chosen}.values())
