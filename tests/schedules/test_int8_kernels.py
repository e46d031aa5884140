"""Kernels of bytes: equal to the bit to sums in numpy, whatever instruction multiplies; they saturate and pad."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

from tvm_shufflenet.architectures.resizing import resize_tables
from tvm_shufflenet.graph.byte_tensors import TERMS
from tvm_shufflenet.graph.quantise import BIAS, GAIN
from tvm_shufflenet.schedules import (
    Int8AdaptiveAvgPool,
    Int8Add,
    Int8Attention,
    Int8BatchedDense,
    Int8Conv,
    Int8Dense,
    Int8Entry,
    Int8Exit,
    Int8GenericConv,
    Int8GenericPool,
    Int8GlobalAvgPool,
    Int8InnerDense,
    Int8LRN,
    Int8Matrix,
    Int8Pointwise,
    Int8Resize,
    Int8Stem,
    Int8Strewn,
    Int8StrewnMatrix,
    Int8StrewnWindow,
    Int8Table,
    Int8Window,
    Plane,
    WindowPool,
)  # fmt: skip
from tvm_shufflenet.schedules.dot4 import KINDS
from tvm_shufflenet.schedules.lookup import PLAIN
from tvm_shufflenet.schedules.requantise import (
    bias_of,
    factors_of,
    fma_arrays,
    limits,
    requantised_arrays,
    short_arrays,
    short_sums,
)  # fmt: skip
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.detect import features_of
from tvm_shufflenet.targets.precision import precision_of

from ..kernel_runs import run_kernel

NATIVE = resolve("native")
pytestmark = pytest.mark.skipif(NATIVE.arch == "arm", reason="no precision but fp32 is for 32-bit processors")
BEST = () if NATIVE.arch == "arm" else (precision_of("int8", None, NATIVE).dot,)
HAS_AVX2 = ("maddwd",) if "avx2" in features_of(NATIVE.tvm) else ()
BEST_LOOKUP = () if NATIVE.arch == "arm" else (precision_of("int8", None, NATIVE).lookup,)
LOOKUPS = tuple(dict.fromkeys([*BEST_LOOKUP, *(["avx2"] if HAS_AVX2 else []), PLAIN]))
DOTS = tuple(dict.fromkeys([*BEST, *HAS_AVX2, "plain"]))
EVERY_DOT = pytest.mark.parametrize("dot", DOTS)
LANES = 16


class Numbers:
    """Random bytes, weights and what else kernels take, of one kind."""

    def __init__(self, dot: str):
        self.rng = np.random.default_rng(0)
        self.dot, self.dtype = dot, KINDS[dot]
        self.low, self.high = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        self.machine = NATIVE.machine.at(self.dtype)

    def bytes(self, *shape: int) -> np.ndarray:
        return self.rng.integers(self.low, self.high + 1, shape).astype(self.dtype)

    def weights(self, *shape: int) -> np.ndarray:
        """With the largest that there are."""
        found = self.rng.integers(-127, 128, shape).astype(np.int8)
        found.flat[0], found.flat[-1] = 127, -127
        return found

    def channels(self, count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
        """Biases and scales: sums spread over a few times the range of bytes."""
        scale = (self.rng.random(count) * 400 / spread).astype(np.float32)
        return self.rng.integers(-9999, 9999, count).astype(np.int32), scale


def expected(numbers: Numbers, sums: np.ndarray, scale: np.ndarray, bounds: tuple[int, int, int]) -> np.ndarray:
    found = requantised_arrays(sums, scale.reshape(-1, *(1,) * (sums.ndim - 1)), *bounds)
    assert {bounds[1], bounds[2]} <= set(found.ravel().tolist()), "both ends are reached"
    return found


GAINS = 300  # of residuals, at most


class Rounding:
    """What a kernel takes of biases and scales, and the bytes of its sums; `short` if these are."""

    def __init__(
        self, numbers: Numbers, weight: np.ndarray, spread: float, bounds: tuple[int, int, int], short: bool
    ):  # fmt: skip
        self.numbers, self.bounds, self.start = numbers, bounds, None
        self.bias, self.scale = numbers.channels(len(weight), spread)
        if short:
            most = 255 * (GAINS + np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1))
            found = short_sums(self.scale, self.bias.astype(np.int64), -most, most, bounds[0])
            assert found
            self.scale, self.bias, self.start = found
        self.arguments = bias_of(self.bias, self.start), factors_of(self.scale, self.start)

    def bytes(self, sums: np.ndarray) -> np.ndarray:
        """Of sums without biases, (channels, ...)."""
        scale, bias, start = (
            None if part is None else part.reshape(-1, *(1,) * (sums.ndim - 1))
            for part in (self.scale, self.bias, self.start)
        )
        if start is None:
            return expected(self.numbers, sums + bias, self.scale, self.bounds)
        found = short_arrays(sums + bias, scale, start, *self.bounds[1:])
        ideal = requantised_arrays(sums + bias, scale, *self.bounds)
        assert {*self.bounds[1:]} <= set(found.ravel().tolist()), "both ends are reached"
        assert np.abs(found - ideal).max() <= 1, "what is added for the channel differs from the zero point in that"
        return found


SHORT = pytest.mark.parametrize("short", [False, True])


def pointwise(
    numbers, groups, inputs, outputs, side, residual=False, shuffle=False, knobs=None, kind=Int8Pointwise, short=False
):  # fmt: skip
    plane = Plane.padded(side, side, LANES)
    workload = kind(
        groups, inputs, outputs, plane, LANES, numbers.dot, residual, shuffle, dtype=numbers.dtype, short=short
    )  # fmt: skip
    data = numbers.bytes(groups, inputs, plane.size)
    other = numbers.bytes(groups * outputs, plane.size)
    weight = numbers.weights(groups * outputs, inputs, 1, 1)
    gains = numbers.rng.integers(1, GAINS, groups * outputs).astype(np.int16)
    bounds = numbers.low + 17, numbers.low + 3, numbers.high - 2
    rounding = Rounding(numbers, weight, 1e4 * inputs**0.5, bounds, short)
    found = run_kernel(
        workload, numbers.machine, data, weight, *rounding.arguments, limits(*bounds), *([gains] if residual else []),
        residual=other if residual else None, knobs=knobs,
    )  # fmt: skip
    wide = weight.reshape(groups, outputs, inputs).astype(np.int64) @ data.astype(np.int64)
    sums = wide.reshape(groups * outputs, -1)
    if residual:
        sums = sums + gains[:, None].astype(np.int64) * other
    result = np.empty((groups * outputs, plane.size), np.int64)
    result[workload.order(groups * outputs)] = rounding.bytes(sums)
    pixels = side * side
    assert np.array_equal(found.reshape(groups * outputs, -1)[:, :pixels], result[:, :pixels])


@EVERY_DOT
@SHORT
@pytest.mark.parametrize(
    "shape", [(3, 20, 40, 14), (1, 10, 15, 7), (8, 6, 24, 5)], ids=lambda shape: "-".join(map(str, shape))
)
def test_pointwise(dot, shape, short):
    """Also of channels that fill no word, and of planes of 7 x 7."""
    pointwise(Numbers(dot), *shape, short=short)


@EVERY_DOT
@SHORT
def test_pointwise_adds_a_residual(dot, short):
    pointwise(Numbers(dot), 3, 6, 20, 7, residual=True, short=short)


@EVERY_DOT
def test_a_shuffle_is_an_address(dot):
    pointwise(Numbers(dot), 3, 8, 10, 7, shuffle=True)


@pytest.mark.parametrize("rows,vectors,block,unroll", [(7, 3, 1, 1), (4, 1, 2, 3)])
def test_any_tile_of_pointwise(rows, vectors, block, unroll):
    knobs = {"rows": rows, "vectors": vectors, "block": block, "weight_vectors": 0, "unroll": unroll}
    pointwise(Numbers(DOTS[0]), 1, 12, 20, 7, knobs=knobs)


@SHORT
@pytest.mark.parametrize(
    "shape,options",
    [((3, 20, 40, 14), {}), ((1, 10, 14, 7), {}), ((8, 3, 2, 5), {}), ((2, 17, 18, 7), {}),
     ((3, 6, 20, 7), {"residual": True}), ((3, 8, 10, 7), {"shuffle": True}),
     ((1, 16, 20, 7), {"knobs": {"rows": 6, "vectors": 3, "block": 1}})],
)  # fmt: skip
def test_pointwise_by_products_of_pairs(shape, options, short):
    """The order in memory of smmla, where there is none; libraries with the instruction run emulated."""
    pointwise(Numbers("plain"), *shape, **options, kind=Int8Matrix, short=short)


def test_products_of_pairs_are_of_even_outputs():
    with pytest.raises(ValueError, match="15 outputs of 16 pixels are no pairs"):
        Int8Matrix(1, 8, 15, Plane.padded(7, 7, LANES), LANES, "smmla", dtype="int8")
    assert not Int8Matrix.pays(40, 15) and not Int8Matrix.pays(12, 48) and Int8Matrix.pays(20, 80)


STREWN = [*((dot, Int8Strewn) for dot in DOTS), ("plain", Int8StrewnMatrix)]


@pytest.mark.parametrize("dot,kind", STREWN)
def test_pointwise_of_planes_anywhere(dot, kind):
    numbers, plane = Numbers(dot), Plane.padded(7, 7, LANES)
    workload = kind(1, 6, 10, plane, LANES, dot, residual=True, sources=12, targets=25, others=30, dtype=numbers.dtype)
    sources, targets, others = (
        numbers.rng.permutation(among)[:count] for among, count in ((12, 6), (25, 10), (30, 10))
    )  # fmt: skip
    data, other, weight = numbers.bytes(12, plane.size), numbers.bytes(30, plane.size), numbers.weights(10, 6, 1, 1)
    bias, scale = numbers.channels(10, 3e4)
    gains, bounds = numbers.rng.integers(1, 300, 10).astype(np.int16), (numbers.low, numbers.low, numbers.high)
    found = run_kernel(
        workload, numbers.machine, data, weight, bias, scale, limits(*bounds), gains, sources, targets, others,
        residual=other,
    ).reshape(25, -1)  # fmt: skip
    sums = (
        weight[:, :, 0, 0].astype(np.int64) @ data[sources] + bias[:, None] + gains[:, None] * other[others].astype(int)
    )
    assert np.array_equal(found[targets, :49], expected(numbers, sums, scale, bounds)[:, :49])


def test_short_sums():
    """Bytes are those of the scale and the zero point but for sums nearly between two; longer sums are none."""
    rng, zero = np.random.default_rng(1), 100
    scale = np.exp2(rng.uniform(-14, -5.01, 300)).astype(np.float32)
    bias, extent = rng.integers(-9999, 9999, 300), np.floor(2**13 / scale).astype(np.int64)
    extent = np.minimum(extent, 2**20)
    found, moved, start = short_sums(scale, bias, -extent, extent, zero)
    assert np.allclose(found, scale, rtol=3e-6) and np.all(np.abs(moved - bias) * found < 0.51)
    sums = rng.integers(-(256 / scale).astype(int)[:, None], (256 / scale).astype(int)[:, None], (300, 1000))
    ideal = requantised_arrays(sums + bias[:, None], scale[:, None], zero, 0, 255)
    given = short_arrays(sums + moved[:, None], found[:, None], start[:, None], 0, 255)
    assert np.abs(given - ideal).max() <= 1 and (given != ideal).mean() < 1e-3
    silent = np.array([1e-3, 1e-12], np.float32), np.array([5, 7]), np.zeros(2, int), np.zeros(2, int), zero
    assert short_sums(*silent)[1].tolist()[1] == 7, "a scale that makes nothing of any sum moves no bias"
    few = np.array([1e-3], np.float32), np.array([0]), np.array([-9])
    assert short_sums(*few, np.array([2**22]), zero) is None and short_sums(*few, np.array([2**21]), zero)
    assert short_sums(np.array([0.04], np.float32), *few[1:], np.array([9]), zero) is None
    assert short_sums(np.array([0.02], np.float32), *few[1:], np.array([2**21]), zero) is None


@EVERY_DOT
@pytest.mark.parametrize("shuffle,residual", [(True, False), (False, True)])
def test_pointwise_scales_what_it_stores(dot, shuffle, residual):
    """Each channel by a factor, before the residual is added; that is given less its zero point."""
    numbers, plane = Numbers(dot), Plane.padded(7, 7, LANES)
    workload = Int8Pointwise(3, 6, 10, plane, LANES, dot, residual, shuffle, True, dtype=numbers.dtype)
    data, other, weight = numbers.bytes(18, plane.size), numbers.bytes(30, plane.size), numbers.weights(30, 6, 1, 1)
    bias, scale = numbers.channels(30, 2e4)
    factors, gains = (numbers.rng.random(30).astype(np.float32) for _ in range(2))
    bounds, zero = (numbers.low + 17, numbers.low + 3, numbers.high - 2), numbers.low + 90
    found = run_kernel(
        workload, numbers.machine, data, weight, bias, scale, limits(*bounds, zero), *([gains] if residual else []),
        residual=other if residual else None, scale=factors,
    )  # fmt: skip
    grouped = weight.reshape(3, 10, 6).astype(np.int64) @ data.reshape(3, 6, -1).astype(np.int64)
    sums, scales = grouped.reshape(30, -1) + bias[:, None], (scale * factors)[:, None]
    wanted = np.empty((30, plane.size), np.int64)
    if residual:
        beside = (other.astype(np.int64) - zero).astype(np.float32) * gains[:, None]
        sums, scales = fma_arrays(sums.astype(np.float32), scales, beside), np.ones(1, np.float32)
    wanted[workload.order(30)] = expected(numbers, sums, scales, bounds)
    assert np.array_equal(found.reshape(30, -1)[:, :49], wanted[:, :49])


@EVERY_DOT
@pytest.mark.parametrize("of_bytes", [False, True])
@pytest.mark.parametrize("after", [Plane.padded(7, 5, LANES), Plane.padded_rows(7, 5, LANES)])
def test_attention_of_whole_planes(dot, after, of_bytes):
    numbers, before = Numbers(dot), Plane.padded(7, 5, LANES)
    data, scale = numbers.bytes(9, before.size), numbers.rng.random(9).astype(np.float32)
    bounds, zero, middle = (numbers.low + 40, numbers.low, numbers.high), numbers.low + 100, numbers.low + 3
    ratio = np.array([5.5 / 255 if of_bytes else 5.5], np.float32)
    if of_bytes:
        scale = np.array([numbers.low, numbers.high, *numbers.bytes(7)]).astype(numbers.dtype)
    found = run_kernel(
        Int8Attention(9, before, after, of_bytes, dtype=numbers.dtype), numbers.machine, data, ratio,
        limits(*bounds, zero), *([np.array([middle], np.int32)] if of_bytes else []), scale=scale,
    )  # fmt: skip
    pixels = data[:, :35].astype(np.int64).reshape(9, 7, 5) - zero
    rows = found.reshape(9, -1)[:, : 7 * after.pitch].reshape(9, 7, after.pitch)[:, :, :5]
    factors = (scale.astype(np.int64) - middle).astype(np.float32) if of_bytes else scale
    assert np.array_equal(rows, expected(numbers, pixels, ratio * factors, bounds))


@EVERY_DOT
@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize(
    "before,after",
    [(Plane.padded(7, 5, LANES),) * 2, (Plane.padded(7, 15, LANES),) * 2, (Plane.dense(1, 1),) * 2,
     (Plane(7, 5, 6, 64), Plane.padded_rows(7, 5, LANES))],
)  # fmt: skip
def test_table(dot, lookup, before, after):
    """Of every byte; planes of a pixel fill no vectors, and 9 planes leave a rest."""
    numbers = Numbers(dot)
    every = np.arange(numbers.low, numbers.high + 1).astype(numbers.dtype)
    data, table = np.resize(every, (9, before.size)), numbers.rng.permutation(every)
    workload = Int8Table(9, before, after, lookup, dtype=numbers.dtype)
    assert workload.knobs(numbers.machine)["vector"] == (lookup != PLAIN and before == after)
    found = run_kernel(workload, numbers.machine, data, table)

    def pixels(array, plane):
        rows = array.reshape(9, -1)[:, : plane.height * plane.pitch].reshape(9, plane.height, -1)
        return rows[:, :, : plane.width]

    assert np.array_equal(pixels(found, after), table[pixels(data, before).astype(int) & 255])


def windows(data: np.ndarray, side: int, kernel: int, stride: int, border: int) -> np.ndarray:
    """(channels, rows, columns, kernel, kernel) of planes `side` wide, with a border of that byte."""
    pad, after = kernel // 2, -(-side // stride)
    planes = data[:, : side * side].reshape(-1, side, side).astype(np.int64)
    padded = np.pad(planes, ((0, 0), (pad, pad + 1), (pad, pad + 1)), constant_values=border)
    found = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
    return found[:, ::stride, ::stride][:, :after, :after]


@EVERY_DOT
@SHORT
@pytest.mark.parametrize("side,kernel,stride", [(28, 3, 1), (14, 3, 1), (14, 3, 2), (7, 3, 1), (4, 3, 1), (9, 5, 2)])
def test_depthwise(dot, side, kernel, stride, short):
    numbers, after = Numbers(dot), -(-side // stride)
    planes = Plane.padded(side, side, LANES), Plane.padded(after, after, LANES)
    sources = np.array([4, 0, 6])
    fields = *planes, kernel, stride, kernel // 2, LANES, dot
    data, weight = numbers.bytes(7, planes[0].size), numbers.weights(3, 1, kernel, kernel)
    bounds, border = (numbers.low + 100, numbers.low, numbers.high), numbers.low + 40
    rounding = Rounding(numbers, weight, 1e4 * kernel, bounds, short)
    arguments = weight, *rounding.arguments, limits(*bounds, border)
    sums = (windows(data, side, kernel, stride, border)[sources] * weight.reshape(3, 1, 1, kernel, kernel)).sum((3, 4))
    wanted = rounding.bytes(sums)
    strewn = Int8StrewnWindow(3, *fields, sources=7, dtype=numbers.dtype, short=short)
    plain = Int8Window(3, *fields, dtype=numbers.dtype, short=short)
    for found in (
        run_kernel(strewn, numbers.machine, data, *arguments, sources),
        run_kernel(plain, numbers.machine, data[sources], *arguments),
    ):
        assert np.array_equal(found.reshape(3, -1)[:, : after**2], wanted.reshape(3, -1))


@EVERY_DOT
@SHORT
@pytest.mark.parametrize("side,channels,outputs,stride", [(32, 3, 12, 2), (30, 1, 5, 2), (32, 4, 8, 1)])
def test_stem(dot, side, channels, outputs, stride, short):
    """It reads floats; what lies outside of the picture is the byte of zero."""
    numbers, after = Numbers(dot), -(-side // stride)
    plane = Plane.padded_rows(after, after, LANES)
    workload = Int8Stem(
        1, 1, outputs, Plane.dense(side, side), plane, 3, stride, 1, LANES, channels=channels, dot=dot,
        short=short, dtype=numbers.dtype,
    )  # fmt: skip
    data, weight = (
        numbers.rng.standard_normal((channels, side**2)).astype(np.float32),
        numbers.weights(outputs, channels, 3, 3),
    )
    data[0, :3] = 1e30, -1e30, 0
    bounds, entry = (numbers.low, numbers.low, numbers.high), np.array([50], np.float32)
    zero, rounding = numbers.low + 120, Rounding(numbers, weight, 2e4, bounds, short)
    found = run_kernel(
        workload, numbers.machine, data, weight, *rounding.arguments, limits(*bounds), entry,
        limits(zero, numbers.low, numbers.high, zero),
    )  # fmt: skip
    quantised = requantised_arrays(data, entry, zero, numbers.low, numbers.high)
    sums = np.einsum("kyxij,okij->oyx", windows(quantised, side, 3, stride, zero), weight.astype(np.int64))
    wanted = rounding.bytes(sums)
    rows = found.reshape(outputs, -1)[:, : after * plane.pitch].reshape(outputs, after, plane.pitch)
    assert np.array_equal(rows[:, :, :after], wanted)


@EVERY_DOT
@SHORT
@pytest.mark.parametrize(
    "groups,channels,outputs,side,kernel,stride",
    [(1, 8, 20, 14, 3, 1), (1, 5, 6, 14, 3, 2), (4, 2, 3, 9, 3, 1), (2, 7, 4, 9, 5, 2)],
)
def test_convolution_of_any_groups(dot, groups, channels, outputs, side, kernel, stride, short):
    """Also of channels that fill no word: what stands in their place has weights of zero."""
    numbers, after = Numbers(dot), -(-side // stride)
    plane, before = Plane.padded_rows(after, after, LANES), Plane.padded(side, side, LANES)
    workload = Int8Conv(
        groups, -(-channels // 4), outputs, before, plane, kernel, stride, kernel // 2, LANES, channels=channels,
        dot=dot, short=short, dtype=numbers.dtype,
    )  # fmt: skip
    data, weight = numbers.bytes(groups * channels, before.size), numbers.weights(
        groups * outputs, channels, kernel, kernel
    )  # fmt: skip
    bounds, zero = (numbers.low + 20, numbers.low, numbers.high), numbers.low + 120
    spread = 2e4 * (channels * kernel) ** 0.5
    rounding = Rounding(numbers, weight, spread, bounds, short)
    found = run_kernel(workload, numbers.machine, data, weight, *rounding.arguments, limits(*bounds, zero))
    taken = windows(data, side, kernel, stride, zero).reshape(groups, channels, after, after, kernel, kernel)
    sums = np.einsum("gkyxij,gokij->goyx", taken, weight.reshape(groups, outputs, channels, kernel, kernel).astype(int))
    wanted = rounding.bytes(sums.reshape(-1, after, after))
    rows = found.reshape(groups * outputs, -1)[:, : after * plane.pitch].reshape(-1, after, plane.pitch)
    assert np.array_equal(rows[:, :, :after], wanted)


def of_floats(data: np.ndarray, plane: Plane, zero: int) -> torch.Tensor:
    """(1, C, H, W), float64, of planes of bytes, less the byte of zero: every sum is exact."""
    rows = data.reshape(len(data), -1)[:, : plane.height * plane.pitch].reshape(len(data), plane.height, plane.pitch)
    return torch.from_numpy(rows[:, :, : plane.width].astype(np.float64) - zero)[None]


def pixels_of(found: np.ndarray, channels: int, plane: Plane) -> np.ndarray:
    return of_floats(found.reshape(channels, -1), plane, 0)[0].numpy()


@EVERY_DOT
@SHORT
def test_generic_convolution(dot, short):
    """Of no square, with dilation, padding on two sides, rows in pieces and two groups."""
    numbers, (before, after) = Numbers(dot), (Plane(9, 70, 72, 656), Plane.padded(8, 65, LANES))
    workload = Int8GenericConv(
        2, 3, 4, before, after, (2, 5), (1, 1), (1, 2), (2, 2), short=short, dtype=numbers.dtype
    )  # fmt: skip
    data, weight, zero = numbers.bytes(6, before.size), numbers.weights(8, 3, 2, 5), numbers.low + 77
    bounds = numbers.low + 20, numbers.low, numbers.high
    rounding = Rounding(numbers, weight, 2e4, bounds, short)
    found = run_kernel(workload, numbers.machine, data, weight, *rounding.arguments, limits(*bounds, zero))
    padded = functional.pad(of_floats(data, before, zero), (2, 1, 1, 0))
    sums = functional.conv2d(padded, torch.from_numpy(weight).double(), None, 1, 0, 2, 2)[0]
    wanted = rounding.bytes(sums[:, :8, :65].numpy().astype(np.int64))
    assert np.array_equal(pixels_of(found, 8, after), wanted)


@EVERY_DOT
@pytest.mark.parametrize("kind,pad", [("max", 1), ("avg", 1), ("avg", 0), ("valid_avg", 1)])
def test_generic_pools(dot, kind, pad):
    """Of no square; means at the border are of fewer pixels, or of zeros, too."""
    numbers, before = Numbers(dot), Plane.padded(9, 12, LANES)
    after = Plane.padded(8 + 2 * pad, 10 + 2 * pad, LANES)
    workload = Int8GenericPool(kind, 5, before, after, (2, 3), (1, 1), (pad,) * 4, dtype=numbers.dtype)
    data, zero, scale = numbers.bytes(5, before.size), numbers.low + 99, np.full(5, 2.5, np.float32)
    bounds = numbers.low + 99, numbers.low, numbers.high
    further = () if kind == "max" else (scale if workload._is_whole else scale * 6, limits(*bounds, zero))
    found = pixels_of(run_kernel(workload, numbers.machine, data, *further), 5, after)
    floats = of_floats(data, before, zero)
    if kind == "max":
        wanted = functional.max_pool2d(functional.pad(floats, (1,) * 4, value=-1e9), (2, 3), 1)[0].numpy() + zero
    else:
        area = functional.pad(torch.ones_like(floats), (pad,) * 4, value=float(kind == "avg"))
        ones = torch.ones(5, 1, 2, 3, dtype=torch.float64)
        sums, taps = (
            functional.conv2d(value, ones, groups=5)[0].numpy() for value in (functional.pad(floats, (pad,) * 4), area)
        )
        scales = np.full(sums.shape, scale[0]) if workload._is_whole else further[0][0] / taps.astype(np.float32)
        wanted = requantised_arrays(sums.astype(np.int64), scales, *bounds)
    assert np.array_equal(found, wanted)


@EVERY_DOT
@pytest.mark.parametrize("size", [(3, 4), (7, 2), (11, 12)])
def test_adaptive_average(dot, size):
    """Parts of unequal sizes, and more parts than pixels."""
    numbers, before, after = Numbers(dot), Plane.padded(7, 9, LANES), Plane.padded(*size, LANES)
    data, zero, scale = numbers.bytes(5, before.size), numbers.low + 99, np.full(5, 3, np.float32)
    bounds = numbers.low + 99, numbers.low, numbers.high
    workload = Int8AdaptiveAvgPool(5, before, after, dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, scale, limits(*bounds, zero))
    means = functional.adaptive_avg_pool2d(of_floats(data, before, zero), size)[0].numpy()
    assert np.abs(pixels_of(found, 5, after) - np.clip(3 * means + bounds[0], *bounds[1:])).max() <= 0.5 + 1e-4


@EVERY_DOT
def test_sum_of_two_scales(dot):
    numbers, planes = Numbers(dot), (Plane.padded(7, 5, LANES), Plane.padded_rows(7, 5, LANES))
    data, other = (numbers.bytes(9, plane.size) for plane in planes)
    weight, zeros = np.array([0.7, 1.3], np.float32), np.array([numbers.low + 99, numbers.low + 140], np.int32)
    bounds = numbers.low + 120, numbers.low + 3, numbers.high
    workload = Int8Add(9, *planes, planes[1], dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, weight, zeros, limits(*bounds), residual=other)
    first, second = (
        of_floats(array, plane, zero)[0].numpy().astype(np.float32)
        for array, plane, zero in zip((data, other), planes, zeros)
    )
    wanted = expected(numbers, fma_arrays(first, weight[0], second * weight[1]), np.ones(1, np.float32), bounds)
    assert np.array_equal(pixels_of(found, 9, planes[1]), wanted)


@EVERY_DOT
def test_normalisation_across_channels(dot):
    """Within half a byte of exact arithmetic."""
    numbers, plane = Numbers(dot), Plane.padded(7, 5, LANES)
    data, zero = numbers.bytes(9, plane.size), numbers.low + 130
    weight, bounds = np.array([1e-3, 2, 4], np.float32), (numbers.low + 128, numbers.low, numbers.high)
    workload = Int8LRN(9, plane, plane, 5, 2, dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, weight, limits(*bounds, zero))
    numbers_ = of_floats(data, plane, zero)
    exact = 4 * functional.local_response_norm(numbers_, 5, 5e-3, 0.75, 2)[0].numpy() + bounds[0]
    assert np.abs(pixels_of(found, 9, plane) - np.clip(exact, *bounds[1:])).max() <= 0.5 + 1e-4


@EVERY_DOT
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_resize(dot, mode):
    """Within half a byte of PyTorch's."""
    numbers, before, after = Numbers(dot), Plane.padded(7, 5, LANES), Plane.padded(16, 9, LANES)
    data, tables = numbers.bytes(3, before.size), resize_tables((7, 5), (16, 9), mode, "half_pixel", "floor")
    if mode == "bilinear":
        tables.append(limits(numbers.low, numbers.low, numbers.high, numbers.low))
    found = run_kernel(Int8Resize(3, before, after, mode, dtype=numbers.dtype), numbers.machine, data, *tables)
    floats = of_floats(data, before, 0)
    if mode == "nearest":
        rows, columns = (torch.from_numpy(table).long() for table in tables)
        assert np.array_equal(pixels_of(found, 3, after), floats[0][:, rows][:, :, columns].numpy())
    else:
        wanted = functional.interpolate(floats, (16, 9), mode="bilinear")[0].numpy()
        assert np.abs(pixels_of(found, 3, after) - wanted).max() <= 0.5 + 1e-4


