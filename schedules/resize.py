"""Resizing of planes, from tables that say which pixels each pixel of the output is made of.

    nearest:  out[c, y, x] = in[c, rows[y], columns[x]]
    bilinear: between the pixels of the lower and upper row and column, by the weights of the upper ones

`architectures.resizing.resize_tables` computes the tables.  Strategy: none; LLVM gathers pixels where it can.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .workload import Workload


@dataclass(frozen=True)
class Resize(Workload):
    """`mode` is "nearest" (tables: rows, columns) or "bilinear" (lower, upper and weight of rows, then of columns)."""

    channels: int
    before: Plane
    after: Plane
    mode: str

    name = "resize"
    external = ("data", "other", "out")

    def __post_init__(self):
        if self.mode not in ("nearest", "bilinear"):
            raise ValueError(f"no resizing {self.mode}")

    def definition(self) -> tirx.PrimFunc:
        C, before, after, rows_in = self.channels, self.before, self.after, self.before.pitch
        H, W = after.height, after.width

        def between(low, high, weight):
            return low + (high - low) * weight

        @T.prim_func(private=True, s_tir=True)
        def nearest(
            data: T.Buffer((C, before.size), "float32"),
            rows: T.Buffer((H,), "int32"),
            columns: T.Buffer((W,), "int32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            for c, y, x in T.grid(C, H, W):
                out[c, y * after.pitch + x] = data[c, rows[y] * rows_in + columns[x]]

        @T.prim_func(private=True, s_tir=True)
        def bilinear(
            data: T.Buffer((C, before.size), "float32"),
            lower_rows: T.Buffer((H,), "int32"),
            upper_rows: T.Buffer((H,), "int32"),
            row_weights: T.Buffer((H,), "float32"),
            lower_columns: T.Buffer((W,), "int32"),
            upper_columns: T.Buffer((W,), "int32"),
            column_weights: T.Buffer((W,), "float32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            for c, y, x in T.grid(C, H, W):
                out[c, y * after.pitch + x] = between(
                    between(
                        data[c, lower_rows[y] * rows_in + lower_columns[x]],
                        data[c, lower_rows[y] * rows_in + upper_columns[x]],
                        column_weights[x],
                    ),
                    between(
                        data[c, upper_rows[y] * rows_in + lower_columns[x]],
                        data[c, upper_rows[y] * rows_in + upper_columns[x]],
                        column_weights[x],
                    ),
                    row_weights[y],
                )

        return nearest if self.mode == "nearest" else bilinear

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}
