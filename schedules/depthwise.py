"""Depthwise convolution.

    out[c, y, x] = act(bias[c] + sum over ky, kx of weight[c, ky, kx] * in[c, y*s + ky*d - p, x*s + kx*d - p])

Strategy: a tile of `rows` x `vectors` output vectors is accumulated in registers over the whole
window, unrolled, from input rows that are read where they lie; a vector that is loaded serves every
output row that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, load_as_vectors, unroll_and_vectorize
from .prefetch import by_default
from .strided import strided_tap
from .windows import Window
from .workload import leave_out


@dataclass(frozen=True)
class Depthwise(Window):
    """Taps are `dilation` pixels apart, along both axes."""

    dilation: int = field(default=1, kw_only=True)

    name = "depthwise"
    tabled = False  # whether a table says which plane each channel is

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def planes(self) -> int:
        """Of the input."""
        return self.channels

    @property
    def multiply_adds(self) -> int:
        return self.channels * self.after.height * self.after.width * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        C, K, S, D, pad = self.channels, self.kernel, self.stride, self.dilation, self.pad
        before, after = self.before, self.after
        V, L = self.vectors, self.vector

        def add(sofar, weight, data, table, wc, y, v, i, ky, kx):
            c = self.source(table, wc)
            row, x = y * S + ky * D - pad, (self.column(v) + i) * S + kx * D - pad
            tap = self.mask_columns(v, x, strided_tap(data[c, row * before.pitch + x], kx * D), 0)
            return self.if_row(row, sofar + weight[wc, kx * K + ky] * tap, sofar)

        @T.prim_func(private=True, s_tir=True)
        def depthwise(
            data: T.Buffer((self.planes, before.size), self.dtype),
            weight: T.Buffer((C, K * K + 1), self.dtype),
            table: T.Buffer((C,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            acc = T.sblock_alloc_buffer((C, after.height, V, L), self.dtype)
            for c, y, v, i, kx, ky in T.grid(C, after.height, V, L, K, K):
                with T.sblock("acc"):
                    vc, vy, vv, vi, vkx, vky = T.axis.remap("SSSSRR", [c, y, v, i, kx, ky])
                    with T.init():
                        acc[vc, vy, vv, vi] = weight[vc, K * K]
                    acc[vc, vy, vv, vi] = add(acc[vc, vy, vv, vi], weight, data, table, vc, vy, vv, vi, vky, vkx)
            for c, y, v, i in T.grid(C, after.height, V, L):
                with T.sblock("out"):
                    vc, vy, vv, vi = T.axis.remap("SSSS", [c, y, v, i])
                    out[vc, vy * after.pitch + self.column(vv) + vi] = self.activation.apply(acc[vc, vy, vv, vi])

        return depthwise if self.tabled else leave_out(depthwise, "table")

    def knobs(self, machine: Machine) -> Knobs:
        """Tall tiles: their rows share rows of the input.

        At stride 2 they share fewer, which take registers for two phases: by the models five rows cost 8 to 15 % more
        than four (28x28 and 56x56, four Arm cores).  Weights that are not elements of vectors take a register each.
        """
        one, two = 14 if machine.by_element else 8, 4  # of 32 registers, at strides 1 and 2
        accumulators = (one if self.stride == 1 else two) * machine.registers // 32
        knobs = self.tile_knobs(machine, accumulators, max(1, accumulators // self.after.height))
        return by_default(machine, knobs, in_order=True)

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        channel, *inside = self.tile(sch, out, knobs)
        sch.compute_at(acc, channel, preserve_unit_loops=True)
        *_, acc_y, acc_v, acc_i, kx, ky = sch.get_loops(acc)
        sch.reorder(kx, ky, acc_y, acc_v, acc_i)
        unroll_and_vectorize(sch, *inside)
        unroll_and_vectorize(sch, kx, ky, acc_y, acc_v, acc_i)
        load_as_vectors(sch, acc, "weight", channel)
        sch.decompose_reduction(acc, kx)

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (channels, 1, kernel, kernel); `bias`: (channels,).

        A channel's weights, column by column, and its bias lie side by side.
        """
        weight, bias = arrays
        filters = weight.reshape(self.channels, self.kernel, self.kernel).swapaxes(1, 2)
        return [np.column_stack([filters.reshape(self.channels, -1), bias]).astype(np.float32)]
