"""What is left of the regions of a detector of two stages, side by side: region i becomes pixel i of every plane.

The library calls it once for each block of regions.

    out[c, i] = data[i, c]

Strategy: a block of regions at a time, whose lines stay in L1 until each channel of them is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .workload import Workload

BLOCK = 16  # regions: a line of the output


@dataclass(frozen=True)
class RegionPixels(Workload):
    """`pitch`: floats from a region's channels to the next one's.  `after` has a pixel for each region of a block."""

    channels: int
    pitch: int
    after: Plane

    name = "region_pixels"
    external = ("data", "out")
    gathers = ("data",)

    @property
    def gathered(self) -> int:
        return self.after.width

    def definition(self) -> tirx.PrimFunc:
        C, pitch, regions = self.channels, self.pitch, self.after.width

        @T.prim_func(private=True, s_tir=True)
        def region_pixels(
            data: T.Buffer(((regions - 1) * pitch + C,), "float32"), out: T.Buffer((C, self.after.size), "float32")
        ):
            for block, c in T.grid(-(-regions // BLOCK), C):
                for i in T.serial(0, T.min(BLOCK, regions - block * BLOCK)):
                    out[c, block * BLOCK + i] = data[(block * BLOCK + i) * pitch + c]

        return region_pixels

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"block": 1}
