"""Pointwise (1x1) convolution, grouped or not: one small matrix product per group.

    out[a, o, p] = act((bias[a, o] + sum_k weight[a, o, k] * in[a, k, p]) (* scale[a, o]) (+ residual[a, o, p]))

for group a, its output channel o and pixel p.  With `shuffle` the plane of channel (a, o) is stored
at o * groups + a: the channel shuffle (paper, section 3.1) is an address in the epilogue, and what
comes next finds each of its groups contiguous.

Strategy: `rows` output channels x `vectors` vectors of pixels are accumulated in registers, from bias
and residual on.  For each k the tile loads `vectors` vectors of pixels and multiplies each by `rows`
scalars, which the packed weights hold side by side (with `weight_vectors` they are loaded as vectors,
too).  Pixels outside, channels inside: the input tile of a group is read from L1 by all of its row
tiles, or by a block of them whose weights fit into L2.  The obvious alternative, channels as vectors,
wastes lanes where a group has few channels (g = 8 at 0.5x has 6) and would make the shuffle a
transposition.

Sums in fp16 that would have too many terms are made of parts (`terms_of_sums`).

A few pixels behind the last whole vector (7x7 are 49) take output channels as lanes instead, of the same packed
weights: a vector of pixels for them would cost as much as a whole one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import (
    Knobs,
    Machine,
    Plane,
    combinations,
    cut_tails,
    divisor_up_to,
    divisors,
    load_as_vectors,
    pack_rows,
    register_tiles,
    row_tile,
    terms_of_sums,
    unroll_and_vectorize,
)  # fmt: skip
from .pointwise_sums import computation
from .prefetch import (
    by_default,
    distance_for,
    prefetch_loads,
    prefetch_stores,
    prefetch_weights,
    weights_ahead,
)
from .workload import Workload, leave_out

WHOLE = 640  # vector multiply-adds of a tile whose reduction may be unrolled: 2.5 KiB of code
WEIGHTS = 256 * 1024  # bytes of a block of row tiles: half of the smallest L2 in use
RAGGED = 4096  # weights of a group that are not few
SMALL_L1, LINE = 32 * 1024, 64
STRIP, PAGES = 48 * 1024, 32 * 1024  # bytes of a strip's pixels; of a plane that is large


class Grouped(Workload):
    """`groups` of channels, `outputs` of each; planes are whole vectors; with `shuffle` outputs lie shuffled."""

    groups: int
    outputs: int
    plane: Plane
    lanes: int
    shuffle: bool

    def __post_init__(self):
        if self.plane.size % self.lanes:
            raise ValueError(f"planes of {self.plane.size} elements are no whole number of vectors")

    def order(self, channels: int) -> list[int]:
        """Where the plane of each output channel lies."""
        if not self.shuffle:
            return super().order(channels)
        return [o * self.groups + a for a in range(self.groups) for o in range(self.outputs)]

    def may_replace(self, name: str) -> bool:
        """A tile reads its residual before it is stored, and no other tile does."""
        return name == "other"


@dataclass(frozen=True)
class Pointwise(Grouped):
    """`inputs` and `outputs` are channels per group; input, residual and output lie in the same planes."""

    groups: int
    inputs: int
    outputs: int
    plane: Plane
    lanes: int
    activation: Activation = IDENTITY
    residual: bool = False
    shuffle: bool = False
    scaled: bool = False

    name = "pointwise"

    @property
    def pixels(self) -> tuple[int, int]:
        """Vectors of pixels, and single pixels behind them.

        More than half a vector is a whole one: a plane's size is a whole number of vectors.  Where no tile of 8 divides
        many outputs (244 at 14x14), already two cost as much, since their weights are no vectors.
        """
        pixels = (self.plane.height - 1) * self.plane.pitch + self.plane.width
        vectors, rest = divmod(pixels, self.lanes)
        ragged = self.outputs % 8 and self.inputs * self.outputs > RAGGED
        few = 1 if ragged else self.lanes // 2
        return (vectors, rest) if vectors and rest <= few else (-(-pixels // self.lanes), 0)

    @property
    def terms(self) -> int:
        """Of a sum of which an output is one part, or all."""
        return terms_of_sums(self.inputs, self.dtype)

    @property
    def _floats(self) -> int:
        """Of input and output."""
        return self.groups * (self.inputs + self.outputs) * self.plane.size

    @property
    def multiply_adds(self) -> int:
        return self.groups * self.inputs * self.outputs * self.plane.height * self.plane.width

    def definition(self) -> tirx.PrimFunc:
        G, K, N, P = self.groups, self.inputs, self.outputs, self.plane.size
        compute = computation(
            self,
            load=lambda table, data, a, k, pixel: data[a, k, pixel],
            add=(lambda table, other, a, o, pixel: other[self._place(a, o), pixel]) if self.residual else None,
            place=lambda table, a, o: self._place(a, o),
        )

        @T.prim_func(private=True, s_tir=True)
        def pointwise(
            data: T.Buffer((G, K, P), self.dtype),
            weight: T.Buffer((G, N, K), self.dtype),
            bias: T.Buffer((G, N), self.dtype),
            scale: T.Buffer((G, N), self.dtype),
            other: T.Buffer((G * N, P), self.dtype),
            out: T.Buffer((G * N, P), self.dtype),
        ):
            compute(data, data, weight, bias, None, scale, other, out)

        return leave_out(pointwise, *self._unused())

    def _unused(self) -> list[str]:
        """Parameters that this one does not have."""
        present = {"scale": self.scaled, "other": self.residual}
        return [name for name, has in present.items() if not has]

    def _place(self, a, o):
        """The plane of output channel o of group a."""
        return o * self.groups + a if self.shuffle else a * self.outputs + o

    def knobs(self, machine: Machine) -> Knobs:
        """`rows` x `vectors` accumulators; the loop over k takes `unroll` of its steps at a time.

        Two vectors by eight rows are enough independent sums and loads; more sums would only make the
        time longer in which a tile is begun or stored.  By element, weights come four rows at a time,
        and the operands of four steps share the registers with the sums, so that their loads can be
        under way together.  Out of order a short reduction is unrolled whole: the next tile then starts
        while this one is stored.  A core that interleaves loads and multiply-adds in order wants few
        loads instead, and LLVM to place them: larger tiles, no unrolling.

        `block` row tiles, whose weights stay in L2, go over all pixels before the next ones do.  `panel`
        copies the pixels of a strip side by side first: where the lines that they are strewn over would
        fill half of a small L1, and many row tiles read them.  `strip` pixel tiles are done for one row
        tile before the next: where planes are pages apart, few bytes of each page would otherwise be
        read or written at a time.  Where caches do not keep the planes, what is read and written `prefetch`
        floats later is asked for; a tile of all outputs of few inputs then reads them once.  Weights that are `ahead`
        floats behind are asked for on x86, where that costs nothing: small planes read each weight once a network, from
        memory (7x7, 488 -> 488 channels: from 48 to 72 % of the peak).
        """
        pixels, _ = self.pixels
        interleaves = machine.in_order and not machine.loads_apart
        if machine.by_element:
            vectors = min(3 if interleaves else 2, pixels)
            sums = machine.tile if interleaves else machine.registers // 2
            rows = min(sums // vectors // 4 * 4, 8, self.outputs)
            fp32 = self.dtype == "float32"
            whole = fp32 and not machine.in_order and self.inputs * rows * vectors <= WHOLE
            unroll = self.inputs if whole else 1 if interleaves else divisor_up_to(self.terms, 4)
        else:
            vectors, unroll = min(3 if pixels % 3 == 0 and pixels % 2 else 2, pixels), 1
            limit = machine.tile // vectors
            rows = 8 if self.outputs % 8 == 0 and limit >= 8 else row_tile(self.outputs, limit)
            if self.itemsize * self._floats > machine.caches and max(rows, self.inputs) < self.outputs <= machine.tile:
                rows, vectors = self.outputs, machine.tile // self.outputs
        tiles = -(-self.outputs // rows)
        return by_default(machine, {
            "rows": rows, "vectors": vectors, "unroll": unroll, "weight_vectors": int(machine.by_element),
            "panel": int(machine.by_element and LINE * self.inputs >= SMALL_L1 // 2 and tiles >= 8),
            **self.tile_knobs(machine, rows, vectors), **weights_ahead(machine),
        }, in_order=True)  # fmt: skip

    def tile_knobs(self, machine: Machine, rows: int, vectors: int) -> Knobs:
        """How many tiles of `rows` x `vectors` go together, and how far ahead they prefetch."""
        tiles, large = -(-self.outputs // rows), self.itemsize * self.plane.size >= PAGES
        rest_registers = max(1, self.pixels[1]) * -(-rows // machine.lanes)
        return {
            "block": divisor_up_to(tiles, max(1, WEIGHTS // (self.itemsize * self.inputs * rows))),
            "strip": max(1, min(16, STRIP // (self.itemsize * self.inputs * vectors * self.lanes))) if large else 1,
            "rest_tiles": self._rest_tiles(tiles, max(1, machine.tile // rest_registers)),
            "prefetch": distance_for(
                machine, self.itemsize * self._floats, vectors * self.lanes, self.inputs * rows * vectors
            ),
        }

    def loads_ahead(self, knobs: Knobs) -> int:
        """How far ahead loads are asked for; 0 by element if stores are four times as many.

        There each row tile asks for the same again, beside multiply-adds that have few places left.
        """
        if "tile_ahead" in knobs:
            return knobs["tile_ahead"]
        return knobs["prefetch"] if not knobs["weight_vectors"] or self.outputs < 4 * self.inputs else 0

    def _once(self, knobs: Knobs) -> tuple[int, int] | None:
        """How a tile prefetches once, not once a vector: by element, where its pixels are no longer than a line."""
        vectors = knobs["vectors"]
        short = vectors > 1 and vectors * self.lanes * self.itemsize <= LINE
        return (vectors, self.lanes) if knobs["weight_vectors"] and short else None

    def _rest_tiles(self, tiles: int, limit: int) -> int:
        """A divisor, but for tiles of which it leaves almost nothing (61): a single sum waits for itself."""
        divisor = divisor_up_to(tiles, limit)
        return divisor if divisor >= min(4, limit) or not self.pixels[1] else row_tile(tiles, limit)

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, out = sch.get_sblock("acc"), sch.get_sblock("out")
        a, o, v, i = sch.get_loops(out)
        o_block, o_tile, o = sch.split(o, [None, knobs["block"], rows])
        strip, v_tile, v = sch.split(v, [None, knobs["strip"], vectors])
        order = (strip, o_tile, v_tile) if knobs["strip"] > 1 else (strip, v_tile, o_tile)
        sch.reorder(a, o_block, *order, o, v, i)
        inside = self._schedule_total(sch, order[-1]) if self.terms < self.inputs else order[-1]
        sch.compute_at(acc, inside, preserve_unit_loops=True)
        *_, acc_o, acc_v, acc_i, k = sch.get_loops(acc)
        k, step = sch.split(k, [None, knobs["unroll"]])
        sch.reorder(k, step, acc_o, acc_v, acc_i)
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, step, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc, "weight", lambda a, o, k: (a, o // rows, k, o % rows), assume_injective_transform=True
        )
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", step)
        loads = self.loads_ahead(knobs)
        if knobs["panel"] or loads:
            load = self.staged(sch, acc)
            sch.compute_at(load, strip if knobs["panel"] else step, preserve_unit_loops=True)
            _, *tile = sch.split(sch.get_loops(load)[-1], [None, vectors, self.lanes])
            unroll_and_vectorize(sch, *tile)
            if loads:
                prefetch_loads(sch, load, loads, self._once(knobs))
        if knobs["prefetch"]:
            prefetch_stores(sch, out, knobs["prefetch"], self._once(knobs))
        sch.decompose_reduction(acc, k)
        if self.terms < self.inputs:
            sch.decompose_reduction(sch.get_sblock("total"), inside)
        if ahead := knobs.get("ahead"):
            prefetch_weights(
                sch, acc, lambda *axes: [axes[-5], axes[-4] // rows, self._input(*axes) + ahead // rows, 0],
                first=lambda *axes: tirx.all(axes[-4] % rows == 0, axes[-3] % vectors == 0),
            )  # fmt: skip
        if knobs["unroll"] == self.inputs:
            sch.unroll(k)
        cut_tails(sch, strip, v_tile, o_tile, o_block)
        if self.pixels[1]:
            self._schedule_rest(sch, rows, knobs["rest_tiles"])

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"a": 1, "o": 1, "v": 1}

    def in_parts(self, knobs: Knobs) -> Knobs:
        """On x86 a tile asks for the pixels of the next one, which may come from another core.

        To ask for what is stored costs more than it saves.
        """
        if knobs["weight_vectors"] or knobs["prefetch"]:
            return knobs
        return {**knobs, "tile_ahead": knobs["vectors"] * self.lanes}

    def _schedule_total(self, sch: s_tir.Schedule, tile: s_tir.schedule.LoopRV) -> s_tir.schedule.LoopRV:
        """Adds up parts of sums within a tile; the loop over the parts."""
        total = sch.get_sblock("total")
        sch.compute_at(total, tile, preserve_unit_loops=True)
        *_, o, v, i, part = sch.get_loops(total)
        sch.reorder(part, o, v, i)
        unroll_and_vectorize(sch, o, v, i)
        return part

    def _input(self, *axes: tirx.Expr) -> tirx.Expr:
        """The channel of the axes (a, o, v, i, k) of a sum, behind the number of its part if there are several."""
        return axes[0] * self.terms + axes[-1] if len(axes) > 5 else axes[-1]

    def staged(self, sch: s_tir.Schedule, acc: s_tir.schedule.SBlockRV) -> s_tir.schedule.SBlockRV:
        """A block that copies the inputs of `acc`."""
        return sch.cache_read(acc, "data", "global", consumer_blocks=[acc])

    def _schedule_rest(self, sch: s_tir.Schedule, rows: int, tiles: int) -> None:
        """The pixels behind the last vector, a few at most: output channels as lanes, `tiles` row tiles at once."""
        acc, out = sch.get_sblock("acc_rest"), sch.get_sblock("out_rest")
        a, i, o = sch.get_loops(out)
        o_block, o_tile, o = sch.split(o, [None, tiles, rows])
        sch.reorder(a, o_block, i, o_tile, o)
        sch.compute_at(acc, o_block, preserve_unit_loops=True)
        *_, acc_i, acc_o, k = sch.get_loops(acc)
        acc_tile, acc_o = sch.split(acc_o, [None, rows])
        sch.reorder(k, acc_tile, acc_i, acc_o)
        for loop in (i, o_tile, o):
            sch.unroll(loop)
        unroll_and_vectorize(sch, acc_tile, acc_i, acc_o)
        sch.decompose_reduction(acc, k)

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, 1, 1); `bias`: (groups * outputs,)."""
        weight, bias = arrays
        grouped = weight.reshape(self.groups, self.outputs, self.inputs)
        return [pack_rows(grouped, 1, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        """Any register tiles; blocks of one row tile, of all, of as many as `tile_knobs` has; strips alike.

        Panels are for tiles that stay in L1.  A reduction is unrolled whole up to twice the code that the
        defaults allow.
        """
        found = []
        for tile in register_tiles(machine, self.outputs, range(1, min(8, self.pixels[0]) + 1)):
            rows, vectors = tile["rows"], tile["vectors"]
            tiles, rule = -(-self.outputs // rows), self.tile_knobs(machine, rows, vectors)
            unroll = set(divisors(self.terms, 4)) - {3}
            if self.terms == self.inputs and self.inputs * rows * vectors <= 2 * WHOLE:
                unroll.add(self.inputs)
            panel = {0, int(tiles > 1 and self.itemsize * self.inputs * vectors * self.lanes <= SMALL_L1)}
            chosen = combinations(
                unroll=unroll, panel=panel, block={1, tiles, rule["block"]}, strip={1, rule["strip"]},
                prefetch={0, rule["prefetch"]},
            )  # fmt: skip
            found += [rule | tile | knobs for knobs in chosen]
        return found
