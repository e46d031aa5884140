"""Windows of bytes of any size, wherever they lie: convolutions, pooling, and normalisation across channels.

    conv: sum = bias[o] + sum over i, ky, kx of weight[o, i, ky, kx] * (in[i, y', x'] - zero);  byte of sum * factors[o]
    max:  the largest byte in the window
    avg:  sum of (in - zero) in the window;  byte of sum * factors[c] where every window has all its taps,
          else of sum * (factors[c] / taps)
    lrn:  byte of (in - zero) * (weight[2] / (r * sqrt(r))), r = sqrt(weight[0] * sum of (in - zero)^2 + weight[1])

What lies outside of the plane adds nothing.  Strategies: those of `generic_conv` and `generic_pool`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane, divisor_up_to
from .elementwise import require_same_extents
from .generic_conv import OUTPUTS, PIECE, GenericConv
from .generic_pool import GenericPool
from .requantise import LIMITS, examples, requantised, requantised_sum
from .taps import as_one_row, taps_inside
from .workload import Workload, leave_out


def _number(byte: tirx.Expr, limits: tirx.Var) -> tirx.Expr:
    """The byte less that of zero, int32."""
    return T.Cast("int32", byte) - limits[LIMITS - 1]


@dataclass(frozen=True)
class Int8GenericConv(GenericConv):
    """Parameters: weight int8 (groups * outputs, inputs, kernel height, kernel width); bias int32
    (groups * outputs,); factors float32 (`requantise.factors_of`); limits.  `short`: whether sums are (`requantise`).
    """

    short: bool = False

    name = "int8_generic_conv"

    def definition(self) -> tirx.PrimFunc:
        G, I, O = self.groups, self.inputs, self.outputs  # noqa: E741
        (KY, KX), (SY, SX), (top, left), (DY, DX) = self.kernel, self.stride, self.pad, self.dilation
        before, after = self.before, self.after
        width, tile = min(after.width, PIECE), divisor_up_to(O, OUTPUTS)

        rows, columns = taps_inside(before, after, (KY, KX), (SY, SX), (top, left), (DY, DX), width)

        @T.prim_func(private=True, s_tir=True)
        def generic_conv(
            data: T.Buffer((G * I, before.size), self.dtype),
            weight: T.Buffer((G * O, I, KY, KX), "int8"),
            bias: T.Buffer((G * O,), "int32"),
            factors: T.Buffer((G * O, 2) if self.short else (G * O,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((G * O, after.size), self.dtype),
        ):
            acc = T.sblock_alloc_buffer((tile, width), "int32")
            for g, first, y, piece in T.grid(G, O // tile, after.height, -(-after.width // width)):
                for o, x in T.grid(tile, width):
                    acc[o, x] = bias[g * O + first * tile + o]
                for i in range(I):
                    for ky in T.serial(rows(y)[0], T.max(*rows(y))):
                        for kx in range(KX):
                            for x in T.serial(columns(kx, piece * width)[0], T.max(*columns(kx, piece * width))):
                                for o in T.unroll(tile):
                                    acc[o, x] = acc[o, x] + T.Cast(
                                        "int32", weight[g * O + first * tile + o, i, ky, kx]
                                    ) * _number(
                                        data[
                                            g * I + i,
                                            (y * SY - top + ky * DY) * before.pitch
                                            + (piece * width + x) * SX - left + kx * DX,
                                        ], limits
                                    )  # fmt: skip
                for o in range(tile):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        out[g * O + first * tile + o, y * after.pitch + piece * width + x] = requantised_sum(
                            acc[o, x], factors, (g * O + first * tile + o,), limits, self.dtype, self.short
                        )

        return generic_conv

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))


@dataclass(frozen=True)
class Int8GenericPool(GenericPool):
    """Parameters, but of the maximum: factors float32 (channels,); limits, the last of them the input's zero."""

    name = "int8_generic_pool"

    def __post_init__(self):
        super().__post_init__()
        if self.activation:
            raise ValueError(f"limits are the activation: {self}")

    @property
    def _is_whole(self) -> bool:
        """Whether every window has all its taps."""
        extents = zip(self._extents, self.kernel)
        return all(
            self._taps(position, side, self.kind == "avg") == taps
            for side, (extent, taps) in enumerate(extents) for position in range(extent)
        )  # fmt: skip

    def definition(self) -> tirx.PrimFunc:
        C, before, after, maximum = self.channels, self.before, self.after, self.kind == "max"
        (KY, KX), (SY, SX), (DY, DX) = self.kernel, self.stride, self.dilation
        (top, left), whole, dtype = self.pad[:2], self._is_whole, self.dtype
        width = min(after.width, PIECE)
        start = -128 if maximum else 0

        rows, columns = taps_inside(before, after, (KY, KX), (SY, SX), (top, left), (DY, DX), width)

        def add(sofar, byte, limits):
            return T.max(sofar, T.Cast("int32", byte)) if maximum else sofar + _number(byte, limits)

        def finish(value, factor, limits, y, x):
            if maximum:
                return T.Cast(dtype, value)
            taps = self._taps(y, 0, self.kind == "avg") * self._taps(x, 1, self.kind == "avg")
            return requantised(value, factor if whole else factor / T.Cast("float32", taps), limits, dtype)

        @T.prim_func(private=True, s_tir=True)
        def generic_pool(
            data: T.Buffer((C, before.size), dtype),
            factors: T.Buffer((C,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), dtype),
        ):
            acc = T.sblock_alloc_buffer((width,), "int32")
            for c, y, piece in T.grid(C, after.height, -(-after.width // width)):
                for x in range(width):
                    acc[x] = start
                for ky in T.serial(rows(y)[0], T.max(*rows(y))):
                    for kx in range(KX):
                        for x in T.serial(columns(kx, piece * width)[0], T.max(*columns(kx, piece * width))):
                            acc[x] = add(
                                acc[x],
                                data[
                                    c,
                                    (y * SY - top + ky * DY) * before.pitch
                                    + (piece * width + x) * SX - left + kx * DX,
                                ], limits
                            )  # fmt: skip
                for x in T.serial(0, T.min(width, after.width - piece * width)):
                    out[c, y * after.pitch + piece * width + x] = finish(
                        acc[x], factors[c], limits, y, piece * width + x
                    )

        return leave_out(generic_pool, "factors", "limits") if maximum else generic_pool

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)


@dataclass(frozen=True)
class Int8AdaptiveAvgPool(Workload):
    """Each output is the mean of its part of the plane.

    Parameters: factors float32 (channels,); limits, the last of them the input's zero.
    """

    channels: int
    before: Plane
    after: Plane

    name = "int8_adaptive_avg_pool"
    generic = True

    def definition(self) -> tirx.PrimFunc:
        C, before, after = self.channels, self.before, self.after

        def first(i, extent, bins):
            return T.floordiv(i * extent, bins)

        def behind(i, extent, bins):
            return T.floordiv((i + 1) * extent + bins - 1, bins)

        def part(i, j):
            sides = ((i, before.height, after.height), (j, before.width, after.width))
            return [(first(*side), behind(*side)) for side in sides]

        def taps(i, j):
            (top, bottom), (left, right) = part(i, j)
            return T.Cast("float32", (bottom - top) * (right - left))

        @T.prim_func(private=True, s_tir=True)
        def adaptive_avg_pool(
            data: T.Buffer((C, before.size), self.dtype),
            factors: T.Buffer((C,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            acc = T.sblock_alloc_buffer((1,), "int32")
            for c, i, j in T.grid(C, after.height, after.width):
                acc[0] = 0
                for y in T.serial(*part(i, j)[0]):
                    for x in T.serial(*part(i, j)[1]):
                        acc[0] = acc[0] + _number(data[c, y * before.pitch + x], limits)
                out[c, i * after.pitch + j] = requantised(acc[0], factors[c] / taps(i, j), limits, self.dtype)

        return adaptive_avg_pool

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "i": 1}

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)


@dataclass(frozen=True)
class Int8LRN(Workload):
    """Of the exponent 3/4, whose roots and quotient are rounded alike on every processor.

    `size` channels from `ahead` in front of each are squared.  Parameters: weight float32 (3,), alpha / size times the
    square of the input's scale, k, and the input's scale over the output's; limits, the last of them the input's zero.
    """

    channels: int
    before: Plane
    after: Plane
    size: int
    ahead: int

    name = "int8_lrn"
    generic = True

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        C, size, ahead = self.channels, self.size, self.ahead
        before, after = as_one_row(self.before, self.after)
        width = min(after.width, 4 * PIECE)

        def window(c):
            first = T.max(c - ahead, 0)
            return first, T.max(first, T.min(c - ahead + size, C))

        def square(byte, limits):
            return _number(byte, limits) * _number(byte, limits)

        @T.prim_func(private=True, s_tir=True)
        def lrn(
            data: T.Buffer((C, before.size), self.dtype),
            weight: T.Buffer((3,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            acc = T.sblock_alloc_buffer((width,), "int32")
            root = T.sblock_alloc_buffer((width,), "float32")
            for c, y, piece in T.grid(C, after.height, -(-after.width // width)):
                for x in range(width):
                    acc[x] = 0
                for d in T.serial(*window(c)):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        acc[x] = acc[x] + square(data[d, y * before.pitch + piece * width + x], limits)
                for x in T.serial(0, T.min(width, after.width - piece * width)):
                    root[x] = T.sqrt(
                        tirx.call_intrin("float32", "tirx.fma", T.Cast("float32", acc[x]), weight[0], weight[1])
                    )
                for x in T.serial(0, T.min(width, after.width - piece * width)):
                    out[c, y * after.pitch + piece * width + x] = requantised(
                        _number(data[c, y * before.pitch + piece * width + x], limits),
                        weight[2] / (root[x] * T.sqrt(root[x])), limits, self.dtype,
                    )  # fmt: skip

        return lrn

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1, "piece": 1}

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)
