"""What the kernels share: the machine they are tiled for, how planes lie in memory, tiling steps.

Every kernel file holds one frozen dataclass, the *workload*: its fields say what is computed, and

- `definition()` is the computation in TIR, unscheduled, with named blocks;
- `knobs(machine)` are the defaults for a machine, by name, each a small dict of integers;
- `schedule(sch, knobs)` tiles, vectorises and unrolls an `s_tir.Schedule` of the definition;
- `pack(knobs, ...)` puts the weights in the order in which the scheduled kernel reads them;
- `space(machine)` are the knobs that tuning may choose from, all of them legal; `tuning_space` adds
  the defaults, from which a knob that `space` does not name keeps its value.

Activations are planes, channels outermost: pixels are the vector dimension.  With channels
outermost every group of a grouped convolution, however narrow, fills whole vectors.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import RELU, Activation
from .functions import cast, dtype_of

if TYPE_CHECKING:
    from .workload import Workload

Knobs = dict[str, int]
BYTES, BYTE_LANES = ("int8", "uint8"), 16


@dataclass(frozen=True)
class Machine:
    """What a register tile depends on: elements of a vector, of fp32 if `at` says nothing else, and vector registers.

    `by_element`: one instruction multiplies a vector by one lane of another and adds (NEON).  Where
    there is none, AVX multiplies by a scalar straight from memory.
    `in_order`: what stands late in the code starts late.  `loads_apart`, of such a core: a load behind
    a multiply-add waits for it, so loads had better come many at a time.  `caches` are bytes that caches may keep from
    one kernel to the next, `fetch` vector multiply-adds in the time in which memory answers.
    """

    lanes: int
    registers: int
    by_element: bool = False
    in_order: bool = False
    loads_apart: bool = False
    caches: int = 4 * 1024 * 1024
    fetch: int = 2000

    def at(self, dtype: str) -> Machine:
        """The same with the lanes of vectors of that dtype.

        x86 without halves of its own computes with them in fp32: twice as many lanes would be two vectors.  Of bytes
        there are as many everywhere as one load of NEON has, whose sums are one vector or several.
        """
        if dtype in BYTES:
            return dataclasses.replace(self, lanes=BYTE_LANES)
        return dataclasses.replace(self, lanes=2 * self.lanes) if dtype == "float16" and self.by_element else self

    @property
    def tile(self) -> int:
        """Accumulators of a register tile: the rest holds operands on their way, many where loads come together."""
        return self.registers // 2 if self.loads_apart else self.registers * 3 // 4


@dataclass(frozen=True)
class Plane:
    """One channel in memory: `height` rows of `width` pixels, `pitch` elements apart, in `size` elements.

    `pitch` > `width` and `size` > `height * pitch` leave elements that no result depends on: kernels
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
        """A whole number of vectors, the padding behind the last row."""
        return Plane(height, width, width, _spread(round_up(height * width, lanes)))

    @staticmethod
    def padded_rows(height: int, width: int, lanes: int) -> Plane:
        """Every row a whole number of vectors."""
        pitch = round_up(width, lanes)
        return Plane(height, width, pitch, _spread(height * pitch))


