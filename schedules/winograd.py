"""Convolution at stride 1 with a 3x3 or 5x5 window by Winograd's method: AlexNet's layers behind the stem.

    out[a, o, y, x] = act(bias[a, o] + sum over k, ky, kx of
                          weight[a, o, k, ky, kx] * in[a, k, y + ky - p, x + kx - p])

A tile of m x m results needs 6 x 6 inputs, m = 7 - window.  Taken as polynomials, inputs and weights
are evaluated at six points in each direction, multiplied there, and the products interpolated: 36
multiplications for m x m results, a quarter of 3x3's and 1 in 2.8 of 5x5's.

    domain[point, k]     = B d Bt         of the 6 x 6 inputs d of a tile of channel k
    domain[point, N + o] = sum over k of weight[point, o, k] * domain[point, k]
    out tile of o       = At M A         of the products M of channel o at the 36 points

The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity: their small powers keep the rounding error at
2e-6 of the largest result (0, 1, -1, 2, -2: 8e-6).

Strategy: tiles are the vectors, `rows` output channels x `vectors` vectors of them are accumulated in
registers as in the pointwise kernel, one product of matrices for each point.  A band of rows of tiles
goes through all three steps before the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import s_tir, tirx
from tvm.script import tirx as T

from .activation import IDENTITY, Activation
from .common import (
    Knobs,
    Machine,
    Plane,
    divisors,
    load_as_vectors,
    pack_rows,
    register_tiles,
    round_up,
    row_filler,
    row_tile,
    unroll_and_vectorize,
)  # fmt: skip
from .functions import cast
from .prefetch import prefetch_weights, weights_ahead
from .workload import Workload

SIDE = 6  # inputs of a tile in each direction, and points
POINTS = SIDE * SIDE
A, B = 0.75, 1.5

# The weights, 4 times as many as the layer has at 3x3, are read once for each band: bands that fit into a
# small L2 cache would cost more than they save.
SPACE_BYTES = 2560 * 1024


def evaluate(d: list) -> list:
    """B d: for each point the product of (x - other point) over the other finite ones, x^i being d[i]."""

    def at(inner, outer):  # the points outer and -outer
        even, odd = d[4] - T.float32(inner**2) * d[2], d[3] - T.float32(inner**2) * d[1]
        return [even + T.float32(outer) * odd, even - T.float32(outer) * odd]

    def without(i):  # of 0 and infinity, which differ by a factor of x
        return d[i + 4] - T.float32(A**2 + B**2) * d[i + 2] + T.float32(A**2 * B**2) * d[i]

    return [without(0), *at(B, A), *at(A, B), without(1)]


def interpolate(p: list, m: int) -> list:
    """At p: result i is the sum of p[point] * point^i; the last one also has the point at infinity."""
    results = []
    for i in range(m):
        sign = 1 if i % 2 == 0 else -1
        near, far = (p[1] + p[2], p[3] + p[4]) if sign > 0 else (p[1] - p[2], p[3] - p[4])
        results.append(T.float32(A**i) * near + T.float32(B**i) * far if i else p[0] + near + far)
    return [*results[:-1], results[-1] + p[5]]


def weight_matrix(kernel: int) -> np.ndarray:
    """(6, kernel): evaluates a row of weights at the points, divided by what `evaluate` multiplied by."""
    points = np.array([0, A, -A, B, -B])
    others = np.array([np.prod(np.delete(a - points, i)) for i, a in enumerate(points)])
    finite = points[:, None] ** np.arange(kernel) / others[:, None]
    return np.vstack([finite, np.eye(kernel)[-1:]])


@dataclass(frozen=True)
class Winograd(Workload):
    """`inputs` and `outputs` are channels per group; of `after`, `plane(...)` leaves nothing of a tile to cut off.

    Its arithmetic is fp32, since rounding errors grow in it; input and output may have other dtypes.
    """

    groups: int
    inputs: int
    outputs: int
    before: Plane
    after: Plane
    kernel: int
    pad: int
    lanes: int
    activation: Activation = IDENTITY
    data_dtype: str = field(default="", kw_only=True)
    out_dtype: str = field(default="", kw_only=True)

    name = "winograd"
    stride = 1
    external = ("data",)
    scratch = ("domain",)
    stages = True

    @staticmethod
    def fits(kernel: int, stride: int) -> bool:
        return stride == 1 and kernel in (3, 5)

    @staticmethod
    def plane(height: int, width: int, kernel: int, lanes: int) -> Plane:
        """A plane of whole tiles."""
        tile = SIDE + 1 - kernel
        pitch = round_up(width, tile)
        return Plane(height, width, pitch, round_up(round_up(height, tile) * pitch, lanes))

    @property
    def _stored(self) -> tuple[int, int]:
        """Rows and columns of tiles that are stored: whole tiles, where the plane has a place for them.

        Tiles may be wider than the plane: they then reach into the next row, which is written behind them.
        """
        after, tile = self.after, self._tile
        height, width = round_up(after.height, tile), round_up(after.width, tile)
        if (after.height - 1) * after.pitch + width > after.size:
            return after.height, after.width
        return (height if (height - 1) * after.pitch + width <= after.size else after.height), width

    @property
    def _tile(self) -> int:
        return SIDE + 1 - self.kernel

    @property
    def _tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.after.height // self._tile), -(-self.after.width // self._tile)

    @property
    def _band(self) -> int:
        """Rows of tiles in a band: of the sizes that fit, the largest that wastes the fewest lanes."""
        rows, columns = self._tiles
        fit = max(1, SPACE_BYTES // (4 * POINTS * (self.inputs + self.outputs) * columns))
        return min(range(min(fit, rows), 0, -1), key=lambda n: -(-rows // n) * self._used(n))

    def _used(self, band: int) -> int:
        """Tiles of a band, rounded up to whole vectors, of NEON to pairs: a weight is loaded for each."""
        return round_up(band * self._tiles[1], max(self.lanes, 8))

    @property
    def _vector(self) -> int:
        """Tiles of a row that are transformed at once."""
        return min(self.lanes, 1 << (self._tiles[1] - 1).bit_length())

    @property
    def _pitch(self) -> int:
        """Floats between channels in `domain`: vectors of the band's last row of tiles may reach behind it."""
        columns = self._tiles[1]
        reached = (self._band - 1) * columns + round_up(columns, self._vector)
        return max(round_up(reached, self.lanes), self._used(self._band))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the layer as a direct convolution would do them."""
        pixels = self.after.height * self.after.width
        return self.groups * self.inputs * self.outputs * pixels * self.kernel**2

    def definition(self) -> tirx.PrimFunc:
        G, N, J, m = self.groups, self.inputs, self.outputs, self._tile
        before, after, finish, band, vector, pitch = (
            self.before, self.after, self.activation.apply, self._band, self._vector, self._pitch,
        )  # fmt: skip
        rows, columns = self._tiles
        bands, parts, used = -(-rows // band), -(-columns // vector), self._used(band)
        width = parts * vector + (SIDE - 1) // m
        strides, (stored_rows, stored_columns) = [(N + J) * pitch, pitch, 1], self._stored
        whole, rest = divmod(stored_columns, m)
        cuts = stored_rows % m > 0
        data_dtype, out_dtype = self.data_dtype or self.dtype, self.out_dtype or self.dtype
        fill_row = row_filler(before, self.pad, m, width)

        def first(b):
            """Row of tiles where a band starts: the last one computes rows of the one before again."""
            return b * band if rows % band == 0 else T.min(b * band, rows - band)

        def evaluate_columns(padded, half, j, x, lane):
            values = evaluate([padded[0, i, j % m, x + lane + j // m] for i in range(SIDE)])
            store(half, values, lambda i: [i, j, lane])

        def evaluate_rows(half, inputs, i, c, t, lane):
            values = evaluate([half[i, j, lane] for j in range(SIDE)])
            store(inputs, values, lambda j: [i * SIDE + j, c, t + lane])

        def interpolate_columns(products, half, j, o, t, lane):
            values = interpolate([products[i * SIDE + j, o, t + lane] for i in range(SIDE)], m)
            store(half, values, lambda i: [i, j, lane])

        def interpolate_rows(half, tile, i, x, lane, bias):
            values = interpolate([half[i, j, lane] for j in range(SIDE)], m)
            store(tile, [finish(value + bias) for value in values], lambda j: [i, j, x + lane])

        def store(buffer, values, indices):
            for i, value in enumerate(values):
                T.buffer_store(buffer, value, indices(i))

        @T.macro
        def put(out, c, y, tile, i):
            for x in range(whole):  # LLVM makes interleaving stores of it
                for j in T.unroll(m):
                    out[c, y * after.pitch + x * m + j] = cast(tile[i, j, x], out_dtype)
            if rest > 0:
                for j in T.unroll(rest):
                    out[c, y * after.pitch + whole * m + j] = cast(tile[i, j, whole], out_dtype)

        @T.prim_func(private=True, s_tir=True)
        def winograd(
            data: T.Buffer((G * N, before.size), data_dtype),
            weight: T.Buffer((G, POINTS, J, N), "float32"),
            bias: T.Buffer((G, J), "float32"),
            out: T.Buffer((G * J, after.size), out_dtype),
            domain: T.Buffer((POINTS, N + J, pitch), "float32"),
        ):
            # Buffers of their own, because no block of a schedule may write what another one writes.
            with T.sblock("root"):
                T.reads(data[0 : G * N, 0 : before.size], weight[0:G, 0:POINTS, 0:J, 0:N], bias[0:G, 0:J])
                T.writes(out[0 : G * J, 0 : after.size], domain[0:POINTS, 0 : N + J, 0:pitch])
                inputs = T.match_buffer(
                    domain[0:POINTS, 0:N, 0:pitch], (POINTS, N, pitch), "float32",
                    strides=strides, elem_offset=T.int32(), offset_factor=1,
                )  # fmt: skip
                products = T.match_buffer(
                    domain[0:POINTS, N : N + J, 0:pitch], (POINTS, J, pitch), "float32",
                    strides=strides, elem_offset=T.int32(), offset_factor=1,
                )  # fmt: skip
                acc = T.sblock_alloc_buffer((G, bands, POINTS, J, used), "float32")
                for a, b in T.grid(G, bands):
                    for c, y in T.grid(N, band):
                        with T.sblock("evaluate"):
                            va, vb, vc, vy = T.axis.remap("SSSS", [a, b, c, y])
                            T.reads(data[va * N + vc, 0 : before.size])
                            T.writes(inputs[0:POINTS, vc, 0:pitch])
                            padded = T.sblock_alloc_buffer((1, SIDE, m, width), "float32")
                            half = T.sblock_alloc_buffer((SIDE, SIDE, vector), "float32")
                            for i in range(SIDE):
                                fill_row(data, va * N + vc, (first(vb) + vy) * m + i, padded, 0, i)
                            for x in range(parts):
                                for j in T.unroll(SIDE):
                                    for lane in T.vectorized(vector):
                                        evaluate_columns(padded, half, j, x * vector, lane)
                                for i in T.unroll(SIDE):
                                    for lane in T.vectorized(vector):
                                        evaluate_rows(half, inputs, i, vc, vy * columns + x * vector, lane)
                    for p, o, t, k in T.grid(POINTS, J, used, N):
                        with T.sblock("acc"):
                            va, vb, vp, vo, vt, vk = T.axis.remap("SSSSSR", [a, b, p, o, t, k])
                            with T.init():
                                acc[va, vb, vp, vo, vt] = T.float32(0)
                            acc[va, vb, vp, vo, vt] = (
                                acc[va, vb, vp, vo, vt] + weight[va, vp, vo, vk] * inputs[vp, vk, vt]
                            )
                    for p, o, t in T.grid(POINTS, J, used):
                        with T.sblock("products"):
                            va, vb, vp, vo, vt = T.axis.remap("SSSSS", [a, b, p, o, t])
                            products[vp, vo, vt] = acc[va, vb, vp, vo, vt]
                    for o, y in T.grid(J, band):
                        with T.sblock("interpolate"):
                            va, vb, vo, vy = T.axis.remap("SSSS", [a, b, o, y])
                            T.reads(products[0:POINTS, vo, 0:used], bias[va, vo])
                            T.writes(out[va * J + vo, 0 : after.size])
                            half = T.sblock_alloc_buffer((m, SIDE, vector), "float32")
                            tile = T.sblock_alloc_buffer((m, m, parts * vector), "float32")
                            for x in range(parts):
                                for j in T.unroll(SIDE):
                                    for lane in T.vectorized(vector):
                                        interpolate_columns(products, half, j, vo, vy * columns + x * vector, lane)
                                for i in T.unroll(m):
                                    for lane in T.vectorized(vector):
                                        interpolate_rows(half, tile, i, x * vector, lane, bias[va, vo])
                            for i in T.unroll(m):
                                y_out = T.meta_var((first(vb) + vy) * m + i)
                                if cuts:
                                    if y_out < stored_rows:
                                        put(out, va * J + vo, y_out, tile, i)
                                else:
                                    put(out, va * J + vo, y_out, tile, i)

        return winograd

    def knobs(self, machine: Machine) -> Knobs:
        """As for the pointwise kernel."""
        count = self._used(self._band) // self.lanes
        vectors = next(n for n in (2, 3, 1) if count % n == 0)
        rows = row_tile(self.outputs, machine.tile // vectors)
        return {"rows": rows, "vectors": vectors, "weight_vectors": int(machine.by_element),
                **weights_ahead(machine)}  # fmt: skip

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        rows, vectors = knobs["rows"], knobs["vectors"]
        acc, products = sch.get_sblock("acc"), sch.get_sblock("products")
        *_, p, o, t = sch.get_loops(products)
        o_tile, o = sch.split(o, [None, rows])
        t_tile, v, i = sch.split(t, [None, vectors, self.lanes])
        sch.reorder(p, o_tile, t_tile, o, v, i)
        sch.compute_at(acc, t_tile, preserve_unit_loops=True)
        *_, acc_o, acc_t, k = sch.get_loops(acc)
        acc_v, acc_i = sch.split(acc_t, [None, self.lanes])
        sch.reorder(k, acc_o, acc_v, acc_i)
        unroll_and_vectorize(sch, o, v, i)
        unroll_and_vectorize(sch, acc_o, acc_v, acc_i)
        sch.transform_layout(
            acc, "weight", lambda a, p, o, k: (a, p, o // rows, k, o % rows), assume_injective_transform=True
        )
        if knobs["weight_vectors"]:
            load_as_vectors(sch, acc, "weight", k)
        sch.decompose_reduction(acc, k)
        if ahead := knobs.get("ahead"):
            prefetch_weights(
                sch, acc, lambda a, b, p, o, t, k: [a, p, o // rows, k + ahead // rows, 0],
                first=lambda a, b, p, o, t, k: o % rows == 0,
            )  # fmt: skip

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """The chunks of the three steps: channels; points and channels; channels."""
        return {"c": 1, "p": 1, "o": 1}

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """`weight`: (groups * outputs, inputs, kernel, kernel); `bias`: (groups * outputs,)."""
        weight, bias = arrays
        matrix = weight_matrix(self.kernel)
        evaluated = np.einsum("pi,okij,qj->pqok", matrix, weight, matrix, optimize=True)
        grouped = evaluated.reshape(POINTS, self.groups, self.outputs, self.inputs).swapaxes(0, 1)
        return [pack_rows(grouped, 2, knobs["rows"]), bias]

    def space(self, machine: Machine) -> list[Knobs]:
        return register_tiles(machine, self.outputs, divisors(self._used(self._band) // self.lanes, 8))
