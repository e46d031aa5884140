"""Pointwise convolution of bytes, grouped or not, planes as they lie: see `pointwise` for what it computes.

    sum[a, o, p]  = bias[a, o] + sum_k weight[a, o, k] * in[a, k, p] (+ gains[a, o] * residual[a, o, p])
    out[a, o, p]  = the byte of sum * factors[a, o] (`requantise`)

With attention the product is scaled first, so that what is added is a number beside it:

    out[a, o, p]  = the byte of sum * (factors[a, o] * scale[a, o]) (+ (residual[a, o, p] - its zero) * gains[a, o])

Memory is as in fp32, a plane for each channel, so shuffles, concatenations and residuals in place stay addresses.  The
dot products want four channels of a pixel side by side, or two of 16 bits: they are zipped into a panel as a tile of
pixels is loaded, and all row tiles of the group read that.  Channels behind the last of a group have weights of zero.

With tables (`Int8Strewn`) planes lie anywhere, as `strewn` says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .common import (
    Knobs,
    Machine,
    Plane,
    combinations,
    cut_tails,
    divisor_up_to,
    load_as_vectors,
    pack_rows,
    row_tile,
    row_tiles,
    unroll_and_vectorize,
)  # fmt: skip
from .dot4 import WORD, dot2, dot4, dot4_apart, in_word, lanes_of, words, zip2, zip4, zip4_apart
from .pointwise import Grouped
from .requantise import LIMITS, examples, requantised, requantised_sum
from .workload import leave_out, spread

WEIGHTS = 256 * 1024  # bytes of a block of row tiles: half of the smallest L2 in use


@dataclass(frozen=True)
class Int8Pointwise(Grouped):
    """`inputs` and `outputs` are channels per group; `dot` is one of `dot4.KINDS`, whose dtype is `dtype`.

    Parameters: weight int8 (groups * outputs, inputs, 1, 1); bias int32 (groups * outputs,); factors float32
    (`requantise.factors_of`); limits (`requantise.limits`; where `scaled`, their last is the residual's zero point);
    with a residual gains (groups * outputs,), int16 or, where `scaled`, float32.
    """

    groups: int
    inputs: int
    outputs: int
    plane: Plane
    lanes: int
    dot: str
    residual: bool = False
    shuffle: bool = False
    scaled: bool = False
    dtype: str = field(kw_only=True)
    short: bool = field(default=False, kw_only=True)  # whether sums are (`requantise`)

    name = "int8_pointwise"
    tabled = False

    def __post_init__(self):
        super().__post_init__()
        if self.scaled and self.short:
            raise ValueError("what attention scales is no short sum")

    @property
    def multiply_adds(self) -> int:
        return self.groups * self.inputs * self.outputs * self.plane.height * self.plane.width

    @property
    def _words(self) -> int:
        """Of so many input channels each as `in_word` says."""
        return -(-self.inputs // in_word(self.dot))

    @property
    def _factors(self) -> tuple[int, ...]:
        return (self.groups, self.outputs, 2) if self.short else (self.groups, self.outputs)

    @property
    def _vectors(self) -> int:
        """Of pixels."""
        return -(-((self.plane.height - 1) * self.plane.pitch + self.plane.width) // self.lanes)

    @property
    def _planes(self) -> tuple[int, int, int]:
        """Of the buffers of inputs, of outputs, of what is added."""
        return self.groups * self.inputs, self.groups * self.outputs, self.groups * self.outputs

    def _source(self, table, a, k):
        return a * self.inputs + k

    def _place(self, table, a, o):
        return o * self.groups + a if self.shuffle else a * self.outputs + o

    def _other(self, table, a, o):
        return self._place(table, a, o)

    def definition(self) -> tirx.PrimFunc:
        G, K, N, P, L, Q, V = (
            self.groups, self.inputs, self.outputs, self.plane.size, self.lanes, self._words, self._vectors
        )  # fmt: skip
        sources, targets, others = self._planes
        tables = K + 2 * N if self.residual else K + N
        W = in_word(self.dot)
        if self.dot == "smull":
            zip_word, dot = zip4_apart, dot4_apart
        else:
            zip_word, dot = (zip2, dot2) if W == 2 else (zip4, partial(dot4, self.dot))

        def zipped(data, table, a, q, pixel):
            channels = [q * W + j if K % W == 0 else T.min(q * W + j, K - 1) for j in range(W)]
            return zip_word(*(data[self._source(table, a, k), pixel] for k in channels))

        def start(bias, gains, other, table, a, o, pixel):
            if not self.residual or self.scaled:
                return bias[a, o]
            there = T.Cast("int32", T.Cast("int16", other[self._other(table, a, o), pixel]))
            return bias[a, o] + there * T.Cast("int32", gains[a, o])

        def finished(value, factors, scale, limits, gains, other, table, a, o, pixel):
            if not self.scaled:
                return requantised_sum(value, factors, (a, o), limits, self.dtype, self.short, self.dot)
            factor = factors[a, o] * scale[a, o]
            if not self.residual:
                return requantised(value, factor, limits, self.dtype)
            there = T.Cast("int32", other[self._other(table, a, o), pixel]) - limits[LIMITS - 1]
            beside = T.Cast("float32", there) * gains[a, o]
            both = tirx.call_intrin("float32", "tirx.fma", T.Cast("float32", value), factor, beside)
            return requantised(both, T.float32(1), limits, self.dtype)

        @T.prim_func(private=True, s_tir=True)
        def pointwise(
            data: T.Buffer((sources, P), self.dtype),
            weight: T.Buffer((G, N, Q), "int32"),
            bias: T.Buffer((G, N), "int32"),
            factors: T.Buffer(self._factors, "float32"),
            limits: T.Buffer((LIMITS,), "int32"),
            scale: T.Buffer((G, N), "float32"),
            gains: T.Buffer((G, N), "float32" if self.scaled else "int16"),
            table: T.Buffer((G, tables), "int32"),
            other: T.Buffer((others, P), self.dtype),
            out: T.Buffer((targets, P), self.dtype),
        ):
            panel = T.sblock_alloc_buffer((G, Q, V, L), "int32")
            acc = T.sblock_alloc_buffer((G, N, V, L), "int32")
            for a, q, v, i in T.grid(G, Q, V, L):
                with T.sblock("panel"):
                    va, vq, vv, vi = T.axis.remap("SSSS", [a, q, v, i])
                    panel[va, vq, vv, vi] = zipped(data, table, va, vq, vv * L + vi)
            for a, o, v, i, q in T.grid(G, N, V, L, Q):
                with T.sblock("acc"):
                    va, vo, vv, vi, vq = T.axis.remap("SSSSR", [a, o, v, i, q])
                    with T.init():
                        acc[va, vo, vv, vi] = start(bias, gains, other, table, va, vo, vv * L + vi)
                    acc[va, vo, vv, vi] = dot(acc[va, vo, vv, vi], panel[va, vq, vv, vi], weight[va, vo, vq])
            for a, o, v, i in T.grid(G, N, V, L):
                with T.sblock("out"):
                    va, vo, vv, vi = T.axis.remap("SSSS", [a, o, v, i])
                    value = T.meta_var(acc[va, vo, vv, vi])
                    out[self._place(table, va, vo), vv * L + vi] = finished(
                        value, factors, scale, limits, gains, other, table, va, vo, vv * L + vi
                    )

        present = {"scale": self.scaled, "gains": self.residual, "other": self.residual, "table": self.tabled}
        return leave_out(pointwise, *(name for name, has in present.items() if not has))

    def knobs(self, machine: Machine) -> Knobs:
        """`rows` x `vectors` accumulators, each of 16 sums; by element, weights come four rows at a time.

        In order sdot's loop has two steps: loads then stand beside the products of others (`lowering/reorder.py`).
        By smull three rows: LLVM computes the products of a tile ahead, and four rows of them do not fit the registers.
        """
        each = max(1, self.lanes // lanes_of(self.dot))  # registers of an accumulator
        vectors = 1 if each > 1 else min(2, self._vectors)
        limit = max(1, machine.registers * 3 // 4 // (each * vectors))
        most = 3 if self.dot == "smull" else 4
        rows = min(most, self.outputs) if machine.by_element else row_tile(self.outputs, min(limit, 10))
        return {
            "rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element),
            "unroll": divisor_up_to(self._words, 2) if machine.in_order and self.dot == "sdot" else 1,
            "block": self._block(rows),
        }  # fmt: skip

    def _block(self, rows: int) -> int:
        return divisor_up_to(-(-self.outputs // rows), max(1, WEIGHTS // (WORD * self._words * rows)))

    def space(self, machine: Machine) -> list[Knobs]:
        each = max(1, self.lanes // lanes_of(self.dot))
        tiles = combinations(
            rows=row_tiles(self.outputs, machine.registers // each), vectors=range(1, min(4, self._vectors) + 1),
            weight_vectors={0, int(machine.by_element)},
        )  # fmt: skip
        return [
            {**tile, "block": self._block(tile["rows"])} for tile in tiles
            if tile["rows"] * tile["vectors"] * each <= machine.registers
        ]  # fmt: skip

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        panel, acc, out = (sch.get_sblock(name) for name in ("panel", "acc", "out"))
        a, o, v, i = sch.get_loops(out)
        o_block, o_tile, o = sch.split(o, [None, knobs["block"], rows])
        v_tile, v = sch.split(v, [None, vectors])
        sch.reorder(a, o_block, v_tile, o_tile, o, v, i)
        sch.compute_at(acc, o_tile, preserve_unit_loops=True)
        *_, acc_o, acc_v, acc_i, q = sch.get_loops(acc)
        sch.reorder(q, acc_o, acc_v, acc_i)
        sch.compute_at(panel, v_tile, preserve_unit_loops=True)
        unroll_and_vectorize(sch, *sch.get_loops(panel)[-2:])
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc, "weight", lambda a, o, q: (a, o // rows, q, o % rows), assume_injective_transform=True
        )
        if knobs["unroll"] > 1:
            q, inner = sch.split(q, [None, knobs["unroll"]])
            sch.unroll(inner)
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", inner if knobs["unroll"] > 1 else q)
        sch.decompose_reduction(acc, q)
        cut_tails(sch, v_tile, o_tile, o_block)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        return {"a": 1, "o": 1, "v": 1}

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        weight, *others = arrays
        grouped = words(weight.reshape(self.groups, self.outputs, self.inputs), in_word(self.dot))
        return [pack_rows(grouped, 1, knobs["rows"], "int32"), *self._beside(others)]

    def _beside(self, others: list[np.ndarray]) -> list[np.ndarray]:
        """What is packed beside the weights."""
        return others

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """Any numbers; the tables spread the channels evenly over all planes."""
        arrays = examples(shapes, rng.integers(-127, 128, shapes[0], np.int8))
        if self.tabled:
            tables = zip(range(len(shapes) - (3 if self.residual else 2), len(shapes)), self._planes)
            for index, planes in tables:
                arrays[index] = spread(math.prod(shapes[index]), planes)
        return arrays


@dataclass(frozen=True)
class Int8Strewn(Int8Pointwise):
    """The inputs are among `sources` planes, the outputs among `targets`, what is added among `others`.

    The last parameters are tables of planes: of the inputs, of the outputs, of what is added.
    """

    sources: int = 1
    targets: int = 1
    others: int = 0

    name = "int8_strewn"
    whole = ("data", "other", "out")
    tabled = True

    def __post_init__(self):
        super().__post_init__()
        if self.residual != (self.others > 0) or self.shuffle:
            raise ValueError("planes of a residual come with one, and a shuffle is in the table")

    @property
    def _planes(self) -> tuple[int, int, int]:
        return self.sources, self.targets, self.others

    def _source(self, table, a, k):
        return table[a, k]

    def _place(self, table, a, o):
        return table[a, self.inputs + o]

    def _other(self, table, a, o):
        return table[a, self.inputs + self.outputs + o]

    @property
    def _numbers(self) -> int:
        """Of parameters in front of the tables, behind the weights."""
        return 4 if self.residual else 3

    def written(self, *arrays: np.ndarray) -> np.ndarray:
        return np.sort(arrays[self._numbers + 2].ravel())

    def _beside(self, others: list[np.ndarray]) -> list[np.ndarray]:
        """The tables as one."""
        numbers, tables = others[: self._numbers], others[self._numbers :]
        table = np.concatenate([np.reshape(planes, (self.groups, -1)) for planes in tables], axis=1)
        return [*numbers, table.astype(np.int32)]
