"""Convolution of any size: any groups, kernel, stride, dilation and padding, wherever the windows lie.

    out[o, y, x] = act(bias[o] + sum over i, ky, kx of
                       weight[o, i, ky, kx] * in[i, y * sy - top + ky * dy, x * sx - left + kx * dx])

Strategy: a few output channels of a piece of a row are accumulated tap by tap.  Which pixels of the piece a tap
reaches is known before the innermost loop, over pixels, which LLVM vectorises.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import Knobs, Plane, divisor_up_to
from .taps import as_one_row, taps_inside
from .workload import Workload

PIECE, OUTPUTS = 60, 4  # pixels and channels of the accumulators, which stay below 1,024 bytes


@dataclass(frozen=True)
class GenericConv(Workload):
    """`inputs` and `outputs` are those of a group; kernel, stride and dilation are (height, width).

    `pad` is (top, left); what lies below and to the right follows from the extents of `after`.
    Weight: (groups * outputs, inputs, kernel height, kernel width); bias: (groups * outputs,).
    """

    groups: int
    inputs: int
    outputs: int
    before: Plane
    after: Plane
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = IDENTITY

    name = "generic_conv"
    generic = True
    external = ("data", "other", "out")

    def __post_init__(self):
        if min(self.groups, self.inputs, self.outputs, *self.kernel, *self.stride, *self.dilation) < 1:
            raise ValueError(f"a convolution of nothing: {self}")

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.outputs * self.inputs * self.kernel[0] * self.kernel[1] * pixels

    def definition(self) -> tirx.PrimFunc:
        G, I, O, act = self.groups, self.inputs, self.outputs, self.activation.apply  # noqa: E741
        (KY, KX), (SY, SX), (top, left), (DY, DX) = self.kernel, self.stride, self.pad, self.dilation
        before, after = self.before, self.after
        if (KY, KX, SY, SX, top, left) == (1, 1, 1, 1, 0, 0) and (before.height, before.width) == (
            after.height, after.width
        ):  # fmt: skip
            before, after = as_one_row(before, after)
        width, tile = min(after.width, PIECE), divisor_up_to(O, OUTPUTS)

        rows, columns = taps_inside(before, after, (KY, KX), (SY, SX), (top, left), (DY, DX), width)

        @T.prim_func(private=True, s_tir=True)
        def generic_conv(
            data: T.Buffer((G * I, before.size), "float32"),
            weight: T.Buffer((G * O, I, KY, KX), "float32"),
            bias: T.Buffer((G * O,), "float32"),
            out: T.Buffer((G * O, after.size), "float32"),
        ):
            acc = T.sblock_alloc_buffer((tile, width), "float32")
            for g, first, y, piece in T.grid(G, O // tile, after.height, -(-after.width // width)):
                for o, x in T.grid(tile, width):
                    acc[o, x] = bias[g * O + first * tile + o]
                for i in range(I):
                    for ky in T.serial(rows(y)[0], T.max(*rows(y))):
                        for kx in range(KX):
                            for x in T.serial(columns(kx, piece * width)[0], T.max(*columns(kx, piece * width))):
                                for o in T.unroll(tile):
                                    acc[o, x] = acc[o, x] + weight[g * O + first * tile + o, i, ky, kx] * data[
                                        g * I + i,
                                        (y * SY - top + ky * DY) * before.pitch
                                        + (piece * width + x) * SX - left + kx * DX,
                                    ]  # fmt: skip
                for o in range(tile):
                    for x in T.serial(0, T.min(width, after.width - piece * width)):
                        out[g * O + first * tile + o, y * after.pitch + piece * width + x] = act(acc[o, x])

        return generic_conv

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"g": 1, "first": 1, "y": 1}
