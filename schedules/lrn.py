"""Local response normalisation across channels (AlexNet paper, section 3.3), window of `size`.

    out[c] = in[c] / (k + alpha / size * sum over |d - c| <= size // 2 of in[d]^2) ^ beta

Strategy: pixels are the vectors, the window is unrolled.  Only beta = 3/4 is supported: the power is
then two square roots, y^(3/4) = sqrt(y) * sqrt(sqrt(y)), where a general one would call a library.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, unroll_and_vectorize


@dataclass(frozen=True)
class LRN:
    channels: int
    vectors: int
    lanes: int
    size: int
    alpha: float
    k: float

    name = "lrn"
    scratch = 0
    multiply_adds = 0

    def definition(self) -> tirx.PrimFunc:
        C, V, L, size = self.channels, self.vectors, self.lanes, self.size
        scale, k, half = self.alpha / self.size, self.k, self.size // 2

        @T.prim_func(private=True, s_tir=True)
        def lrn(
            data: T.Buffer((C, V, L), "float32"),
            out: T.Buffer((C, V, L), "float32"),
        ):
            acc = T.sblock_alloc_buffer((C, V, L), "float32")
            for c, v, i, d in T.grid(C, V, L, size):
                with T.sblock("acc"):
                    vc, vv, vi, vd = T.axis.remap("SSSR", [c, v, i, d])
                    with T.init():
                        acc[vc, vv, vi] = T.float32(0)
                    acc[vc, vv, vi] = acc[vc, vv, vi] + T.if_then_else(
                        vc + vd >= half and vc + vd < C + half,
                        data[vc + vd - half, vv, vi] * data[vc + vd - half, vv, vi],
                        T.float32(0),
                    )
            for c, v, i in T.grid(C, V, L):
                with T.sblock("out"):
                    vc, vv, vi = T.axis.remap("SSS", [c, v, i])
                    out[vc, vv, vi] = data[vc, vv, vi] / (
                        T.sqrt(T.float32(k) + T.float32(scale) * acc[vc, vv, vi])
                        * T.sqrt(T.sqrt(T.float32(k) + T.float32(scale) * acc[vc, vv, vi]))
                    )

        return lrn

    def knobs(self, machine: Machine) -> Knobs:
        return {}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        c, v, i = sch.get_loops(out)
        sch.compute_at(acc, v, preserve_unit_loops=True)
        *_, acc_i, d = sch.get_loops(acc)
        sch.reorder(d, acc_i)
        unroll_and_vectorize(sch, i)
        unroll_and_vectorize(sch, d, acc_i)
        sch.decompose_reduction(acc, d)

    def pack(self, knobs: Knobs) -> list:
        return []

    def space(self, machine: Machine) -> list[Knobs]:
        return []
