"""The first convolution of a network in int8: it reads the caller's float32 picture.

    q[k, y, x]   = the byte of in[k, y, x] * entry_factor (`requantise`)
    sum[o, y, x] = bias[o] + sum over k, ky, kx of weight[o, k, ky, kx] * q[k, y*s + ky - p, x*s + kx - p]
    out[o, y, x] = the byte of sum * factors[o]

Strategy: `conv2d`'s.  As rows are copied, floats become bytes, and the channels of a pixel become a word: a tap of the
window is then one dot product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs, Machine, combinations, pack_rows, row_filler, row_tile, row_tiles
from .conv2d import Conv2d
from .dot4 import WORD, dot4, lanes_of, words
from .requantise import LIMITS, examples, requantised, requantised_bits


@dataclass(frozen=True)
class Int8Stem(Conv2d):
    """`inputs` counts words, of the `channels` of the picture; there is one group.

    Parameters: weight int8 (outputs, channels, kernel, kernel); bias int32, factors float32 (outputs,); limits of the
    output; entry_factor float32 (1,); entry_limits of the picture's bytes.
    """

    channels: int = 3
    dot: str = "plain"

    name = "int8_stem"

    def __post_init__(self):
        super().__post_init__()
        if self.groups != 1 or self.inputs != -(-self.channels // WORD) or self.activation:
            raise ValueError(f"no stem: {self}")

    @property
    def near(self) -> str:
        return "int32"

    @property
    def multiply_adds(self) -> int:
        return self.channels * self.outputs * self.after.height * self.after.width * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        N, J, K, S = self.inputs, self.outputs, self.kernel, self.stride
        before, after, band, dtype = self.before, self.after, self._band, self.dtype
        row, rows, columns, bands = self._row, self._padded[1], self._columns, -(-after.height // band)
        pixel, first = self._pixel, self._first

        def joined(byte):
            """The word of `byte(j)` for the channels j of a word."""
            value = byte(0)
            for j in range(1, WORD):
                value = T.bitwise_or(value, T.shift_left(byte(j), T.int32(8 * j)))
            return value

        def word(picture, q, place):
            data, scale, bounds = picture

            def byte(j):
                channel = q * WORD + j
                if self.channels % WORD and N == 1 and j >= self.channels:
                    return T.int32(0)  # its weights are zeros
                channel = T.min(channel, self.channels - 1)
                return T.bitwise_and(requantised_bits(data[channel, place], scale[0], bounds), T.int32(255))

            return joined(byte)

        def border(picture):
            return joined(lambda j: T.bitwise_and(picture[2][3], T.int32(255)))

        fill_row = row_filler(before, self.pad, S, columns, "int32", word, border)

        @T.prim_func(private=True, s_tir=True)
        def stem(
            data: T.Buffer((self.channels, before.size), "float32"),
            weight: T.Buffer((1, J, N, K, K), "int32"),
            bias: T.Buffer((1, J), "int32"),
            factors: T.Buffer((1, J), "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            entry_factor: T.Buffer((1,), "float32"),
            entry_limits: T.Buffer((LIMITS,), "int32"),
            out: T.Buffer((J, after.size), dtype),
            padded: T.Buffer((N, rows, S, columns), "int32"),
        ):
            acc = T.sblock_alloc_buffer((bands, 1, J, band, row), "int32")
            for b in range(bands):
                for c, r in T.grid(N, rows):
                    with T.sblock("pad"):
                        vb, vc, vy = T.axis.remap("SSS", [b, c, r])
                        T.reads(data[0 : self.channels, 0 : before.size], entry_factor[0], entry_limits[0:LIMITS])
                        T.writes(padded[vc, vy, 0:S, 0:columns])
                        picture = T.meta_var((data, entry_factor, entry_limits))
                        fill_row(picture, vc, first(vb) * S + vy, padded, vc, vy)
                for a, o, y, x, k, ky, kx in T.grid(1, J, band, row, N, K, K):
                    with T.sblock("acc"):
                        vb, va, vo, vy, vx, vk, vky, vkx = T.axis.remap("SSSSSRRR", [b, a, o, y, x, k, ky, kx])
                        with T.init():
                            acc[vb, va, vo, vy, vx] = bias[va, vo]
                        acc[vb, va, vo, vy, vx] = dot4(
                            self.dot, acc[vb, va, vo, vy, vx],
                            padded[vk, vy * S + vky, vkx % S, pixel(vx) + vkx // S], weight[va, vo, vk, vky, vkx],
                        )  # fmt: skip
                for a, o, y, x in T.grid(1, J, band, row):
                    with T.sblock("out"):
                        vb, va, vo, vy, vx = T.axis.remap("SSSSS", [b, a, o, y, x])
                        value = T.meta_var(acc[vb, va, vo, vy, vx])
                        out[vo, (first(vb) + vy) * after.pitch + pixel(vx)] = requantised(
                            value, factors[va, vo], limits, dtype
                        )

        return stem

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
        by_pixel = words(np.moveaxis(weight, 1, -1))  # (outputs, kernel, kernel, words)
        return [pack_rows(np.moveaxis(by_pixel, -1, 1)[None], 1, knobs["rows"], "int32"), *others]

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        return examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))
