"""Direct convolution with a window: the stems, and AlexNet's grouped 3x3, 5x5 and 11x11 layers.

    out[a, o, y, x] = act(bias[a, o] + sum over k, ky, kx of
                          weight[a, o, k, ky, kx] * in[a, k, y*s + ky - p, x*s + kx - p])

Strategy: the input is copied once into a zero-padded scratch of the workspace, columns
de-interleaved by the stride (column x*s + kx lies in phase kx % s at x + kx // s), so that each tap
is a contiguous load whatever the stride.  Then `rows` output channels x `vectors` vectors of one
row of pixels are accumulated in registers, as in the pointwise kernel with K = channels x window.
im2col would write and read the input once per tap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import (
    Knobs, Machine, Plane, combinations, load_as_vectors, pack_rows, row_tile, row_tiles, unroll_and_vectorize,
)  # fmt: skip


@dataclass(frozen=True)
class Conv2d:
    """`inputs` and `outputs` are channels per group; the rows of `after` are whole vectors."""

    groups: int
    inputs: int
    outputs: int
    before: Plane
    after: Plane
    kernel: int
    stride: int
    pad: int
    lanes: int
    relu: bool = False

    name = "conv2d"

    @property
    def _padded(self) -> tuple[int, int]:
        """Rows, and columns of one phase, of the padded input."""
        rows = (self.after.height - 1) * self.stride + self.kernel
        return rows, self.after.pitch + (self.kernel - 1) // self.stride

    @property
    def scratch(self) -> int:
        """Floats of the padded input."""
        rows, columns = self._padded
        return self.groups * self.inputs * rows * self.stride * columns

    @property
    def multiply_adds(self) -> int:
        pixels = self.after.height * self.after.width
        return self.groups * self.inputs * self.outputs * pixels * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        G, N, J, K, S = self.groups, self.inputs, self.outputs, self.kernel, self.stride
        before, after, pad, relu = self.before, self.after, self.pad, self.relu
        H, W, pitch_in, pitch = before.height, before.width, before.pitch, after.pitch
        rows, columns = self._padded

        def finish(value):
            return T.max(value, T.float32(0)) if relu else value

        @T.prim_func(private=True, s_tir=True)
        def conv2d(
            data: T.Buffer((G * N, before.size), "float32"),
            weight: T.Buffer((G, J, N, K, K), "float32"),
            bias: T.Buffer((G, J), "float32"),
            out: T.Buffer((G * J, after.size), "float32"),
            padded: T.Buffer((G * N, rows, S, columns), "float32"),
        ):
            acc = T.sblock_alloc_buffer((G, J, after.height, pitch), "float32")
            for c, y, phase, x in T.grid(G * N, rows, S, columns):
                with T.sblock("pad"):
                    vc, vy, vp, vx = T.axis.remap("SSSS", [c, y, phase, x])
                    padded[vc, vy, vp, vx] = T.if_then_else(
                        vy >= pad and vy < H + pad and vx * S + vp >= pad and vx * S + vp < W + pad,
                        data[vc, (vy - pad) * pitch_in + vx * S + vp - pad],
                        T.float32(0),
                    )
            for a, o, y, x, k, ky, kx in T.grid(G, J, after.height, pitch, N, K, K):
                with T.sblock("acc"):
                    va, vo, vy, vx, vk, vky, vkx = T.axis.remap("SSSSRRR", [a, o, y, x, k, ky, kx])
                    with T.init():
                        acc[va, vo, vy, vx] = bias[va, vo]
                    acc[va, vo, vy, vx] = (
                        acc[va, vo, vy, vx]
                        + weight[va, vo, vk, vky, vkx] * padded[va * N + vk, vy * S + vky, vkx % S, vx + vkx // S]
                    )
            for a, o, y, x in T.grid(G, J, after.height, pitch):
                with T.sblock("out"):
                    va, vo, vy, vx = T.axis.remap("SSSS", [a, o, y, x])
                    out[va * J + vo, vy * pitch + vx] = finish(acc[va, vo, vy, vx])

        return conv2d

    def knobs(self, machine: Machine) -> Knobs:
        """As for the pointwise kernel."""
        vectors = min(2, self.after.pitch // machine.lanes)
        rows = row_tile(self.outputs, machine.tile // vectors)
        return {"rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        a, o, y, x = sch.get_loops(out)
        o_tile, o = sch.split(o, [None, rows])
        x_tile, v, i = sch.split(x, [None, vectors, self.lanes])
        sch.reorder(a, y, x_tile, o_tile, o, v, i)
        sch.compute_at(acc, o_tile, preserve_unit_loops=True)
        *_, acc_o, _, acc_x, k, ky, kx = sch.get_loops(acc)
        acc_v, acc_i = sch.split(acc_x, [None, self.lanes])
        sch.reorder(k, ky, kx, acc_o, acc_v, acc_i)
        sch.unroll(kx)
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc,
            "weight",
            lambda a, o, k, ky, kx: (a, o // rows, k, ky, kx, o % rows),
            assume_injective_transform=True,
        )
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", kx)
        sch.decompose_reduction(acc, k)

    def pack(self, knobs: Knobs, weight: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, kernel, kernel); `bias`: (groups * outputs,)."""
        grouped = weight.reshape(self.groups, self.outputs, self.inputs, self.kernel, self.kernel)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        """Register tiles of any shape, as large as all registers together."""
        vectors = range(1, min(8, self.after.pitch // self.lanes) + 1)
        weight_vectors = {0, int(machine.by_element)}
        rows = row_tiles(self.outputs, machine.registers)
        tiles = combinations(rows=rows, vectors=vectors, weight_vectors=weight_vectors)
        return [knobs for knobs in tiles if knobs["rows"] * knobs["vectors"] <= machine.registers]
