"""The generic kernels: any shape, padding full of NaN, nothing touched outside the buffers, no C library."""

from __future__ import annotations

import functools
import itertools
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import tvm
from tvm import tirx

from tvm_shufflenet.architectures.resizing import resize_tables
from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.schedules import (
    Activation,
    Binary,
    GenericConv,
    GenericLRN,
    GenericPool,
    GlobalPool,
    Pad,
    Plane,
    Resize,
    Scale,
    Softmax,
    Unary,
)  # fmt: skip
from tvm_shufflenet.schedules.functions import exp, log, power
from tvm_shufflenet.targets import resolve

from ..conftest import ROOT
from ..kernel_runs import run_kernel

rng = np.random.default_rng(0)
GUARD = 17  # odd: buffers are aligned as floats are, no better
NAN = np.array([0x7FC0BEEF], "uint32").view("float32")[0]  # one that no arithmetic makes


@functools.cache
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
        if operand.name not in ("out", "scratch", in_place):
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


POOLS = [
    # size, kernel, stride, pad (t, l), ceil
    ((7, 9), (3, 3), (2, 2), (1, 1), False),
    ((8, 20), (3, 5), (1, 3), (0, 2), True),
    ((1, 1), (1, 1), (1, 1), (0, 0), False),
    ((13, 6), (4, 2), (3, 4), (2, 1), True),
    ((3, 250), (2, 3), (1, 1), (1, 0), False),
    ((20, 1), (7, 1), (5, 1), (3, 0), True),
    ((6, 6), (2, 2), (3, 3), (0, 0), True),
]


@pytest.mark.parametrize("size,kernel,stride,pad,ceil", POOLS)
@pytest.mark.parametrize("kind", ["max", "avg", "valid_avg"])
def test_pool(kind, size, kernel, stride, pad, ceil):
    x = random(3, *size)
    arguments = torch.from_numpy(x).double(), kernel, stride, pad
    if kind == "max":
        expected = F.max_pool2d(*arguments, 1, ceil)
    else:
        expected = F.avg_pool2d(*arguments, ceil, kind == "avg")
    for before, after in zip(planes(*size), planes(*expected.shape[1:])[::-1]):
        workload = GenericPool(kind, 3, before, after, kernel, stride, (*pad, *pad), activation=Activation("relu"))
        close(from_plane(run(workload, into_plane(x, before)), after), expected.clip(min=0))


@pytest.mark.parametrize("kind", ["max", "avg", "valid_avg"])
def test_pool_with_uneven_padding_and_dilation(kind):
    """Against windows taken one by one."""
    size, kernel, stride, (top, left, bottom, right), dilation = (9, 8), (3, 2), (2, 1), (2, 0, 1, 1), (2, 3)
    x, bottom_row = random(2, *size), 9 + 1
    rows = range(-top, bottom_row - (kernel[0] - 1) * dilation[0] + 1, stride[0])  # the last one is cut off
    columns = range(-left, 8 + right - (kernel[1] - 1) * dilation[1], stride[1])
    expected = np.zeros((2, len(rows), len(columns)))
    for i, j in np.ndindex(len(rows), len(columns)):
        taps = [(rows[i] + a * dilation[0], columns[j] + b * dilation[1]) for a in range(3) for b in range(2)]
        pixels = [x[:, y, z] for y, z in taps if 0 <= y < 9 and 0 <= z < 8]
        padded = sum(y < bottom_row and z < 8 + right for y, z in taps)
        by = len(pixels) if kind == "valid_avg" else padded
        expected[:, i, j] = np.max(pixels, 0) if kind == "max" else np.sum(pixels, 0, "float64") / by
    for before, after in zip(planes(*size), planes(*expected.shape[1:])):
        workload = GenericPool(kind, 2, before, after, kernel, stride, (top, left, bottom, right), dilation)
        close(from_plane(run(workload, into_plane(x, before)), after), expected)


def test_pool_of_nothing():
    plane = Plane.dense(4, 4)
    for kind in ("max", "valid_avg"):
        with pytest.raises(ValueError, match="outside the plane"):
            GenericPool(kind, 1, plane, plane, (1, 1), (1, 1), (1, 0, 0, 0))
    found = run(GenericPool("avg", 1, plane, plane, (1, 1), (1, 1), (1, 0, 0, 0)), np.ones(16))
    close(found, np.repeat([0, 1], [4, 12]))
    with pytest.raises(ValueError, match="outside the plane"):
        GenericPool("avg", 1, plane, Plane.dense(5, 4), (1, 1))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (5, 37), (64, 64), (720, 1280)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_global_pool(kind, size):
    x = random(2, *size) + np.float32(3)
    expected = x.max((1, 2)) if kind == "max" else x.astype("float64").mean((1, 2))
    for plane in planes(*size):
        close(run(GlobalPool(kind, 2, plane), into_plane(x, plane)), expected)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("pad", [(1, 2, 3, 4), (0, 0, 0, 0), (-1, 3, 2, -2), (4, -3, -2, -1), (-4, 5, 0, 0)])
