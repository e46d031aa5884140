"""Softmax over the channels of each pixel, or its logarithm.

    out[c] = exp(in[c] - max) / sum over d of exp(in[d] - max), max the largest of in[d]: no exponential overflows

Strategy: a piece of a row at a time, the channels in three rounds: maximum, sum, result.
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
class Softmax(Workload):
    channels: int
    before: Plane
    after: Plane
    log: bool = False

    name = "softmax"
    external = ("data", "other", "out")

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        C, (before, after) = self.channels, as_one_row(self.before, self.after)
        width = min(after.width, PIECE)

        def finish(above, total):
            return above - log(total) if self.log else exp(above) / total

        @T.prim_func(private=True, s_tir=True)
        def softmax(data: T.Buffer((C, before.size), "float32"), out: T.Buffer((C, after.size), "float32")):
            largest = T.sblock_alloc_buffer((width,), "float32")
            total = T.sblock_alloc_buffer((width,), "float32")
            for y, piece in T.grid(after.height, -(-after.width // width)):
                for x in range(width):
                    largest[x] = T.float32(-math.inf)
                    total[x] = T.float32(0)
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        largest[x] = T.max(largest[x], data[c, y * before.pitch + piece * width + x])
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        total[x] = total[x] + exp(data[c, y * before.pitch + piece * width + x] - largest[x])
                for c in range(C):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        out[c, y * after.pitch + piece * width + x] = finish(
                            data[c, y * before.pitch + piece * width + x] - largest[x], total[x]
                        )

        return softmax

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"y": 1, "piece": 1}
