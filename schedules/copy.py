"""Moves elements from places to places: the one kernel for everything that computes nothing.

    out[sum of i_k * target_k] = data[sum of i_k * source_k]        for all i_k < extents_k

Planes of another pitch, channels in another order, pictures with their channels innermost, depth to space: each is such
a copy.  Loops that continue each other on both sides are made one, and the innermost is left to LLVM, which makes
vectors, or a call of memcpy, of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tvm import tirx
from tvm.script import tirx as T

from .common import Knobs
from .functions import cast
from .workload import Workload

DIMENSIONS = 6


@dataclass(frozen=True)
class Copy(Workload):
    """`extents`, and the distances in elements between neighbours in each of these dimensions.

    `out_dtype` is that of the output where it is another: numbers are then rounded or widened on their way.
    """

    extents: tuple[int, ...]
    source: tuple[int, ...]
    target: tuple[int, ...]
    out_dtype: str = field(default="", kw_only=True)

    name = "copy"
    generic = True
    external = ("data", "out")

    def __post_init__(self):
        if not len(self.extents) == len(self.source) == len(self.target) <= DIMENSIONS:
            raise ValueError(f"a copy of {len(self.extents)} dimensions: at most {DIMENSIONS}")

    @staticmethod
    def of(
        extents: Sequence[int], source: Sequence[int], target: Sequence[int], dtypes: tuple[str, str] = ("float32",) * 2
    ) -> Copy:
        """The copy in the fewest dimensions: those of one element left out, those that continue each other merged.

        `dtypes` are those of input and output.
        """
        merged: list[tuple[int, int, int]] = []
        for extent, here, there in zip(extents, source, target, strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == here * extent and merged[-1][2] == there * extent:
                merged[-1] = (merged[-1][0] * extent, here, there)
            else:
                merged.append((extent, here, there))
        dtype, out = dtypes
        return Copy(*map(tuple, zip(*(merged or [(1, 1, 1)]))), dtype=dtype, out_dtype=out if out != dtype else "")

    def definition(self) -> tirx.PrimFunc:
        def padded(values, filler):
            return [filler] * (DIMENSIONS - len(values)) + list(values)

        dtype, out_dtype = self.dtype, self.out_dtype or self.dtype
        extents, source, target = padded(self.extents, 1), padded(self.source, 0), padded(self.target, 0)
        read, written = (1 + sum((n - 1) * step for n, step in zip(extents, steps)) for steps in (source, target))

        def place(steps, indices):
            return sum((index * step for index, step in zip(indices, steps) if step), T.int32(0))

        @T.prim_func(private=True, s_tir=True)
        def copy(data: T.Buffer((read,), dtype), out: T.Buffer((written,), out_dtype)):
            for a, b, c, d, e, f in T.grid(*extents):
                with T.sblock("out"):
                    va, vb, vc, vd, ve, vf = T.axis.remap("SSSSSS", [a, b, c, d, e, f])
                    value = T.meta_var(data[place(source, [va, vb, vc, vd, ve, vf])])
                    out[place(target, [va, vb, vc, vd, ve, vf])] = cast(value, out_dtype)

        return copy

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """The outer dimensions; pieces of a copy that has one only."""
        return dict.fromkeys("abcde", 1) if len(self.extents) > 1 else {"f": 4096}
