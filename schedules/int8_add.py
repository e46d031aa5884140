"""The sum of two tensors of bytes, of a scale each, where no convolution adds while it stores.

    out = the byte of (data - zeros[0]) * weight[0] + (other - zeros[1]) * weight[1]          (`requantise`)

The loops are left to LLVM, as those of `elementwise` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .elementwise import require_same_extents
from .requantise import LIMITS, examples, requantised
from .taps import as_one_row
from .workload import Workload


@dataclass(frozen=True)
class Int8Add(Workload):
    """Parameters: weight float32 (2,), each input's scale over the output's; zeros int32 (2,); limits."""

    channels: int
    first: Plane
    second: Plane
    after: Plane

    name = "int8_add"

    def __post_init__(self):
        require_same_extents(self.first, self.second, self.after)

    def definition(self) -> tirx.PrimFunc:
        C = self.channels
        first, second, after = as_one_row(self.first, self.second, self.after)

        def number(byte, zero):
            return T.Cast("float32", T.Cast("int32", byte) - zero)

        @T.prim_func(private=True, s_tir=True)
        def add(
            data: T.Buffer((C, first.size), self.dtype),
            weight: T.Buffer((2,), "float32"),
            zeros: T.Buffer((2,), "int32"),
            limits: T.Buffer((LIMITS,), "int32"),
            other: T.Buffer((C, second.size), self.dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                beside = T.meta_var(number(other[c, y * second.pitch + x], zeros[1]) * weight[1])
                total = T.meta_var(tirx.call_intrin(
                    "float32", "tirx.fma", number(data[c, y * first.pitch + x], zeros[0]), weight[0], beside
                ))  # fmt: skip
                out[c, y * after.pitch + x] = requantised(total, T.float32(1), limits, self.dtype)

        return add

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        return (name == "data" and self.first == self.after) or (name == "other" and self.second == self.after)

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)