def _spread(floats: int) -> int:
    """Size of a plane: an odd number of cache lines, if it is large.

    A kernel reads the same pixels of many channels.  Where planes are, say, a whole number of pages apart,
    these lines all fall into one set of the L1 cache and drive each other out.
    """
    return 16 * (-(-floats // 16) | 1) if floats >= 1024 else floats


LONGEST = 512  # terms of a sum in fp16


def terms_of_sums(terms: int, dtype: str) -> int:
    """Terms that are added in that dtype, a divisor of all; their sums are added in fp32 where that is fewer."""
    return divisor_up_to(terms, LONGEST) if dtype == "float16" else terms


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def divisor_up_to(value: int, limit: int) -> int:
    """The largest divisor of `value` that is at most `limit`."""
    return next(d for d in range(min(value, limit), 0, -1) if value % d == 0)


def row_tile(rows: int, limit: int) -> int:
    """Rows of a register tile, at most `limit`.

    A divisor of `rows` if one comes near the limit, because a tile that is cut off at the end has
    branches in its inner loop or code of its own; else the size that covers `rows` in the fewest, most
    even tiles.
    """
    divisor = divisor_up_to(rows, limit)
    return divisor if divisor >= 0.6 * limit else -(-rows // -(-rows // limit))


def pack_rows(weights: np.ndarray, axis: int, tile: int, dtype: str = "float32") -> np.ndarray:
    """Tiles `axis` by `tile` (zeros behind the last row) and moves the rows of a tile innermost; it is of `dtype`.

    This is the layout `sch.transform_layout(..., row // tile, ..., row % tile)` makes a kernel read.
    """
    rows = weights.shape[axis]
    padding = [(0, 0)] * weights.ndim
    padding[axis] = (0, round_up(rows, tile) - rows)
    padded = np.pad(weights, padding)
    shape = padded.shape
    tiled = padded.reshape(*shape[:axis], shape[axis] // tile, tile, *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(tiled, axis + 1, -1), dtype=dtype)


def relu(value: tirx.Expr) -> tirx.Expr:
    """max(value, 0), of the float's bits: a negative one is a negative integer.

    NEON takes half the time for a maximum of integers; where both are fast it makes no difference.
    """
    dtype = dtype_of(value)
    bits = dtype.replace("float", "int")
    return T.reinterpret(dtype, T.max(T.reinterpret(bits, value), tirx.const(0, bits)))


def quick_relu(activation: Activation) -> Callable[[tirx.Expr], tirx.Expr]:
    """`activation.apply`, with `relu` for a ReLU."""
    return relu if activation == RELU else activation.apply


def cut_tails(sch: s_tir.Schedule, *tiles: s_tir.schedule.LoopRV) -> None:
    """The last tile, cut off at the end, gets code of its own; the others have no test for it inside."""
    for loop in tiles:
        sch.annotate(loop, "pragma_loop_partition_hint", True)


RUN = 8  # columns that are computed together


def row_filler(
    plane: Plane, pad: int, step: int, columns: int, dtype: str = "float32", read: Callable | None = None,
    border: Callable | None = None, top: int | None = None,
) -> Callable:  # fmt: skip
    """A macro `fill(data, c, y, padded, i, j)` for kernels that slide windows over zero-padded planes.

    padded[i, j, phase, x], x < `columns`, becomes column x * step + phase of row y of channel c, with
    `pad` zeros in front of the columns, `top` (by default `pad`) in front of the rows, and as many as it takes behind
    them.  Nothing around `data` is read, and it is aligned as floats are: so is the caller's picture.  `padded` is of
    `dtype`.

    Where it is no copy, `read(data, c, place)` is a number of it, and `border(data)` what is put in the place of zeros.
    """
    H, W, pitch, above = plane.height, plane.width, plane.pitch, pad if top is None else top
    # Columns left to right - 1 lie inside in every phase, and only column `right` may do so behind them.
    left = -(-pad // step)
    right = max(left, min(columns, (W + pad) // step))
    behind = min(columns, right + 1)
    # Where columns are computed, the last run begins earlier than the one before it ends: a scalar loop of LLVM's for
    # 7 of 111 columns took half of the time.
    inside = right - left
    overlap = read and inside > RUN and inside % RUN
    runs = [(left, inside - inside % RUN), (right - RUN, RUN)] if overlap else [(left, inside)]

    def number(data, c, place):
        return read(data, c, place) if read else cast(data[c, place], dtype)

    def zero(data):
        return border(data) if border else tirx.const(0.0, dtype)

    @T.macro
    def edge(data, c, y, padded, i, j, start, stop):
        for x in T.unroll(start, stop):
            for phase in T.unroll(step):
                padded[i, j, phase, x] = T.if_then_else(
                    tirx.all(x * step + phase >= pad, x * step + phase < W + pad),
                    number(data, c, (y - above) * pitch + x * step + phase - pad),
                    zero(data),
                )

    @T.macro
    def run(data, c, y, padded, i, j, start, extent):
        for x in range(extent):  # LLVM makes de-interleaving loads of it
            for phase in T.unroll(step):
                padded[i, j, phase, start + x] = number(data, c, (y - above) * pitch + (start + x) * step + phase - pad)

    @T.macro
    def fill(data, c, y, padded, i, j):
        if tirx.all(y >= above, y < H + above):
            edge(data, c, y, padded, i, j, 0, left)
            run(data, c, y, padded, i, j, *runs[0])
            if len(runs) > 1:
                run(data, c, y, padded, i, j, *runs[1])
            edge(data, c, y, padded, i, j, right, behind)
            for phase, x in T.grid(step, columns - behind):
                padded[i, j, phase, behind + x] = zero(data)
        else:
            for phase, x in T.grid(step, columns):
                padded[i, j, phase, x] = zero(data)

    return fill


def load_as_vectors(
    sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, buffer: str, loop: s_tir.schedule.LoopRV
) -> None:
    """Loads what `block` reads of `buffer` within `loop` as a vector; the block takes its lanes.

    For weights and `Machine.by_element`: a quarter of the loads, which an in-order core waits for.
    """
    loaded = sch.cache_read(block, buffer, "global", consumer_blocks=[block])
    sch.compute_at(loaded, loop, preserve_unit_loops=True)
    sch.vectorize(sch.get_loops(loaded)[-1])


def unroll_and_vectorize(sch: s_tir.Schedule, *loops: s_tir.schedule.LoopRV) -> None:
    """The last loop becomes vector lanes, the ones before it are unrolled."""
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])


def schedule_window_sums(
    sch: s_tir.Schedule, acc: s_tir.schedule.SBlockRV, place: s_tir.schedule.LoopRV,
    tile: tuple[s_tir.schedule.LoopRV, ...], knobs: Knobs, lanes: int,
) -> s_tir.schedule.LoopRV:  # fmt: skip
    """Computes the sums `acc` of a window's taps at the loop `place`, for the loops `tile` that store them: o, v, i.

    `weight` is packed by tiles of `rows` outputs.  Returns the loop over the channels, the outermost of the reduction.
    """
    rows = knobs["rows"]
    sch.compute_at(acc, place, preserve_unit_loops=True)
    *_, o, _, x, k, ky, kx = sch.get_loops(acc)
    v, i = sch.split(x, [None, lanes])
    sch.reorder(k, ky, kx, o, v, i)
    if knobs["unroll"]:
        sch.unroll(kx)
    unroll_and_vectorize(sch, *tile)
    unroll_and_vectorize(sch, o, v, i)
    sch.transform_layout(
        acc, "weight", lambda a, o, k, ky, kx: (a, o // rows, k, ky, kx, o % rows), assume_injective_transform=True
    )
    if knobs["weight_vectors"]:
        load_as_vectors(sch, acc, "weight", kx)
    return k


def combinations(**values: Iterable[int]) -> list[Knobs]:
    """Every combination of the values of each knob."""
    return [dict(zip(values, chosen)) for chosen in itertools.product(*map(list, values.values()))]


def row_tiles(rows: int, limit: int) -> list[int]:
    """The sizes that cover `rows` in some number of most even tiles, up to `limit`: no other is better."""
    return sorted({-(-rows // tiles) for tiles in range(1, rows + 1)} & set(range(1, limit + 1)))


def register_tiles(machine: Machine, outputs: int, vectors: Iterable[int]) -> list[Knobs]:
    """Tiles of rows, of which there are `outputs`, and `vectors`: as large as all registers together."""
    rows = set(row_tiles(outputs, machine.registers))
    if machine.by_element:  # whole vectors of weights
        rows.update(range(machine.lanes, min(outputs, machine.registers) + 1, machine.lanes))
    tiles = combinations(rows=sorted(rows), vectors=vectors, weight_vectors={0, int(machine.by_element)})
    return [knobs for knobs in tiles if knobs["rows"] * knobs["vectors"] <= machine.registers]


def divisors(value: int, limit: int) -> list[int]:
    return [d for d in range(1, min(value, limit) + 1) if value % d == 0]


def tuning_space(workload: Workload, machine: Machine) -> list[Knobs]:
    """The knobs that `workload` may be tuned to, the defaults first, each once; `machine` has the lanes of fp32."""
    machine = machine.at(workload.dtype)
    default = workload.knobs(machine)
    chosen = [default] + [{**default, **knobs} for knobs in workload.space(machine)]
    return list({tuple(sorted(knobs.items())): knobs for knobs in chosen}.values())
