"""Resizing of planes of bytes, which keep their scale: `resize`'s tables.

nearest:  out[c, y, x] = in[c, rows[y], columns[x]]
bilinear: the byte of low + (high - low) * weight, by fused multiply-adds, of rows behind columns   (`requantise`)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .requantise import LIMITS, examples, requantised
from .resize import Resize


@dataclass(frozen=True)
class Int8Resize(Resize):
    """Parameters: the tables; of "bilinear" also limits, the last of them what the byte 0 of the graph is here."""

    name = "int8_resize"

    def definition(self) -> tirx.PrimFunc:
        C, before, after, pitch = self.channels, self.before, self.after, self.before.pitch
        H, W = after.height, after.width

        def between(low, high, weight):
            return tirx.call_intrin("float32", "tirx.fma", high - low, weight, low)

        def number(byte, limits):
            return T.Cast("float32", T.Cast("int32", byte) - limits[LIMITS - 1])

        @T.prim_func(private=True, s_tir=True)
        def nearest(
            data: T.Buffer((C, before.size), self.dtype),
            rows: T.Buffer((H,), "int32"),
            columns: T.Buffer((W,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, H, W):
                out[c, y * after.pitch + x] = data[c, rows[y] * pitch + columns[x]]

        @T.prim_func(private=True, s_tir=True)
        def bilinear(
            data: T.Buffer((C, before.size), self.dtype),
            lower_rows: T.Buffer((H,), "int32"),
            upper_rows: T.Buffer((H,), "int32"),
            row_weights: T.Buffer((H,), "float32"),
            lower_columns: T.Buffer((W,), "int32"),
            upper_columns: T.Buffer((W,), "int32"),
            column_weights: T.Buffer((W,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, H, W):
                above = T.meta_var(between(
                    number(data[c, lower_rows[y] * pitch + lower_columns[x]], limits),
                    number(data[c, lower_rows[y] * pitch + upper_columns[x]], limits), column_weights[x],
                ))  # fmt: skip
                below = T.meta_var(between(
                    number(data[c, upper_rows[y] * pitch + lower_columns[x]], limits),
                    number(data[c, upper_rows[y] * pitch + upper_columns[x]], limits), column_weights[x],
                ))  # fmt: skip
                out[c, y * after.pitch + x] = requantised(
                    between(above, below, row_weights[y]), T.float32(1), limits, self.dtype
                )

        return nearest if self.mode == "nearest" else bilinear

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """Tables of the first pixel."""
        return [array if shape == (LIMITS,) else 0 * array for shape, array in zip(shapes, examples(shapes))]
