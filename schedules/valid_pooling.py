"""Average pooling that divides by the number of pixels of the window that lie inside, instead of by all.

    out[c, y, x] = act(sum over ky, kx of in[c, y*s + ky - p, x*s + kx - p] / inside(y, x))

Caffe's way, and ONNX's where nothing else is said: at the border of the plane another result.

Strategy: `window_pooling`'s, whose sum is divided where it is stored.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY
from .window_pooling import WindowPool


@dataclass(frozen=True)
class ValidAvgPool(WindowPool):
    kind: str = "sum"

    name = "valid_avg_pool"

    def definition(self) -> tirx.PrimFunc:
        def inside(position, extent):
            first = position * self.stride - self.pad
            return T.min(first + self.kernel, extent) - T.max(first, 0)

        def divided(stmt):
            """The loops around the block that stores, with another value in it."""
            if isinstance(stmt, tirx.For):
                return tirx.For(stmt.loop_var, stmt.min, stmt.extent, stmt.kind, divided(stmt.body))
            block, store = stmt.block, stmt.block.body
            _, y, v, i = (axis.var for axis in block.iter_vars)
            count = inside(y, self.before.height) * inside(self.column(v) + i, self.before.width)
            mean = self.activation.apply(store.value / T.Cast(self.dtype, count))
            store = tirx.BufferStore(store.buffer, mean, store.indices)
            block = s_tir.SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, store)
            return s_tir.SBlockRealize(stmt.iter_values, stmt.predicate, block)

        sums = dataclasses.replace(self, activation=IDENTITY)  # it comes behind the division
        function = super(ValidAvgPool, sums).definition()
        root = function.body.block
        *stages, out = root.body.seq
        body = tirx.SeqStmt([*stages, divided(out)])
        root = s_tir.SBlock([], [], [], root.name_hint, body, alloc_buffers=root.alloc_buffers)
        return function.with_body(s_tir.SBlockRealize([], True, root))
