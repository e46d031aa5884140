"""Direct convolution with a window: the stems (`winograd` has what follows them in AlexNet).

    out[a, o, y, x] = act(bias[a, o] + sum over k, ky, kx of
                          weight[a, o, k, ky, kx] * in[a, k, y*s + ky - p, x*s + kx - p])

Strategy: the input is copied, band by band, into a zero-padded scratch of the workspace, columns
de-interleaved by the stride (column x*s + kx lies in phase kx % s at x + kx // s), so that each tap
is a contiguous load whatever the stride.  Then `rows` output channels x `vectors` vectors of one
row of pixels are accumulated in registers, as in the pointwise kernel with K = channels x window.
im2col would write and read the input once per tap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import (
    Knobs,
    Machine,
    Plane,
    load_as_vectors,
    pack_rows,
    register_tiles,
    round_up,
    row_filler,
    row_tile,
    unroll_and_vectorize,
)  # fmt: skip
from .prefetch import by_default, distance_for, prefetch_stores
from .workload import Workload

BAND_BYTES = 16 * 1024  # half of the smallest L1 in use
WIDE = 4  # rows, of which not two fit


@dataclass(frozen=True)
class Conv2d(Workload):
    """`inputs` and `outputs` are channels per group; the rows of `after` are whole vectors, or it `has_room`."""

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

    name = "conv2d"
    external = ("data",)
    scratch = ("padded",)

    @staticmethod
    def has_room(after: Plane, lanes: int) -> bool:
        """Whether the last vector of its last row fits; those of other rows may reach into the next, written later."""
        return (after.height - 1) * after.pitch + round_up(after.width, lanes) <= after.size

    def __post_init__(self):
        if self.after.pitch % self.lanes and not self.has_room(self.after, self.lanes):
            raise ValueError(f"rows of {self.after.pitch} floats are no whole number of vectors")

    @property
    def _row(self) -> int:
        """Floats of a row that are computed."""
        return round_up(self.after.width, self.lanes) if self.after.pitch % self.lanes else self.after.pitch

    @property
    def _band(self) -> int:
        """Output rows whose input is padded at once: as many as leave it in the L1 cache, or else in L2.

        Neighbouring bands both copy the rows that they share, single rows one and a half times as many.
        """
        fit = (BAND_BYTES // (4 * self.groups * self.inputs * self.stride * self._columns) - self.kernel) // self.stride
        bands = -(-self.after.height // (fit + 1 if fit > 0 else WIDE))
        return -(-self.after.height // bands)

    @property
    def _columns(self) -> int:
        """Of one phase of a padded row: whole vectors, so that rows are at offsets that fit into instructions."""
        return round_up(self._row + (self.kernel - 1) // self.stride, self.lanes)

    @property
    def _padded(self) -> tuple[int, int, int, int]:
        """The padded input of a band: channels, rows, phases, columns."""
        return self.groups * self.inputs, (self._band - 1) * self.stride + self.kernel, self.stride, self._columns

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.inputs * self.outputs * pixels * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        G, N, J, K, S = self.groups, self.inputs, self.outputs, self.kernel, self.stride
        before, after, finish, band = self.before, self.after, self.activation.apply, self._band
        row, rows, columns, bands = self._row, self._padded[1], self._columns, -(-after.height // band)
        fill_row = row_filler(before, self.pad, S, columns)

        def first(b):
            """Row of the output where a band starts: the last one computes rows of the one before again."""
            return b * band if after.height % band == 0 else T.min(b * band, after.height - band)

        @T.prim_func(private=True, s_tir=True)
        def conv2d(
            data: T.Buffer((G * N, before.size), "float32"),
            weight: T.Buffer((G, J, N, K, K), "float32"),
            bias: T.Buffer((G, J), "float32"),
            out: T.Buffer((G * J, after.size), "float32"),
            padded: T.Buffer((G * N, rows, S, columns), "float32"),
        ):
            acc = T.sblock_alloc_buffer((bands, G, J, band, row), "float32")
            for b in range(bands):
                for c, y in T.grid(G * N, rows):
                    with T.sblock("pad"):
                        vb, vc, vy = T.axis.remap("SSS", [b, c, y])
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
                            + weight[va, vo, vk, vky, vkx] * padded[va * N + vk, vy * S + vky, vkx % S, vx + vkx // S]
                        )
                for a, o, y, x in T.grid(G, J, band, row):
                    with T.sblock("out"):
                        vb, va, vo, vy, vx = T.axis.remap("SSSSS", [b, a, o, y, x])
                        out[va * J + vo, (first(vb) + vy) * after.pitch + vx] = finish(acc[vb, va, vo, vy, vx])

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
            "prefetch": self.prefetch_knob(rows, vectors),
        })  # fmt: skip

    def prefetch_knob(self, rows: int, vectors: int) -> int:
        """Floats that a tile of `rows` x `vectors` prefetches ahead of its stores; 0 where caches keep the output."""
        multiply_adds = self.inputs * self.kernel**2 * rows * vectors
        return distance_for(self.groups * self.outputs * self.after.size, vectors * self.lanes, multiply_adds)

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        b, a, o, y, x = sch.get_loops(out)
        o_tile, o = sch.split(o, [None, rows])
        x_tile, v, i = sch.split(x, [None, vectors, self.lanes])
        sch.reorder(a, y, x_tile, o_tile, o, v, i)
        sch.compute_at(acc, o_tile, preserve_unit_loops=True)
        *_, acc_o, _, acc_x, k, ky, kx = sch.get_loops(acc)
        acc_v, acc_i = sch.split(acc_x, [None, self.lanes])
        sch.reorder(k, ky, kx, acc_o, acc_v, acc_i)
        if knobs["unroll"]:
            sch.unroll(kx)
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc,
            "weight",
            lambda a, o, k, ky, kx: (a, o // rows, k, ky, kx, o % rows),
            assume_injective_transform=True,
        )
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", kx)
        if knobs["prefetch"]:
            prefetch_stores(sch, out, knobs["prefetch"])
        sch.decompose_reduction(acc, k)

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, kernel, kernel); `bias`: (groups * outputs,)."""
        weight, bias = arrays
        grouped = weight.reshape(self.groups, self.outputs, self.inputs, self.kernel, self.kernel)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        tiles = register_tiles(machine, self.outputs, range(1, min(8, self._row // self.lanes) + 1))
        return [
            {**tile, "prefetch": distance} for tile in tiles
            for distance in {0, self.prefetch_knob(tile["rows"], tile["vectors"])}
        ]  # fmt: skip
