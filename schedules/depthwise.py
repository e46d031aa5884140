"""Kernels that slide a window over each channel alone: depthwise convolution and pooling.

    out[c, y, x] = act(combine over ky, kx of (weight[c, ky, kx] *) in[c, y*s + ky - p, x*s + kx - p])

Depthwise convolution adds products to a bias; average pooling (zeros of the padding count) is the
sum divided by the window; maximum pooling pads with the lowest float.

Strategy: a tile of `rows` x `vectors` output vectors is accumulated in registers over the whole
window, unrolled, from input rows that are read where they lie; a vector that is loaded serves every
output row that needs it.  Taps outside the plane are decided at compile time: the loops over tiles
are partitioned into border and interior tiles, so that only border tiles have masks, and those are
constants.  Padded copies would be written and read once more.

A row is cut into vectors of `lanes` pixels, the last of which ends with the row and overlaps the one
before.  A row shorter than a vector is computed as a whole one, if what is behind it may be
overwritten: by the next row, or in the padding of the plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, Plane, divisor_up_to, load_as_vectors, row_tile, unroll_and_vectorize
from .strided import strided

L1_BYTES = 32 * 1024  # the smallest in use


@dataclass(frozen=True)
class Depthwise:
    """`kind` is "conv", "max" or "avg"; `before` and `after` are the planes read and written."""

    kind: str
    channels: int
    before: Plane
    after: Plane
    kernel: int
    stride: int
    pad: int
    lanes: int
    relu: bool = False

    scratch = 0

    @property
    def name(self) -> str:
        return {"conv": "depthwise", "max": "max_pool", "avg": "avg_pool"}[self.kind]

    @property
    def multiply_adds(self) -> int:
        window = self.kernel**2 if self.kind == "conv" else 0
        return self.channels * self.after.height * self.after.width * window

    @property
    def _vector(self) -> int:
        """Lanes of the vectors that a row of the output is cut into."""
        after = self.after
        spills = (after.height - 1) * after.pitch + self.lanes > after.size
        return after.width if after.width < self.lanes and spills else self.lanes

    @property
    def _vectors(self) -> int:
        return -(-self.after.width // self._vector)

    def _column(self, vector: int) -> int:
        """Where a vector of the output starts."""
        return min(vector * self._vector, max(0, self.after.width - self._vector))

    @property
    def _interior(self) -> tuple[int, int]:
        """The first and the last vector whose taps all lie inside the rows; none if the first comes later."""
        V, reach = self._vectors, (self._vector - 1) * self.stride + self.kernel
        starts = [self._column(v) * self.stride - self.pad for v in range(V)]
        inside = [v for v, start in enumerate(starts) if 0 <= start <= self.before.width - reach]
        return (inside[0], inside[-1]) if inside else (V, 0)

    def definition(self) -> tirx.PrimFunc:
        C, K, S, pad = self.channels, self.kernel, self.stride, self.pad
        before, after, relu, kind = self.before, self.after, self.relu, self.kind
        H, W, pitch = before.height, before.width, before.pitch
        V, L, interior = self._vectors, self._vector, self._interior
        border = T.float32(float("-inf") if kind == "max" else 0)
        share = 1.0 / K**2

        def column(v, i):
            return T.min(v * L, self._column(V - 1)) + i

        def tap(data, c, y, ky, v, i, kx):
            x = column(v, i) * S + kx - pad
            value = strided(data[c, (y * S + ky - pad) * pitch + x])
            masked = where(tirx.all(x >= 0, x < W), value, border)
            return T.if_then_else(
                T.likely(v >= interior[0]), T.if_then_else(T.likely(v <= interior[1]), value, masked), masked
            )

        def where(condition, value, other):
            """As bits: LLVM makes scalar loads of a selection from every second float."""
            mask = T.Select(condition, T.int32(-1), T.int32(0))
            bits = T.bitwise_and(T.reinterpret("int32", value), mask)
            if kind == "max":
                bits = T.bitwise_or(bits, T.bitwise_and(T.reinterpret("int32", other), T.bitwise_not(mask)))
            return T.reinterpret("float32", bits)

        def if_row(y, ky, then, otherwise):
            row = y * S + ky - pad
            return T.if_then_else(T.likely(row >= 0), T.if_then_else(T.likely(row < H), then, otherwise), otherwise)

        def finish(value):
            value = value * T.float32(share) if kind == "avg" else value
            return T.max(value, T.float32(0)) if relu else value

        @T.macro
        def store(acc, out):
            for c, y, v, i in T.grid(C, after.height, V, L):
                with T.sblock("out"):
                    vc, vy, vv, vi = T.axis.remap("SSSS", [c, y, v, i])
                    out[vc, vy * after.pitch + column(vv, vi)] = finish(acc[vc, vy, vv, vi])

        if kind == "conv":

            @T.prim_func(private=True, s_tir=True)
            def depthwise(
                data: T.Buffer((C, before.size), "float32"),
                weight: T.Buffer((C, K * K + 1), "float32"),
                out: T.Buffer((C, after.size), "float32"),
            ):
                acc = T.sblock_alloc_buffer((C, after.height, V, L), "float32")
                for c, y, v, i, kx, ky in T.grid(C, after.height, V, L, K, K):
                    with T.sblock("acc"):
                        vc, vy, vv, vi, vkx, vky = T.axis.remap("SSSSRR", [c, y, v, i, kx, ky])
                        with T.init():
                            acc[vc, vy, vv, vi] = weight[vc, K * K]
                        acc[vc, vy, vv, vi] = if_row(
                            vy,
                            vky,
                            acc[vc, vy, vv, vi] + weight[vc, vkx * K + vky] * tap(data, vc, vy, vky, vv, vi, vkx),
                            acc[vc, vy, vv, vi],
                        )
                store(acc, out)

        else:

            def combine(sofar, value):
                return T.max(sofar, value) if kind == "max" else sofar + value

            @T.prim_func(private=True, s_tir=True)
            def depthwise(
                data: T.Buffer((C, before.size), "float32"),
                out: T.Buffer((C, after.size), "float32"),
            ):
                acc = T.sblock_alloc_buffer((C, after.height, V, L), "float32")
                for c, y, v, i, kx, ky in T.grid(C, after.height, V, L, K, K):
                    with T.sblock("acc"):
                        vc, vy, vv, vi, vkx, vky = T.axis.remap("SSSSRR", [c, y, v, i, kx, ky])
                        with T.init():
                            acc[vc, vy, vv, vi] = border
                        acc[vc, vy, vv, vi] = if_row(
                            vy,
                            vky,
                            combine(acc[vc, vy, vv, vi], tap(data, vc, vy, vky, vv, vi, vkx)),
                            acc[vc, vy, vv, vi],
                        )
                store(acc, out)

        return depthwise

    def knobs(self, machine: Machine) -> Knobs:
        """`rows` x `vectors` accumulators; `channels` go through a tile before its neighbour is next.

        Rows share the input's rows that both need, so a tile is tall.  At stride 2 they share fewer, and
        each takes registers for two phases.  Several channels make a tile a loop of its own, whose
        registers LLVM allots apart from its neighbours'; the rows they need stay in the L1 cache.
        """
        accumulators = machine.registers * 7 // (16 * self.stride)
        rows = row_tile(self.after.height, accumulators)
        band = ((rows - 1) * self.stride + self.kernel) * self.before.pitch + rows * self.after.pitch
        return {
            "rows": rows,
            "vectors": min(self._vectors, max(1, accumulators // rows)),
            "channels": divisor_up_to(self.channels, max(1, min(8, L1_BYTES // (4 * band)))),
        }

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors, channels = knobs["rows"], knobs["vectors"], knobs["channels"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        c, y, v, i = sch.get_loops(out)
        y_tile, y = sch.split(y, [None, rows])
        v_tile, v = sch.split(v, [None, vectors])
        c_tile, channel = sch.split(c, [None, channels])
        sch.reorder(c_tile, y_tile, v_tile, channel, y, v, i)
        sch.compute_at(acc, channel, preserve_unit_loops=True)
        *_, acc_y, acc_v, acc_i, kx, ky = sch.get_loops(acc)
        sch.reorder(kx, ky, acc_y, acc_v, acc_i)
        unroll_and_vectorize(sch, y, v, i)
        unroll_and_vectorize(sch, kx, ky, acc_y, acc_v, acc_i)
        for tiles in (y_tile, v_tile):
            sch.annotate(tiles, "pragma_loop_partition_hint", 1)
        if self.kind == "conv":
            load_as_vectors(sch, acc, "weight", channel)
        sch.decompose_reduction(acc, kx)

    def pack(self, knobs: Knobs, *parameters: np.ndarray) -> list[np.ndarray]:
        """Weight (channels, 1, kernel, kernel) and bias (channels,) of a convolution; none to pool.

        A channel's weights, column by column, and its bias lie side by side.
        """
        if not parameters:
            return []
        weight, bias = parameters
        filters = weight.reshape(self.channels, self.kernel, self.kernel).swapaxes(1, 2)
        return [np.column_stack([filters.reshape(self.channels, -1), bias]).astype(np.float32)]
