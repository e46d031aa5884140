"""Depthwise convolution of bytes, and average pooling, which is one with weights of 1.

    sum[c, y, x] = bias[c] + sum over ky, kx of weight[c, ky, kx] * in[c, y*s + ky - p, x*s + kx - p]
    out[c, y, x] = the byte of sum * factors[c] (`requantise`)

Strategy: a channel is copied into a scratch with a border of the byte that stands for zero.  Four neighbours in a row
are then a word wherever they begin, so that a row of a window is one dot product, or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, Plane, combinations, cut_tails, divisor_up_to, round_up, unroll_and_vectorize
from .dot4 import (
    NEON,
    WORD,
    dot_window,
    dtype_in_window,
    in_window,
    lanes_of,
    window4,
    window_words,
)  # fmt: skip
from .functions import cast
from .requantise import LIMITS, examples, requantised_sum
from .strewn_depthwise import FromTable
from .windows import Rows
from .workload import leave_out, spread


@dataclass(frozen=True)
class Int8Window(Rows):
    """`before` and `after` are the planes read and written.

    Parameters: weight int8 (channels, 1, kernel, kernel); bias int32 (channels,); factors float32
    (`requantise.factors_of`); limits.
    """

    channels: int
    before: Plane
    after: Plane
    kernel: int
    stride: int
    pad: int
    lanes: int
    dot: str
    dtype: str = field(kw_only=True)
    short: bool = field(default=False, kw_only=True)  # whether sums are (`requantise`)

    name = "int8_window"
    scratch = own_scratch = ("padded",)
    tabled = False

    @property
    def planes(self) -> int:
        """Of the input."""
        return self.channels

    @property
    def multiply_adds(self) -> int:
        return self.channels * self.after.height * self.after.width * self.kernel**2

    @property
    def _numbers(self) -> int:
        """Of a word."""
        return in_window(self.dot, self.stride)

    @property
    def _near(self) -> str:
        """Dtype of the numbers of the scratch."""
        return self.dtype if self._numbers > 1 else dtype_in_window(self._numbers)

    @property
    def _words(self) -> int:
        """Of a row of the window."""
        return -(-self.kernel // self._numbers)

    @property
    def _padded(self) -> tuple[int, int]:
        """Rows and columns of the scratch, with what vectors and windows reach behind a row."""
        rows = (self.after.height - 1) * self.stride + self.kernel
        last = self._last * self.stride + WORD * (self._words - 1)
        read = last + 2 * max(WORD, self.stride * (self.vector - 1) + WORD)
        return rows, round_up(max(read, self.pad + max(self.before.width, self.lanes) + self.lanes), self.lanes)

    def reach(self, name: str) -> tuple[int, int]:
        """Rows are copied in vectors."""
        if name != "data":
            return 0, 0
        before = self.before
        return 0, max(0, (before.height - 1) * before.pitch + self.lanes - before.size)

    def source(self, table: Any, channel: tirx.Expr) -> tirx.Expr:
        """The plane of an input channel."""
        return channel

    def definition(self) -> tirx.PrimFunc:
        C, K, S, L, pad = self.channels, self.kernel, self.stride, self.lanes, self.pad
        before, after, vector = self.before, self.after, self.vector
        V, W, (rows, columns) = self.vectors, self._words, self._padded
        count, near = self._numbers, self._near
        H, width, pitch, copies = before.height, before.width, before.pitch, -(-before.width // L)

        def taken(load):
            return load if count == 1 else window4(self.dot, load)

        @T.macro
        def fill(data, limits, table, padded, c, r):
            if tirx.all(r >= pad, r < H + pad):
                for i in T.vectorized(L):
                    padded[r, i] = T.Cast(near, limits[3])
                for v in T.unroll(copies):
                    for i in T.vectorized(L):
                        column = T.meta_var(T.min(v * L, max(width - L, 0)))
                        padded[r, pad + column + i] = cast(
                            data[self.source(table, c), (r - pad) * pitch + column + i], near
                        )
                for i in T.vectorized(L):
                    padded[r, pad + width + i] = T.Cast(near, limits[3])
            else:
                for v in T.unroll(columns // L):
                    for i in T.vectorized(L):
                        padded[r, v * L + i] = T.Cast(near, limits[3])

        @T.prim_func(private=True, s_tir=True)
        def window(
            data: T.Buffer((self.planes, before.size), self.dtype),
            weight: T.Buffer((C, K, W), dtype_in_window(self._numbers)),
            bias: T.Buffer((C,), "int32"),
            factors: T.Buffer((C, 2) if self.short else (C,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            table: T.Buffer((C,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
            padded: T.Buffer((rows, columns), near),
        ):
            acc = T.sblock_alloc_buffer((C, after.height, V, vector), "int32")
            for c in range(C):
                for r in range(rows):
                    with T.sblock("fill"):
                        vc, vr = T.axis.remap("SS", [c, r])
                        T.reads(data[self.source(table, vc), 0 : before.size], limits[0:LIMITS])
                        T.writes(padded[vr, 0:columns])
                        fill(data, limits, table, padded, vc, vr)
                for y, v, i, ky, w in T.grid(after.height, V, vector, K, W):
                    with T.sblock("acc"):
                        vc, vy, vv, vi, vk, vw = T.axis.remap("SSSSRR", [c, y, v, i, ky, w])
                        T.reads(padded[vy * S + vk, 0:columns], weight[vc, vk, vw], bias[vc])
                        T.writes(acc[vc, vy, vv, vi])
                        with T.init():
                            acc[vc, vy, vv, vi] = bias[vc]
                        acc[vc, vy, vv, vi] = dot_window(
                            self.dot, acc[vc, vy, vv, vi],
                            taken(padded[vy * S + vk, (self.column(vv) + vi) * S + vw * count]),
                            weight[vc, vk, vw],
                        )  # fmt: skip
                for y, v, i in T.grid(after.height, V, vector):
                    with T.sblock("out"):
                        vc, vy, vv, vi = T.axis.remap("SSSS", [c, y, v, i])
                        out[vc, vy * after.pitch + self.column(vv) + vi] = requantised_sum(
                            acc[vc, vy, vv, vi], factors, (vc,), limits, self.dtype, self.short, self.dot
                        )

        return window if self.tabled else leave_out(window, "table")

    def knobs(self, machine: Machine) -> Knobs:
        each = max(1, self.vector // lanes_of(self.dot))
        limit = max(1, min(8, machine.registers // 2 // each))
        if self.dot in NEON:  # whose windows and products take registers as well
            limit = min(limit, 1 if self.stride > 1 and (machine.in_order or self.dot == "smull") else 2)
        if self.dot == "sdot" and self.stride == 1 and self.after.height <= 8 and not machine.in_order:
            limit = 8  # each row of a small plane is read once, not once for each row of its windows
        rows = divisor_up_to(self.after.height, limit)
        return {"rows": rows, "vectors": divisor_up_to(self.vectors, max(1, limit // rows))}

    def space(self, machine: Machine) -> list[Knobs]:
        height, vectors = self.after.height, self.vectors
        return combinations(
            rows=[n for n in range(1, 17) if height % n == 0],
            vectors=[n for n in range(1, 5) if vectors % n == 0],
        )

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        _, y, v, i = sch.get_loops(out)
        y_tile, y = sch.split(y, [None, knobs["rows"]])
        v_tile, v = sch.split(v, [None, knobs["vectors"]])
        sch.reorder(y_tile, v_tile, y, v, i)
        sch.compute_at(acc, v_tile, preserve_unit_loops=True)
        *_, acc_y, acc_v, acc_i, ky, w = sch.get_loops(acc)
        sch.reorder(ky, w, acc_y, acc_v, acc_i)
        unroll_and_vectorize(sch, y, v, i)
        unroll_and_vectorize(sch, ky, w, acc_y, acc_v, acc_i)
        sch.decompose_reduction(acc, ky)
        cut_tails(sch, y_tile, v_tile)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """Not rows: the last vector of one may reach into the next, which is written later."""
        return {"c": 1}

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        weight, *others = arrays
        return [window_words(weight.reshape(self.channels, self.kernel, self.kernel), self._numbers), *others]

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        arrays = examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))
        return [*arrays[:4], *([spread(self.channels, self.planes)] if self.tabled else [])]


@dataclass(frozen=True)
class Int8StrewnWindow(FromTable, Int8Window):
    """The channels are among `sources` planes; the last parameter says which."""

    sources: int = 1

    name = "int8_strewn_window"
