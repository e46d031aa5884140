"""The generic kernels: any shape, padding full of NaN, nothing touched outside the buffers, no C library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tvm
from tvm import tirx

from schedules import Activation, Binary, GenericConv, Plane, Scale, Unary
from schedules.functions import exp, log, power
from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.targets import resolve

rng = np.random.default_rng(0)
GUARD = 17  # odd: buffers are aligned as floats are, no better
NAN = np.array([0x7FC0BEEF], "uint32").view("float32")[0]  # one that no arithmetic makes


def compiled(workload, target):
    """The kernel, `main` calling it with pointers into arrays, GUARD elements behind their beginning."""
    function = scheduled_kernel(ScheduledKernel("kernel", workload, {}))
    sizes = [operand.bytes // 4 + 2 * GUARD for operand in workload.operands()]
    types = [operand.dtype for operand in workload.operands()]
    buffers = [tirx.decl_buffer((size,), dtype, f"a{i}") for i, (size, dtype) in enumerate(zip(sizes, types))]
    variable = tvm.ir.GlobalVar("kernel")
    call = variable(*(tirx.address_of(tirx.BufferLoad(b, [GUARD])) for b in buffers))
    main = tirx.PrimFunc(buffers, tirx.Evaluate(call)).with_attrs({"global_symbol": "main", "s_tir": True})
    return compile_module(tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: function}), resolve(target).tvm)


def run(workload, *inputs, in_place=None):
    """Runs the kernel on arrays in the order of its parameters; returns `out`, as flat as it lies in memory.

    Every float around each buffer, and `out` beforehand, is NAN; the former still are afterwards.  With `in_place`,
    `out` is the buffer of that input.
    """
    operands = workload.operands()
    given = iter(inputs)
    arrays = []
    for operand in operands:
        floats = operand.bytes // 4
        array = np.full(floats + 2 * GUARD, NAN if operand.dtype == "float32" else 1 << 30, operand.dtype)
        if operand.role in ("input", "residual", "weight"):
            array[GUARD : GUARD + floats] = np.ravel(next(given))
        arrays.append(array)
    names = [operand.name for operand in operands]
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    if in_place:
        tensors[names.index("out")] = tensors[names.index(in_place)]
    compiled(workload, "native")["main"](*tensors)
    for operand, before, tensor in zip(operands, arrays, tensors):
        after = tensor.numpy()
        floats = operand.bytes // 4
        where = slice(0, GUARD), slice(GUARD + floats, None)
        if operand.name != "out" and operand.name != in_place:
            where = (slice(None),)
        for part in where:
            assert np.array_equal(after[part].view("uint32"), before[part].view("uint32")), operand.name
    return tensors[names.index("out")].numpy()[GUARD:-GUARD]


def random(*shape):
    return rng.standard_normal(shape).astype("float32")


def into_plane(values: np.ndarray, plane: Plane) -> np.ndarray:
    """(C, H, W) -> (C, plane.size), the padding full of NAN."""
    result = np.full((len(values), plane.size), NAN, "float32")
    inside(result, plane)[:] = values
    return result


def inside(flat: np.ndarray, plane: Plane) -> np.ndarray:
    rows = flat.reshape(-1, plane.size)[:, : plane.height * plane.pitch]
    return rows.reshape(-1, plane.height, plane.pitch)[:, :, : plane.width]


def from_plane(flat: np.ndarray, plane: Plane) -> np.ndarray:
    """(C, H, W); the padding was not touched."""
    values = inside(flat, plane).copy()
    padding = flat.copy()
    inside(padding, plane)[:] = NAN
    assert (padding.view("uint32") == NAN.view("uint32")).all()
    return values


def close(found, expected, tolerance=1e-6):
    """Within `tolerance` of the largest value, and no NaN."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1, np.abs(expected).max())


def planes(height, width):
    """Dense, rows apart, and planes apart."""
    return [
        Plane.dense(height, width),
        Plane(height, width, width + 3, height * (width + 3) + 5),
        Plane(height, width, width, height * width + 7),
    ]


def evaluate(function, values):
    """`function`, an expression builder, of every value, by a kernel of one row."""
    workload = Unary(1, Plane.dense(1, values.size), Plane.dense(1, values.size), _Function(function))
    return run(workload, values)


class _Function:
    def __init__(self, apply):
        self.apply = apply


def test_exp():
    x = np.concatenate([np.linspace(-87.3, 88.3, 100001), [0, -1e-30, 1e-10]]).astype("float32")
    expected = np.exp(x.astype("float64"))
    assert np.abs(evaluate(exp, x) / expected - 1).max() < 3e-7
    small, large = evaluate(exp, np.float32([-88, -200, -3e38])), evaluate(exp, np.float32([89, 200, 3e38]))
    assert (0 <= small).all() and (small < 2e-38).all() and (large > 2e38).all() and np.isfinite(large).all()


def test_log():
    x = np.concatenate([np.geomspace(1.2e-38, 3.4e38, 100001), np.linspace(0.5, 2, 10001), [1]]).astype("float32")
    expected = np.log(x.astype("float64"))
    found = evaluate(log, x)
    assert (np.abs(found - expected) <= 3e-7 * np.abs(expected)).all()


@pytest.mark.parametrize("exponent", [0.0, -0.75, -0.5, -1.0, 0.5, 0.3, -2.5, -10.0])
def test_power(exponent):
    x = np.concatenate([np.geomspace(1e-3, 1e6, 100001), np.linspace(1, 2, 10001)]).astype("float32")
    expected = x.astype("float64") ** exponent
    normal = (expected > 3e-38) & (expected < 1.6e38)
    error = np.abs(evaluate(lambda v: power(v, exponent), x)[normal] / expected[normal] - 1).max()
    assert error < 3e-7 * max(1, abs(exponent))


