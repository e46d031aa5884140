"""The first convolution of a network in int8: it reads the caller's float32 picture.

    q[k, y, x]   = the byte of in[k, y, x] * entry_factor (`requantise`)
    sum[o, y, x] = bias[o] + sum over k, ky, kx of weight[o, k, ky, kx] * q[k, y*s + ky - p, x*s + kx - p]
    out[o, y, x] = the byte of sum * factors[o]

Strategy: `int8_conv`'s.  As rows are copied, floats become bytes.  `Int8Entry` makes bytes of the picture where no
stem does, and `Int8Exit` floats of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .elementwise import require_same_extents
from .int8_conv import Int8Conv
from .requantise import LIMITS, examples, requantised, requantised_bits
from .taps import as_one_row
from .workload import Workload


@dataclass(frozen=True)
class Int8Stem(Int8Conv):
    """There is one group.

    Further parameters: entry_factor float32 (1,); entry_limits of the picture's bytes.
    """

    channels: int = 3

    name = "int8_stem"
    entry = True

    def __post_init__(self):
        super().__post_init__()
        if self.groups != 1:
            raise ValueError(f"no stem: {self}")

    def byte_of(self, source: Any) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
        data, scale, bounds = source
        return lambda channel, place: T.bitwise_and(
            requantised_bits(data[channel, place], scale[0], bounds), T.int32(255)
        )

    def source_of(self, data: Any, limits: Any, entry_factor: Any, entry_limits: Any) -> Any:
        return data, entry_factor, entry_limits

    def regions(self, data: Any, limits: Any, entry_factor: Any, entry_limits: Any) -> list[tirx.BufferRegion]:
        return [data[0 : self.channels, 0 : self.before.size], entry_factor[0:1], entry_limits[0:LIMITS]]


@dataclass(frozen=True)
class _End(Workload):
    channels: int
    before: Plane
    after: Plane

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)


@dataclass(frozen=True)
class Int8Entry(_End):
    """out = the byte of data * factor.  Parameters: factor float32 (1,), limits."""

    name = "int8_entry"
    external = ("data",)

    def definition(self) -> tirx.PrimFunc:
        C = self.channels
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def entry(
            data: T.Buffer((C, before.size), "float32"),
            factor: T.Buffer((1,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = requantised(data[c, y * before.pitch + x], factor[0], limits, self.dtype)

        return entry


@dataclass(frozen=True)
class Int8Exit(_End):
    """out = (data - zero) * factor, float32.  Parameters: factor float32 (1,); limits, the last of them zero."""

    name = "int8_exit"
    external = ("out",)

    def definition(self) -> tirx.PrimFunc:
        C = self.channels
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def leave(
            data: T.Buffer((C, before.size), self.dtype),
            factor: T.Buffer((1,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                there = T.meta_var(T.Cast("int32", data[c, y * before.pitch + x]) - limits[LIMITS - 1])
                out[c, y * after.pitch + x] = T.Cast("float32", there) * factor[0]

        return leave
