"""Fully connected layer at batch 1: a matrix-vector product, bound by reading the weights once.

    out[o] = act(bias[o] + sum_k weight[o, k] * in[k])

Strategy: outputs are the vector dimension; `vectors` vectors are accumulated while the weights of a
tile stream by, packed [tile][k][vectors x lanes] in the order in which they are read.  The loop over k
takes `unroll` of its steps at a time, whose inputs come as one vector if there are several.
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
    combinations,
    divisor_up_to,
    divisors,
    load_as_vectors,
    pack_rows,
    quick_relu,
    round_up,
    unroll_and_vectorize,
)  # fmt: skip
from .workload import Workload


@dataclass(frozen=True)
class Dense(Workload):
    inputs: int
    outputs: int
    lanes: int
    activation: Activation = IDENTITY

    name = "dense"
    external = ("out",)
    scratch = ("sums",)  # whole vectors of results: their tail must not spill over the end of `out`

    @property
    def multiply_adds(self) -> int:
        return self.inputs * self.outputs

    def definition(self) -> tirx.PrimFunc:
        K, N, L = self.inputs, self.outputs, self.lanes
        V = round_up(N, L) // L
        finish = quick_relu(self.activation)

        @T.prim_func(private=True, s_tir=True)
        def dense(
            data: T.Buffer((K,), "float32"),
            weight: T.Buffer((V, L, K), "float32"),
            bias: T.Buffer((V, L), "float32"),
            out: T.Buffer((N,), "float32"),
            sums: T.Buffer((V, L), "float32"),
        ):
            acc = T.sblock_alloc_buffer((V, L), "float32")
            for v, i, k in T.grid(V, L, K):
                with T.sblock("acc"):
                    vv, vi, vk = T.axis.remap("SSR", [v, i, k])
                    with T.init():
                        acc[vv, vi] = bias[vv, vi]
                    acc[vv, vi] = acc[vv, vi] + weight[vv, vi, vk] * data[vk]
            for v, i in T.grid(V, L):
                with T.sblock("sums"):
                    vv, vi = T.axis.remap("SS", [v, i])
                    sums[vv, vi] = finish(acc[vv, vi])
            for o in range(N):
                with T.sblock("out"):
                    vo = T.axis.spatial(N, o)
                    out[vo] = sums[vo // L, vo % L]

        return dense

    def knobs(self, machine: Machine) -> Knobs:
        """By element, the weights of two steps wait in the registers that the sums leave free."""
        tiles = -(-self.outputs // self.lanes)
        if not machine.by_element:
            return {"vectors": divisor_up_to(tiles, 8), "unroll": 1}
        return {"vectors": divisor_up_to(tiles, machine.registers * 3 // 8), "unroll": divisor_up_to(self.inputs, 2)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        vectors = knobs["vectors"]
        acc, sums = sch.get_sblock("acc"), sch.get_sblock("sums")
        v, i = sch.get_loops(sums)
        v_tile, v = sch.split(v, [None, vectors])
        sch.compute_at(acc, v_tile, preserve_unit_loops=True)
        *_, acc_v, acc_i, k = sch.get_loops(acc)
        k, step = sch.split(k, [None, knobs["unroll"]])
        sch.reorder(k, step, acc_v, acc_i)
        unroll_and_vectorize(sch, v, i)
        unroll_and_vectorize(sch, step, acc_v, acc_i)
        if knobs["unroll"] > 1:
            load_as_vectors(sch, acc, "data", k)
        sch.decompose_reduction(acc, k)
        sch.transform_layout(acc, "weight", lambda v, i, k: (v // vectors, k, v % vectors, i))

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (outputs, inputs); `bias`: (outputs,)."""
        weight, bias = arrays
        tile = knobs["vectors"] * self.lanes
        padded = np.zeros(round_up(self.outputs, self.lanes), np.float32)
        padded[: self.outputs] = bias
        return [pack_rows(weight, 0, tile), padded]

    def space(self, machine: Machine) -> list[Knobs]:
        vectors = divisors(-(-self.outputs // self.lanes), machine.registers)
        return combinations(vectors=vectors, unroll=divisors(self.inputs, 4))
