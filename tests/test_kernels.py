"""Every kernel, scheduled, against numpy: with tails, paddings and each kind of machine."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import mmap

import numpy as np
import pytest
import tvm
from tvm import tirx

from schedules import (
    IDENTITY,
    INPUT,
    LRN,
    OUTPUT,
    RELU,
    RESIDUAL,
    SCRATCH,
    WEIGHT,
    Activation,
    AdaptiveAvgPool,
    Conv2d,
    Dense,
    Depthwise,
    GlobalAvgPool,
    Machine,
    Plane,
    Pointwise,
    Reshuffled,
    ValidAvgPool,
    WindowPool,
    Winograd,
    round_up,
)  # fmt: skip
from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.plan_memory import ALIGN
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.targets import resolve

from .conftest import relative_error

MACHINES = [
    Machine(4, 32, by_element=True),
    Machine(4, 32, by_element=True, in_order=True),
    Machine(4, 32, by_element=True, in_order=True, loads_apart=True),
    Machine(8, 16),
    Machine(4, 16),
    Machine(16, 32),
]
PLANES = (INPUT, RESIDUAL, OUTPUT)
PROT_NONE = 0
rng = np.random.default_rng(0)


def run(workload, machine, data, *parameters, residual=None, knobs=None):
    """`out` of the kernel, as flat as it lies in memory.

    Every buffer lies between inaccessible pages, once right behind one and once right before one: as close as its
    alignment and its declared reach allow.  All that is no data is NaN the first time and huge the second time, padding
    of planes and `out` beforehand included; both times the result is the same.  Only `out` and scratch are written.
    """
    knobs = workload.knobs(machine) if knobs is None else knobs
    inputs = {INPUT: data, RESIDUAL: residual}
    weights = iter(workload.pack(knobs, *parameters))
    operands = workload.operands()
    values = [next(weights) if o.role == WEIGHT else inputs.get(o.role) for o in operands]
    for operand, value in zip(operands, values):
        if operand.role in inputs:
            assert value.nbytes == operand.bytes, operand.name
    sizes = [o.bytes if value is None else value.nbytes for o, value in zip(operands, values)]
    main = compiled(workload, knobs, [room_bytes(o, size) for o, size in zip(operands, sizes)])
    (first, second) = (
        called(main, zip(operands, values, sizes), machine, fill, at_end)
        for fill, at_end in ((np.float32(np.nan), False), (np.float32(3e37), True))
    )
    plane = getattr(workload, "after", None) or getattr(workload, "plane", None)
    if plane is None:
        known = np.isfinite(first)
        assert np.array_equal(first[known], second[known])
    else:
        channels = first.size // plane.size
        assert np.array_equal(from_plane(first, channels, plane), from_plane(second, channels, plane))
    return first


def compiled(workload, knobs, rooms):
    """`main`, which calls the kernel with pointers into arrays of so many bytes, as far in as it is told."""
    function = scheduled_kernel(ScheduledKernel("kernel", workload, knobs))
    types = [operand.dtype for operand in workload.operands()]
    buffers = [tirx.decl_buffer((size // 4,), dtype, f"a{i}") for i, (size, dtype) in enumerate(zip(rooms, types))]
    starts = [tirx.Var(f"start{i}", "int64") for i in range(len(rooms))]
    variable = tvm.ir.GlobalVar("kernel")
    call = variable(*(tirx.address_of(tirx.BufferLoad(b, [start])) for b, start in zip(buffers, starts)))
    main = tirx.PrimFunc([*buffers, *starts], tirx.Evaluate(call))
    main = main.with_attrs({"global_symbol": "main", "s_tir": True})
    module = tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: function})
    return compile_module(module, resolve("native").tvm)["main"]


def room_bytes(operand, size: int) -> int:
    """Whole pages that hold the buffer with its reach, wherever it is aligned."""
    return round_up(operand.before + size + operand.behind + 2 * ALIGN, mmap.PAGESIZE)


def called(main, operands, machine, fill, at_end):
    """Calls it once, and looks at everything around and in the buffers."""
    rooms, arrays, before = [], [], []
    for operand, value, size in operands:
        align = 4 if operand.external else 4 * machine.lanes if operand.role in PLANES else ALIGN
        room = fenced(room_bytes(operand, size)).view(operand.dtype)
        room[:] = fill if operand.dtype == "float32" else 1 << 30
        start = (room.nbytes - size - operand.behind) // align * align if at_end else round_up(operand.before, align)
        array = room[start // 4 : (start + size) // 4]
        if value is not None:
            flat = np.ravel(value)
            array[:] = np.where(np.isnan(flat), fill, flat) if operand.dtype == "float32" else flat
        rooms.append(room)
        arrays.append((operand, array, start // 4))
        before.append(room.view("uint32").copy())
    main(*map(tvm.runtime.from_dlpack, rooms), *(start for *_, start in arrays))
    for room, old, (operand, array, start) in zip(rooms, before, arrays):
        if operand.role in (OUTPUT, SCRATCH):
            old[start : start + array.size] = array.view("uint32")
        assert np.array_equal(room.view("uint32"), old), f"wrote outside of its outputs, at {operand.name}"
    return next(array.copy() for operand, array, _ in arrays if operand.role == OUTPUT)


def fenced(size: int) -> np.ndarray:
    """So many bytes, which are whole pages, with an inaccessible one on either side."""
    page = mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, size + 2 * page), "uint8")
    libc = ctypes.CDLL(None, use_errno=True)
    for address in (memory.ctypes.data, memory.ctypes.data + memory.size - page):
        assert libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), PROT_NONE) == 0
    return memory[page:-page]


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


def conv_reference(x, weight, bias, groups, stride, pad):
    import torch

    y = torch.nn.functional.conv2d(*map(torch.from_numpy, (x[None], weight, bias)), stride, pad, 1, groups)
    return y[0].numpy()


@pytest.mark.parametrize("machine", MACHINES, ids=str)
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
        residual=into_plane(other, plane) if residual else None,
    )  # fmt: skip
    expected = conv_reference(x, weight, bias, groups, 1, 0)
    if shuffle:  # channel a * n + b moves to b * g + a
        expected = expected.reshape(groups, outputs, height, width).swapaxes(0, 1).reshape(expected.shape)
    expected = expected + other if residual else expected
    expected = np.maximum(expected, 0) if relu else expected
    assert relative_error(from_plane(found, groups * outputs, plane), expected) < 1e-5


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("groups,outputs,shuffle_groups", [(3, 20, 20), (8, 12, 12), (1, 60, 3), (1, 24, 8), (4, 6, 2)])
def test_pointwise_shuffled_by_other_groups(machine, groups, outputs, shuffle_groups):
    plane, channels = Plane.padded(7, 7, machine.lanes), groups * outputs
    x, weight, bias = random(groups * 5, 7, 7), random(channels, 5, 1, 1), random(channels)
    workload = Reshuffled(groups, 5, outputs, plane, machine.lanes, RELU, shuffle_groups=shuffle_groups)
    found = run(workload, machine, into_plane(x, plane), weight, bias)
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
    plane = Plane.dense(*size)
    x, weight, bias = random(12, *size), random(26, 6, 1, 1), random(26)
    workload = Pointwise(2, 6, 13, plane, 4)
    knobs = {"rows": rows, "vectors": 1 if strip > 1 else 3, "unroll": unroll, "block": block, "panel": panel}
    knobs |= {"weight_vectors": int(rows in (5, 8)), "strip": strip, "rest_tiles": 2, "prefetch": prefetch}
    found = run(workload, MACHINES[0], x, weight, bias, knobs=knobs)
    assert relative_error(from_plane(found, 26, plane), conv_reference(x, weight, bias, 2, 1, 0)) < 1e-5


WINDOWS = [
    (7, 7, 3, 1, 1), (14, 14, 3, 1, 1), (28, 28, 3, 2, 1), (13, 9, 3, 2, 1), (55, 55, 3, 2, 0), (5, 79, 3, 1, 1),
    (6, 130, 3, 2, 1), (3, 3, 3, 1, 1), (2, 2, 3, 2, 1), (9, 21, 5, 1, 2), (65, 70, 3, 1, 1),
]  # fmt: skip


def window_planes(machine, height, width, kernel, stride, pad):
    rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    return Plane.padded(height, width, machine.lanes), Plane.padded(rows, columns, machine.lanes)


@pytest.mark.parametrize("machine", MACHINES, ids=str)
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
    found = run(workload, machine, into_plane(x, before), *parameters)
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
    found = run(workload, machine, into_plane(x, before), weight, bias, knobs=knobs)
    assert relative_error(from_plane(found, 5, after), conv_reference(x, weight, bias, 5, stride, 1)) < 1e-5


@pytest.mark.parametrize("machine", MACHINES, ids=str)
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
    ],
)
def test_conv2d(machine, groups, inputs, outputs, height, width, kernel, stride, pad):
    rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
    before, after = Plane.dense(height, width), Plane.padded_rows(rows, columns, machine.lanes)
    x, weight, bias = (
        random(groups * inputs, height, width),
        random(groups * outputs, inputs, kernel, kernel),
        random(groups * outputs),
    )
    workload = Conv2d(groups, inputs, outputs, before, after, kernel, stride, pad, machine.lanes, activation=RELU)
    found = run(workload, machine, x, weight, bias)
    expected = np.maximum(conv_reference(x, weight, bias, groups, stride, pad), 0)
    assert relative_error(from_plane(found, groups * outputs, after), expected) < 1e-5


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize(
    "groups,inputs,outputs,height,width,kernel,pad",
    [
        (2, 4, 10, 13, 13, 3, 1),
        (1, 3, 15, 27, 27, 5, 2),  # outputs that no tile divides
        (2, 4, 8, 9, 50, 3, 1),
        (1, 5, 3, 6, 5, 3, 0),
        (1, 2, 9, 1, 2, 5, 2),
        (1, 250, 250, 75, 41, 3, 1),  # bands, the last of which starts early
    ],
)
def test_winograd(machine, groups, inputs, outputs, height, width, kernel, pad):
    before = Plane.padded(height, width, machine.lanes)
    after = Winograd.plane(height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1, kernel, machine.lanes)
    x, bias = random(groups * inputs, height, width), random(groups * outputs)
    weight = random(groups * outputs, inputs, kernel, kernel) / np.float32(inputs**0.5 * kernel)
    workload = Winograd(groups, inputs, outputs, before, after, kernel, pad, machine.lanes, activation=RELU)
    found = run(workload, machine, into_plane(x, before), weight, bias)
    expected = np.maximum(conv_reference(x, weight, bias, groups, 1, pad), 0)
    assert relative_error(from_plane(found, groups * outputs, after), expected) < 5e-6


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("inputs,outputs", [(960, 1000), (7, 10), (33, 1), (64, 128)])
def test_dense_writes_its_outputs_and_no_more(machine, inputs, outputs):
    x, weight, bias = random(inputs), random(outputs, inputs), random(outputs)
    found = run(Dense(inputs, outputs, machine.lanes), machine, x, weight, bias)
    assert relative_error(found, weight @ x + bias) < 1e-5


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("height,width", [(7, 7), (4, 5), (3, 70), (1, 1)])
def test_global_avg_pool(machine, height, width):
    plane, x = Plane.padded(height, width, machine.lanes), random(12, height, width)
    found = run(GlobalAvgPool(12, plane, machine.lanes), machine, into_plane(x, plane))
    assert relative_error(found, x.mean((1, 2))) < 1e-5


@pytest.mark.parametrize("height,width", [(14, 19), (6, 6), (7, 100)])
def test_adaptive_avg_pool(height, width):
    import torch

    machine = MACHINES[0]
    before, after, x = Plane.padded(height, width, machine.lanes), Plane.dense(6, 6), random(5, height, width)
    found = run(AdaptiveAvgPool(5, before, after), machine, into_plane(x, before))
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), 6).numpy()
    assert relative_error(found.reshape(5, 6, 6), expected) < 1e-5


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_lrn(machine):
    import torch

    plane, x = Plane.padded(6, 9, machine.lanes), 5 * random(9, 6, 9)
    workload = LRN(9, plane.size // machine.lanes, machine.lanes, 5, 5e-4, 2.0)
    found = run(workload, machine, into_plane(x, plane))
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
    same = functools.partial(run, workload, machine, data, *parameters, residual=residual)
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


def reference_activation(activation, x):
    a, b = activation.a, activation.b
    return {
        "clip": lambda: np.clip(x, a, b),
        "leaky_relu": lambda: np.where(x >= 0, x, a * x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x.astype("float64"))),
    }[activation.kind]()


EPILOGUES = ["pointwise", "residual", "depthwise", "conv2d", "winograd", "dense", "max", "avg", "valid"]


@pytest.mark.parametrize("machine", [MACHINES[0], Machine(16, 32)], ids=str)
@pytest.mark.parametrize(
    "activation",
    [Activation("clip", -0.5, 0.75), Activation("leaky_relu", 0.125), Activation("sigmoid")],
    ids=lambda activation: activation.kind,
)
@pytest.mark.parametrize("layer", EPILOGUES)
def test_epilogues(machine, activation, layer):
    """Activations other than ReLU, in every kernel that has one."""
    import torch.nn.functional as F
    from torch import from_numpy

    lanes, height, width = machine.lanes, 9, 11
    plane = Plane.padded(height, width, lanes)
    x, other, bias = random(6, height, width), random(6, height, width), random(6)
    dense = {"pointwise": 1, "residual": 1, "depthwise": 6, "conv2d": 2, "winograd": 2}
    before, after, residual, parameters = plane, plane, None, ()
    if layer in dense:
        kernel = 1 if layer in ("pointwise", "residual") else 3
        weight = random(6, 6 // dense[layer], kernel, kernel)
        expected, parameters = conv_reference(x, weight, bias, dense[layer], 1, kernel // 2), (weight, bias)
    if layer in ("pointwise", "residual"):
        workload = Pointwise(1, 6, 6, plane, lanes, activation, layer == "residual")
        residual = into_plane(other, plane) if layer == "residual" else None
        expected = expected + other if layer == "residual" else expected
    elif layer == "depthwise":
        workload = Depthwise(6, plane, plane, 3, 1, 1, lanes, activation)
    elif layer == "conv2d":
        before, after = Plane.dense(height, width), Plane.padded_rows(height, width, lanes)
        workload = Conv2d(2, 3, 3, before, after, 3, 1, 1, lanes, activation)
    elif layer == "winograd":
        after = Winograd.plane(height, width, 3, lanes)
        workload = Winograd(2, 3, 3, plane, after, 3, 1, lanes, activation)
    elif layer == "dense":
        weight, vector, bias = random(10, 33), random(33), random(10)
        found = run(Dense(33, 10, lanes, activation), machine, vector, weight, bias)
        assert relative_error(found, reference_activation(activation, weight @ vector + bias)) < 1e-5
        return
    else:
        shape = (6, plane, plane, 3, 1, 1, lanes, activation)
        workload = ValidAvgPool(*shape) if layer == "valid" else WindowPool(*shape, kind=layer)
        pool = F.max_pool2d if layer == "max" else functools.partial(F.avg_pool2d, count_include_pad=layer == "avg")
        expected = pool(from_numpy(x[None]), 3, 1, 1)[0].numpy()
    found = run(workload, machine, into_plane(x, before), *parameters, residual=residual)
    assert relative_error(from_plane(found, 6, after), reference_activation(activation, expected)) < 1e-5
