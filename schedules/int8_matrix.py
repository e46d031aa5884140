"""Pointwise convolution of bytes by products of 2 x 8 and 8 x 2 matrices (Armv8.6, smmla): see `int8_pointwise`.

One instruction multiplies eight channels of two pixels by those of two outputs, and adds to four sums:

    acc[a, o, v, p] = (o0 p0, o0 p1, o1 p0, o1 p1)      of a pair o of outputs and a pair p of pixels

So eight channels of a pixel lie side by side in the panel, zipped as a tile of pixels is loaded, and of the weights
those of a pair of outputs.  Channels behind the last of a group have weights of zero.  Rows of pixels are taken from
the sums, and residuals added, behind the last product.  Outputs of a group are an even number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, combinations, cut_tails, divisor_up_to, row_tile, row_tiles, unroll_and_vectorize
from .dot4 import WORD, words
from .int8_pointwise import WEIGHTS, Int8Pointwise, Int8Strewn
from .mmla import OCTET, PAIR, mmla, row_of_pairs, zip8
from .requantise import LIMITS, requantised_sum
from .workload import leave_out

VECTOR = 4  # sums of an instruction


class _Products(Int8Pointwise):
    """Of a workload of `int8_pointwise` the same computation, by products of pairs."""

    def __post_init__(self):
        super().__post_init__()
        if self.scaled:
            raise ValueError("no attention is written for pairs")
        if self.outputs % PAIR or self.lanes % PAIR:
            raise ValueError(f"{self.outputs} outputs of {self.lanes} pixels are no pairs")

    @staticmethod
    def pays(inputs: int, outputs: int) -> bool:
        """Whether a layer of so many channels a group takes fewer cycles so than by `Int8Pointwise` and sdot.

        By LLVM's models of Neoverse N2 and V1 it takes 0.6 to 0.99 of them from 20 inputs on, and 1.07 with 12: there
        rounding is most of the work, and zeros are multiplied.
        """
        return outputs % PAIR == 0 and inputs > 2 * OCTET

    @property
    def _octets(self) -> int:
        """Of input channels."""
        return -(-self.inputs // OCTET)

    def definition(self) -> tirx.PrimFunc:
        G, K, N, P, L, Q, V = (
            self.groups, self.inputs, self.outputs, self.plane.size, self.lanes, self._octets, self._vectors
        )  # fmt: skip
        sources, targets, others = self._planes
        tables = K + 2 * N if self.residual else K + N

        def zipped(data, table, a, q, pixel):
            channels = [q * OCTET + j if K % OCTET == 0 else T.min(q * OCTET + j, K - 1) for j in range(OCTET)]
            return zip8(*(data[self._source(table, a, k), pixel] for k in channels))

        def started(bias, a, o):
            low, high = bias[a, PAIR * o], bias[a, PAIR * o + 1]
            return tirx.Shuffle([low, low, high, high], list(range(VECTOR)))

        def added(value, gains, other, table, a, o, pixel):
            if not self.residual:
                return value
            there = T.Cast("int32", T.Cast("int16", other[self._other(table, a, o), pixel]))
            return value + there * T.Cast("int32", gains[a, o])

        @T.prim_func(private=True, s_tir=True)
        def pointwise(
            data: T.Buffer((sources, P), self.dtype),
            weight: T.Buffer((G, N // PAIR, Q, VECTOR), "int32"),
            bias: T.Buffer((G, N), "int32"),
            factors: T.Buffer(self._factors, "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            gains: T.Buffer((G, N), "int16"),
            table: T.Buffer((G, tables), "int32"),
            other: T.Buffer((others, P), self.dtype),
            out: T.Buffer((targets, P), self.dtype),
        ):
            panel = T.sblock_alloc_buffer((G, Q, V, L), "int64")
            acc = T.sblock_alloc_buffer((G, N // PAIR, V, PAIR * L), "int32")
            for a, q, v, i in T.grid(G, Q, V, L):
                with T.sblock("panel"):
                    va, vq, vv, vi = T.axis.remap("SSSS", [a, q, v, i])
                    panel[va, vq, vv, vi] = zipped(data, table, va, vq, vv * L + vi)
            for a, o, v, p, q in T.grid(G, N // PAIR, V, L // PAIR, Q):
                with T.sblock("acc"):
                    va, vo, vv, vp, vq = T.axis.remap("SSSSR", [a, o, v, p, q])
                    T.reads(
                        panel[va, vq, vv, PAIR * vp : PAIR * vp + PAIR], weight[va, vo, vq, 0:VECTOR],
                        bias[va, PAIR * vo : PAIR * vo + PAIR],
                    )  # fmt: skip
                    T.writes(acc[va, vo, vv, VECTOR * vp : VECTOR * vp + VECTOR])
                    with T.init():
                        acc[va, vo, vv, T.Ramp(VECTOR * vp, 1, VECTOR)] = started(bias, va, vo)
                    acc[va, vo, vv, T.Ramp(VECTOR * vp, 1, VECTOR)] = mmla(
                        self.dot,
                        acc[va, vo, vv, T.Ramp(VECTOR * vp, 1, VECTOR)],
                        weight[va, vo, vq, T.Ramp(0, 1, VECTOR)],
                        panel[va, vq, vv, T.Ramp(PAIR * vp, 1, PAIR)],
                    )
            for a, o, r, v, i in T.grid(G, N // PAIR, PAIR, V, L):
                with T.sblock("out"):
                    va, vo, vr, vv, vi = T.axis.remap("SSSSS", [a, o, r, v, i])
                    row = T.meta_var(row_of_pairs(acc[va, vo, vv, vi], acc[va, vo, vv, L + vi], vr))
                    channel = T.meta_var(PAIR * vo + vr)
                    value = T.meta_var(added(row, gains, other, table, va, channel, vv * L + vi))
                    out[self._place(table, va, channel), vv * L + vi] = requantised_sum(
                        value, factors, (va, channel), limits, self.dtype, self.short, self.dot
                    )

        present = {"gains": self.residual, "other": self.residual, "table": self.tabled}
        return leave_out(pointwise, *(name for name, has in present.items() if not has))

    def knobs(self, machine: Machine) -> Knobs:
        """`rows` x `vectors` tiles of 16 sums, four vectors each, in half of the registers.

        The pixels of a tile are eight vectors, which LLVM loads at once: with more sums it would move them about.
        """
        limit = machine.registers // 2 // (self.lanes // VECTOR)
        rows = PAIR * row_tile(self.outputs // PAIR, max(1, limit // PAIR))
        return {"rows": rows, "vectors": 1, "block": self._block(rows)}

    def _block(self, rows: int) -> int:
        return divisor_up_to(-(-self.outputs // rows), max(1, WEIGHTS // (OCTET * self._octets * rows)))

    def space(self, machine: Machine) -> list[Knobs]:
        each = self.lanes // VECTOR
        pairs = row_tiles(self.outputs // PAIR, max(1, machine.registers // (each * PAIR)))
        tiles = combinations(rows=[PAIR * count for count in pairs], vectors=range(1, min(4, self._vectors) + 1))
        return [
            {**tile, "block": self._block(tile["rows"])} for tile in tiles
            if tile["rows"] * tile["vectors"] * each <= machine.registers
        ]  # fmt: skip

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        panel, acc, out = (sch.get_sblock(name) for name in ("panel", "acc", "out"))
        a, o, r, v, i = sch.get_loops(out)
        o_block, o_tile, o = sch.split(o, [None, knobs["block"], knobs["rows"] // PAIR])
        v_tile, v = sch.split(v, [None, knobs["vectors"]])
        sch.reorder(a, o_block, v_tile, o_tile, o, r, v, i)
        sch.compute_at(acc, o_tile, preserve_unit_loops=True)
        *_, acc_o, acc_v, acc_p, q = sch.get_loops(acc)
        sch.reorder(q, acc_o, acc_v, acc_p)
        sch.compute_at(panel, v_tile, preserve_unit_loops=True)
        unroll_and_vectorize(sch, *sch.get_loops(panel)[-2:])
        unroll_and_vectorize(sch, o, r, v, i)
        for loop in (acc_o, acc_v, acc_p):
            sch.unroll(loop)
        sch.decompose_reduction(acc, q)
        cut_tails(sch, v_tile, o_tile, o_block)

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        weight, *others = arrays
        grouped = words(weight.reshape(self.groups, self.outputs, self.inputs))
        grouped = np.pad(grouped, [(0, 0), (0, 0), (0, -grouped.shape[-1] % (OCTET // WORD))])
        pairs = grouped.reshape(self.groups, self.outputs // PAIR, PAIR, self._octets, OCTET // WORD)
        packed = np.ascontiguousarray(pairs.transpose(0, 1, 3, 2, 4))
        return [packed, *self._beside(others)]


@dataclass(frozen=True)
class Int8Matrix(_Products):
    """`Int8Pointwise` whose `dot` is "smmla", or "plain" for tests where there is none."""

    name = "int8_matrix"


@dataclass(frozen=True)
class Int8StrewnMatrix(_Products, Int8Strewn):
    """`Int8Strewn` whose `dot` is "smmla", or "plain"."""

    name = "int8_strewn_matrix"
