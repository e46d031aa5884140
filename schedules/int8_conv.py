"""Convolution of bytes with a square window, of any groups.

    sum[o, y, x] = bias[o] + sum over k, ky, kx of weight[o, k, ky, kx] * in[k, y*s + ky - p, x*s + kx - p]
    out[o, y, x] = the byte of sum * factors[o] (`requantise`)

Strategy: `conv2d`'s.  As rows are copied, four channels of a pixel become a word: a tap of the window is then one dot
product of four channels, and no columns of pixels are written for each tap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, combinations, pack_rows, row_filler, row_tile, row_tiles
from .conv2d import Conv2d
from .dot4 import WORD, dot_window, dtype_in_window, in_window, lanes_of, window_words
from .requantise import LIMITS, examples, requantised_sum
from .workload import leave_out


@dataclass(frozen=True)
class Int8Conv(Conv2d):
    """`inputs` counts words (`dot4.in_window`), of the `channels` of a group.

    Parameters: weight int8 (groups * outputs, channels, kernel, kernel); bias int32
    (groups * outputs,); factors float32 (`requantise.factors_of`); limits.
    """

    channels: int = 4
    dot: str = "plain"
    short: bool = False  # whether sums are (`requantise`)

    name = "int8_conv"
    entry = False  # whether it reads the caller's floats

    def __post_init__(self):
        super().__post_init__()
        if self.inputs != -(-self.channels // in_window(self.dot)) or self.activation:
            raise ValueError(f"no convolution of bytes: {self}")

    @property
    def near(self) -> str:
        return dtype_in_window(in_window(self.dot))

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.channels * self.outputs * pixels * self.kernel**2

    def byte_of(self, source: Any) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
        """Of what is read, as `source_of` has it, the byte of a channel at a place: int32 from 0 to 255."""
        data, _ = source
        return lambda channel, place: T.bitwise_and(T.Cast("int32", data[channel, place]), T.int32(255))

    def source_of(self, data: Any, limits: Any, entry_factor: Any, entry_limits: Any) -> Any:
        """What is read, and the limits whose last number stands around it."""
        return data, limits

    def regions(self, data: Any, limits: Any, entry_factor: Any, entry_limits: Any) -> list[tirx.BufferRegion]:
        """What filling a row may read."""
        return [data[0 : self.groups * self.channels, 0 : self.before.size], limits[0:LIMITS]]

    def definition(self) -> tirx.PrimFunc:
        G, N, J, K, S, C = self.groups, self.inputs, self.outputs, self.kernel, self.stride, self.channels
        before, after, band, dtype = self.before, self.after, self._band, self.dtype
        row, rows, columns, bands = self._row, self._padded[1], self._columns, -(-after.height // band)
        pixel, first, near, count = self._pixel, self._first, self.near, in_window(self.dot)

        def joined(byte):
            """The word of `byte(j)` for the channels j of a word."""
            value = byte(0)
            for j in range(1, WORD):
                value = T.bitwise_or(value, T.shift_left(byte(j), T.int32(8 * j)))
            return value

        def word(source, q, place):
            read = self.byte_of(source)

            def byte(j):
                channel = q % N * count + j if G > 1 else q * count + j
                if C % count and N == 1 and j >= C:
                    return T.int32(0)  # its weights are zeros
                channel = T.min(channel, C - 1)
                return read(T.floordiv(q, N) * C + channel if G > 1 else channel, place)

            if near == "int16":
                return T.Cast(near, T.Cast(dtype, byte(0)))
            return joined(byte)

        def border(source):
            if near == "int16":
                return T.Cast(near, source[-1][LIMITS - 1])
            return joined(lambda j: T.bitwise_and(source[-1][LIMITS - 1], T.int32(255)))

        fill_row = row_filler(before, self.pad, S, columns, near, word, border)

        @T.prim_func(private=True, s_tir=True)
        def conv(
            data: T.Buffer((G * C, before.size), "float32" if self.entry else dtype),
            weight: T.Buffer((G, J, N, K, K), near),
            bias: T.Buffer((G, J), "int32"),
            factors: T.Buffer((G, J, 2) if self.short else (G, J), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            entry_factor: T.Buffer((1,), "float32"),
            entry_limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((G * J, after.size), dtype),
            padded: T.Buffer((G * N, rows, S, columns), near),
        ):
            acc = T.sblock_alloc_buffer((bands, G, J, band, row), "int32")
            for b in range(bands):
                for c, r in T.grid(G * N, rows):
                    with T.sblock("pad"):
                        vb, vc, vy = T.axis.remap("SSS", [b, c, r])
                        T.reads(*self.regions(data, limits, entry_factor, entry_limits))
                        T.writes(padded[vc, vy, 0:S, 0:columns])
                        source = T.meta_var(self.source_of(data, limits, entry_factor, entry_limits))
                        fill_row(source, vc, first(vb) * S + vy, padded, vc, vy)
                for a, o, y, x, k, ky, kx in T.grid(G, J, band, row, N, K, K):
                    with T.sblock("acc"):
                        vb, va, vo, vy, vx, vk, vky, vkx = T.axis.remap("SSSSSRRR", [b, a, o, y, x, k, ky, kx])
                        with T.init():
                            acc[vb, va, vo, vy, vx] = bias[va, vo]
                        acc[vb, va, vo, vy, vx] = dot_window(
                            self.dot, acc[vb, va, vo, vy, vx],
                            padded[va * N + vk, vy * S + vky, vkx % S, pixel(vx) + vkx // S],
                            weight[va, vo, vk, vky, vkx],
                        )  # fmt: skip
                for a, o, y, x in T.grid(G, J, band, row):
                    with T.sblock("out"):
                        vb, va, vo, vy, vx = T.axis.remap("SSSSS", [b, a, o, y, x])
                        value = T.meta_var(acc[vb, va, vo, vy, vx])
                        out[va * J + vo, (first(vb) + vy) * after.pitch + pixel(vx)] = requantised_sum(
                            value, factors, (va, vo), limits, dtype, self.short, self.dot
                        )

        return conv if self.entry else leave_out(conv, "entry_factor", "entry_limits")

    def knobs(self, machine: Machine) -> Knobs:
        each = max(1, self.lanes // lanes_of(self.dot))
        vectors = 1 if each > 1 else min(2, self._row // self.lanes)
        rows = min(4, self.outputs) if machine.by_element else row_tile(
            self.outputs, max(1, machine.registers * 3 // 4 // (each * vectors))
        )  # fmt: skip
        return {"rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element), "unroll": 1, "prefetch": 0}

    def space(self, machine: Machine) -> list[Knobs]:
        each = max(1, self.lanes // lanes_of(self.dot))
        tiles = combinations(
            rows=row_tiles(self.outputs, machine.registers // each),
            vectors=range(1, min(4, self._row // self.lanes) + 1), weight_vectors={0, int(machine.by_element)},
        )  # fmt: skip
        return [tile for tile in tiles if tile["rows"] * tile["vectors"] * each <= machine.registers]

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        weight, *others = arrays
        grouped = weight.reshape(self.groups, self.outputs, *weight.shape[1:])
        by_pixel = window_words(
            np.moveaxis(grouped, 2, -1), in_window(self.dot)
        )  # (groups, outputs, kernel, kernel, words)
        return [pack_rows(np.moveaxis(by_pixel, -1, 2), 1, knobs["rows"], self.near), *others]

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))