@EVERY_DOT
def test_both_ends(dot):
    """Bytes of floats, and floats of bytes."""
    numbers, (dense, plane) = Numbers(dot), (Plane.dense(7, 5), Plane.padded_rows(7, 5, LANES))
    data = numbers.rng.standard_normal((3, 35)).astype(np.float32)
    bounds, factor = (numbers.low + 120, numbers.low, numbers.high), np.array([50], np.float32)
    entry = Int8Entry(3, dense, plane, dtype=numbers.dtype)
    found = run_kernel(entry, numbers.machine, data, factor, limits(*bounds))
    wanted = requantised_arrays(data.reshape(3, 7, 5), factor, *bounds)
    assert np.array_equal(pixels_of(found, 3, plane), wanted)
    back = run_kernel(
        Int8Exit(3, plane, dense, dtype=numbers.dtype), numbers.machine, found, factor, limits(0, 0, 0, bounds[0])
    )
    assert np.array_equal(back.reshape(3, 7, 5), (wanted - bounds[0]).astype(np.float32) * factor)


@EVERY_DOT
def test_pools(dot):
    numbers = Numbers(dot)
    before, after = Plane.padded(14, 14, LANES), Plane.padded(7, 7, LANES)
    data = numbers.bytes(5, before.size)
    found = run_kernel(
        WindowPool(5, before, after, 3, 2, 1, LANES, kind="max", dtype=numbers.dtype), numbers.machine, data
    )
    wanted = windows(data, 14, 3, 2, numbers.low).max((3, 4))
    assert np.array_equal(found.reshape(5, -1)[:, :49], wanted.reshape(5, 49))
    bias, scale = np.arange(5, dtype=np.int32), np.full(5, 1 / 196, np.float32)
    bounds = 0, numbers.low, numbers.high
    workload = Int8GlobalAvgPool(5, before, LANES, dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, bias, scale, limits(*bounds))
    assert np.array_equal(found, requantised_arrays(data[:, :196].sum(1, dtype=np.int64) + bias, scale, *bounds))


