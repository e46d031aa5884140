"""Kernels that slide a window over each channel alone: depthwise convolution and pooling.

    out[c, y, x] = act(combine over ky, kx of (weight[c, ky, kx] *) in[c, y*s + ky - p, x*s + kx - p])

Depthwise convolution adds products to a bias; average pooling (zeros of the padding count) is the
sum divided by the window; maximum pooling pads with the lowest float.

Strategy: rows of a channel are first copied into a small zero-padded scratch on the stack, columns
de-interleaved by the stride, so that every tap of every output vector is one contiguous load:
column x*s + kx lies in phase kx % s at x + kx // s.  Then `rows` output rows are accumulated in
registers over the whole window, unrolled.  Padding whole tensors instead would send them through
memory once more; testing borders at each tap would leave no vector loop.

At stride 2 the rows are read as 64-bit pairs of floats, whose low and high halves are the two
phases: truncating and shifting integer vectors are single instructions (uzp1 and shrn of NEON,
vpmovqd of AVX-512), where TVM turns a vector load of stride 2 into one scalar load per lane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import (
    Knobs, Machine, Plane, combinations, divisor_up_to, divisors, row_vector, unroll_and_vectorize,
)  # fmt: skip

SCRATCH_BYTES = 16 * 1024  # half of the smallest L1 in use; taller planes are padded band by band


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
    def _pairs(self) -> bool:
        """Are rows read as pairs of floats?  They must start at even floats."""
        return self.stride == 2 and self.before.pitch % 2 == 0

    def definition(self) -> tirx.PrimFunc:
        C, K, S, pad = self.channels, self.kernel, self.stride, self.pad
        before, after, relu, kind = self.before, self.after, self.relu, self.kind
        H, W, pitch_in, pitch = before.height, before.width, before.pitch, after.pitch
        # Whole vectors of columns: their tail is as cheap to fill as to leave out.
        L, rows, columns = self.lanes, (after.height - 1) * S + K, -(-(pitch + (K - 1) // S) // self.lanes)
        data_type, row_length = ("int64", pitch_in // 2) if self._pairs else ("float32", pitch_in)
        data_shape = (C, before.size // 2 if self._pairs else before.size)
        border = T.float32(-3.4028234663852886e38 if kind == "max" else 0.0)
        share = 1.0 / K**2

        def padded(data, c, y, phase, x):
            column = x * S + phase - pad
            inside = T.Select(tirx.all(column >= 0, column < W), pixel(data, c, y - pad, phase, x), border)
            return T.if_then_else(tirx.all(y >= pad, y < H + pad), inside, border)

        def pixel(data, c, y, phase, x):
            if not self._pairs:
                return data[c, y * row_length + x * S + phase - pad]
            pair = data[c, y * row_length + x + T.floordiv(phase - pad, 2)]
            half = T.shift_right(pair, T.Cast("int64", T.floormod(phase - pad, 2) * 32))
            return T.reinterpret("float32", T.Cast("int32", half))

        def tap(band, c, y, x, ky, kx):
            column = x + kx // S
            return band[c, y * S + ky, kx % S, column // L, column % L]

        def finish(value):
            value = value * T.float32(share) if kind == "avg" else value
            return T.max(value, T.float32(0)) if relu else value

        @T.macro
        def fill(data, band):
            for c, y, phase, v, i in T.grid(C, rows, S, columns, L):
                with T.sblock("pad"):
                    vc, vy, vp, vv, vi = T.axis.remap("SSSSS", [c, y, phase, v, i])
                    band[vc, vy, vp, vv, vi] = padded(data, vc, vy, vp, vv * L + vi)

        @T.macro
        def store(acc, out):
            for c, y, x in T.grid(C, after.height, pitch):
                with T.sblock("out"):
                    vc, vy, vx = T.axis.remap("SSS", [c, y, x])
                    out[vc, vy * pitch + vx] = finish(acc[vc, vy, vx])

        if kind == "conv":

            @T.prim_func(private=True, s_tir=True)
            def depthwise(
                data: T.Buffer(data_shape, data_type),
                weight: T.Buffer((C, K, K), "float32"),
                bias: T.Buffer((C,), "float32"),
                out: T.Buffer((C, after.size), "float32"),
            ):
                band = T.sblock_alloc_buffer((C, rows, S, columns, L), "float32")
                acc = T.sblock_alloc_buffer((C, after.height, pitch), "float32")
                fill(data, band)
                for c, y, x, ky, kx in T.grid(C, after.height, pitch, K, K):
                    with T.sblock("acc"):
                        vc, vy, vx, vky, vkx = T.axis.remap("SSSRR", [c, y, x, ky, kx])
                        with T.init():
                            acc[vc, vy, vx] = bias[vc]
                        acc[vc, vy, vx] = acc[vc, vy, vx] + weight[vc, vky, vkx] * tap(band, vc, vy, vx, vky, vkx)
                store(acc, out)

        else:

            def combine(sofar, value):
                return T.max(sofar, value) if kind == "max" else sofar + value

            @T.prim_func(private=True, s_tir=True)
            def depthwise(
                data: T.Buffer(data_shape, data_type),
                out: T.Buffer((C, after.size), "float32"),
            ):
                band = T.sblock_alloc_buffer((C, rows, S, columns, L), "float32")
                acc = T.sblock_alloc_buffer((C, after.height, pitch), "float32")
                fill(data, band)
                for c, y, x, ky, kx in T.grid(C, after.height, pitch, K, K):
                    with T.sblock("acc"):
                        vc, vy, vx, vky, vkx = T.axis.remap("SSSRR", [c, y, x, ky, kx])
                        with T.init():
                            acc[vc, vy, vx] = border
                        acc[vc, vy, vx] = combine(acc[vc, vy, vx], tap(band, vc, vy, vx, vky, vkx))
                store(acc, out)

        return depthwise

    def knobs(self, machine: Machine) -> Knobs:
        """`rows` x `vector` accumulators; `tiles` such tiles, one above the other, are padded at once."""
        vector = row_vector(self.after.pitch, machine.lanes)
        registers = -(-vector // machine.lanes)
        rows = divisor_up_to(self.after.height, max(1, min(8, machine.tile // registers)))
        line = 4 * self.stride * (self.after.pitch + (self.kernel - 1) // self.stride)
        fit = (SCRATCH_BYTES // line - self.kernel) // self.stride + 1
        return {"rows": rows, "vector": vector, "tiles": 2 if 2 * rows <= fit else 1}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vector, tiles = knobs["rows"], knobs["vector"], knobs["tiles"]
        pad, acc, out = (sch.get_sblock(name) for name in ("pad", "acc", "out"))
        c, y, x = sch.get_loops(out)
        band, y_tile, y = sch.split(y, [None, tiles, rows])
        x_tile, x = sch.split(x, [None, vector])
        sch.reorder(c, band, y_tile, x_tile, y, x)
        sch.compute_at(acc, x_tile, preserve_unit_loops=True)
        sch.compute_at(pad, band, preserve_unit_loops=True)
        *_, acc_y, acc_x, ky, kx = sch.get_loops(acc)
        sch.reorder(ky, kx, acc_y, acc_x)
        unroll_and_vectorize(sch, y, x)
        unroll_and_vectorize(sch, ky, kx, acc_y, acc_x)
        *_, phase, column, lane = sch.get_loops(pad)
        unroll_and_vectorize(sch, phase, column, lane)
        sch.decompose_reduction(acc, ky)

    def pack(self, knobs: Knobs, *parameters: np.ndarray) -> list[np.ndarray]:
        """Weight (channels, 1, kernel, kernel) and bias (channels,) of a convolution; none to pool."""
        if not parameters:
            return []
        weight, bias = parameters
        return [np.ascontiguousarray(weight.reshape(self.channels, self.kernel, self.kernel)), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        """Tiles of whole rows and whole vectors, in bands whose scratch stays within the largest L1."""
        lanes, width, height = machine.lanes, self.after.pitch, self.after.height
        line = 4 * self.stride * (width + (self.kernel - 1) // self.stride)
        tiles = combinations(
            rows=divisors(height, 16), vector=[n for n in divisors(width, 4 * lanes) if n >= min(lanes, width)],
            tiles=(1, 2, 3, 4, 8),
        )  # fmt: skip

        def fits(rows, vector, tiles):
            scratch = ((rows * tiles - 1) * self.stride + self.kernel) * line
            few = rows * -(-vector // lanes) <= machine.registers
            return few and scratch <= 4 * SCRATCH_BYTES and (tiles == 1 or rows * tiles <= height)

        return [knobs for knobs in tiles if fits(**knobs)]