ACTIVATIONS = {
    Activation(): lambda x: x,
    Activation("relu"): F.relu,
    Activation("clip", -0.5, 1.5): lambda x: x.clip(-0.5, 1.5),
    Activation("leaky_relu", 0.1): lambda x: F.leaky_relu(x, 0.1),
    Activation("sigmoid"): torch.sigmoid,
    Activation("hard_sigmoid", 1 / 6, 0.5): F.hardsigmoid,
    Activation("hard_swish"): F.hardswish,
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.kind)
def test_activations(activation):
    """Of numbers up to 1e38 in size, relative to the result where it is above one."""
    large = np.geomspace(1e-6, 1e38, 1000)
    x = np.concatenate([np.linspace(-10, 10, 20001), large, -large, [0]]).astype("float32")
    expected = ACTIVATIONS[activation](torch.from_numpy(x).double()).numpy()
    assert (np.abs(evaluate(activation.apply, x) - expected) <= 1e-6 * np.maximum(1, np.abs(expected))).all()


def test_no_such_activation():
    with pytest.raises(ValueError, match="tanh"):
        Activation("tanh")


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 20)])
def test_unary_and_scale(size):
    x, weight, bias = random(5, *size), random(5), random(5)
    for before, after in itertools.product(planes(*size), planes(*size)):
        data = into_plane(x, before)
        close(from_plane(run(Unary(5, before, after, Activation("relu")), data), after), np.maximum(x, 0), 0)
        found = run(Scale(5, before, after, Activation("relu")), data, weight, bias)
        expected = np.maximum(x * weight[:, None, None] + bias[:, None, None], 0)
        close(from_plane(found, after), expected)


@pytest.mark.parametrize("operation,of", [("add", np.add), ("multiply", np.multiply)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_binary(operation, of, size):
    x, y, number = random(5, *size), random(5, *size), random(5)
    for first, second, after in zip(planes(*size), planes(*size)[::-1], planes(*size)[1:] + planes(*size)):
        workload = Binary(operation, 5, first, second, after, activation=Activation("leaky_relu", 0.1))
        found = run(workload, into_plane(x, first), into_plane(y, second))
        close(from_plane(found, after), F.leaky_relu(torch.from_numpy(of(x, y)), 0.1))
        workload = Binary(operation, 5, first, second, after, per_channel=True)
        found = run(workload, into_plane(x, first), number)
        close(from_plane(found, after), of(x, number[:, None, None]))


def test_in_place():
    x, y = random(5, 3, 9), random(5, 3, 9)
    for plane in planes(3, 9):
        unary, binary = Unary(5, plane, plane, Activation("relu")), Binary("add", 5, plane, plane, plane)
        assert unary.may_replace("data") and binary.may_replace("data") and binary.may_replace("other")
        close(inside(run(unary, into_plane(x, plane), in_place="data"), plane), np.maximum(x, 0))
        for name in ("data", "other"):
            found = run(binary, into_plane(x, plane), into_plane(y, plane), in_place=name)
            close(inside(found, plane), x + y)
    dense, apart, _ = planes(3, 9)
    assert not Unary(5, dense, apart).may_replace("data")
    assert not Binary("add", 5, dense, apart, dense).may_replace("other")
    assert not Binary("add", 5, dense, dense, dense, per_channel=True).may_replace("other")


CONVS = [
    # groups, inputs, outputs, size, kernel, stride, pad (t, l, b, r), dilation
    (1, 3, 5, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    (1, 3, 8, (5, 7), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    (2, 3, 4, (7, 9), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    (4, 1, 3, (8, 20), (3, 5), (2, 3), (0, 2, 3, 1), (2, 1)),
    (1, 2, 1, (6, 70), (2, 3), (1, 1), (1, 1, 0, 1), (1, 2)),
    (3, 2, 6, (3, 130), (1, 4), (1, 2), (0, 3, 0, 0), (1, 1)),
    (1, 2, 3, (2, 3), (5, 4), (2, 2), (6, 5, 7, 4), (2, 3)),  # windows wholly outside
    (1, 2, 2, (1, 20), (1, 7), (1, 5), (0, 0, 0, 0), (1, 3)),
    (1, 2, 2, (9, 9), (1, 1), (3, 2), (0, 0, 0, 0), (1, 1)),
    (1, 1, 2, (20, 1), (4, 1), (3, 1), (2, 0, 1, 0), (1, 1)),
]


@pytest.mark.parametrize("groups,inputs,outputs,size,kernel,stride,pad,dilation", CONVS)
def test_conv(groups, inputs, outputs, size, kernel, stride, pad, dilation):
    top, left, bottom, right = pad
    x, weight = random(groups * inputs, *size), random(groups * outputs, inputs, *kernel)
    bias = random(groups * outputs)
    padded = F.pad(torch.from_numpy(x), (left, right, top, bottom)).double()
    weights = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
    expected = F.conv2d(padded[None], *weights, stride, 0, dilation, groups)[0].clip(min=0)
    for before, after in zip(planes(*size), planes(*expected.shape[1:])[::-1]):
        workload = GenericConv(
            groups, inputs, outputs, before, after, kernel, stride, (top, left), dilation, Activation("relu")
        )
        close(from_plane(run(workload, into_plane(x, before), weight, bias), after), expected, 2e-6)