def test_pad(mode, pad):
    x, (top, left, bottom, right) = random(3, 5, 7), pad
    cut = x[:, max(-top, 0) : 5 + min(bottom, 0), max(-left, 0) : 7 + min(right, 0)]
    filled = [(0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
    if mode == "reflect":  # of the whole plane
        expected = np.pad(x, filled, mode)
        expected = expected[:, max(-top, 0) :, max(-left, 0) :]
        expected = expected[:, : expected.shape[1] + min(bottom, 0), : expected.shape[2] + min(right, 0)]
    else:
        expected = np.pad(cut, filled, mode, **({"constant_values": 7} if mode == "constant" else {}))
    for before, after in zip(planes(5, 7), planes(*expected.shape[1:])[::-1]):
        workload = Pad(3, 3, before, after, (top, left), mode=mode, value=7.0)
        close(from_plane(run(workload, into_plane(x, before)), after), expected, 0)


@pytest.mark.parametrize("front,behind", [(2, 1), (-1, 3), (1, -2)])
def test_pad_channels(front, behind):
    x, plane = random(3, 2, 3), Plane.dense(2, 3)
    expected = np.pad(x[max(-front, 0) : 3 + min(behind, 0)], [(max(front, 0), max(behind, 0)), (0, 0), (0, 0)])
    close(from_plane(run(Pad(3, 3 + front + behind, plane, plane, front=front), x), plane), expected, 0)


def test_no_such_padding():
    with pytest.raises(ValueError, match="mirrored"):
        Pad(1, 1, Plane.dense(3, 3), Plane.dense(6, 3), (3, 0), mode="reflect")


COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
SIZES = [((4, 5), (8, 10)), ((7, 9), (3, 20)), ((6, 1), (1, 4)), ((20, 13), (7, 1)), ((5, 5), (5, 5))]


def resized(x, size, mode, coordinates, rounding="floor", scales=None):
    tables = resize_tables(x.shape[1:], size, mode, coordinates, rounding, scales)
    results = []
    for before, after in zip(planes(*x.shape[1:]), planes(*size)[::-1]):
        found = run(Resize(len(x), before, after, mode), into_plane(x, before), *tables)
        results.append(from_plane(found, after))
    assert all(np.array_equal(results[0], result) for result in results)
    return results[0]


@pytest.mark.parametrize("before,after", SIZES)
def test_resize_as_pytorch(before, after):
    x = random(2, *before)

    def expected(mode, **options):
        return F.interpolate(torch.from_numpy(x[None]).double(), after, mode=mode, **options)[0]

    close(resized(x, after, "nearest", "asymmetric"), expected("nearest"), 0)
    close(resized(x, after, "nearest", "half_pixel", "round_prefer_ceil"), expected("nearest-exact"), 0)
    close(resized(x, after, "bilinear", "half_pixel"), expected("bilinear", align_corners=False))
    close(resized(x, after, "bilinear", "align_corners"), expected("bilinear", align_corners=True))


@pytest.mark.parametrize("before,after", SIZES)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize_as_onnx(before, after, coordinates):
    helper = pytest.importorskip("onnx.helper")
    from onnx import TensorProto
    from onnx.reference import ReferenceEvaluator

    x = random(2, *before)
    for mode, rounding in [("bilinear", "floor"), *(("nearest", rounding) for rounding in ROUNDINGS)]:
        node = helper.make_node(
            "Resize", ["x", "", "", "sizes"], ["y"], mode=mode.replace("bi", ""), nearest_mode=rounding,
            coordinate_transformation_mode=coordinates,
        )  # fmt: skip
        values = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *x.shape]),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [4]),
        ]
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([node], "resize", values, [result])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
        (expected,) = ReferenceEvaluator(model).run(None, {"x": x[None], "sizes": np.array([1, 2, *after])})
        close(resized(x, after, mode, coordinates, rounding), expected[0])


def test_resize_by_scales():
    """Scales that are not the quotients of the sizes: PyTorch's too, where asked to use them."""
    x = random(2, 7, 9)
    expected = F.interpolate(
        torch.from_numpy(x[None]).double(), scale_factor=(1.6, 0.7), mode="bilinear", recompute_scale_factor=False
    )[0]
    close(resized(x, expected.shape[1:], "bilinear", "half_pixel", scales=(1.6, 0.7)), expected)


@pytest.mark.parametrize("channels,size", [(1, (1, 1)), (1000, (1, 1)), (3, (4, 7)), (5, (2, 130))])
@pytest.mark.parametrize("log_of", [False, True])
def test_softmax(channels, size, log_of):
    function = F.log_softmax if log_of else F.softmax
    for x in (random(channels, *size), 100 * random(channels, *size), np.float32(1e30) * random(channels, *size)):
        expected = function(torch.from_numpy(x).double(), 0)
        for before, after in zip(planes(*size), planes(*size)[::-1]):
            close(from_plane(run(Softmax(channels, before, after, log_of), into_plane(x, before)), after), expected)


