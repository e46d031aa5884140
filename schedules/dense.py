"""Fully connected layer at batch 1: a matrix-vector product, bound by reading the weights once.

    out[o] = act(bias[o] + sum_k weight[o, k] * in[k]), all sums in fp32

Strategy: outputs are the vector dimension; `vectors` vectors are accumulated while the weights of a
tile stream by, packed [tile][k][vectors x lanes] in the order in which they are read.  The loop over k
takes `unroll` of its steps at a time, whose inputs come as one vector if there are several.
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
    combinations,
    divisor_up_to,
    divisors,
    load_as_vectors,
    pack_rows,
    quick_relu,
    round_up,
    unroll_and_vectorize,
)  # fmt: skip
from .functions import cast
from .workload import Workload


@dataclass(frozen=True)
class Dense(Workload):
    """`weights` and `out_dtype` are the dtypes of weights and output where they are others than the input's."""

    inputs: int
    outputs: int
    lanes: int
    activation: Activation = IDENTITY
    weights: str = field(default="", kw_only=True)
    out_dtype: str = field(default="", kw_only=True)

    name = "dense"
    external = ("out",)
    scratch = ("sums",)  # whole vectors of results: their tail must not spill over the end of `out`

    @property
    def multiply_adds(self) -> int:
        return self.inputs * self.outputs

    @property
    def _weights(self) -> str:
        return self.weights or self.dtype

    def definition(self) -> tirx.PrimFunc:
        K, N, L = self.inputs, self.outputs, self.lanes
        V = round_up(N, L) // L
        finish, out_dtype = quick_relu(self.activation), self.out_dtype or self.dtype

        def wide(value):
            return cast(value, "float32")

        @T.prim_func(private=True, s_tir=True)
        def dense(
            data: T.Buffer((K,), self.dtype),
            weight: T.Buffer((V, L, K), self._weights),
            bias: T.Buffer((V, L), "float32"),
            out: T.Buffer((N,), out_dtype),
            sums: T.Buffer((V, L), "float32"),
        ):
            acc = T.sblock_alloc_buffer((V, L), "float32")
            for v, i, k in T.grid(V, L, K):
                with T.sblock("acc"):
                    vv, vi, vk = T.axis.remap("SSR", [v, i, k])
                    with T.init():
                        acc[vv, vi] = bias[vv, vi]
                    acc[vv, vi] = acc[vv, vi] + wide(weight[vv, vi, vk]) * wide(data[vk])
            for v, i in T.grid(V, L):
                with T.sblock("sums"):
                    vv, vi = T.axis.remap("SS", [v, i])
                    sums[vv, vi] = finish(acc[vv, vi])
            for o in range(N):
                with T.sblock("out"):
                    vo = T.axis.spatial(N, o)
                    out[vo] = cast(sums[vo // L, vo % L], out_dtype)

        return dense

    def knobs(self, machine: Machine) -> Knobs:
        """By element, the weights of two steps wait in the registers that the sums leave free.

        A vector of halves is summed up in two registers.
        """
        tiles = -(-self.outputs // self.lanes)
        if not machine.by_element:
            return {"vectors": divisor_up_to(tiles, 8), "unroll": 1}
        most = machine.registers * 3 // (16 if self._weights == "float16" else 8)
        return {"vectors": divisor_up_to(tiles, most), "unroll": divisor_up_to(self.inputs, 2)}

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

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """Results are copied by the thread that has the sums."""
        return {"v": 1, "o": knobs["vectors"] * self.lanes}

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
