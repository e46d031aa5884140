"""The end of a network in int8: the mean of each channel, and the classifier, which gives float32.

    pool:  out[c] = the byte of (bias[c] + sum over pixels of in[c, y, x]) * factors[c] (`requantise`)
    dense: out[o] = (bias[o] + sum_k weight[o, k] * in[k]) * factors[o]
    inner: out[o] = the byte of that, or entry round(that) of a table

Sums are int32.  Strategies: those of `pooling` and `dense`, in which four inputs are a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, divisor_up_to, divisors, pack_rows, round_up
from .dense import Dense
from .dot4 import WORD, dot4, window4, words
from .pooling import GlobalAvgPool
from .requantise import LIMITS, examples, requantised, requantised_bits
from .workload import leave_out


@dataclass(frozen=True)
class Int8GlobalAvgPool(GlobalAvgPool):
    """Parameters: bias int32, factors float32 (channels,), limits."""

    name = "int8_global_avg_pool"

    def definition(self) -> tirx.PrimFunc:
        C, L, plane = self.channels, self.lanes, self.before
        V, valid = plane.size // L, self.valid

        @T.prim_func(private=True, s_tir=True)
        def global_avg_pool(
            data: T.Buffer((C, V, L), self.dtype),
            bias: T.Buffer((C,), "int32"),
            factors: T.Buffer((C,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C,), self.dtype),
        ):
            part = T.sblock_alloc_buffer((C, L), "int32")
            total = T.sblock_alloc_buffer((C,), "int32")
            for c, i, v in T.grid(C, L, V):
                with T.sblock("part"):
                    vc, vi, vv = T.axis.remap("SSR", [c, i, v])
                    with T.init():
                        part[vc, vi] = 0
                    there = T.meta_var(T.Cast("int32", data[vc, vv, vi]))
                    part[vc, vi] = part[vc, vi] + T.Select(valid(vv * L + vi), there, 0)
            for c, i in T.grid(C, L):
                with T.sblock("total"):
                    vc, vi = T.axis.remap("SR", [c, i])
                    with T.init():
                        total[vc] = bias[vc]
                    total[vc] = total[vc] + part[vc, vi]
            for c in range(C):
                with T.sblock("out"):
                    vc = T.axis.spatial(C, c)
                    out[vc] = requantised(total[vc], factors[vc], limits, self.dtype)

        return global_avg_pool

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)


@dataclass(frozen=True)
class Int8Dense(Dense):
    """`lanes` is of int32.  Parameters: weight int8 (outputs, inputs); bias int32, factors float32 (outputs,)."""

    dot: str = "plain"

    name = "int8_dense"

    def __post_init__(self):
        if self.activation or self.weights or self.out_dtype:
            raise ValueError(f"no classifier: {self}")

    def reach(self, name: str) -> tuple[int, int]:
        """The last word reaches behind the last input."""
        return 0, -self.inputs % WORD if name == "data" else 0

    @property
    def _words(self) -> int:
        return -(-self.inputs // WORD)

    @property
    def _entries(self) -> int | None:
        """Of the table that results are from; 0 where they are bytes, None where they are the products."""
        return None

    def definition(self) -> tirx.PrimFunc:
        K, N, L, Q, E = self.inputs, self.outputs, self.lanes, self._words, self._entries
        V = round_up(N, L) // L
        size, out_dtype, kept = E or 1, self.dtype if E == 0 else "float32", "float32" if E is None else "int32"

        def scaled(total, factor, limits):
            number = T.Cast("float32", total)
            return number * factor if E is None else requantised_bits(number, factor, limits)

        def result(value, table):
            if E is None:
                return value
            return table[value & (E - 1)] if E else tirx.Cast(self.dtype, value)

        @T.prim_func(private=True, s_tir=True)
        def dense(
            data: T.Buffer((K,), self.dtype),
            weight: T.Buffer((V, L, Q), "int32"),
            bias: T.Buffer((V, L), "int32"),
            factors: T.Buffer((V, L), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            table: T.Buffer((size,), "float32"),
            out: T.Buffer((N,), out_dtype),
            sums: T.Buffer((V, L), kept),
        ):
            acc = T.sblock_alloc_buffer((V, L), "int32")
            for v, i, k in T.grid(V, L, Q):
                with T.sblock("acc"):
                    vv, vi, vk = T.axis.remap("SSR", [v, i, k])
                    T.reads(data[0:K], weight[vv, vi, vk], bias[vv, vi])
                    T.writes(acc[vv, vi])
                    with T.init():
                        acc[vv, vi] = bias[vv, vi]
                    acc[vv, vi] = dot4(self.dot, acc[vv, vi], window4(self.dot, data[vk * WORD]), weight[vv, vi, vk])
            for v, i in T.grid(V, L):
                with T.sblock("sums"):
                    vv, vi = T.axis.remap("SS", [v, i])
                    sums[vv, vi] = scaled(acc[vv, vi], factors[vv, vi], limits)
            for o in range(N):
                with T.sblock("out"):
                    vo = T.axis.spatial(N, o)
                    out[vo] = result(sums[vo // L, vo % L], table)

        return leave_out(dense, *(["limits"] if E is None else []), *([] if E else ["table"]))

    def knobs(self, machine: Machine) -> Knobs:
        tiles = -(-self.outputs // self.lanes)
        return {"vectors": divisor_up_to(tiles, machine.registers // 4), "unroll": 1}

    def space(self, machine: Machine) -> list[Knobs]:
        tiles = -(-self.outputs // self.lanes)
        return [{"vectors": vectors} for vectors in divisors(tiles, machine.registers)]

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        weight, *others = arrays
        behind = -self.outputs % self.lanes
        return [
            pack_rows(words(weight), 0, knobs["vectors"] * self.lanes, "int32"),
            *(np.pad(array, (0, behind)) for array in others),
        ]

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))


@dataclass(frozen=True)
class Int8InnerDense(Int8Dense):
    """A fully connected layer whose results are bytes, or with `entries` float32 from a table of so many.

    Further parameters: limits; with `entries` the table float32 (entries,), which the limits keep inside.
    """

    entries: int = 0  # a power of two

    name = "int8_inner_dense"

    @property
    def _entries(self) -> int | None:
        return self.entries

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        numbers, further = arrays[:3], arrays[3:]
        return [*super().pack(knobs, *numbers), *further]
