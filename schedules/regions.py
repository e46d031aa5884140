"""The pixels of a region as planes of a fixed size: RoI max pooling and RoI align.

    max:   the region's corners, rounded to pixels, are cut into bins, which may overlap by a pixel; the largest of each
           (R. Girshick, arXiv:1504.08083, and py-faster-rcnn's roi_pooling_layer.cpp); 0 for an empty bin
    align: the mean of 2x2 points of each bin, between the pixels around each (K. He et al., arXiv:1703.06870, with
           half a pixel's shift, as torchvision's `aligned`)

Strategy: rows first and then columns, so that a bin's rows are read in vectors.  The library calls it once for each
region: a region's planes stay in the cache for what reads them.

RoI max pooling reads whole rows of the plane, and of all bins of a row the first column, the second one and so on: the
loops whose bounds are known are those that LLVM makes vectors of.  A bin with fewer columns reads its last one again.
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
    """The position of a point, limited to the plane."""
    bin_size = (end - start) * T.float32(scale) / T.float32(bins)
    at = (
        start * T.float32(scale)
        - T.float32(0.5)
        + bin_size * ((T.Cast("float32", place) + T.float32(0.5)) / T.float32(POINTS))
    )
    return T.min(T.max(at, T.float32(0)), T.float32(most))


@T.macro
def place_points(start, end, scale, bins, extent, first, share):
    """Writes for each point of RoI align along one side the first of its two pixels, and the share of the second.

    The region reaches from `start` to `end` in pixels of the picture; a pixel of the plane, which has `extent` of them,
    is 1 / scale pixels of the picture.
    """
    for p in range(POINTS * bins):
        share[p] = _position(start, end, scale, p, bins, extent - 1)
        first[p] = T.min(T.Cast("int32", share[p]), T.max(extent - 2, 0))
        share[p] = share[p] - T.Cast("float32", first[p])


def _corner(edge, stride):
    return T.Cast("int32", T.floor(edge / T.float32(stride) + T.float32(0.5)))


@T.macro
def place_bins(start, end, stride, bins, extent, first, behind):
    """Writes for each bin of RoI max pooling along one side its first pixel, and the pixel behind its last.

    The region reaches from `start` to `end` in pixels of the picture; a pixel of the plane, which has `extent` of them,
    is `stride` pixels of the picture.
    """
    for b in range(bins):
        first[b] = T.max(_corner(end, stride) - _corner(start, stride) + 1, 1)
        behind[b] = T.max(T.min(_corner(start, stride) + ((b + 1) * first[b] + bins - 1) // bins, extent), 0)
        first[b] = T.max(T.min(_corner(start, stride) + b * first[b] // bins, extent), 0)


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

        @T.prim_func(private=True, s_tir=True)
        def regions(
            data: T.Buffer((C, before.size), "float32"),
            region: T.Buffer((4, 1), "float32"),
            out: T.Buffer((C, after.size), "float32"),
            scratch: T.Buffer((W + 1,), "float32"),
        ):
            top = T.sblock_alloc_buffer((rows,), "int32")
            bottom = T.sblock_alloc_buffer((rows,), "int32")
            left = T.sblock_alloc_buffer((columns,), "int32")
            right = T.sblock_alloc_buffer((columns,), "int32")
            most = T.sblock_alloc_buffer((columns,), "float32")
            widest = T.sblock_alloc_buffer((1,), "int32")
            for block in range(-(-C // BLOCK)):
                place_bins(region[1, 0], region[3, 0], stride, rows, H, top, bottom)
                place_bins(region[0, 0], region[2, 0], stride, columns, W, left, right)
                widest[0] = 1
                for j in range(columns):
                    widest[0] = T.max(widest[0], right[j] - left[j])
                    if right[j] <= left[j]:  # an empty bin, of the number behind the row
                        left[j] = W
                        right[j] = W + 1
                for c in T.serial(0, T.min(BLOCK, C - block * BLOCK)):
                    for i in range(rows):
                        for x in range(W + 1):
                            scratch[x] = T.float32(-math.inf)
                        for y in T.serial(top[i], bottom[i]):
                            for x in range(W):
                                scratch[x] = T.max(scratch[x], data[block * BLOCK + c, y * before.pitch + x])
                        for j in range(columns):
                            most[j] = scratch[left[j]]
                        for tap in T.serial(1, widest[0]):
                            for j in range(columns):
                                most[j] = T.max(most[j], scratch[T.min(left[j] + tap, right[j] - 1)])
                        for j in range(columns):
                            out[block * BLOCK + c, i * after.pitch + j] = T.Select(
                                most[j] == T.float32(-math.inf), T.float32(0), most[j]
                            )

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
