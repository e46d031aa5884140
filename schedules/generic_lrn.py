"""Local response normalisation across channels, with any window and exponent.

    out[c] = in[c] / (k + alpha / size * sum over d = c - ahead .. c - ahead + size - 1 of in[d]^2) ^ beta

Channels that do not exist add nothing.  Strategy: a piece of a row at a time, so that LLVM makes vectors of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .elementwise import require_same_extents
from .functions import power
from .taps import as_one_row
from .workload import Workload

PIECE = 240  # pixels whose sums are kept


@dataclass(frozen=True)
class GenericLRN(Workload):
    channels: int
    before: Plane
    after: Plane
    size: int
    ahead: int
    alpha: float
    beta: float
    k: float

    name = "generic_lrn"
    generic = True
    external = ("data", "other", "out")

    def __post_init__(self):
        require_same_extents(self.before, self.after)
        if self.size < 1 or min(self.alpha, self.beta) < 0 or self.k < 1e-30:
            raise ValueError(f"a power of what may not be positive: {self}")

    def definition(self) -> tirx.PrimFunc:
        C, size, ahead, beta, k, scale = (
            self.channels, self.size, self.ahead, self.beta, self.k, self.alpha / self.size,
        )  # fmt: skip
        before, after = as_one_row(self.before, self.after)
        width = min(after.width, PIECE)

        def window(c):
            first = T.max(c - ahead, 0)
            return first, T.max(first, T.min(c - ahead + size, C))

        @T.prim_func(private=True, s_tir=True)
        def generic_lrn(data: T.Buffer((C, before.size), "float32"), out: T.Buffer((C, after.size), "float32")):
            acc = T.sblock_alloc_buffer((width,), "float32")
            for c, y, piece in T.grid(C, after.height, -(-after.width // width)):
                for x in range(width):
                    acc[x] = T.float32(0)
                for d in T.serial(*window(c)):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        acc[x] = (
                            acc[x]
                            + data[d, y * before.pitch + piece * width + x]
                            * data[d, y * before.pitch + piece * width + x]
                        )
                for x in T.serial(0, T.min(width, after.width - piece * width)):
                    out[c, y * after.pitch + piece * width + x] = data[c, y * before.pitch + piece * width + x] * power(
                        T.float32(k) + T.float32(scale) * acc[x], -beta
                    )

        return generic_lrn

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1, "piece": 1}
