"""Activations, in the epilogue of a kernel or as a kernel of their own: one description for all."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .functions import exp

KINDS = ("identity", "relu", "clip", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_swish")


@dataclass(frozen=True)
class Activation:
    """`kind` is one of `KINDS`; `a` and `b` are its numbers.

    clip: a and b are the bounds; leaky_relu: a is the slope; hard_sigmoid: min(max(a * x + b, 0), 1).
    """

    kind: str = "identity"
    a: float = 0.0
    b: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is no activation")

    def __bool__(self) -> bool:
        return self.kind != "identity"

    def apply(self, value: tirx.Expr) -> tirx.Expr:
        """The activation of a float32 expression."""
        return _APPLY[self.kind](value, T.float32(self.a), T.float32(self.b))


_APPLY = {
    "identity": lambda x, a, b: x,
    "relu": lambda x, a, b: T.max(x, T.float32(0)),
    "clip": lambda x, a, b: T.min(T.max(x, a), b),
    "leaky_relu": lambda x, a, b: T.Select(x >= T.float32(0), x, a * x),
    "sigmoid": lambda x, a, b: T.float32(1) / (T.float32(1) + exp(-x)),
    "hard_sigmoid": lambda x, a, b: T.min(T.max(a * x + b, T.float32(0)), T.float32(1)),
    "hard_swish": lambda x, a, b: x * T.min(T.max(x * T.float32(1 / 6) + T.float32(0.5), T.float32(0)), T.float32(1)),
}

IDENTITY, RELU = Activation(), Activation("relu")
