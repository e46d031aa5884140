"""Channel attention of bytes where no convolution can scale what it stores: each channel times its factor.

    out[c, y, x] = the byte of (in[c, y, x] - zero) * (weight[0] * scale[c])                 (`requantise`)
    out[c, y, x] = the byte of (in[c, y, x] - zero) * (weight[0] * (scale[c] - middle[0]))   `of_bytes`

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
from .workload import Workload, leave_out


@dataclass(frozen=True)
class Int8Attention(Workload):
    """Parameters: weight float32 (1,), the input's scale over the output's; limits, the last of them the input's zero.

    Factors: float32 (channels,); with `of_bytes` bytes, whose scale the weight has, too, and whose zero is a further
    parameter, int32 (1,).
    """

    channels: int
    before: Plane
    after: Plane
    of_bytes: bool = False

    name = "int8_attention"

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        C, dtype = self.channels, self.dtype if self.of_bytes else "float32"
        before, after = as_one_row(self.before, self.after)

        def factor(number, middle):
            return T.Cast("float32", T.Cast("int32", number) - middle) if self.of_bytes else number

        @T.prim_func(private=True, s_tir=True)
        def attention(
            data: T.Buffer((C, before.size), self.dtype),
            weight: T.Buffer((1,), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            middle: T.Buffer((1,), "int32"),
            scale: T.Buffer((C,), dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                there = T.meta_var(T.Cast("int32", data[c, y * before.pitch + x]) - limits[LIMITS - 1])
                scaled = T.meta_var(weight[0] * factor(scale[c], middle[0]))
                out[c, y * after.pitch + x] = requantised(there, scaled, limits, self.dtype)

        return attention if self.of_bytes else leave_out(attention, "middle")

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        return name == "data" and self.before == self.after

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes)
