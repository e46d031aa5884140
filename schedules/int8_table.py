"""An activation of bytes: what a byte becomes is an entry of a table of 256.

    out[c, y, x] = table[in[c, y, x] & 255]

Strategy: planes that lie alike are one row of bytes.  NEON looks 16 of them up at once, in a table of 16 registers
(`lookup`).  Elsewhere each byte is a load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import BYTE_LANES, Knobs, Machine, Plane
from .elementwise import require_same_extents
from .lookup import ENTRIES, lookup
from .taps import as_one_row
from .workload import Workload

CHUNK = 64  # vectors that a thread takes together: of a few cache lines


@dataclass(frozen=True)
class Int8Table(Workload):
    """Parameters: table (256,), of the kernel's dtype; entry b & 255 is what byte b becomes."""

    channels: int
    before: Plane
    after: Plane

    name = "int8_table"

    def __post_init__(self):
        require_same_extents(self.before, self.after)

    def definition(self) -> tirx.PrimFunc:
        return self._of_one_row() if self.before == self.after else self._of_rows()

    def _of_one_row(self) -> tirx.PrimFunc:
        """Padding too, which nothing depends on."""
        count = self.channels * self.before.size
        L, vectors = BYTE_LANES, count // BYTE_LANES

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
                    out[vv * L + vi] = lookup(data[vv * L + vi], table[0])
            for v in range(count % L):
                out[vectors * L + v] = lookup(data[vectors * L + v], table[0])

        return table_of

    def _of_rows(self) -> tirx.PrimFunc:
        C = self.channels
        before, after = as_one_row(self.before, self.after)

        @T.prim_func(private=True, s_tir=True)
        def table_of(
            data: T.Buffer((C, before.size), self.dtype),
            table: T.Buffer((ENTRIES,), self.dtype),
            out: T.Buffer((C, after.size), self.dtype),
        ):
            for c, y, x in T.grid(C, after.height, after.width):
                out[c, y * after.pitch + x] = lookup(data[c, y * before.pitch + x], table[0])

        return table_of

    def knobs(self, machine: Machine) -> Knobs:
        """`vector`: whether 16 bytes are looked up at once."""
        return {"vector": int(machine.by_element and self.before == self.after)}

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
