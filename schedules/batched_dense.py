"""Fully connected layer for several pictures: each weight is read from memory once for all of them.

    out[p, o] = act(bias[o] + sum_k weight[o, k] * in[p, k]), all sums in fp32, in the order of `Dense`

Strategy: that of `Dense`, whose weights are packed in the same way, with the sums of `pictures` pictures in registers.
Where there are more pictures, the next ones find the weights of the tile in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import (
    Knobs,
    Machine,
    combinations,
    divisor_up_to,
    divisors,
    load_as_vectors,
    quick_relu,
    round_up,
    unroll_and_vectorize,
)  # fmt: skip
from .dense import Dense
from .functions import cast


@dataclass(frozen=True)
class BatchedDense(Dense):
    """`data_pitch` and `out_pitch` are elements from one picture's input or output to the next one's."""

    pictures: int = field(kw_only=True)
    data_pitch: int = field(kw_only=True)
    out_pitch: int = field(kw_only=True)

    name = "batched_dense"

    @property
    def batch(self) -> int:
        return self.pictures

    @property
    def multiply_adds(self) -> int:
        return self.pictures * self.inputs * self.outputs

    def definition(self) -> tirx.PrimFunc:
        P, K, N, L = self.pictures, self.inputs, self.outputs, self.lanes
        V = round_up(N, L) // L
        finish, out_dtype = quick_relu(self.activation), self.out_dtype or self.dtype

        def wide(value):
            return cast(value, "float32")

        @T.prim_func(private=True, s_tir=True)
        def dense(
            data: T.Buffer((P, self.data_pitch), self.dtype),
            weight: T.Buffer((V, L, K), self._weights),
            bias: T.Buffer((V, L), "float32"),
            out: T.Buffer((P, self.out_pitch), out_dtype),
            sums: T.Buffer((P, V, L), "float32"),
        ):
            acc = T.sblock_alloc_buffer((P, V, L), "float32")
            for p, v, i, k in T.grid(P, V, L, K):
                with T.sblock("acc"):
                    vp, vv, vi, vk = T.axis.remap("SSSR", [p, v, i, k])
                    with T.init():
                        acc[vp, vv, vi] = bias[vv, vi]
                    acc[vp, vv, vi] = acc[vp, vv, vi] + wide(weight[vv, vi, vk]) * wide(data[vp, vk])
            for v, p, i in T.grid(V, P, L):
                with T.sblock("sums"):
                    vv, vp, vi = T.axis.remap("SSS", [v, p, i])
                    sums[vp, vv, vi] = finish(acc[vp, vv, vi])
            for o, p in T.grid(N, P):
                with T.sblock("out"):
                    vo, vp = T.axis.remap("SS", [o, p])
                    out[vp, vo] = cast(sums[vp, vo // L, vo % L], out_dtype)

        return dense

    def knobs(self, machine: Machine) -> Knobs:
        """Tiles whose sums fill three quarters of the registers."""
        most = machine.registers * 3 // (8 if self._weights == "float16" else 4)
        pictures = divisor_up_to(self.pictures, 8)
        vectors = divisor_up_to(-(-self.outputs // self.lanes), max(1, most // pictures))
        return {"pictures": pictures, "vectors": vectors, "unroll": self._unroll(machine)}

    def _unroll(self, machine: Machine) -> int:
        return divisor_up_to(self.inputs, 4) if machine.by_element else 1

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        pictures, vectors = knobs["pictures"], knobs["vectors"]
        acc, sums = sch.get_sblock("acc"), sch.get_sblock("sums")
        v, p, i = sch.get_loops(sums)
        v_tile, v = sch.split(v, [None, vectors])
        p_tile, p = sch.split(p, [None, pictures])
        sch.reorder(v_tile, p_tile, p, v, i)
        sch.compute_at(acc, p_tile, preserve_unit_loops=True)
        *_, acc_p, acc_v, acc_i, k = sch.get_loops(acc)
        k, step = sch.split(k, [None, knobs["unroll"]])
        sch.reorder(k, step, acc_v, acc_p, acc_i)
        unroll_and_vectorize(sch, p, v, i)
        unroll_and_vectorize(sch, step, acc_v, acc_p, acc_i)
        if knobs["unroll"] > 1:
            load_as_vectors(sch, acc, "data", k)
        sch.decompose_reduction(acc, k)
        sch.transform_layout(acc, "weight", lambda v, i, k: (v // vectors, k, v % vectors, i))

    def space(self, machine: Machine) -> list[Knobs]:
        tiles = divisors(-(-self.outputs // self.lanes), machine.registers)
        chosen = combinations(
            pictures=divisors(self.pictures, machine.registers), vectors=tiles, unroll=divisors(self.inputs, 4)
        )
        return [knobs for knobs in chosen if knobs["pictures"] * knobs["vectors"] <= machine.registers]
