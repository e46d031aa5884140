"""Depthwise convolution of planes that lie anywhere in a root: a table says which plane each channel is.

Strategy: `depthwise`'s; the table costs a load for each channel and tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from .common import Knobs
from .depthwise import Depthwise
from .workload import Workload, spread


class FromTable(Workload):
    """A kernel of single channels, which are among `sources` planes; a table says which."""

    sources: int
    whole = ("data",)
    tabled = True

    @property
    def planes(self) -> int:
        return self.sources

    def source(self, table: Any, channel: tirx.Expr) -> tirx.Expr:
        return table[channel]


@dataclass(frozen=True)
class StrewnDepthwise(FromTable, Depthwise):
    """The channels are among `sources` planes."""

    sources: int = 1

    name = "strewn_depthwise"

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """The table spreads the channels evenly over all planes."""
        weight, bias, _ = super().examples(shapes, rng)
        return [weight, bias, spread(self.channels, self.sources)]

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """Weight and bias as for `Depthwise`, then the planes of the channels."""
        weight, bias, table = arrays
        return [*super().pack(knobs, weight, bias), table.astype(np.int32)]