@EVERY_DOT
@pytest.mark.parametrize("inputs,outputs", [(37, 10), (64, 33)])
def test_classifier(dot, inputs, outputs):
    numbers = Numbers(dot)
    data, weight = numbers.bytes(inputs), numbers.weights(outputs, inputs)
    bias, scale = numbers.channels(outputs, 1e4)
    workload = Int8Dense(inputs, outputs, NATIVE.machine.lanes, dot=dot, dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, weight, bias, scale)
    sums = weight.astype(np.int64) @ data.astype(np.int64) + bias
    assert np.array_equal(found, sums.astype(np.float32) * scale)


@EVERY_DOT
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sum_that_there_may_be(dot, sign):
    """Of the most products, all as large as any, and the largest bias: no part of it leaves 32 bits."""
    numbers, zero = Numbers(dot), Numbers(dot).low
    data, weight = np.full(TERMS, numbers.high, numbers.dtype), np.full((1, TERMS), sign * 127, np.int8)
    bias = sign * int(BIAS) - zero * int(weight.astype(np.int64).sum())
    assert abs(sign * BIAS + sign * 127 * 255 * TERMS) + GAIN * 255 < 2**31 and abs(bias) < 2**31
    workload = Int8Dense(TERMS, 1, NATIVE.machine.lanes, dot=dot, dtype=numbers.dtype)
    scale = np.array([0.5], np.float32)
    found = run_kernel(workload, numbers.machine, data, weight, np.array([bias], np.int32), scale)
    assert found.tolist() == [np.float32(sign * (int(BIAS) + 127 * 255 * TERMS)) * scale[0]]


