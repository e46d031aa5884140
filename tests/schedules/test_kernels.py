"""Every kernel, scheduled, against numpy: with tails, paddings and each kind of machine."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import tvm

from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.schedules import (
    IDENTITY,
    LRN,
    RELU,
    Activation,
    AdaptiveAvgPool,
    BatchedDense,
    Conv2d,
    Dense,
    Depthwise,
    GlobalAvgPool,
    LongConv,
    Machine,
    Plane,
    Pointwise,
    Reshuffled,
    Strewn,
    StrewnDepthwise,
    ValidAvgPool,
    WindowPool,
    Winograd,
)  # fmt: skip
from tvm_shufflenet.targets import resolve

from ..conftest import relative_error
from ..kernel_runs import run_kernel

MACHINES = [
    Machine(4, 32, by_element=True),
    Machine(4, 32, by_element=True, in_order=True),
    Machine(4, 32, by_element=True, in_order=True, loads_apart=True),
    Machine(8, 16),
    Machine(4, 16),
    Machine(16, 32),
]
# The quick tests take one machine of each vector width.
EACH_MACHINE = pytest.mark.parametrize(
    "machine",
    [m if i in (0, 3, 5) else pytest.param(m, marks=pytest.mark.slow) for i, m in enumerate(MACHINES)],
    ids=str,
)
rng = np.random.default_rng(0)


FENCE = 64  # floats on both sides of what a kernel may touch


def run(workload, machine, data, *parameters, residual=None, out_floats, knobs=None):
    """Calls the kernel through a public wrapper: what its operands say, and not a float more, is what it may touch.

    Around each buffer lie the floats that the kernel may read, full of NaN, and then fences.  Fences hold other numbers
    in a second call: the results are the same, and neither reach nor fences are written.
    """
    from tvm import tirx

    knobs = knobs or workload.knobs(machine)
    operands = workload.operands()
    packed = iter(workload.pack(knobs, *parameters))
    given = {"data": data, "other": residual}
    contents, inside = [], []
    for operand in operands:
        if operand.role == "weight":
            array = np.ravel(next(packed)).astype("float32")
        elif operand.role in ("input", "residual"):
            array = np.ravel(given[operand.name]).astype("float32")
            assert 4 * array.size == operand.bytes
        else:
            array = np.full(operand.bytes // 4, np.nan, "float32")
        # Whole cache lines, as buffers of a workspace are apart: kernels may rely on alignment.
        front, behind = (FENCE + -(-reach // 64) * 16 for reach in (operand.before, operand.behind))
        contents.append(np.pad(array, (front, behind), constant_values=np.nan))
        inside.append(slice(front, front + array.size))
    assert out_floats >= operands[[o.role for o in operands].index("output")].bytes // 4
    buffers = [tirx.decl_buffer((a.size,), "float32", f"a{i}") for i, a in enumerate(contents)]
    variable = tvm.ir.GlobalVar("kernel")
    call = variable(
        *(tirx.address_of(tirx.BufferLoad(b, [where.start])) for b, where in zip(buffers, inside))
    )  # fmt: skip
    main = tirx.PrimFunc(buffers, tirx.Evaluate(call))
    main = main.with_attrs({"global_symbol": "main", "s_tir": True})
    function = scheduled_kernel(ScheduledKernel("kernel", workload, knobs))
    module = compile_module(tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: function}), resolve("native").tvm)
    results = []
    for filler in (np.nan, 1e30):
        arrays = [array.copy() for array in contents]
        for operand, array, where in zip(operands, arrays, inside):
            array[: where.start] = array[where.stop :] = filler
            if operand.role in ("output", "scratch"):
                array[where] = filler
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        module["main"](*tensors)
        for operand, tensor, before, where in zip(operands, tensors, arrays, inside):
            after = tensor.numpy()
            around = [after[: where.start], after[where.stop :]]
            assert np.array_equal(
                np.concatenate(around), np.full(sum(a.size for a in around), filler, "float32"), True
            ), f"{operand.name}: the kernel wrote around it"
            if operand.role in ("input", "residual", "weight"):
                assert np.array_equal(after[where], before[where], True), f"{operand.name}: the kernel wrote into it"
            elif operand.role == "output":
                results.append(after[where])
    pixels = _pixels(workload, results[0].size)
    assert np.array_equal(results[0][pixels], results[1][pixels], True), "what lies around changes the result"
    return np.concatenate([results[0], np.full(out_floats - results[0].size, np.nan, "float32")])


def _pixels(workload, size: int) -> np.ndarray:
    """Which floats of the output are pixels, not padding."""
    plane = getattr(workload, "after", getattr(workload, "plane", None))
    if plane is None:
        return np.full(size, True)
    mask = np.zeros((size // plane.size, plane.size), bool)
    rows = mask[:, : plane.height * plane.pitch].reshape(-1, plane.height, plane.pitch)
    rows[:, :, : plane.width] = True
    return mask.ravel()


def random(*shape):
    return rng.standard_normal(shape).astype("float32")


def into_plane(values: np.ndarray, plane: Plane) -> np.ndarray:
    """(C, H, W) -> (C, plane.size), the padding full of NaN."""
    channels = len(values)
    result = np.full((channels, plane.size), np.nan, "float32")
    rows = result[:, : plane.height * plane.pitch].reshape(channels, plane.height, plane.pitch)
    rows[:, :, : plane.width] = values
    return result


def from_plane(flat: np.ndarray, channels: int, plane: Plane) -> np.ndarray:
    rows = flat.reshape(channels, plane.size)[:, : plane.height * plane.pitch]
    return rows.reshape(channels, plane.height, plane.pitch)[:, :, : plane.width]


def conv_reference(x, weight, bias, groups, stride, pad, dilation=1):
    import torch

    y = torch.nn.functional.conv2d(*map(torch.from_numpy, (x[None], weight, bias)), stride, pad, dilation, groups)
    return y[0].numpy()


@EACH_MACHINE
@pytest.mark.parametrize(
    "groups,inputs,outputs,height,width", [(3, 20, 80, 7, 7), (1, 5, 17, 6, 9), (8, 6, 12, 14, 14)]
)
@pytest.mark.parametrize("shuffle,residual,relu", [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 0)])
def test_pointwise(machine, groups, inputs, outputs, height, width, shuffle, residual, relu):
    plane = Plane.padded(height, width, machine.lanes)
    x, other = random(groups * inputs, height, width), random(groups * outputs, height, width)
    weight, bias = random(groups * outputs, inputs, 1, 1), random(groups * outputs)
    workload = Pointwise(
        groups, inputs, outputs, plane, machine.lanes, RELU if relu else IDENTITY, bool(residual), bool(shuffle)
    )
    found = run(
        workload, machine, into_plane(x, plane), weight, bias,
        residual=into_plane(other, plane) if residual else None, out_floats=groups * outputs * plane.size,
    )  # fmt: skip
    expected = conv_reference(x, weight, bias, groups, 1, 0)
    if shuffle:  # channel a * n + b moves to b * g + a
        expected = expected.reshape(groups, outputs, height, width).swapaxes(0, 1).reshape(expected.shape)
    expected = expected + other if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    assert relative_error(from_plane(found, groups * outputs, plane), expected) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize("groups,outputs,shuffle_groups", [(3, 20, 20), (8, 12, 12), (1, 60, 3), (1, 24, 8), (4, 6, 2)])
def test_pointwise_shuffled_by_other_groups(machine, groups, outputs, shuffle_groups):
    plane, channels = Plane.padded(7, 7, machine.lanes), groups * outputs
    x, weight, bias = random(groups * 5, 7, 7), random(channels, 5, 1, 1), random(channels)
    workload = Reshuffled(groups, 5, outputs, plane, machine.lanes, RELU, shuffle_groups=shuffle_groups)
    found = run(workload, machine, into_plane(x, plane), weight, bias, out_floats=channels * plane.size)
    expected = np.maximum(conv_reference(x, weight, bias, groups, 1, 0), 0)
    expected = expected.reshape(shuffle_groups, -1, 7, 7).swapaxes(0, 1).reshape(expected.shape)
    assert relative_error(from_plane(found, channels, plane), expected) < 1e-5


@pytest.mark.parametrize(
    "rows,unroll,block,panel,strip,prefetch",
    [(1, 1, 13, 0, 1, 8), (4, 2, 2, 1, 2, 0), (5, 6, 1, 0, 3, 4), (8, 3, 1, 1, 1, 4), (13, 1, 1, 1, 2, 0)],
)
@pytest.mark.parametrize("size", [(4, 4), (3, 6)], ids=["whole", "rest"])
def test_pointwise_with_any_tile(size, rows, unroll, block, panel, strip, prefetch):
    """A tile that does not divide the rows: the packed weights are padded, the tail is cut off."""
    plane = Plane.padded(*size, 4)
    x, weight, bias = random(12, *size), random(26, 6, 1, 1), random(26)
    workload = Pointwise(2, 6, 13, plane, 4)
    knobs = {"rows": rows, "vectors": 1 if strip > 1 else 3, "unroll": unroll, "block": block, "panel": panel}
    knobs |= {"weight_vectors": int(rows in (5, 8)), "strip": strip, "rest_tiles": 2, "prefetch": prefetch}
    data = into_plane(x, plane)
    found = run(workload, MACHINES[0], data, weight, bias, out_floats=26 * plane.size, knobs=knobs)
    assert relative_error(from_plane(found, 26, plane), conv_reference(x, weight, bias, 2, 1, 0)) < 1e-5


WINDOWS = [
    (7, 7, 3, 1, 1), (14, 14, 3, 1, 1), (28, 28, 3, 2, 1), (13, 9, 3, 2, 1), (55, 55, 3, 2, 0), (5, 79, 3, 1, 1),
    (6, 130, 3, 2, 1), (3, 3, 3, 1, 1), (2, 2, 3, 2, 1), (9, 21, 5, 1, 2), (65, 70, 3, 1, 1), (8, 8, 5, 2, 0),
]  # fmt: skip


def window_planes(machine, height, width, kernel, stride, pad):
    rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    return Plane.padded(height, width, machine.lanes), Plane.padded(rows, columns, machine.lanes)


@EACH_MACHINE
@pytest.mark.parametrize("height,width,kernel,stride,pad", WINDOWS)
@pytest.mark.parametrize("kind", ["conv", "max", "avg", "valid"])
def test_depthwise_and_pooling(machine, kind, height, width, kernel, stride, pad):
    import torch.nn.functional as F
    from torch import from_numpy

    before, after = window_planes(machine, height, width, kernel, stride, pad)
    x, weight, bias = random(5, height, width), random(5, 1, kernel, kernel), random(5)
    shape = (5, before, after, kernel, stride, pad, machine.lanes)
    if kind == "conv":
        workload = Depthwise(*shape)
    else:
        workload = ValidAvgPool(*shape) if kind == "valid" else WindowPool(*shape, kind=kind)
    parameters = (weight, bias) if kind == "conv" else ()
    found = run(workload, machine, into_plane(x, before), *parameters, out_floats=5 * after.size)
    if kind == "conv":
        expected = conv_reference(x, weight, bias, 5, stride, pad)
    else:
        pool = F.max_pool2d if kind == "max" else functools.partial(F.avg_pool2d, count_include_pad=kind == "avg")
        expected = pool(from_numpy(x[None]), kernel, stride, pad)[0].numpy()
    assert relative_error(from_plane(found, 5, after), expected) < 1e-5


@pytest.mark.parametrize("rows,vectors,channels,prefetch", [(1, 1, 1, 0), (3, 2, 5, 50), (5, 4, 1, 0), (13, 1, 5, 99)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_with_any_tile(rows, vectors, channels, prefetch, stride):
    """Tiles that divide neither the rows nor the vectors of a row."""
    machine = MACHINES[0]
    before, after = window_planes(machine, 26, 27, 3, stride, 1)
    x, weight, bias = random(5, 26, 27), random(5, 1, 3, 3), random(5)
    knobs = {"rows": rows, "vectors": vectors, "channels": channels, "prefetch": prefetch}
    workload = Depthwise(5, before, after, 3, stride, 1, machine.lanes)
    found = run(workload, machine, into_plane(x, before), weight, bias, out_floats=5 * after.size, knobs=knobs)
    assert relative_error(from_plane(found, 5, after), conv_reference(x, weight, bias, 5, stride, 1)) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize("height,width,kernel,stride,pad,dilation", [
    (7, 7, 3, 1, 2, 2), (14, 21, 3, 1, 2, 2), (9, 37, 3, 2, 2, 2), (6, 10, 3, 1, 4, 4), (13, 40, 5, 1, 0, 3),
    (5, 75, 3, 1, 3, 3), (4, 4, 3, 1, 2, 2),
])  # fmt: skip
@pytest.mark.parametrize("anywhere", [False, True])
def test_dilated_depthwise(machine, height, width, kernel, stride, pad, dilation, anywhere):
    """Windows that are wider than the plane among them."""
    span = dilation * (kernel - 1) + 1
    before, after = window_planes(machine, height, width, span, stride, pad)
    channels, of = 5, [4, 0, 6, 2, 3]
    x, weight, bias = random(channels, height, width), random(channels, 1, kernel, kernel), random(channels)
    shape = channels, before, after, kernel, stride, pad, machine.lanes
    if anywhere:
        data = np.full((7, before.size), np.nan, "float32")
        data[of] = into_plane(x, before)
        workload = StrewnDepthwise(*shape, sources=7, dilation=dilation)
        found = run_kernel(workload, machine, data, weight, bias, np.array(of))
    else:
        workload = Depthwise(*shape, dilation=dilation)
        found = run(workload, machine, into_plane(x, before), weight, bias, out_floats=channels * after.size)
    expected = conv_reference(x, weight, bias, channels, stride, pad, dilation)
    assert relative_error(from_plane(found, channels, after), expected) < 1e-5


LONG = [
    # groups, inputs, outputs, height, width, kernel, stride, pad, dilation
    (1, 6, 10, 17, 21, (15, 1), 1, (7, 0), (1, 1)),
    (1, 6, 10, 17, 21, (1, 15), 1, (0, 7), (1, 1)),
    (1, 64, 13, 9, 37, (15, 1), 1, (7, 0), (1, 1)),  # two chunks, and tiles that do not divide
    (2, 40, 6, 30, 19, (1, 5), 1, (0, 2), (1, 1)),
    (1, 32, 64, 6, 8, (15, 1), 1, (7, 0), (1, 1)),  # several tiles of channels, which end together
    (1, 61, 24, 40, 80, (3, 3), 1, (2, 2), (2, 2)),  # bands; a prime number of channels
    (1, 4, 8, 23, 29, (7, 3), 2, (3, 1), (1, 1)),
    (1, 4, 7, 5, 6, (2, 5), 3, (1, 4), (3, 2)),
]


@EACH_MACHINE
@pytest.mark.parametrize("groups,inputs,outputs,height,width,kernel,stride,pad,dilation", LONG)
def test_long_windows(machine, groups, inputs, outputs, height, width, kernel, stride, pad, dilation):
    extents = zip((height, width), kernel, pad, dilation)
    rows, columns = ((n + 2 * p - d * (k - 1) - 1) // stride + 1 for n, k, p, d in extents)
    before, after = Plane.dense(height, width), Plane.dense(rows, columns)  # as the caller's
    x, weight = random(groups * inputs, height, width), random(groups * outputs, inputs, *kernel)
    bias = random(groups * outputs)
    workload = LongConv(
        groups, inputs, outputs, before, after, kernel, stride, pad, dilation, machine.lanes, activation=RELU
    )
    found = run(workload, machine, x, weight, bias, out_floats=groups * outputs * after.size)
    expected = np.maximum(conv_reference(x, weight, bias, groups, stride, pad, dilation), 0)
    assert relative_error(from_plane(found, groups * outputs, after), expected) < 1e-5


@pytest.mark.parametrize("rows,vectors,block,unroll,weight_vectors", [
    (1, 1, 1, 1, 0), (4, 3, 8, 0, 1), (5, 2, 10, 1, 0), (13, 1, 26, 0, 1), (8, 2, 8, 1, 1),
])  # fmt: skip
def test_long_windows_with_any_tile(rows, vectors, block, unroll, weight_vectors):
    """Tiles and blocks that divide neither the channels nor the vectors of a row."""
    machine, plane = MACHINES[0], Plane.dense(6, 27)
    x, weight, bias = random(4, 6, 27), random(13, 4, 1, 5), random(13)
    workload = LongConv(1, 4, 13, plane, plane, (1, 5), 1, (0, 2), (1, 1), machine.lanes)
    knobs = {"rows": rows, "vectors": vectors, "block": block, "unroll": unroll, "weight_vectors": weight_vectors}
    found = run(workload, machine, x, weight, bias, out_floats=13 * plane.size, knobs=knobs)
    assert relative_error(from_plane(found, 13, plane), conv_reference(x, weight, bias, 1, 1, (0, 2))) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize(
    "groups,inputs,outputs,height,width,kernel,stride,pad",
    [
        (1, 3, 24, 32, 32, 3, 2, 1),
        (1, 3, 12, 33, 47, 3, 2, 1),
        (2, 4, 10, 13, 13, 3, 1, 1),
        (1, 3, 7, 63, 64, 11, 4, 2),
        (1, 3, 5, 134, 256, 3, 2, 1),  # bands, the last of which starts early
        (1, 2, 3, 5, 1, 3, 2, 1),  # no column that is inside in every phase
        (1, 2, 3, 1, 6, 5, 2, 2),
        (1, 3, 9, 28, 27, 3, 2, 1),
        (1, 3, 5, 134, 250, 3, 2, 1),  # bands, of rows that reach into the next
        (1, 3, 9, 56, 55, 3, 2, 1),  # no room behind 28x28 pixels for a second vector of 16
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["rows", "packed"])
def test_conv2d(machine, groups, inputs, outputs, height, width, kernel, stride, pad, packed):
    """Rows of whole vectors, and rows without padding, where vectors reach into the next row or overlap."""
    rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    before, after = Plane.dense(height, width), Plane.padded_rows(rows, columns, machine.lanes)
    if packed:
        after = Plane.padded(rows, columns, machine.lanes)
        if not Conv2d.fits(after, machine.lanes):
            with pytest.raises(ValueError, match="no whole number of vectors"):
                Conv2d(groups, inputs, outputs, before, after, kernel, stride, pad, machine.lanes)
            return
    x, weight, bias = (
        random(groups * inputs, height, width),
        random(groups * outputs, inputs, kernel, kernel),
        random(groups * outputs),
    )
    workload = Conv2d(groups, inputs, outputs, before, after, kernel, stride, pad, machine.lanes, activation=RELU)
    found = run(workload, machine, x, weight, bias, out_floats=groups * outputs * after.size)
    expected = np.maximum(conv_reference(x, weight, bias, groups, stride, pad), 0)
    assert relative_error(from_plane(found, groups * outputs, after), expected) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize(
    "groups,inputs,outputs,height,width,kernel,pad",
    [
        (2, 4, 10, 13, 13, 3, 1),
        (1, 3, 15, 27, 27, 5, 2),  # outputs that no tile divides
        (2, 4, 8, 9, 50, 3, 1),
        (1, 5, 3, 6, 5, 3, 0),
        (1, 2, 9, 1, 2, 5, 2),
        (1, 250, 250, 75, 41, 3, 1),  # bands, the last of which starts early
        (1, 3, 5, 14, 14, 3, 1),  # no room behind 14x14 pixels for tiles of 4
        (1, 3, 5, 16, 18, 3, 1),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["tiles", "packed"])
def test_winograd(machine, groups, inputs, outputs, height, width, kernel, pad, packed):
    """Planes of whole tiles, and planes without padding, where tiles reach into the next row or are cut off."""
    before = Plane.padded(height, width, machine.lanes)
    extents = height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1
    after = Plane.padded(*extents, machine.lanes) if packed else Winograd.plane(*extents, kernel, machine.lanes)
    x, bias = random(groups * inputs, height, width), random(groups * outputs)
    weight = random(groups * outputs, inputs, kernel, kernel) / np.float32(inputs**0.5 * kernel)
    workload = Winograd(groups, inputs, outputs, before, after, kernel, pad, machine.lanes, activation=RELU)
    found = run(workload, machine, into_plane(x, before), weight, bias, out_floats=groups * outputs * after.size)
    expected = np.maximum(conv_reference(x, weight, bias, groups, 1, pad), 0)
    assert relative_error(from_plane(found, groups * outputs, after), expected) < 5e-6


@EACH_MACHINE
@pytest.mark.parametrize("inputs,outputs", [(960, 1000), (7, 10), (33, 1), (64, 128)])
def test_dense_writes_its_outputs_and_no_more(machine, inputs, outputs):
    x, weight, bias = random(inputs), random(outputs, inputs), random(outputs)
    found = run(Dense(inputs, outputs, machine.lanes), machine, x, weight, bias, out_floats=outputs + 3)
    assert relative_error(found[:outputs], weight @ x + bias) < 1e-5
    assert np.isnan(found[outputs:]).all()


@pytest.mark.parametrize(
    "machine,pictures,inputs,outputs",
    [(Machine(4, 32, by_element=True), 8, 96, 250), (Machine(16, 32), 3, 7, 10), (Machine(8, 16), 13, 33, 1)],
)
def test_batched_dense_gives_the_bits_of_dense(machine, pictures, inputs, outputs):
    x, weight, bias = random(pictures, inputs), random(outputs, inputs), random(outputs)
    alone = Dense(inputs, outputs, machine.lanes, RELU)
    expected = [run_kernel(alone, machine, row, weight, bias) for row in x]
    data = np.full((pictures, inputs + 5), np.nan, "float32")
    data[:, :inputs] = x
    together = BatchedDense(inputs, outputs, machine.lanes, RELU, pictures=pictures, data_pitch=inputs + 5,
                            out_pitch=outputs + 3)  # fmt: skip
    rows = run_kernel(together, machine, data, weight, bias).reshape(pictures, outputs + 3)
    assert np.array_equal(rows[:, :outputs].view("uint32"), np.array(expected).view("uint32"))
    assert np.isnan(rows[:, outputs:]).all()


@EACH_MACHINE
@pytest.mark.parametrize("height,width", [(7, 7), (4, 5), (3, 70), (1, 1)])
def test_global_avg_pool(machine, height, width):
    plane, x = Plane.padded(height, width, machine.lanes), random(12, height, width)
    found = run(GlobalAvgPool(12, plane, machine.lanes), machine, into_plane(x, plane), out_floats=12)
    assert relative_error(found, x.mean((1, 2))) < 1e-5


@pytest.mark.parametrize("height,width", [(14, 19), (6, 6), (7, 100)])
def test_adaptive_avg_pool(height, width):
    import torch

    machine = MACHINES[0]
    before, after, x = Plane.padded(height, width, machine.lanes), Plane.dense(6, 6), random(5, height, width)
    found = run(AdaptiveAvgPool(5, before, after), machine, into_plane(x, before), out_floats=5 * 36)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), 6).numpy()
    assert relative_error(found.reshape(5, 6, 6), expected) < 1e-5


@EACH_MACHINE
def test_lrn(machine):
    import torch

    plane, x = Plane.padded(6, 9, machine.lanes), 5 * random(9, 6, 9)
    workload = LRN(9, plane.size // machine.lanes, machine.lanes, 5, 5e-4, 2.0)
    found = run(workload, machine, into_plane(x, plane), out_floats=9 * plane.size)
    expected = torch.nn.functional.local_response_norm(torch.from_numpy(x[None]), 5, 5e-4, 0.75, 2.0)[0].numpy()
    assert relative_error(from_plane(found, 9, plane), expected) < 1e-5


LARGE = {
    "pointwise": lambda lanes: Pointwise(8, 48, 12, Plane.padded(90, 160, lanes), lanes, RELU, shuffle=True),
    "residual": lambda lanes: Pointwise(3, 20, 80, Plane.padded(90, 161, lanes), lanes, RELU, residual=True),
    "few inputs": lambda lanes: Pointwise(1, 8, 16, Plane.padded(360, 641, lanes), lanes, RELU),
    "depthwise": lambda lanes: Depthwise(40, *window_planes(Machine(lanes, 32), 180, 323, 3, 1, 1), 3, 1, 1, lanes),
    "strided": lambda lanes: Depthwise(40, *window_planes(Machine(lanes, 32), 180, 323, 3, 2, 1), 3, 2, 1, lanes),
    "pool": lambda lanes: WindowPool(40, *window_planes(Machine(lanes, 32), 180, 323, 3, 2, 1), 3, 2, 1, lanes),
    "stem": lambda lanes: Conv2d(1, 3, 24, Plane.dense(360, 641), Plane.padded_rows(180, 321, lanes), 3, 2, 1, lanes),
}  # fmt: skip


@pytest.mark.parametrize("layer", LARGE)
@pytest.mark.parametrize("machine", [Machine(16, 32), Machine(8, 16)], ids=str)
def test_what_caches_do_not_keep_is_prefetched(machine, layer):
    """It changes no bit of the result."""
    workload = LARGE[layer](machine.lanes)
    defaults = workload.knobs(machine)
    assert defaults["prefetch"] > 0
    assert LARGE[layer](4).knobs(MACHINES[0])["prefetch"] == 0  # never tried on a board
    data, *parameters, out = arrays(workload)
    residual = random(out.size) if getattr(workload, "residual", False) else None
    same = functools.partial(run, workload, machine, data, *parameters, residual=residual, out_floats=out.size)
    assert np.array_equal(same(), same(knobs={**defaults, "prefetch": 0}), equal_nan=True)


def arrays(workload):
    """Random data, weights and bias; room for the output."""
    before = getattr(workload, "before", None) or workload.plane
    after = getattr(workload, "after", None) or workload.plane
    if isinstance(workload, WindowPool):
        return random(workload.channels, before.size), np.empty(workload.channels * after.size)
    if isinstance(workload, Depthwise):
        inputs, outputs, weights = workload.channels, workload.channels, (workload.channels, 1, 3, 3)
    else:
        kernel = getattr(workload, "kernel", 1)
        inputs, outputs = workload.groups * workload.inputs, workload.groups * workload.outputs
        weights = (outputs, workload.inputs, kernel, kernel)
    return random(inputs, before.size), random(*weights), random(outputs), np.empty(outputs * after.size)


def test_small_planes_are_not_prefetched():
    machine = Machine(16, 32)
    for workload in (
        Pointwise(3, 160, 40, Plane.padded(14, 14, 16), 16),
        Pointwise(3, 80, 20, Plane.dense(28, 28), 16),
    ):
        assert workload.knobs(machine)["prefetch"] == 0
        assert {knobs["prefetch"] for knobs in workload.space(machine)} == {0}


def test_workloads_are_values():
    """Equal layers are one kernel: a workload is hashable and equal by its fields."""
    a = Pointwise(3, 20, 80, Plane.dense(28, 28), 16, activation=RELU)
    assert len({a, dataclasses.replace(a), dataclasses.replace(a, activation=IDENTITY)}) == 2


ACTIVATIONS = [
    (Activation("clip", 0.0, 2.0), lambda y: np.clip(y, 0, 2)),
    (Activation("leaky_relu", 0.1), lambda y: np.where(y < 0, 0.1 * y, y)),
    (Activation("sigmoid"), lambda y: 1 / (1 + np.exp(-y.astype("float64")))),
    (Activation("hard_swish"), lambda y: y * np.clip(y / 6 + 0.5, 0, 1)),
]


@pytest.mark.parametrize("activation,reference", ACTIVATIONS, ids=[a.kind for a, _ in ACTIVATIONS])
@pytest.mark.parametrize("machine", [MACHINES[0], MACHINES[5]], ids=str)
def test_every_kernel_with_weights_takes_any_activation(machine, activation, reference):
    before = Plane.padded(7, 9, machine.lanes)
    x, weight, bias = random(6, 7, 9), random(6, 6, 1, 1), random(6)
    found = run(
        Pointwise(1, 6, 6, before, machine.lanes, activation), machine, into_plane(x, before), weight, bias,
        out_floats=6 * before.size,
    )  # fmt: skip
    assert relative_error(from_plane(found, 6, before), reference(conv_reference(x, weight, bias, 1, 1, 0))) < 1e-5
    weight = random(6, 1, 3, 3)
    found = run(
        Depthwise(6, before, before, 3, 1, 1, machine.lanes, activation), machine, into_plane(x, before), weight, bias,
        out_floats=6 * before.size,
    )  # fmt: skip
    assert relative_error(from_plane(found, 6, before), reference(conv_reference(x, weight, bias, 6, 1, 1))) < 1e-5
    weight, rows = random(6, 6, 3, 3), Plane.padded_rows(4, 5, machine.lanes)
    found = run(
        Conv2d(1, 6, 6, before, rows, 3, 2, 1, machine.lanes, activation), machine, into_plane(x, before), weight, bias,
        out_floats=6 * rows.size,
    )  # fmt: skip
    assert relative_error(from_plane(found, 6, rows), reference(conv_reference(x, weight, bias, 1, 2, 1))) < 1e-5
    tiles = Winograd.plane(7, 9, 3, machine.lanes)
    weight = weight / np.float32(6**0.5 * 3)  # results of a normal order, to which rounding is relative
    found = run(
        Winograd(1, 6, 6, before, tiles, 3, 1, machine.lanes, activation), machine, into_plane(x, before), weight, bias,
        out_floats=6 * tiles.size,
    )  # fmt: skip
    assert relative_error(from_plane(found, 6, tiles), reference(conv_reference(x, weight, bias, 1, 1, 1))) < 1e-5
    x, weight = random(20), random(6, 20)
    found = run(Dense(20, 6, machine.lanes, activation), machine, x, weight, bias, out_floats=6)
    assert relative_error(found, reference(weight @ x + bias)) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize("groups, residual, scaled", [(1, False, False), (1, True, False), (2, True, True)])
@pytest.mark.parametrize("staged", [False, True], ids=["direct", "staged"])
def test_pointwise_of_planes_anywhere(machine, groups, residual, scaled, staged):
    """49 pixels leave a rest; the planes of no channel are never read, and none of them is written."""
    plane, inputs, outputs = Plane.padded(7, 7, machine.lanes), 6, 5
    sources, targets = 3 * groups * inputs, 2 * groups * outputs
    rng = np.random.default_rng(0)
    of = rng.permutation(sources)[: groups * inputs]
    to, also = (rng.permutation(targets)[: groups * outputs] for _ in range(2))
    x, other = random(groups * inputs, 7, 7), random(groups * outputs, 7, 7)
    weight, bias = random(groups * outputs, inputs, 1, 1), random(groups * outputs)
    data, added = np.full((sources, plane.size), np.nan, "float32"), np.full((targets, plane.size), np.nan, "float32")
    data[of], added[also] = into_plane(x, plane), into_plane(other, plane)
    workload = Strewn(
        groups, inputs, outputs, plane, machine.lanes, RELU, residual, scaled=scaled, sources=sources, targets=targets,
        others=targets if residual else 0,
    )  # fmt: skip
    scale = random(groups * outputs)
    knobs = workload.knobs(machine) | ({"prefetch": 64, "panel": int(machine.by_element)} if staged else {})
    tables = [of, to, also] if residual else [of, to]
    found = run_kernel(
        workload, machine, data, weight, bias, *tables, residual=added if residual else None, scale=scale, knobs=knobs
    ).reshape(targets, plane.size)
    result = conv_reference(x, weight, bias, groups, 1, 0) * (scale[:, None, None] if scaled else 1)
    expected = np.maximum(result + (other if residual else 0), 0)
    assert relative_error(from_plane(found[to].ravel(), groups * outputs, plane), expected) < 1e-5
    assert np.isnan(np.delete(found, to, axis=0)).all()


@EACH_MACHINE
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (7, 7)], ids=["whole", "rest"])
def test_pointwise_scaled_by_channel(machine, residual, size):
    """What is added is not scaled; the bias is."""
    plane, groups, outputs = Plane.padded(*size, machine.lanes), 2, 9
    x, other = random(groups * 5, *size), random(groups * outputs, *size)
    weight, bias, scale = random(groups * outputs, 5, 1, 1), random(groups * outputs), random(groups * outputs)
    workload = Pointwise(groups, 5, outputs, plane, machine.lanes, RELU, residual, scaled=True)
    added = into_plane(other, plane) if residual else None
    found = run_kernel(workload, machine, into_plane(x, plane), weight, bias, residual=added, scale=scale)
    result = conv_reference(x, weight, bias, groups, 1, 0) * scale[:, None, None]
    expected = np.maximum(result + (other if residual else 0), 0)
    assert relative_error(from_plane(found, groups * outputs, plane), expected) < 1e-5


@EACH_MACHINE
@pytest.mark.parametrize("stride, prefetch", [(1, 0), (2, 64)])
def test_depthwise_of_planes_anywhere(machine, stride, prefetch):
    before, channels, sources = Plane.padded(14, 14, machine.lanes), 5, 11
    after = Plane.padded(14 // stride, 14 // stride, machine.lanes)
    of = np.random.default_rng(0).permutation(sources)[:channels]
    x, weight, bias = random(channels, 14, 14), random(channels, 1, 3, 3), random(channels)
    data = np.full((sources, before.size), np.nan, "float32")
    data[of] = into_plane(x, before)
    workload = StrewnDepthwise(channels, before, after, 3, stride, 1, machine.lanes, RELU, sources=sources)
    knobs = workload.knobs(machine) | {"prefetch": prefetch}
    found = run_kernel(workload, machine, data, weight, bias, of, knobs=knobs)
    expected = np.maximum(conv_reference(x, weight, bias, channels, stride, 1), 0)
    assert relative_error(from_plane(found, channels, after), expected) < 1e-5
