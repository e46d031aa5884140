"""Direct convolution with a window: the stems (`winograd` has what follows them in AlexNet).

    out[a, o, y, x] = act(bias[a, o] + sum over k, ky, kx of
                          weight[a, o, k, ky, kx] * in[a, k, y*s + ky - p, x*s + kx - p])

Strategy: the input is copied, band by band, into a zero-padded scratch of the workspace, columns
de-interleaved by the stride (column x*s + kx lies in phase kx % s at x + kx // s), so that each tap
is a contiguous load whatever the stride.  Then `rows` output channels x `vectors` vectors of one
row of pixels are accumulated in registers, as in the pointwise kernel with K = channels x window.
im2col would write and read the input once per tap.

Where the output has no place for a last vector of a row that ends behind the plane, that vector ends with the row, and
computes pixels of the one before again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import (
    Knobs,
    Machine,
    Plane,
    pack_rows,
    register_tiles,
    round_up,
    row_filler,
    row_tile,
    schedule_window_sums,
)  # fmt: skip
from .functions import cast
from .prefetch import by_default, distance_for, prefetch_stores, prefetch_weights, weights_ahead
from .workload import Workload, itemsize

BAND_BYTES = 16 * 1024  # half of the smallest L1 in use
HEAVY = 1024 * 1024  # bytes of a group's weights: the L2 cache
WIDE = 4  # rows, of which not two fit
MANY = 16  # bands, of which threads take some each


@dataclass(frozen=True)
class Conv2d(Workload):
    """`inputs` and `outputs` are channels per group; `after` is a plane that the kernel `fits`.

    `data_dtype` and `out_dtype` are those of input and output where they are others than that of the arithmetic.
    """

    groups: int
    inputs: int
    outputs: int
    before: Plane
    after: Plane
    kernel: int
    stride: int
    pad: int
    lanes: int
    activation: Activation = IDENTITY
    data_dtype: str = field(default="", kw_only=True)
    out_dtype: str = field(default="", kw_only=True)

    name = "conv2d"
    external = ("data",)
    scratch = own_scratch = ("padded",)

    @staticmethod
    def fits(after: Plane, lanes: int) -> bool:
        """Whether every vector of a row has a place: rows are as long as a vector, or the last row has room behind."""
        return after.pitch % lanes == 0 or after.width >= lanes or _has_room(after, lanes)

    def __post_init__(self):
        if not self.fits(self.after, self.lanes):
            raise ValueError(f"rows of {self.after.pitch} floats are no whole number of vectors")

    @property
    def near(self) -> str:
        """The dtype of the padded input."""
        return self.dtype

    @property
    def _overlaps(self) -> bool:
        """Whether the last vector of a row ends with the row."""
        return self.after.pitch % self.lanes > 0 and not _has_room(self.after, self.lanes)

    @property
    def _row(self) -> int:
        """Floats of a row that are computed."""
        return round_up(self.after.width, self.lanes) if self.after.pitch % self.lanes else self.after.pitch

    @property
    def _band(self) -> int:
        """Output rows whose input is padded at once: as many as leave it in the L1 cache, or else in L2.

        Neighbouring bands both copy the rows that they share, single rows one and a half times as many.
        """
        row_bytes = itemsize(self.near) * self.groups * self.inputs * self.stride * self._columns
        fit = (BAND_BYTES // row_bytes - self.kernel) // self.stride
        bands = -(-self.after.height // (fit + 1 if fit > 0 else WIDE))
        return -(-self.after.height // bands)

    @property
    def _columns(self) -> int:
        """Columns of one phase of a padded row: whole vectors, so that offsets of rows fit into instructions."""
        return round_up(self._row + (self.kernel - 1) // self.stride, self.lanes)

    @property
    def _padded(self) -> tuple[int, int, int, int]:
        """The padded input of a band: channels, rows, phases, columns."""
        return self.groups * self.inputs, (self._band - 1) * self.stride + self.kernel, self.stride, self._columns

    def _pixel(self, x: tirx.Expr) -> tirx.Expr:
        """The pixel of a row that is computed as number x of it."""
        lanes = self.lanes
        return T.min(x // lanes * lanes, self.after.width - lanes) + x % lanes if self._overlaps else x

    def _first(self, b: tirx.Expr) -> tirx.Expr:
        """Row of the output where a band starts: the last one computes rows of the one before again."""
        height, band = self.after.height, self._band
        return b * band if height % band == 0 else T.min(b * band, height - band)

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.inputs * self.outputs * pixels * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        G, N, J, K, S = self.groups, self.inputs, self.outputs, self.kernel, self.stride
        before, after, finish, band = self.before, self.after, self.activation.apply, self._band
        row, rows, columns, bands = self._row, self._padded[1], self._columns, -(-after.height // band)
        fill_row, pixel, first = row_filler(before, self.pad, S, columns, self.dtype), self._pixel, self._first

        dtype, data_dtype, out_dtype = self.dtype, self.data_dtype or self.dtype, self.out_dtype or self.dtype

        @T.prim_func(private=True, s_tir=True)
        def conv2d(
            data: T.Buffer((G * N, before.size), data_dtype),
            weight: T.Buffer((G, J, N, K, K), dtype),
            bias: T.Buffer((G, J), dtype),
            out: T.Buffer((G * J, after.size), out_dtype),
            padded: T.Buffer((G * N, rows, S, columns), dtype),
        ):
            acc = T.sblock_alloc_buffer((bands, G, J, band, row), dtype)
            for b in range(bands):
                for c, r in T.grid(G * N, rows):
                    with T.sblock("pad"):
                        vb, vc, vy = T.axis.remap("SSS", [b, c, r])
                        T.reads(data[vc, 0 : before.size])
                        T.writes(padded[vc, vy, 0:S, 0:columns])
                        fill_row(data, vc, first(vb) * S + vy, padded, vc, vy)
                for a, o, y, x, k, ky, kx in T.grid(G, J, band, row, N, K, K):
                    with T.sblock("acc"):
                        vb, va, vo, vy, vx, vk, vky, vkx = T.axis.remap("SSSSSRRR", [b, a, o, y, x, k, ky, kx])
                        with T.init():
                            acc[vb, va, vo, vy, vx] = bias[va, vo]
                        acc[vb, va, vo, vy, vx] = (
                            acc[vb, va, vo, vy, vx]
                            + weight[va, vo, vk, vky, vkx]
                            * padded[va * N + vk, vy * S + vky, vkx % S, pixel(vx) + vkx // S]
                        )
                for a, o, y, x in T.grid(G, J, band, row):
                    with T.sblock("out"):
                        vb, va, vo, vy, vx = T.axis.remap("SSSSS", [b, a, o, y, x])
                        value = T.meta_var(finish(acc[vb, va, vo, vy, vx]))
                        out[va * J + vo, (first(vb) + vy) * after.pitch + pixel(vx)] = cast(value, out_dtype)

        return conv2d

    def knobs(self, machine: Machine) -> Knobs:
        """As for the pointwise kernel; a row of the window is unrolled, if its operands fit beside the sums.

        `prefetch`: how far ahead of its stores, which are the larger part of what it moves.
        """
        vectors = min(2, self._row // machine.lanes)
        rows = row_tile(self.outputs, machine.tile // vectors)
        operands = self.kernel * (vectors + -(-rows // machine.lanes))
        unroll = not machine.loads_apart or operands <= machine.registers - rows * vectors
        return by_default(machine, {
            "rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element), "unroll": int(unroll),
            "prefetch": self.prefetch_knob(machine, rows, vectors),
            **(weights_ahead(machine) if self._is_heavy else {}),
        })  # fmt: skip

    @property
    def _is_heavy(self) -> bool:
        """Whether weights come from behind the L2 cache each time."""
        return self.itemsize * self.inputs * self.outputs * self.kernel**2 > HEAVY

    def prefetch_knob(self, machine: Machine, rows: int, vectors: int) -> int:
        """Floats that a tile of `rows` x `vectors` prefetches ahead of its stores; 0 where caches keep the output."""
        multiply_adds = self.inputs * self.kernel**2 * rows * vectors
        stored = self.itemsize * self.groups * self.outputs * self.after.size
        return distance_for(machine, stored, vectors * self.lanes, multiply_adds)

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        b, a, o, y, x = sch.get_loops(out)
        o_tile, o = sch.split(o, [None, rows])
        x_tile, v, i = sch.split(x, [None, vectors, self.lanes])
        sch.reorder(a, y, x_tile, o_tile, o, v, i)
        k = schedule_window_sums(sch, acc, o_tile, (o, v, i), knobs, self.lanes)
        if knobs["prefetch"]:
            prefetch_stores(sch, out, knobs["prefetch"])
        sch.decompose_reduction(acc, k)
        if ahead := knobs.get("ahead"):
            prefetch_weights(
                sch, acc, lambda b, a, o, y, x, k, ky, kx: [a, o // rows, k, ky, kx + ahead // rows, 0],
                first=lambda b, a, o, y, x, k, ky, kx: o % rows == 0,
            )  # fmt: skip

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """Bands; of few of them channels and pixels, though every thread then pads the input.

        Where vectors reach into the next row, rows must be written in order.  The last band writes rows of the one
        before again, the same numbers.
        """
        in_order = self.after.pitch % self.lanes > 0 and not self._overlaps
        if -(-self.after.height // self._band) >= MANY and not in_order:
            return {"b": 1}
        return {"a": 1, "o": 1} | ({} if in_order else {"y": 1, "x": 1})

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, kernel, kernel); `bias`: (groups * outputs,)."""
        weight, bias = arrays
        grouped = weight.reshape(self.groups, self.outputs, self.inputs, self.kernel, self.kernel)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        tiles = register_tiles(machine, self.outputs, range(1, min(8, self._row // self.lanes) + 1))
        return [
            {**tile, "prefetch": distance} for tile in tiles
            for distance in {0, self.prefetch_knob(machine, tile["rows"], tile["vectors"])}
        ]  # fmt: skip


def _has_room(after: Plane, lanes: int) -> bool:
    """Whether the last vector of the last row fits; other rows may reach into the next one, which is written later."""
    return (after.height - 1) * after.pitch + round_up(after.width, lanes) <= after.size
