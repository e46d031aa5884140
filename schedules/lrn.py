"""Local response normalisation across channels (AlexNet paper, section 3.3), window of `size`.

    out[c] = in[c] / (k + alpha / size * sum over |d - c| <= size // 2 of in[d]^2) ^ beta

Strategy: pixels are the vectors, the window is unrolled.  Only beta = 3/4 is supported: y^(-3/4) is then
a guess, by arithmetic on the bits of a float, and two steps towards it, where a general power would call
a library.  Two square roots and a division would take 2 to 4 times the cycles on Arm cores, by LLVM's
models of them; with AVX-512 they would be a sixth faster.  All of it is computed in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, combinations, divisor_up_to, divisors, unroll_and_vectorize
from .functions import cast
from .workload import Workload

# Bits that make guesses at most 4.4 % wrong, on either side.
GUESS = 0x6F14EC10


def power(y: tirx.Expr) -> tirx.Expr:
    """y^(-3/4) of positive normal floats, 5e-7 of it wrong at most."""

    def let(value, use):
        variable = tirx.Var("v", "float32")
        return tirx.Let(variable, value, use(variable))

    def step(r):
        """With z = y^3 r^4, 1 where r is right, the result is r / z^(1/4) by its series: cubic convergence."""
        series = (5 / 32, -18 / 32, 45 / 32)
        return let(y * (r * r), lambda u: let(u * u * y, lambda z: r * _polynomial(series, z)))

    bits = T.reinterpret("int32", y)
    guess = T.reinterpret("float32", T.int32(GUESS) - (bits - T.shift_right(bits, T.int32(2))))
    return let(guess, lambda r: let(step(r), step))


def _polynomial(coefficients, x):
    value = T.float32(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + T.float32(coefficient)
    return value


@dataclass(frozen=True)
class LRN(Workload):
    channels: int
    vectors: int
    lanes: int
    size: int
    alpha: float
    k: float

    name = "lrn"

    def definition(self) -> tirx.PrimFunc:
        C, V, L, size = self.channels, self.vectors, self.lanes, self.size
        scale, k, half, dtype = self.alpha / self.size, self.k, self.size // 2, self.dtype

        def wide(value):
            return cast(value, "float32")

        @T.prim_func(private=True, s_tir=True)
        def lrn(
            data: T.Buffer((C, V, L), dtype),
            out: T.Buffer((C, V, L), dtype),
        ):
            acc = T.sblock_alloc_buffer((C, V, L), "float32")
            for c, v, i, d in T.grid(C, V, L, size):
                with T.sblock("acc"):
                    vc, vv, vi, vd = T.axis.remap("SSSR", [c, v, i, d])
                    with T.init():
                        acc[vc, vv, vi] = T.float32(k)
                    acc[vc, vv, vi] = acc[vc, vv, vi] + T.if_then_else(
                        vc + vd >= half and vc + vd < C + half,
                        T.float32(scale) * wide(data[vc + vd - half, vv, vi]) * wide(data[vc + vd - half, vv, vi]),
                        T.float32(0),
                    )
            for c, v, i in T.grid(C, V, L):
                with T.sblock("out"):
                    vc, vv, vi = T.axis.remap("SSS", [c, v, i])
                    out[vc, vv, vi] = cast(wide(data[vc, vv, vi]) * power(acc[vc, vv, vi]), dtype)

        return lrn

    def knobs(self, machine: Machine) -> Knobs:
        """`vectors` at a time hide the latency of `power`, each of whose steps waits for the one before."""
        return {"vectors": divisor_up_to(self.vectors, 8)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        c, v, i = sch.get_loops(out)
        v_tile, v = sch.split(v, [None, knobs["vectors"]])
        sch.compute_at(acc, v_tile, preserve_unit_loops=True)
        *_, acc_v, acc_i, d = sch.get_loops(acc)
        sch.reorder(d, acc_v, acc_i)
        unroll_and_vectorize(sch, v, i)
        unroll_and_vectorize(sch, d, acc_v, acc_i)
        sch.decompose_reduction(acc, d)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "v": 1}

    def space(self, machine: Machine) -> list[Knobs]:
        return combinations(vectors=divisors(self.vectors, machine.registers))
