"""Depthwise convolution of planes that lie anywhere in a root: a table says which plane each channel is.

Strategy: `depthwise`'s; the table costs a load for each channel and tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs
from .depthwise import Depthwise


@dataclass(frozen=True)
class StrewnDepthwise(Depthwise):
    """The channels are among `sources` planes."""

    sources: int = 1

    name = "strewn_depthwise"
    whole = ("data",)

    def source(self, table: Any, channel: tirx.Expr) -> tirx.Expr:
        return table[channel]

    def function(self, compute: Callable) -> tirx.PrimFunc:
        C, K, before, after = self.channels, self.kernel, self.before, self.after

        @T.prim_func(private=True, s_tir=True)
        def depthwise(
            data: T.Buffer((self.sources, before.size), "float32"),
            weight: T.Buffer((C, K * K + 1), "float32"),
            table: T.Buffer((C,), "int32"),
            out: T.Buffer((C, after.size), "float32"),
        ):
            compute(data, weight, table, out)

        return depthwise

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """The table spreads the channels evenly over all planes."""
        weight, bias, _ = super().examples(shapes, rng)
        return [weight, bias, np.arange(math.prod(shapes[2]), dtype=np.int32) * self.sources // self.channels]

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """Weight and bias as for `Depthwise`, then the planes of the channels."""
        weight, bias, table = arrays
        return [*super().pack(knobs, weight, bias), table.astype(np.int32)]
