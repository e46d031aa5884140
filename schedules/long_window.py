"""Convolution with a window of any shape, long ones above all: 15x1, 1x15, and dilated ones.

    out[g, o, y, x] = act(bias[g, o] + sum over k, ky, kx of
                          weight[g, o, k, ky, kx] * in[g, k, y*s + ky*dy - top, x*s + kx*dx - left])

Strategy: `conv2d`'s, but a few channels at a time.  A long window of many channels has more weights, and reads more
rows, than a cache keeps between one tile and the next.  So the channels are cut into chunks, of which a band of rows is
copied into a zero-padded scratch, columns de-interleaved by the stride; the chunk's part of `rows` output channels x
`vectors` vectors of a row is accumulated in registers, and added to sums in the workspace.  `block` output channels go
through all tiles of the band before the next ones do, so that their weights stay in the cache too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import (
    Knobs,
    Machine,
    Plane,
    cut_tails,
    divisor_up_to,
    pack_rows,
    register_tiles,
    round_up,
    row_filler,
    row_tile,
    schedule_window_sums,
)  # fmt: skip
from .functions import cast
from .workload import Workload

CHUNK = 32  # channels
BAND_BYTES = 192 * 1024  # of the padded rows of a chunk, and
BLOCK_BYTES = 192 * 1024  # of the weights of a block: with each other they fit into an L2 cache
ROWS = 4  # of a band at least: its neighbours copy the rows that they share once more
VECTORS = (2, 3, 4, 5)  # of a tile, from which the default is taken
UNROLLED = 16  # taps of a row of the window, at most


@dataclass(frozen=True)
class LongConv(Workload):
    """`inputs` and `outputs` are channels per group; kernel, pad (top, left) and dilation are (height, width).

    `data_dtype` and `out_dtype` are those of input and output where they are others than that of the arithmetic.
    """

    groups: int
    inputs: int
    outputs: int
    before: Plane
    after: Plane
    kernel: tuple[int, int]
    stride: int
    pad: tuple[int, int]
    dilation: tuple[int, int]
    lanes: int
    activation: Activation = IDENTITY
    data_dtype: str = field(default="", kw_only=True)
    out_dtype: str = field(default="", kw_only=True)

    name = "long_conv"
    external = ("data", "out")
    scratch = own_scratch = ("padded", "sums")

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.inputs * self.outputs * pixels * self.kernel[0] * self.kernel[1]

    @property
    def _chunk(self) -> int:
        """Channels of a chunk: all of them where no number that divides them is near the wanted one."""
        found = divisor_up_to(self.inputs, CHUNK)
        return found if 4 * found >= CHUNK else self.inputs

    @property
    def _row(self) -> int:
        """Floats of a row that are computed."""
        return round_up(self.after.width, self.lanes)

    @property
    def _span(self) -> tuple[int, int]:
        """Rows and columns from a window's first tap to its last."""
        (high, wide), (down, right) = self.kernel, self.dilation
        return down * (high - 1) + 1, right * (wide - 1) + 1

    @property
    def _columns(self) -> int:
        """Columns of one phase of a padded row: whole vectors."""
        return round_up(self._row + (self._span[1] - 1) // self.stride, self.lanes)

    @property
    def _band(self) -> int:
        """Output rows of a band: bands are as even as they can be."""
        row_bytes = self.itemsize * self._chunk * self.stride * self._columns
        fit = max(ROWS, (BAND_BYTES // row_bytes - self._span[0]) // self.stride + 1)
        return -(-self.after.height // -(-self.after.height // fit))

    def definition(self) -> tirx.PrimFunc:
        G, N, J, S, C = self.groups, self.inputs, self.outputs, self.stride, self._chunk
        (KY, KX), (DY, DX), (top, left) = self.kernel, self.dilation, self.pad
        before, after, finish, band, row = self.before, self.after, self.activation.apply, self._band, self._row
        rows, columns, bands = (band - 1) * S + self._span[0], self._columns, -(-after.height // band)
        fill_row = row_filler(before, left, S, columns, self.dtype, top=top)
        dtype, data_dtype, out_dtype = self.dtype, self.data_dtype or self.dtype, self.out_dtype or self.dtype

        def first(b):
            """Row of the output where a band starts: the last one computes rows of the one before again."""
            return T.min(b * band, after.height - band)

        @T.prim_func(private=True, s_tir=True)
        def long_conv(
            data: T.Buffer((G * N, before.size), data_dtype),
            weight: T.Buffer((G, J, N, KY, KX), dtype),
            bias: T.Buffer((G, J), dtype),
            out: T.Buffer((G * J, after.size), out_dtype),
            padded: T.Buffer((C, rows, S, columns), dtype),
            sums: T.Buffer((J, band, row), dtype),
        ):
            acc = T.sblock_alloc_buffer((G, bands, N // C, J, band, row), dtype)
            for g, b in T.grid(G, bands):
                for n in range(N // C):
                    for c, r in T.grid(C, rows):
                        with T.sblock("pad"):
                            vg, vb, vn, vc, vy = T.axis.remap("SSSSS", [g, b, n, c, r])
                            T.reads(data[vg * N + vn * C + vc, 0 : before.size])
                            T.writes(padded[vc, vy, 0:S, 0:columns])
                            fill_row(data, vg * N + vn * C + vc, first(vb) * S + vy, padded, vc, vy)
                    for o, y, x, k, ky, kx in T.grid(J, band, row, C, KY, KX):
                        with T.sblock("acc"):
                            vg, vb, vn, vo, vy, vx, vk, vky, vkx = T.axis.remap(
                                "SSSSSSRRR", [g, b, n, o, y, x, k, ky, kx]
                            )
                            with T.init():
                                acc[vg, vb, vn, vo, vy, vx] = tirx.const(0, dtype)
                            acc[vg, vb, vn, vo, vy, vx] = (
                                acc[vg, vb, vn, vo, vy, vx]
                                + weight[vg, vo, vn * C + vk, vky, vkx]
                                * padded[vk, vy * S + vky * DY, vkx * DX % S, vx + vkx * DX // S]
                            )
                    for o, y, x in T.grid(J, band, row):
                        with T.sblock("sum"):
                            vg, vb, vn, vo, vy, vx = T.axis.remap("SSRSSS", [g, b, n, o, y, x])
                            with T.init():
                                sums[vo, vy, vx] = bias[vg, vo]
                            sums[vo, vy, vx] = sums[vo, vy, vx] + acc[vg, vb, vn, vo, vy, vx]
                for o, y, x in T.grid(J, band, after.width):
                    with T.sblock("out"):
                        vg, vb, vo, vy, vx = T.axis.remap("SSSSS", [g, b, o, y, x])
                        out[vg * J + vo, (first(vb) + vy) * after.pitch + vx] = cast(
                            finish(sums[vo, vy, vx]), out_dtype
                        )

        return long_conv

    def knobs(self, machine: Machine) -> Knobs:
        """As for `conv2d`, but so many vectors that the last tile of a row lacks few; a block is whole tiles."""
        of_row = self._row // machine.lanes
        vectors = min(VECTORS, key=lambda count: -(-of_row // count) * count) if of_row > 1 else 1
        rows = row_tile(self.outputs, machine.tile // vectors)
        operands = self.kernel[1] * (vectors + -(-rows // machine.lanes))
        unroll = not machine.loads_apart or operands <= machine.registers - rows * vectors
        return {
            "rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element),
            "unroll": int(unroll and self.kernel[1] <= UNROLLED), "block": self._block(rows),
        }  # fmt: skip

    def _block(self, rows: int) -> int:
        """Output channels whose weights stay in the cache, a multiple of `rows`."""
        tile_bytes = self.itemsize * rows * self._chunk * self.kernel[0] * self.kernel[1]
        return rows * max(1, min(BLOCK_BYTES // tile_bytes, -(-self.outputs // rows)))

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, total = sch.get_sblock("acc"), sch.get_sblock("sum")
        *_, o, y, x = sch.get_loops(total)
        blocks, o_tile, o = sch.split(o, [None, knobs["block"] // rows, rows])
        x_tile, v, i = sch.split(x, [None, vectors, self.lanes])
        sch.reorder(blocks, y, x_tile, o_tile, o, v, i)
        k = schedule_window_sums(sch, acc, o_tile, (o, v, i), knobs, self.lanes)
        cut_tails(sch, blocks, x_tile, o_tile)
        sch.decompose_reduction(acc, k)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """Bands.  The last one writes rows of the one before again, the same numbers."""
        return {"g": 1, "b": 1}

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, height, width of the window); `bias`: (groups * outputs,)."""
        weight, bias = arrays
        grouped = weight.reshape(self.groups, self.outputs, self.inputs, *self.kernel)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        tiles = register_tiles(machine, self.outputs, range(1, min(8, self._row // self.lanes) + 1))
        return [{**tile, "block": self._block(tile["rows"])} for tile in tiles]
