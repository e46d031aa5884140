"""Softmax over each of several groups of channels, or its logarithm: the classes of each default box of a map.

    out[g, c] = exp(in[g, c] - max) / sum over d of exp(in[g, d] - max), max the largest of in[g, d]

Strategy: as `softmax`, but the exponentials are computed once and kept in the output until their sum is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .elementwise import require_same_extents
from .functions import exp, log
from .taps import as_one_row
from .workload import Workload

PIECE = 120  # pixels whose maxima and sums are kept


@dataclass(frozen=True)
class GroupedSoftmax(Workload):
    """`channels` are those of a group."""

    groups: int
    channels: int
    before: Plane
    after: Plane
    log: bool = False

    name = "grouped_softmax"
    external = ("data", "out")

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        G, C, (before, after) = self.groups, self.channels, as_one_row(self.before, self.after)
        width = min(after.width, PIECE)

        def kept(above):
            return above if self.log else exp(above)

        def summand(value):
            return exp(value) if self.log else value

        def finish(value, total):
            return value - log(total) if self.log else value / total

        @T.prim_func(private=True, s_tir=True)
        def grouped_softmax(
            data: T.Buffer((G * C, before.size), "float32"), out: T.Buffer((G * C, after.size), "float32")
        ):
            largest = T.sblock_alloc_buffer((width,), "float32")
            total = T.sblock_alloc_buffer((width,), "float32")
            for g, y, piece in T.grid(G, after.height, -(-after.width // width)):
                for x in range(width):
                    largest[x] = T.float32(-math.inf)
                    total[x] = T.float32(0)
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        largest[x] = T.max(largest[x], data[g * C + c, y * before.pitch + piece * width + x])
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        out[g * C + c, y * after.pitch + piece * width + x] = kept(
                            data[g * C + c, y * before.pitch + piece * width + x] - largest[x]
                        )
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        total[x] = total[x] + summand(out[g * C + c, y * after.pitch + piece * width + x])
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        out[g * C + c, y * after.pitch + piece * width + x] = finish(
                            out[g * C + c, y * after.pitch + piece * width + x], total[x]
                        )

        return grouped_softmax

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"g": 1, "y": 1, "piece": 1}

    def may_replace(self, name: str) -> bool:
        return name == "data" and self.before == self.after
