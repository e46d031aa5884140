"""Moves elements from places to places: the one kernel for everything that computes nothing.

    out[sum of i_k * target_k] = data[sum of i_k * source_k]        for all i_k < extents_k

Planes of another pitch, channels in another order, pictures with their channels innermost, depth to space: each is such
a copy.  Loops that continue each other on both sides are made one, and the innermost is left to LLVM, which makes
vectors, or a call of memcpy, of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.script import tirx as T

from .workload import Workload

DIMENSIONS = 6


@dataclass(frozen=True)
class Copy(Workload):
    """`extents`, and the distances in elements between neighbours in each of these dimensions."""

    extents: tuple[int, ...]
    source: tuple[int, ...]
    target: tuple[int, ...]

    name = "copy"
    generic = True
    external = ("data", "out")

    def __post_init__(self):
        if not len(self.extents) == len(self.source) == len(self.target) <= DIMENSIONS:
            raise ValueError(f"a copy of {len(self.extents)} dimensions: at most {DIMENSIONS}")

    @staticmethod
    def of(extents: Sequence[int], source: Sequence[int], target: Sequence[int]) -> Copy:
        """The copy in the fewest dimensions: those of one element left out, those that continue each other merged."""
        merged: list[tuple[int, int, int]] = []
        for extent, here, there in zip(extents, source, target, strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == here * extent and merged[-1][2] == there * extent:
                merged[-1] = (merged[-1][0] * extent, here, there)
            else:
                merged.append((extent, here, there))
        return Copy(*map(tuple, zip(*(merged or [(1, 1, 1)]))))

    def definition(self) -> tirx.PrimFunc:
        def padded(values, filler):
            return [filler] * (DIMENSIONS - len(values)) + list(values)

        extents, source, target = padded(self.extents, 1), padded(self.source, 0), padded(self.target, 0)
        read, written = (1 + sum((n - 1) * step for n, step in zip(extents, steps)) for steps in (source, target))

        def place(steps, indices):
            return sum((index * step for index, step in zip(indices, steps) if step), T.int32(0))

        @T.prim_func(private=True, s_tir=True)
        def copy(data: T.Buffer((read,), "float32"), out: T.Buffer((written,), "float32")):
            for a, b, c, d, e, f in T.grid(*extents):
                with T.sblock("out"):
                    va, vb, vc, vd, ve, vf = T.axis.remap("SSSSSS", [a, b, c, d, e, f])
                    out[place(target, [va, vb, vc, vd, ve, vf])] = data[place(source, [va, vb, vc, vd, ve, vf])]

        return copy
