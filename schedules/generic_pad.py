"""Padding and cropping: pixels around the planes, channels in front of and behind them.

constant: out[c, y, x] = in[c - front, y - top, x - left], outside `value`
edge:     the nearest pixel instead
reflect:  the plane mirrored at the pixels on its edge instead
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Plane
from .workload import Workload


@dataclass(frozen=True)
class Pad(Workload):
    """`channels` of the input become `total` of the output; `pad` is (top, left), and negative numbers crop.

    What is added or cut off below, to the right and behind follows from `after` and `total`.
    """

    channels: int
    total: int
    before: Plane
    after: Plane
    pad: tuple[int, int] = (0, 0)
    front: int = 0
    mode: str = "constant"
    value: float = 0.0

    name = "pad"
    generic = True
    external = ("data", "other", "out")

    def __post_init__(self):
        if self.mode not in ("constant", "edge", "reflect"):
            raise ValueError(f"no padding {self.mode}")
        sides = (
            (self.before.height, self.after.height, self.pad[0]),
            (self.before.width, self.after.width, self.pad[1]),
            (self.channels, self.total, self.front),
        )
        for extent, padded, ahead in sides:
            if self.mode == "reflect" and max(ahead, padded - ahead - extent) >= extent:
                raise ValueError(f"{extent} pixels cannot be mirrored so far: {self}")

    def definition(self) -> tirx.PrimFunc:
        C, total, before, after, (top, left) = self.channels, self.total, self.before, self.after, self.pad
        H, W, front, mode, value = before.height, before.width, self.front, self.mode, self.value
        # Columns of the output that lie inside the input.
        first = min(max(left, 0), after.width)
        behind = max(first, min(after.width, W + left))

        def nearest(index, extent):
            if mode == "edge":
                return T.max(T.min(index, extent - 1), 0)
            mirrored = T.max(index, -index)
            return T.min(mirrored, 2 * (extent - 1) - mirrored)

        @T.prim_func(private=True, s_tir=True)
        def with_constant(data: T.Buffer((C, before.size), "float32"), out: T.Buffer((total, after.size), "float32")):
            for c, y in T.grid(total, after.height):
                if tirx.all(c >= front, c < C + front, y >= top, y < H + top):
                    for x in range(first):
                        out[c, y * after.pitch + x] = T.float32(value)
                    for x in range(behind - first):
                        out[c, y * after.pitch + first + x] = data[
                            c - front, (y - top) * before.pitch + first - left + x
                        ]
                    for x in range(after.width - behind):
                        out[c, y * after.pitch + behind + x] = T.float32(value)
                else:
                    for x in range(after.width):
                        out[c, y * after.pitch + x] = T.float32(value)

        @T.prim_func(private=True, s_tir=True)
        def with_pixels(data: T.Buffer((C, before.size), "float32"), out: T.Buffer((total, after.size), "float32")):
            for c, y, x in T.grid(total, after.height, after.width):
                out[c, y * after.pitch + x] = data[
                    nearest(c - front, C), nearest(y - top, H) * before.pitch + nearest(x - left, W)
                ]

        return with_constant if mode == "constant" else with_pixels

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"c": 1, "y": 1}
