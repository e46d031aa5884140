"""Pointwise convolution of planes that lie anywhere in a root, to planes anywhere in a root: nothing is moved.

    out[to[a, o], p] = act((bias[a, o] + sum_k weight[a, o, k] * in[of[a, k], p]) (* scale[a, o])
                           (+ residual[also[a, o], p]))

Channel split, concatenation and shuffle (ShuffleNet v2) leave a unit with every other plane of a stage, and its result
belongs where these were.  Where each channel lies comes from tables of plane numbers, so one kernel serves all units.

Strategy: `pointwise`'s.  A table costs one load for each channel and tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import Knobs
from .pointwise import Pointwise
from .pointwise_sums import computation
from .workload import leave_out, spread


@dataclass(frozen=True)
class Strewn(Pointwise):
    """The inputs are among `sources` planes, the outputs among `targets`, what is added among `others`."""

    sources: int = 1
    targets: int = 1
    others: int = 0

    name = "strewn"
    whole = ("data", "other", "out")

    def __post_init__(self):
        super().__post_init__()
        if self.residual != (self.others > 0) or self.shuffle:
            raise ValueError("planes of a residual come with one, and a shuffle is in the table")

    def definition(self) -> tirx.PrimFunc:
        G, K, N, P = self.groups, self.inputs, self.outputs, self.plane.size

        # In the table the planes of inputs come first, then those of outputs, then those of what is added.
        compute = computation(
            self,
            load=lambda table, data, a, k, pixel: data[table[a, k], pixel],
            add=(lambda table, other, a, o, pixel: other[table[a, K + N + o], pixel]) if self.residual else None,
            place=lambda table, a, o: table[a, K + o],
        )
        tables = K + 2 * N if self.residual else K + N

        @T.prim_func(private=True, s_tir=True)
        def strewn(
            data: T.Buffer((self.sources, P), self.dtype),
            weight: T.Buffer((G, N, K), self.dtype),
            bias: T.Buffer((G, N), self.dtype),
            table: T.Buffer((G, tables), "int32"),
            scale: T.Buffer((G, N), self.dtype),
            other: T.Buffer((self.others, P), self.dtype),
            out: T.Buffer((self.targets, P), self.dtype),
        ):
            near = T.sblock_alloc_buffer((G, K, P), self.dtype)
            for a, k, p in T.grid(G, K, P):
                with T.sblock("near"):
                    va, vk, vp = T.axis.remap("SSS", [a, k, p])
                    near[va, vk, vp] = data[table[va, vk], vp]
            compute(near, data, weight, bias, table, scale, other, out)

        return leave_out(strewn, *self._unused())

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        if not knobs["panel"] and not self.loads_ahead(knobs):
            sch.compute_inline(sch.get_sblock("near"))
        super().schedule(sch, knobs)

    def staged(self, sch: s_tir.Schedule, acc: s_tir.schedule.SBlockRV) -> s_tir.schedule.SBlockRV:
        return sch.get_sblock("near")

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """The tables spread the channels evenly over all planes."""
        arrays = super().examples(shapes, rng)
        for index, planes in zip((2, 3, 4), (self.sources, self.targets, self.others)):
            if index < len(shapes):
                arrays[index] = spread(math.prod(shapes[index]), planes)
        return arrays

    def written(self, *arrays: np.ndarray) -> np.ndarray:
        return np.sort(arrays[3].ravel())

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """Weight and bias as for `Pointwise`, then tables: planes of the inputs, the outputs, and what is added."""
        weight, bias, *tables = arrays
        table = np.concatenate([np.reshape(planes, (self.groups, -1)) for planes in tables], axis=1)
        return [*super().pack(knobs, weight, bias), table.astype(np.int32)]
