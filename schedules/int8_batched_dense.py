"""The classifier of int8 for several pictures: each weight is read from memory once for all of them.

    out[p, o] = (bias[o] + sum_k weight[o, k] * in[p, k]) * factors[o], sums in int32

Strategy: that of `batched_dense`, in which four inputs are a word, with the weights as `Int8Dense` packs them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .batched_dense import BatchedDense
from .common import Knobs, Machine, round_up
from .dot4 import WORD, dot4, window4
from .int8_head import Int8Dense


@dataclass(frozen=True)
class Int8BatchedDense(Int8Dense, BatchedDense):
    """`lanes` is of int32.  Parameters are those of `Int8Dense`."""

    name = "int8_batched_dense"

    def definition(self) -> tirx.PrimFunc:
        P, K, N, L, Q = self.pictures, self.inputs, self.outputs, self.lanes, self._words
        V = round_up(N, L) // L

        @T.prim_func(private=True, s_tir=True)
        def dense(
            data: T.Buffer((P, self.data_pitch), self.dtype),
            weight: T.Buffer((V, L, Q), "int32"),
            bias: T.Buffer((V, L), "int32"),
            factors: T.Buffer((V, L), "float32"),
            out: T.Buffer((P, self.out_pitch), "float32"),
            sums: T.Buffer((P, V, L), "float32"),
        ):
            acc = T.sblock_alloc_buffer((P, V, L), "int32")
            for p, v, i, k in T.grid(P, V, L, Q):
                with T.sblock("acc"):
                    vp, vv, vi, vk = T.axis.remap("SSSR", [p, v, i, k])
                    T.reads(data[vp, 0:K], weight[vv, vi, vk], bias[vv, vi])
                    T.writes(acc[vp, vv, vi])
                    with T.init():
                        acc[vp, vv, vi] = bias[vv, vi]
                    acc[vp, vv, vi] = dot4(
                        self.dot, acc[vp, vv, vi], window4(self.dot, data[vp, vk * WORD]), weight[vv, vi, vk]
                    )
            for v, p, i in T.grid(V, P, L):
                with T.sblock("sums"):
                    vv, vp, vi = T.axis.remap("SSS", [v, p, i])
                    sums[vp, vv, vi] = T.Cast("float32", acc[vp, vv, vi]) * factors[vv, vi]
            for o, p in T.grid(N, P):
                with T.sblock("out"):
                    vo, vp = T.axis.remap("SS", [o, p])
                    out[vp, vo] = sums[vp, vo // L, vo % L]

        return dense

    def knobs(self, machine: Machine) -> Knobs:
        return BatchedDense.knobs(self, machine)

    def _unroll(self, machine: Machine) -> int:
        return 1  # a word of inputs is a load of its own

    def space(self, machine: Machine) -> list[Knobs]:
        return [knobs for knobs in BatchedDense.space(self, machine) if knobs["unroll"] == 1]
