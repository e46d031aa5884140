"""The pixels of a region as planes of a fixed size: RoI max pooling and RoI align.

    max:   the region's corners, rounded to pixels, are cut into bins, which may overlap by a pixel; the largest of each
           (R. Girshick, arXiv:1504.08083, and py-faster-rcnn's roi_pooling_layer.cpp); 0 for an empty bin
    align: the mean of 2x2 points of each bin, between the pixels around each (K. He et al., arXiv:1703.06870, with
           half a pixel's shift, as torchvision's `aligned`)

Strategy: rows first and then columns, so that a bin's rows are read in vectors, and only the columns of the region.
The library calls it once for each region: a region's planes stay in the cache for what reads them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .workload import INPUT, Operand, Workload

BLOCK = 16  # channels that share what is computed of a region
POINTS = 2  # of a bin, along each axis


def _position(start, end, scale, place, bins, most):
    """Of a point, between the first pixel and the last."""
    bin_size = (end - start) * T.float32(scale) / T.float32(bins)
    at = (
        start * T.float32(scale)
        - T.float32(0.5)
        + bin_size * ((T.Cast("float32", place) + T.float32(0.5)) / T.float32(POINTS))
    )
    return T.min(T.max(at, T.float32(0)), T.float32(most))


@T.macro
def place_points(start, end, scale, bins, extent, first, share):
    """Of the points of RoI align along one side: the first of the two pixels around each, and the second one's share.

    The region is from `start` to `end` in pixels of the picture, of which one of the `extent` here has 1 / scale.
    """
    for p in range(POINTS * bins):
        share[p] = _position(start, end, scale, p, bins, extent - 1)
        first[p] = T.min(T.Cast("int32", share[p]), T.max(extent - 2, 0))
        share[p] = share[p] - T.Cast("float32", first[p])


@dataclass(frozen=True)
class Regions(Workload):
    """`stride`: pixels of the picture, in which a region's edges are, for each pixel of the planes that are read."""

    channels: int
    before: Plane
    after: Plane
    mode: str
    stride: int

    name = "regions"
    external = ("data", "region", "out")
    own_scratch = ("scratch",)
    each = ("region",)

    def __post_init__(self):
        if self.mode not in ("max", "align"):
            raise ValueError(f"no pooling {self.mode}")

    def operands(self) -> tuple[Operand, ...]:
        return tuple(
            dataclasses.replace(operand, role=INPUT) if operand.name == "region" else operand
            for operand in super().operands()
        )

    def definition(self) -> tirx.PrimFunc:
        return self._max() if self.mode == "max" else self._align()

    def _max(self) -> tirx.PrimFunc:
        C, before, after, stride = self.channels, self.before, self.after, self.stride
        H, W, rows, columns = before.height, before.width, after.height, after.width

        def corner(edge):
            return T.Cast("int32", T.floor(edge / T.float32(stride) + T.float32(0.5)))

        def inside(place, most):
            return T.max(T.min(place, most), 0)

        @T.prim_func(private=True, s_tir=True)
        def regions(
            data: T.Buffer((C, before.size), "float32"),
            region: T.Buffer((4, 1), "float32"),
            out: T.Buffer((C, after.size), "float32"),
            scratch: T.Buffer((rows * W,), "float32"),
        ):
            first = T.sblock_alloc_buffer((2,), "int32")
            span = T.sblock_alloc_buffer((2,), "int32")
            for block in range(-(-C // BLOCK)):
                for axis in range(2):
                    first[axis] = corner(region[axis, 0])
                    span[axis] = T.max(corner(region[axis + 2, 0]) - corner(region[axis, 0]) + 1, 1)
                for c in T.serial(0, T.min(BLOCK, C - block * BLOCK)):
                    for i in range(rows):
                        for x in T.serial(inside(first[0], W), inside(first[0] + span[0], W)):
                            scratch[i * W + x] = T.float32(-math.inf)
                        for y in T.serial(
                            inside(first[1] + i * span[1] // rows, H),
                            inside(first[1] + ((i + 1) * span[1] + rows - 1) // rows, H),
                        ):
                            for x in T.serial(inside(first[0], W), inside(first[0] + span[0], W)):
                                scratch[i * W + x] = T.max(
                                    scratch[i * W + x], data[block * BLOCK + c, y * before.pitch + x]
                                )
                    for i, j in T.grid(rows, columns):
                        out[block * BLOCK + c, i * after.pitch + j] = T.float32(-math.inf)
                        for x in T.serial(
                            inside(first[0] + j * span[0] // columns, W),
                            inside(first[0] + ((j + 1) * span[0] + columns - 1) // columns, W),
                        ):
                            out[block * BLOCK + c, i * after.pitch + j] = T.max(
                                out[block * BLOCK + c, i * after.pitch + j], scratch[i * W + x]
                            )
                        if out[block * BLOCK + c, i * after.pitch + j] == T.float32(-math.inf):
                            out[block * BLOCK + c, i * after.pitch + j] = T.float32(0)

        return regions

    def _align(self) -> tirx.PrimFunc:
        C, before, after, scale = self.channels, self.before, self.after, 1 / self.stride
        H, W, rows, columns = before.height, before.width, after.height, after.width

        @T.prim_func(private=True, s_tir=True)
        def regions(
            data: T.Buffer((C, before.size), "float32"),
            region: T.Buffer((4, 1), "float32"),
            out: T.Buffer((C, after.size), "float32"),
            scratch: T.Buffer((rows * W,), "float32"),
        ):
            row = T.sblock_alloc_buffer((POINTS * rows,), "int32")
            column = T.sblock_alloc_buffer((POINTS * columns,), "int32")
            row_share = T.sblock_alloc_buffer((POINTS * rows,), "float32")
            column_share = T.sblock_alloc_buffer((POINTS * columns,), "float32")
            for block in range(-(-C // BLOCK)):
                place_points(region[1, 0], region[3, 0], scale, rows, H, row, row_share)
                place_points(region[0, 0], region[2, 0], scale, columns, W, column, column_share)
                for c in T.serial(0, T.min(BLOCK, C - block * BLOCK)):
                    for i in range(rows):
                        for x in T.serial(column[0], T.min(column[POINTS * columns - 1] + 2, W)):
                            scratch[i * W + x] = T.float32(0)
                        for p in range(POINTS):
                            for x in T.serial(column[0], T.min(column[POINTS * columns - 1] + 2, W)):
                                scratch[i * W + x] = scratch[i * W + x] + (
                                    data[block * BLOCK + c, row[POINTS * i + p] * before.pitch + x]
                                    * (T.float32(1) - row_share[POINTS * i + p])
                                    + data[
                                        block * BLOCK + c,
                                        T.min(row[POINTS * i + p] + 1, H - 1) * before.pitch + x,
                                    ]
                                    * row_share[POINTS * i + p]
                                )
                    for i, j in T.grid(rows, columns):
                        out[block * BLOCK + c, i * after.pitch + j] = T.float32(0)
                        for p in range(POINTS):
                            out[block * BLOCK + c, i * after.pitch + j] = out[
                                block * BLOCK + c, i * after.pitch + j
                            ] + T.float32(1 / POINTS**2) * (
                                scratch[i * W + column[POINTS * j + p]] * (T.float32(1) - column_share[POINTS * j + p])
                                + scratch[i * W + T.min(column[POINTS * j + p] + 1, W - 1)]
                                * column_share[POINTS * j + p]
                            )

        return regions

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"block": 1}