@pytest.mark.parametrize("size,ahead", [(1, 0), (5, 2), (4, 2), (20, 3)])
@pytest.mark.parametrize("alpha,beta,k", [(1e-4, 0.75, 1.0), (2.0, 0.5, 2.0), (1.0, 1.3, 0.1), (0.5, 0.0, 1.0)])
def test_lrn(size, ahead, alpha, beta, k):
    x = 5 * random(7, 3, 9)
    squares = np.pad(x.astype("float64") ** 2, [(ahead, size), (0, 0), (0, 0)])
    sums = np.stack([squares[c : c + size].sum(0) for c in range(7)])
    for before, after in zip(planes(3, 9), planes(3, 9)[::-1]):
        workload = GenericLRN(7, before, after, size, ahead, alpha, beta, k)
        close(from_plane(run(workload, into_plane(x, before)), after), x / (k + alpha / size * sums) ** beta)


def test_lrn_of_pytorch():
    x, plane = random(7, 3, 9), Plane.dense(3, 9)
    for size in (4, 5):
        expected = F.local_response_norm(torch.from_numpy(x[None]).double(), size, 2.0, 0.6, 1.5)[0]
        close(from_plane(run(GenericLRN(7, plane, plane, size, size // 2, 2.0, 0.6, 1.5), x), plane), expected)


SMALL, LARGE = Plane.dense(6, 40), Plane.dense(12, 80)
EVERY = [
    *(Unary(3, SMALL, SMALL, activation) for activation in ACTIVATIONS),
    Scale(3, SMALL, SMALL),
    Binary("multiply", 3, SMALL, SMALL, SMALL, per_channel=True),
    Binary("add", 3, SMALL, SMALL, SMALL),
    GenericConv(1, 3, 4, SMALL, SMALL, (3, 3), (1, 1), (1, 1)),
    GenericPool("max", 3, SMALL, SMALL, (3, 3), (1, 1), (1, 1, 1, 1)),
    GenericPool("avg", 3, SMALL, SMALL, (3, 3), (1, 1), (1, 1, 1, 1)),
    GenericPool("valid_avg", 3, SMALL, SMALL, (3, 3), (1, 1), (1, 1, 1, 1)),
    GlobalPool("max", 3, SMALL),
    GlobalPool("avg", 3, SMALL),
    *(Pad(3, 3, SMALL, LARGE, (3, 4), mode=mode) for mode in ("constant", "edge", "reflect")),
    Resize(3, SMALL, LARGE, "nearest"),
    Resize(3, SMALL, LARGE, "bilinear"),
    Softmax(3, SMALL, SMALL),
    Softmax(3, SMALL, SMALL, True),
    GenericLRN(3, SMALL, SMALL, 5, 2, 1e-4, 0.6, 1.0),
]  # fmt: skip


# What LLVM makes instructions of on every target, or copies and fills.
INSTRUCTIONS = {"assume", "fabs", "fmuladd", "masked", "maxnum", "minnum", "smax", "smin", "umax", "umin", "vector"}
BYTES = {"memcpy", "memmove", "memset"}


@pytest.mark.parametrize("target", ["native", "cortex-a72", "armv7"])
def test_no_library(target):
    """No kernel calls anything but what copies or fills memory (`main` in addition checks its arguments)."""
    for workload in EVERY:
        text = compiled(workload, target).inspect_source("ll")
        declared = {line.split("@")[1].split("(")[0] for line in text.splitlines() if line.startswith("declare")}
        intrinsics = {name.split(".")[1] for name in declared if name.startswith("llvm.")}
        assert intrinsics <= INSTRUCTIONS | BYTES
        assert {n for n in declared if not n.startswith("llvm.")} <= BYTES | {"TVMFFIErrorSetRaisedFromCStrParts"}


def test_the_kernel_of_the_docs(tmp_path):
    """The example of docs/adding.md computes what it says."""
    import importlib.util
    import textwrap

    page = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    code = page.split("plain_depthwise.py in `schedules/`:\n\n")[1].split("\nConditions in TVMScript")[0]
    path = tmp_path / "plain_depthwise.py"
    path.write_text(textwrap.dedent(code).replace("from .", "from tvm_shufflenet.schedules."))
    spec = importlib.util.spec_from_file_location("plain_depthwise", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_depthwise"] = module  # where dataclasses look for the types
    spec.loader.exec_module(module)

    generator = np.random.default_rng(0)
    x, weight, bias = (generator.standard_normal(shape, "float32") for shape in ((3, 9, 7), (3, 1, 3, 3), (3,)))
    workload = module.PlainDepthwise(3, Plane.dense(9, 7), Plane.dense(5, 4), 3, 2, 1)
    found = run_kernel(workload, resolve("native").machine, x, weight, bias)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    expected = [[[(padded[c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * weight[c, 0]).sum() + bias[c]
                  for j in range(4)] for i in range(5)] for c in range(3)]  # fmt: skip
    np.testing.assert_allclose(found.reshape(3, 5, 4), expected, rtol=1e-5, atol=1e-5)