@EVERY_DOT
@pytest.mark.parametrize("entries", [0, 1024])
def test_fully_connected_layers_inside(dot, entries):
    """Bytes, or numbers from a table."""
    numbers, (inputs, outputs) = Numbers(dot), (37, 33)
    data, weight = numbers.bytes(inputs), numbers.weights(outputs, inputs)
    bias, scale = numbers.channels(outputs, 1e5)
    bounds = (512, 0, entries - 1) if entries else (numbers.low + 9, numbers.low + 3, numbers.high)
    table = [numbers.rng.standard_normal(entries).astype(np.float32)] if entries else []
    workload = Int8InnerDense(inputs, outputs, NATIVE.machine.lanes, dot=dot, entries=entries, dtype=numbers.dtype)
    found = run_kernel(workload, numbers.machine, data, weight, bias, scale, limits(*bounds), *table)
    wanted = requantised_arrays(weight.astype(np.int64) @ data.astype(np.int64) + bias, scale, *bounds)
    assert len(set(wanted.tolist())) > 9
    assert np.array_equal(found, table[0][wanted] if entries else wanted)


@EVERY_DOT
@pytest.mark.parametrize("pictures,inputs,outputs", [(3, 37, 10), (13, 64, 33)])
def test_classifier_of_several_pictures(dot, pictures, inputs, outputs):
    """The bits of the kernel of one picture; what lies between the results is left alone."""
    numbers, pitch = Numbers(dot), 96
    data, weight = numbers.bytes(pictures, pitch), numbers.weights(outputs, inputs)
    bias, scale = numbers.channels(outputs, 1e4)
    workload = Int8BatchedDense(inputs, outputs, NATIVE.machine.lanes, dot=dot, dtype=numbers.dtype, pictures=pictures,
                                data_pitch=pitch, out_pitch=outputs + 3)  # fmt: skip
    found = run_kernel(workload, numbers.machine, data, weight, bias, scale).reshape(pictures, outputs + 3)
    sums = data[:, :inputs].astype(np.int64) @ weight.astype(np.int64).T + bias
    assert np.array_equal(found[:, :outputs], sums.astype(np.float32) * scale) and np.isnan(found[:, outputs:]).all()


