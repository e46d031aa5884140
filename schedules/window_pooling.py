"""Maximum and average pooling.

    out[c, y, x] = act(combine over ky, kx of in[c, y*s + ky - p, x*s + kx - p])

The average divides the sum by the whole window: zeros of the padding count.  Padding is never the maximum.

Strategy: rows are combined first, as they lie in memory, then columns: at stride 2 the phases of the
columns are taken apart once for an output, not for each row.  Both stages of a tile of `rows` x
`vectors` output vectors happen in registers, unrolled.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, round_up, unroll_and_vectorize
from .functions import least
from .prefetch import by_default
from .strided import strided_tap
from .windows import Window


@dataclass(frozen=True)
class WindowPool(Window):
    """`kind` is "max" or "avg"."""

    kind: str = "max"

    @property
    def name(self) -> str:
        return f"{self.kind}_pool"

    def definition(self) -> tirx.PrimFunc:
        C, K, S, pad, kind = self.channels, self.kernel, self.stride, self.pad, self.kind
        before, after, number = self.before, self.after, self.number
        V, L = self.vectors, self.vector
        span = S * L + (round_up(K - S, L) if K > S else 0)  # columns for a vector of the output, whole vectors
        outside = least(self.dtype) if kind == "max" else 0

        def combine(sofar, value):
            return T.max(sofar, value) if kind == "max" else sofar + value

        def down(sofar, data, c, y, x, ky):
            row = y * S + ky - pad
            return self.if_row(row, combine(sofar, data[c, row * before.pitch + x]), sofar)

        def finish(value):
            value = value * number(1 / K**2) if kind == "avg" else value
            return self.activation.apply(value)

        @T.prim_func(private=True, s_tir=True)
        def pool(data: T.Buffer((C, before.size), self.dtype), out: T.Buffer((C, after.size), self.dtype)):
            rows = T.sblock_alloc_buffer((C, after.height, V, span), self.dtype)
            masked = T.sblock_alloc_buffer((C, after.height, V, span), self.dtype)
            acc = T.sblock_alloc_buffer((C, after.height, V, L), self.dtype)
            for c, y, v, j, ky in T.grid(C, after.height, V, span, K):
                with T.sblock("rows"):
                    vc, vy, vv, vj, vky = T.axis.remap("SSSSR", [c, y, v, j, ky])
                    with T.init():
                        rows[vc, vy, vv, vj] = number(outside)
                    rows[vc, vy, vv, vj] = down(rows[vc, vy, vv, vj], data, vc, vy, self.column(vv) * S + vj - pad, vky)
            for c, y, v, j in T.grid(C, after.height, V, span):
                with T.sblock("masked"):
                    vc, vy, vv, vj = T.axis.remap("SSSS", [c, y, v, j])
                    masked[vc, vy, vv, vj] = self.mask_columns(
                        vv, self.column(vv) * S + vj - pad, rows[vc, vy, vv, vj], outside
                    )
            for c, y, v, i, kx in T.grid(C, after.height, V, L, K):
                with T.sblock("acc"):
                    vc, vy, vv, vi, vkx = T.axis.remap("SSSSR", [c, y, v, i, kx])
                    T.reads(masked[vc, vy, vv, 0:span])
                    T.writes(acc[vc, vy, vv, vi])
                    with T.init():
                        acc[vc, vy, vv, vi] = number(outside)
                    acc[vc, vy, vv, vi] = combine(
                        acc[vc, vy, vv, vi], strided_tap(masked[vc, vy, vv, vi * S + vkx], vkx)
                    )
            for c, y, v, i in T.grid(C, after.height, V, L):
                with T.sblock("out"):
                    vc, vy, vv, vi = T.axis.remap("SSSS", [c, y, v, i])
                    out[vc, vy * after.pitch + self.column(vv) + vi] = finish(acc[vc, vy, vv, vi])

        return pool

    def knobs(self, machine: Machine) -> Knobs:
        """Little is shared between the outputs of a tile: enough of them to be independent."""
        vectors = min(4, self.vectors)
        return by_default(machine, self.tile_knobs(machine, max(1, machine.registers // 4 // vectors), vectors))

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, masked, acc, out = (sch.get_sblock(name) for name in ("rows", "masked", "acc", "out"))
        channel, *inside = self.tile(sch, out, knobs)
        for stage in (acc, masked, rows):
            sch.compute_at(stage, channel, preserve_unit_loops=True)
        unroll_and_vectorize(sch, *inside)
        *_, y, v, j = sch.get_loops(masked)
        unroll_and_vectorize(sch, y, v, *sch.split(j, [None, self.vector]))
        *_, y, v, i, kx = sch.get_loops(acc)
        sch.reorder(y, v, kx, i)
        unroll_and_vectorize(sch, y, v, kx, i)
        sch.decompose_reduction(acc, kx)
        *_, y, v, j, ky = sch.get_loops(rows)
        s, i = sch.split(j, [None, self.vector])
        sch.reorder(y, v, ky, s, i)
        unroll_and_vectorize(sch, y, v, ky, s, i)
        sch.decompose_reduction(rows, ky)
