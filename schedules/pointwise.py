"""Pointwise (1x1) convolution, grouped or not: one small matrix product per group.

    out[a, o, p] = act(bias[a, o] + sum_k weight[a, o, k] * in[a, k, p] (+ residual[a, o, p]))

for group a, its output channel o and pixel p.  With `shuffle` the plane of channel (a, o) is stored
at o * groups + a: the channel shuffle (paper, section 3.1) is an address in the epilogue, and what
comes next finds each of its groups contiguous.

Strategy: `rows` output channels x `vectors` vectors of pixels are accumulated in registers.  For
each k the tile loads `vectors` vectors of pixels and multiplies each by `rows` scalars, which the
packed weights hold side by side (with `weight_vectors` they are loaded as vectors, too).  Pixels
outside, channels inside: the input tile of a group is read from L1 by all of its row tiles.  The
obvious alternative, channels as vectors, wastes lanes where a group has few channels (g = 8 at 0.5x
has 6) and would make the shuffle a transposition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import (
    Knobs, Machine, combinations, load_as_vectors, pack_rows, row_tile, row_tiles, unroll_and_vectorize,
)  # fmt: skip


@dataclass(frozen=True)
class Pointwise:
    """`inputs` and `outputs` are channels per group; a plane is `vectors` x `lanes` floats."""

    groups: int
    inputs: int
    outputs: int
    vectors: int
    lanes: int
    relu: bool = False
    residual: bool = False
    shuffle: bool = False

    name = "pointwise"
    scratch = 0

    @property
    def multiply_adds(self) -> int:
        return self.groups * self.inputs * self.outputs * self.vectors * self.lanes

    def definition(self) -> tirx.PrimFunc:
        G, K, N, V, L = self.groups, self.inputs, self.outputs, self.vectors, self.lanes
        relu, residual, shuffle = self.relu, self.residual, self.shuffle

        def finish(value):
            return T.max(value, T.float32(0)) if relu else value

        def plane(a, o):
            return o * G + a if shuffle else a * N + o

        @T.macro
        def accumulate(data, weight, bias, acc):
            for a, o, v, i, k in T.grid(G, N, V, L, K):
                with T.sblock("acc"):
                    va, vo, vv, vi, vk = T.axis.remap("SSSSR", [a, o, v, i, k])
                    with T.init():
                        acc[va, vo, vv, vi] = bias[va, vo]
                    acc[va, vo, vv, vi] = acc[va, vo, vv, vi] + weight[va, vo, vk] * data[va, vk, vv, vi]

        if residual:

            @T.prim_func(private=True, s_tir=True)
            def pointwise(
                data: T.Buffer((G, K, V, L), "float32"),
                weight: T.Buffer((G, N, K), "float32"),
                bias: T.Buffer((G, N), "float32"),
                other: T.Buffer((G * N, V, L), "float32"),
                out: T.Buffer((G * N, V, L), "float32"),
            ):
                acc = T.sblock_alloc_buffer((G, N, V, L), "float32")
                accumulate(data, weight, bias, acc)
                for a, o, v, i in T.grid(G, N, V, L):
                    with T.sblock("out"):
                        va, vo, vv, vi = T.axis.remap("SSSS", [a, o, v, i])
                        out[plane(va, vo), vv, vi] = finish(acc[va, vo, vv, vi] + other[plane(va, vo), vv, vi])

        else:

            @T.prim_func(private=True, s_tir=True)
            def pointwise(
                data: T.Buffer((G, K, V, L), "float32"),
                weight: T.Buffer((G, N, K), "float32"),
                bias: T.Buffer((G, N), "float32"),
                out: T.Buffer((G * N, V, L), "float32"),
            ):
                acc = T.sblock_alloc_buffer((G, N, V, L), "float32")
                accumulate(data, weight, bias, acc)
                for a, o, v, i in T.grid(G, N, V, L):
                    with T.sblock("out"):
                        va, vo, vv, vi = T.axis.remap("SSSS", [a, o, v, i])
                        out[plane(va, vo), vv, vi] = finish(acc[va, vo, vv, vi])

        return pointwise

    def knobs(self, machine: Machine) -> Knobs:
        """Two vectors a tile are enough independent sums at any row count; the rows fill the rest.

        Eight rows by three vectors load least where weights come as vectors of four.
        """
        vectors = min(3 if machine.by_element and self.outputs % 8 == 0 else 2, self.vectors)
        rows = row_tile(self.outputs, machine.tile // vectors)
        return {"rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        a, o, v, i = sch.get_loops(out)
        o_tile, o = sch.split(o, [None, rows])
        v_tile, v = sch.split(v, [None, vectors])
        sch.reorder(a, v_tile, o_tile, o, v, i)
        sch.compute_at(acc, o_tile, preserve_unit_loops=True)
        *_, acc_o, acc_v, acc_i, k = sch.get_loops(acc)
        sch.reorder(k, acc_o, acc_v, acc_i)
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc, "weight", lambda a, o, k: (a, o // rows, k, o % rows), assume_injective_transform=True
        )
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", k)
        sch.decompose_reduction(acc, k)

    def pack(self, knobs: Knobs, weight: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, 1, 1); `bias`: (groups * outputs,)."""
        grouped = weight.reshape(self.groups, self.outputs, self.inputs)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        """Register tiles of any shape, as large as all registers together."""
        vectors = range(1, min(8, self.vectors) + 1)
        weight_vectors = {0, int(machine.by_element)}
        rows = row_tiles(self.outputs, machine.registers)
        tiles = combinations(rows=rows, vectors=vectors, weight_vectors=weight_vectors)
        return [knobs for knobs in tiles if knobs["rows"] * knobs["vectors"] <= machine.registers]