def test_the_rounding_in_numpy_is_that_of_exact_numbers():
    """To the nearest, ties to the even byte; what lies far outside ends at a bound."""
    sums = np.array([0, 1, 2, 3, 5, -1, -3, 2**31 - 1, -(2**31)])
    half = np.array([0.5], np.float32)
    assert requantised_arrays(sums, half, 0, -9, 9).tolist() == [0, 0, 1, 2, 2, 0, -2, 9, -9]
    assert requantised_arrays(sums, half, 1, -9, 9).tolist() == [1, 2, 2, 2, 4, 0, 0, 9, -9]


def test_fused_multiply_adds_in_numpy_are_those_of_exact_numbers():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (3, 4000))
    a, b, c = (signs * rng.random((3, 4000)) * 2.0 ** rng.integers(-12, 13, (3, 4000))).astype(np.float32)
    a[:2], b[:2], c[:2] = 1 + 2.0**-23, 1 + 2.0**-23, (2.0**-24, 2.0**24)
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c)]
    found = fma_arrays(a, b, c)
    for wanted, value in zip(exact, found):
        beside = [np.nextafter(value, np.float32(end)) for end in (-np.inf, np.inf)]
        assert abs(wanted - Fraction(float(value))) <= min(abs(wanted - Fraction(float(x))) for x in beside)
