"""Pooling that ends the convolutional part: the mean of each channel, or adaptive bins.

    global:    out[c]       = sum over y, x of in[c, y, x] / (height * width)
    adaptive:  out[c, i, j] = mean of rows floor(i*H/size) .. ceil((i+1)*H/size) - 1, columns alike

Strategy for the global mean: pixels are added lane by lane, the padding of the plane masked out,
and the lanes at the end; `channels` channels at a time hide the latency of the additions.  The
adaptive bins read each pixel once or twice and are left to LLVM.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, Plane, combinations, divisor_up_to, divisors
from .functions import cast
from .workload import Workload


@dataclass(frozen=True)
class GlobalAvgPool(Workload):
    """Sums are fp32; the mean is of `out_dtype`, or of the input's dtype."""

    channels: int
    before: Plane
    lanes: int
    out_dtype: str = field(default="", kw_only=True)

    name = "global_avg_pool"
    external = ("out",)

    def __post_init__(self):
        if self.before.size % self.lanes:
            raise ValueError(f"planes of {self.before.size} floats are no whole number of vectors")

    def valid(self, pixel: tirx.Expr) -> tirx.Expr:
        """Whether an element of a plane is a pixel."""
        plane = self.before
        if plane.pitch == plane.width:
            return pixel < plane.height * plane.width
        return tirx.all(pixel < plane.height * plane.pitch, pixel % plane.pitch < plane.width)

    def definition(self) -> tirx.PrimFunc:
        C, L, plane = self.channels, self.lanes, self.before
        V, out_dtype = plane.size // L, self.out_dtype or self.dtype
        share, valid = 1.0 / (plane.height * plane.width), self.valid

        @T.prim_func(private=True, s_tir=True)
        def global_avg_pool(
            data: T.Buffer((C, V, L), self.dtype),
            out: T.Buffer((C,), out_dtype),
        ):
            part = T.sblock_alloc_buffer((C, L), "float32")
            total = T.sblock_alloc_buffer((C,), "float32")
            for c, i, v in T.grid(C, L, V):
                with T.sblock("part"):
                    vc, vi, vv = T.axis.remap("SSR", [c, i, v])
                    with T.init():
                        part[vc, vi] = T.float32(0)
                    there = T.meta_var(cast(data[vc, vv, vi], "float32"))
                    part[vc, vi] = part[vc, vi] + T.Select(valid(vv * L + vi), there, T.float32(0))
            for c, i in T.grid(C, L):
                with T.sblock("total"):
                    vc, vi = T.axis.remap("SR", [c, i])
                    with T.init():
                        total[vc] = T.float32(0)
                    total[vc] = total[vc] + part[vc, vi]
            for c in range(C):
                with T.sblock("out"):
                    vc = T.axis.spatial(C, c)
                    out[vc] = cast(total[vc] * T.float32(share), out_dtype)

        return global_avg_pool

    def knobs(self, machine: Machine) -> Knobs:
        return {"channels": divisor_up_to(self.channels, 8)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        part, total, out = (sch.get_sblock(name) for name in ("part", "total", "out"))
        (c,) = sch.get_loops(out)
        c_tile, c = sch.split(c, [None, knobs["channels"]])
        sch.compute_at(total, c_tile, preserve_unit_loops=True)
        sch.compute_at(part, c_tile, preserve_unit_loops=True)
        *_, part_c, part_i, v = sch.get_loops(part)
        sch.reorder(v, part_c, part_i)
        sch.unroll(part_c)
        sch.vectorize(part_i)
        sch.decompose_reduction(part, v)
        *_, total_c, i = sch.get_loops(total)
        sch.reorder(i, total_c)
        for loop in (i, total_c, c):
            sch.unroll(loop)
        sch.decompose_reduction(total, i)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1}

    def space(self, machine: Machine) -> list[Knobs]:
        return combinations(channels=divisors(self.channels, 32))


@dataclass(frozen=True)
class AdaptiveAvgPool(Workload):
    channels: int
    before: Plane
    after: Plane

    name = "adaptive_avg_pool"
    external = ("data", "out")

    def definition(self) -> tirx.PrimFunc:
        C, before, after = self.channels, self.before, self.after
        H, W, pitch, rows, columns = before.height, before.width, before.pitch, after.height, after.width
        # The widest bin; narrower ones skip its last row and column.
        high, wide = (max(-(-(i + 1) * n // m) - i * n // m for i in range(m)) for n, m in ((H, rows), (W, columns)))

        def first(i, n, bins):
            return T.floordiv(i * n, bins)

        def behind(i, n, bins):
            return T.floordiv((i + 1) * n + bins - 1, bins)

        @T.prim_func(private=True, s_tir=True)
        def adaptive_avg_pool(
            data: T.Buffer((C, before.size), "float32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            total = T.sblock_alloc_buffer((C, rows, columns), "float32")
            for c, i, j, y, x in T.grid(C, rows, columns, high, wide):
                with T.sblock("total"):
                    vc, vi, vj, vy, vx = T.axis.remap("SSSRR", [c, i, j, y, x])
                    with T.init():
                        total[vc, vi, vj] = T.float32(0)
                    total[vc, vi, vj] = total[vc, vi, vj] + T.if_then_else(
                        first(vi, H, rows) + vy < behind(vi, H, rows)
                        and first(vj, W, columns) + vx < behind(vj, W, columns),
                        data[vc, (first(vi, H, rows) + vy) * pitch + first(vj, W, columns) + vx],
                        T.float32(0),
                    )
            for c, i, j in T.grid(C, rows, columns):
                with T.sblock("out"):
                    vc, vi, vj = T.axis.remap("SSS", [c, i, j])
                    out[vc, vi * after.pitch + vj] = total[vc, vi, vj] / T.Cast(
                        "float32",
                        (behind(vi, H, rows) - first(vi, H, rows)) * (behind(vj, W, columns) - first(vj, W, columns)),
                    )

        return adaptive_avg_pool

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        sch.compute_at(sch.get_sblock("total"), sch.get_loops(sch.get_sblock("out"))[-1])
