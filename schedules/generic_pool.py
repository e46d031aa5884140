"""Pooling of any size, and of whole planes.

    max:       out[c, y, x] = act(max of the pixels of in[c] in the window at y, x)
    avg:       the same with their sum by the window's taps that lie in the padded plane (at its end it is cut off)
    valid_avg: the same with their mean

Strategy: a piece of a row is accumulated tap by tap, as in `generic_conv`.  Whole planes are summed in lanes and
in parts of rows, so that no sum has many terms: neither time nor accuracy suffers from one long chain of additions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import Knobs, Plane
from .taps import taps_at, taps_inside
from .workload import Workload

PIECE, LANES = 240, 16  # floats of the accumulators


@dataclass(frozen=True)
class GenericPool(Workload):
    """Kernel, stride and dilation are (height, width), `pad` is (top, left, bottom, right)."""

    kind: str
    channels: int
    before: Plane
    after: Plane
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = IDENTITY

    name = "generic_pool"
    generic = True
    external = ("data", "other", "out")

    def __post_init__(self):
        if self.kind not in ("max", "avg", "valid_avg"):
            raise ValueError(f"no pooling {self.kind}")
        if min(*self.kernel, *self.stride, *self.dilation) < 1:
            raise ValueError(f"a window of nothing: {self}")
        for side in (0, 1):
            padded = self.kind == "avg"
            if any(self._taps(position, side, padded) < 1 for position in range(self._extents[side])):
                raise ValueError(f"a window that lies outside the plane has no {self.kind}: {self}")

    @property
    def _extents(self) -> tuple[int, int]:
        return self.after.height, self.after.width

    def _taps(self, position, side: int, padded: bool):
        """How many taps at a position lie in the plane along a side, with its padding or without; also of a number."""
        shape = self.kernel[side], self.stride[side], self.pad[side], self.dilation[side]
        extent = (self.before.height, self.before.width)[side]
        first, behind = taps_at(position, extent + (self.pad[2 + side] if padded else 0), *shape)
        return behind if padded else behind - first

    def definition(self) -> tirx.PrimFunc:
        C, before, after = self.channels, self.before, self.after
        act, maximum = self.activation.apply, self.kind == "max"
        (KY, KX), (SY, SX), (DY, DX) = self.kernel, self.stride, self.dilation
        top, left = self.pad[:2]
        width = min(after.width, PIECE)
        start = -math.inf if maximum else 0.0

        rows, columns = taps_inside(before, after, (KY, KX), (SY, SX), (top, left), (DY, DX), width)

        def add(sofar, value):
            return T.max(sofar, value) if maximum else sofar + value

        def finish(value, y, x):
            if maximum:
                return act(value)
            taps = self._taps(y, 0, self.kind == "avg") * self._taps(x, 1, self.kind == "avg")
            return act(value / T.Cast("float32", taps))

        @T.prim_func(private=True, s_tir=True)
        def generic_pool(data: T.Buffer((C, before.size), "float32"), out: T.Buffer((C, after.size), "float32")):
            acc = T.sblock_alloc_buffer((width,), "float32")
            for c, y, piece in T.grid(C, after.height, -(-after.width // width)):
                for x in range(width):
                    acc[x] = T.float32(start)
                for ky in T.serial(rows(y)[0], T.max(*rows(y))):
                    for kx in range(KX):
                        for x in T.serial(columns(kx, piece * width)[0], T.max(*columns(kx, piece * width))):
                            acc[x] = add(
                                acc[x],
                                data[
                                    c,
                                    (y * SY - top + ky * DY) * before.pitch
                                    + (piece * width + x) * SX - left + kx * DX,
                                ],
                            )  # fmt: skip
                for x in T.serial(0, T.min(width, after.width - piece * width)):
                    out[c, y * after.pitch + piece * width + x] = finish(acc[x], y, piece * width + x)

        return generic_pool

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}


@dataclass(frozen=True)
class GlobalPool(Workload):
    """The maximum ("max") or mean ("avg") of each plane: out is (channels,)."""

    kind: str
    channels: int
    before: Plane
    activation: Activation = IDENTITY

    name = "global_pool"
    generic = True
    external = ("data", "other", "out")

    def __post_init__(self):
        if self.kind not in ("max", "avg"):
            raise ValueError(f"no pooling {self.kind}")

    def definition(self) -> tirx.PrimFunc:
        C, plane, act, maximum = self.channels, self.before, self.activation.apply, self.kind == "max"
        H, W, whole = plane.height, plane.width, plane.width // LANES
        rows = math.isqrt(H - 1) + 1
        start = -math.inf if maximum else 0.0

        def add(sofar, value):
            return T.max(sofar, value) if maximum else sofar + value

        def finish(value):
            return act(value if maximum else value / T.float32(H * W))

        @T.prim_func(private=True, s_tir=True)
        def global_pool(data: T.Buffer((C, plane.size), "float32"), out: T.Buffer((C,), "float32")):
            # Of the plane, of some of its rows, and of one row: each lane its own.
            acc = T.sblock_alloc_buffer((3, LANES), "float32")
            for c in range(C):
                for i in range(LANES):
                    acc[0, i] = T.float32(start)
                for part in range(-(-H // rows)):
                    for i in range(LANES):
                        acc[1, i] = T.float32(start)
                    for y in T.serial(part * rows, T.min(H, part * rows + rows)):
                        for i in range(LANES):
                            acc[2, i] = T.float32(start)
                        for x, i in T.grid(whole, LANES):
                            acc[2, i] = add(acc[2, i], data[c, y * plane.pitch + x * LANES + i])
                        for i in range(W - whole * LANES):
                            acc[2, i] = add(acc[2, i], data[c, y * plane.pitch + whole * LANES + i])
                        for i in range(LANES):
                            acc[1, i] = add(acc[1, i], acc[2, i])
                    for i in range(LANES):
                        acc[0, i] = add(acc[0, i], acc[1, i])
                for i in range(LANES - 1):
                    acc[0, 0] = add(acc[0, 0], acc[0, i + 1])
                out[c] = finish(acc[0, 0])

        return global_pool

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1}
