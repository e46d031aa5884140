"""What kernels share that slide a window over each channel alone: how rows are cut, what lies outside.

A row of the output is cut into vectors of `lanes` pixels, the last of which ends with the row and
overlaps the one before.  A row shorter than a vector is computed as a whole one, if what is behind it
may be overwritten: by the next row, or in the padding of the plane.

Taps outside the plane are decided at compile time: `tile` has the loops over tiles partitioned into
border and interior tiles, as the conditions marked as likely demand, so that only border tiles have
masks, and those are constants.  Padded copies would be written and read once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import Knobs, Machine, Plane, combinations, divisor_up_to, divisors, round_up, row_tiles
from .prefetch import prefetch_for
from .workload import Workload

L1_BYTES = 32 * 1024  # the smallest in use


class Rows(Workload):
    """How rows of the output are cut into vectors."""

    before: Plane
    after: Plane
    kernel: int
    pad: int
    lanes: int

    def __post_init__(self):
        if self.pad >= self.span:
            raise ValueError(f"padding {self.pad} of a window of {self.span}: some lie outside")

    @property
    def span(self) -> int:
        """Pixels from a window's first tap to its last."""
        return self.kernel

    @property
    def vector(self) -> int:
        """Lanes of the vectors that a row of the output is cut into."""
        after = self.after
        spills = (after.height - 1) * after.pitch + self.lanes > after.size
        return after.width if after.width < self.lanes and spills else self.lanes

    @property
    def vectors(self) -> int:
        return -(-self.after.width // self.vector)

    @property
    def _last(self) -> int:
        """Where the last vector of a row of the output starts."""
        return max(0, self.after.width - self.vector)

    def column(self, v: tirx.Expr) -> tirx.Expr:
        """Where vector v of a row of the output starts."""
        return T.min(v * self.vector, self._last)


@dataclass(frozen=True)
class Window(Rows):
    """`before` and `after` are the planes read and written."""

    channels: int
    before: Plane
    after: Plane
    kernel: int
    stride: int
    pad: int
    lanes: int
    activation: Activation = IDENTITY

    def reach(self, name: str) -> tuple[int, int]:
        """Vectors of the input start up to `pad` floats in front of a row, and end behind the last tap."""
        if name != "data":
            return 0, 0
        lanes, before = self.vector, self.before
        read = self.stride * lanes + (round_up(max(self.span - self.stride, 1), lanes) if self.kernel > 1 else 0)
        behind = (before.height - 1) * before.pitch + self._last * self.stride - self.pad + read - before.size
        return self.pad, max(0, behind)

    def mask_columns(self, v: tirx.Expr, x: tirx.Expr, value: tirx.Expr, outside: float) -> tirx.Expr:
        """`value`, which is of column x, or `outside` if that is not in the rows; x belongs to vector v.

        As bits: LLVM makes scalar loads of a selection from every second float.
        """
        V, L, width = self.vectors, self.vector, self.before.width
        starts = [min(u * L, self._last) * self.stride - self.pad for u in range(V)]
        reach = (L - 1) * self.stride + self.span
        inside = [u for u, start in enumerate(starts) if 0 <= start <= width - reach] or [V]
        integer = self.dtype.replace("float", "int").replace("uint", "int")
        mask = T.Select(tirx.all(x >= 0, x < width), tirx.const(-1, integer), tirx.const(0, integer))
        bits = T.bitwise_and(T.reinterpret(integer, value), mask)
        if outside:
            there = T.reinterpret(integer, self.number(outside))
            bits = T.bitwise_or(bits, T.bitwise_and(there, T.bitwise_not(mask)))
        masked = T.reinterpret(self.dtype, bits)
        return T.if_then_else(
            T.likely(v >= inside[0]), T.if_then_else(T.likely(v <= inside[-1]), value, masked), masked
        )

    def if_row(self, row: tirx.Expr, then: tirx.Expr, otherwise: tirx.Expr) -> tirx.Expr:
        """`then` if the input has this row."""
        return T.if_then_else(
            T.likely(row >= 0), T.if_then_else(T.likely(row < self.before.height), then, otherwise), otherwise
        )

    def tile_knobs(self, machine: Machine, rows: int, vectors: int) -> Knobs:
        """Even tiles of up to `rows` x `vectors`; `channels` go through one before its neighbour is next.

        Several channels make a tile a loop of its own, whose registers LLVM allots apart from its
        neighbours'.  Their planes stay in the L1 cache: large planes are read one after the other.  Of what caches
        do not keep, the rows of the next tile below are prefetched.
        """
        height = self.after.height
        rows, vectors = -(-height // -(-height // rows)), min(vectors, self.vectors)
        planes = self.itemsize * (self.before.size + self.after.size)
        channels = divisor_up_to(self.channels, max(1, min(8, L1_BYTES // planes)))
        return {"rows": rows, "vectors": vectors, "channels": channels, "prefetch": self.prefetch_knob(machine, rows)}

    def prefetch_knob(self, machine: Machine, rows: int) -> int:
        """Floats of the input from one tile to the next below it; 0 where caches keep the planes."""
        large = self.itemsize * self.channels * (self.before.size + self.after.size) > machine.caches
        return rows * self.stride * self.before.pitch if large else 0

    def space(self, machine: Machine) -> list[Knobs]:
        """Tiles of any shape, as large as all registers together."""
        vectors, channels = range(1, min(4, self.vectors) + 1), divisors(self.channels, 8)
        tiles = combinations(rows=row_tiles(self.after.height, 16), vectors=vectors, channels=channels)
        return [
            {**knobs, "prefetch": distance} for knobs in tiles if knobs["rows"] * knobs["vectors"] <= machine.registers
            for distance in {0, self.prefetch_knob(machine, knobs["rows"])}
        ]  # fmt: skip

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """Channels, and never rows: the last vector of a row may reach into the next row, which is written later."""
        return {"c": 1}

    def tile(
        self, sch: s_tir.Schedule, out: s_tir.schedule.SBlockRV, knobs: Knobs
    ) -> tuple[s_tir.schedule.LoopRV, ...]:
        """Tiles the loops c, y, v, i over `out`: returns the loop of one tile and those inside."""
        c, y, v, i = sch.get_loops(out)
        y_tile, y = sch.split(y, [None, knobs["rows"]])
        v_tile, v = sch.split(v, [None, knobs["vectors"]])
        c_tile, c = sch.split(c, [None, knobs["channels"]])
        sch.reorder(c_tile, y_tile, v_tile, c, y, v, i)
        for tiles in (y_tile, v_tile):
            sch.annotate(tiles, "pragma_loop_partition_hint", 1)
        if knobs["prefetch"]:
            self._prefetch(sch, out, knobs["prefetch"])
        return c, y, v, i

    def source(self, table: Any, channel: tirx.Expr) -> tirx.Expr:
        """The plane of an input channel, of a kernel that has a table of them."""
        return channel

    def _prefetch(self, sch: s_tir.Schedule, out, distance: int) -> None:
        """Prefetches, with each vector of the output, the vectors of the input that it stands for."""
        S, pitch = self.stride, self.before.pitch
        params = {str(param.name): param for param in sch.mod["main"].params}
        c, y, v, i = (axis.var for axis in sch.get(out).iter_vars)
        start = y * S * pitch + self.column(v) * S + i + distance
        plane, data = self.source(params.get("table"), c), params["data"]
        lines = [data[plane, start + row * pitch + part * self.vector] for row in range(S) for part in range(S)]
        prefetch_for(sch, out, lines)
