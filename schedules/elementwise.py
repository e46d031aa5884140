"""What is computed pixel by pixel: an activation, a scale and bias of each channel, a sum or product of two tensors.

unary:  out = act(data)
scale:  out[c] = act(data[c] * weight[c] + bias[c])
binary: out = act(data + other) or act(data * other), `other` planes or a number for each channel
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import Knobs, Plane
from .taps import as_one_row
from .workload import Workload


def require_same_extents(*planes: Plane) -> None:
    if len({(plane.height, plane.width) for plane in planes}) > 1:
        raise ValueError(f"planes of different heights or widths: {planes}")


@dataclass(frozen=True)
class Unary(Workload):
    channels: int
    before: Plane
    after: Plane
    activation: Activation = IDENTITY

    name = "unary"
    external = ("data", "other", "out")

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        C, act = self.channels, self.activation.apply
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def unary(data: T.Buffer((C, before.size), self.dtype), out: T.Buffer((C, after.size), self.dtype)):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = act(data[c, y * before.pitch + x])

        return unary

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        return name == "data" and self.before == self.after


@dataclass(frozen=True)
class Scale(Workload):
    """Weight and bias: (channels,) each."""

    channels: int
    before: Plane
    after: Plane
    activation: Activation = IDENTITY

    name = "scale"
    external = ("data", "other", "out")

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    @property
    def multiply_adds(self) -> int:
        return self.channels * self.after.height * self.after.width

    def definition(self) -> tirx.PrimFunc:
        C, act = self.channels, self.activation.apply
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def scale(
            data: T.Buffer((C, before.size), self.dtype),
            weight: T.Buffer((C,), self.dtype),
            bias: T.Buffer((C,), self.dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = act(data[c, y * before.pitch + x] * weight[c] + bias[c])

        return scale

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        return name == "data" and self.before == self.after


@dataclass(frozen=True)
class Binary(Workload):
    """`operation` is "add" or "multiply".  `per_channel`: `other` is (channels,), and `second` says nothing."""

    operation: str
    channels: int
    first: Plane
    second: Plane
    after: Plane
    per_channel: bool = False
    activation: Activation = IDENTITY

    name = "binary"
    external = ("data", "other", "out")

    def __post_init__(self):
        if self.operation not in ("add", "multiply"):
            raise ValueError(f"no operation {self.operation}")
        require_same_extents(self.first, self.after, *([] if self.per_channel else [self.second]))

    def definition(self) -> tirx.PrimFunc:
        C, act = self.channels, self.activation.apply
        # A number for each channel: one pixel, wherever the other ones lie.
        first, after, second = (
            (*as_one_row(self.first, self.after), Plane(1, 1, 0, 1))
            if self.per_channel
            else as_one_row(self.first, self.after, self.second)
        )
        column = 0 if self.per_channel else 1

        def of(a, b):
            return act(a + b if self.operation == "add" else a * b)

        @T.prim_func(private=True, s_tir=True)
        def binary(
            data: T.Buffer((C, first.size), self.dtype),
            other: T.Buffer((C, second.size), self.dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = of(data[c, y * first.pitch + x], other[c, y * second.pitch + x * column])

        return binary

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        if name == "other":
            return not self.per_channel and self.second == self.after
        return name == "data" and self.first == self.after
