"""The pixels of a region as planes of a fixed size, each bin from a plane of its own: position-sensitive RoI align.

Of R-FCN (J. Dai et al., arXiv:1605.06409), with the mean of 2x2 points of each bin between the pixels around each, half
a pixel's shift, as `Regions` has them in its mode "align", and as torchvision's `ps_roi_align`.  Channel c's bin (i, j)
is read in plane (c * rows + i) * columns + j, R-FCN's order.

Strategy: a bin's points are four, in one plane: nothing is shared between planes but the points' places.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .regions import POINTS, place_points
from .workload import INPUT, Operand, Workload


@dataclass(frozen=True)
class BinPlanes(Workload):
    """`channels` are the result's; `stride`: pixels of the picture for each pixel of the planes that are read."""

    channels: int
    before: Plane
    after: Plane
    stride: int

    name = "bin_planes"
    external = ("data", "region", "out")
    each = ("region",)

    def operands(self) -> tuple[Operand, ...]:
        return tuple(
            dataclasses.replace(operand, role=INPUT) if operand.name == "region" else operand
            for operand in super().operands()
        )

    def definition(self) -> tirx.PrimFunc:
        C, before, after, scale = self.channels, self.before, self.after, 1 / self.stride
        H, W, rows, columns = before.height, before.width, after.height, after.width

        @T.prim_func(private=True, s_tir=True)
        def bin_planes(
            data: T.Buffer((C * rows * columns, before.size), "float32"),
            region: T.Buffer((4, 1), "float32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            row = T.sblock_alloc_buffer((POINTS * rows,), "int32")
            column = T.sblock_alloc_buffer((POINTS * columns,), "int32")
            row_share = T.sblock_alloc_buffer((POINTS * rows,), "float32")
            column_share = T.sblock_alloc_buffer((POINTS * columns,), "float32")
            for c in range(C):
                place_points(region[1, 0], region[3, 0], scale, rows, H, row, row_share)
                place_points(region[0, 0], region[2, 0], scale, columns, W, column, column_share)
                for i, j in T.grid(rows, columns):
                    out[c, i * after.pitch + j] = T.float32(0)
                    for p, q, down, right in T.grid(POINTS, POINTS, 2, 2):
                        out[c, i * after.pitch + j] = out[c, i * after.pitch + j] + (
                            data[
                                (c * rows + i) * columns + j,
                                T.min(row[POINTS * i + p] + down, H - 1) * before.pitch
                                + T.min(column[POINTS * j + q] + right, W - 1),
                            ]
                            * T.if_then_else(
                                down == 0, T.float32(1) - row_share[POINTS * i + p], row_share[POINTS * i + p]
                            )
                            * T.if_then_else(
                                right == 0, T.float32(1) - column_share[POINTS * j + q], column_share[POINTS * j + q]
                            )
                            * T.float32(1 / POINTS**2)
                        )

        return bin_planes

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1}
