"""Activations, in the epilogue of a kernel or as a kernel of their own: one description for all."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .functions import cast, dtype_of, exp

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
        """The activation of a float32 or float16 expression, in its dtype; exponentials are computed in float32."""
        dtype = dtype_of(value)
        wide = cast(value, "float32") if self.kind == "sigmoid" else value

        def number(x):
            return tirx.const(float(x), dtype_of(wide))

        return cast(_APPLY[self.kind](wide, number(self.a), number(self.b), number), dtype)


_APPLY = {
    "identity": lambda x, a, b, n: x,
    "relu": lambda x, a, b, n: T.max(x, n(0)),
    "clip": lambda x, a, b, n: T.min(T.max(x, a), b),
    "leaky_relu": lambda x, a, b, n: T.Select(x >= n(0), x, a * x),
    "sigmoid": lambda x, a, b, n: n(1) / (n(1) + exp(-x)),
    "hard_sigmoid": lambda x, a, b, n: T.min(T.max(a * x + b, n(0)), n(1)),
    "hard_swish": lambda x, a, b, n: x * T.min(T.max(x * n(1 / 6) + n(0.5), n(0)), n(1)),
}

IDENTITY, RELU = Activation(), Activation("relu")
