"""An activation of bytes: what a byte becomes is an entry of a table of 256.

    out[c, y, x] = table[in[c, y, x] & 255]

Strategy: planes that lie alike are one row of bytes, of which 16, 32 or 64 are looked up at once where there are
instructions for it (`lookup`).  Elsewhere each byte is a load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import BYTE_LANES, Knobs, Machine, Plane
from .elementwise import require_same_extents
from .lookup import ENTRIES, KINDS, lookup
from .taps import as_one_row
from .workload import Workload

CHUNK = 64  # vectors that a thread takes together: of a few cache lines


@dataclass(frozen=True)
class Int8Table(Workload):
    """Parameters: table (256,), of the kernel's dtype; entry b & 255 is what byte b becomes.

    `lookup`: a kind of `lookup.KINDS`, or "plain".
    """

    channels: int
    before: Plane
    after: Plane
    lookup: str = "tbl"

    name = "int8_table"

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        return self._of_one_row() if self.before == self.after else self._of_rows()

    def _of_one_row(self) -> tirx.PrimFunc:
        """Padding too, which nothing depends on."""
        count = self.channels * self.before.size
        L, kind = KINDS.get(self.lookup, BYTE_LANES), self.lookup
        vectors = count // L

        @T.prim_func(private=True, s_tir=True)
        def table_of(
            data: T.Buffer((count,), self.dtype),
            table: T.Buffer((ENTRIES,), self.dtype),
            out: T.Buffer((count,), self.dtype),
        ):
            for v, i in T.grid(vectors, L):
                with T.sblock("out"):
                    vv, vi = T.axis.remap("SS", [v, i])
                    T.reads(data[vv * L + vi], table[0:ENTRIES])
                    T.writes(out[vv * L + vi])
                    out[vv * L + vi] = lookup(data[vv * L + vi], table[0], kind)
            for v in range(count % L):
                out[vectors * L + v] = lookup(data[vectors * L + v], table[0], kind)

        return table_of

    def _of_rows(self) -> tirx.PrimFunc:
        C, kind = self.channels, self.lookup
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def table_of(
            data: T.Buffer((C, before.size), self.dtype),
            table: T.Buffer((ENTRIES,), self.dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = lookup(data[c, y * before.pitch + x], table[0], kind)

        return table_of

    def knobs(self, machine: Machine) -> Knobs:
        """`vector`: whether a vector of bytes is looked up at once."""
        there = machine.by_element if self.lookup == "tbl" else self.lookup in KINDS
        return {"vector": int(there and self.before == self.after)}

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        if knobs["vector"]:
            sch.vectorize(sch.get_loops(sch.get_sblock("out"))[-1])

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"v": CHUNK} if self.before == self.after else {"c": 1, "y": 1}

    def may_replace(self, name: str) -> bool:
        return name == "data" and self.before == self.after

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        low = int(np.iinfo(self.dtype).min)
        return [rng.integers(low, low + ENTRIES, shape).astype(self.dtype) for shape in shapes]
