"""ONNX nodes with weights or windows: convolutions, batch norms, dense layers, poolings, normalisations, resizing.

Each function takes the reader, the node and its inputs, and gives the value that the node computes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..architectures.builder import COORDINATES, ROUNDINGS
from .canonical import batch_norm
from .onnx_node import Node, Operator
from .onnx_nodes_elements import affine
from .onnx_values import Given, Refused, Value, places, text

if TYPE_CHECKING:
    from .onnx_reader import Reader


def conv(reader: Reader, node: Node, x: Given, weight: Given, bias: Given | None = None) -> Value:
    weight = reader.weights(weight, "its weights")
    bias = None if bias is None else reader.weights(bias, "its bias")
    groups, x = node.integer("group", 1), reader.value(x)
    if weight.ndim != 4 or len(x.shape) != 4:
        raise Refused(f"weights of the shape {text(weight.shape)}, expected a convolution of planes")
    if node.integers("kernel_shape", list(weight.shape[2:])) != list(weight.shape[2:]):
        raise Refused(f"its kernel_shape does not fit its weights of the shape {text(weight.shape)}")
    if groups < 1 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise Refused(f"weights of the shape {text(weight.shape)} in {groups} groups do not fit {x.shape[1]} channels")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise Refused(f"its bias has the shape {text(bias.shape)}, expected {weight.shape[0]}")
    window = _window(node, x.shape[2:], weight.shape[2:])
    vector = len(reader.net.shape(x.layer)) == 2 and reader.looks.whole(x) and x.shape[2:] == (1, 1)
    if vector and weight.shape[2:] == (1, 1) and groups == 1 and not any(window["pad"]) and window["stride"] == (1, 1):
        found = _dense(reader, x, weight[:, :, 0, 0], bias)  # behind the global average: the classifier
        return reader.plain(found.layer, (*found.shape, 1, 1))
    source = reader.planes(x)
    source, window["pad"] = _padding(reader, source, window["pad"])
    behind = reader.reader(node.outputs[0])
    normalised = behind is not None and behind.op_type == "BatchNormalization" and behind.input[0] == node.outputs[0]
    layer = reader.net.conv(
        reader.name("conv"), source, weight.shape[0], **window, groups=groups, bias=not normalised
    )  # fmt: skip
    reader.set(layer, weight=weight)
    if normalised:
        reader.conv_biases[layer] = bias
    else:
        reader.set(layer, bias=np.zeros(weight.shape[0]) if bias is None else bias)
    return reader.plain(layer)


def _padding(reader: Reader, source: int, pad: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Takes in the zeros that a layer before puts around the planes."""
    before = reader.net.layers[source]
    if before.op == "pad" and before.attrs["mode"] == "constant" and before.attrs["value"] == 0:
        if min(before.attrs["pad"]) >= 0 and not any(before.attrs["channels"]):
            return before.inputs[0], tuple(a + b for a, b in zip(pad, before.attrs["pad"]))
    return source, pad


def _pair(node: Node, name: str, default: list[int], low: int) -> tuple[int, int]:
    found = node.integers(name, default)
    if len(found) != 2 or min(found) < low or max(found) > 1 << 24:
        raise Refused(f"its {name} is {found}, expected two numbers of {low} or more")
    return found[0], found[1]


def _window(node: Node, extents, kernel) -> dict:
    """Stride, padding and dilation, with the padding that auto_pad means."""
    stride, dilation = _pair(node, "strides", [1, 1], 1), _pair(node, "dilations", [1, 1], 1)
    auto, pad = node.choice("auto_pad", "NOTSET") or "NOTSET", node.integers("pads", [0] * 4)
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"its auto_pad is {auto[:40]!r}, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    if len(pad) != 4 or min(pad) < 0 or max(pad) > 1 << 16:
        raise Refused(f"its pads are {pad}, expected four numbers of 0 or more")
    if auto == "VALID":
        pad = [0] * 4
    elif auto != "NOTSET":
        needed = [
            max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in zip(extents, kernel, stride, dilation)
        ]
        small, large = [n // 2 for n in needed], [n - n // 2 for n in needed]
        pad = [*small, *large] if auto == "SAME_UPPER" else [*large, *small]
    return {"kernel": tuple(kernel), "stride": stride, "pad": tuple(pad), "dilation": dilation}


def batch_normalization(reader: Reader, node: Node, x: Given, *given: Given | None) -> Value:
    statistics = [reader.weights(array, "its statistics") for array in given]
    training = node.integer("training_mode", 0) or (reader.opset < 7 and not node.integer("is_test", 0))
    if training or not node.integer("spatial", 1) or any(node.outputs[1:]):
        raise Refused("it is in training mode, or not one for each channel: export the model for inference")
    x = reader.value(x)
    shape, eps = x.shape, node.number("epsilon", 1e-5)
    if len(shape) < 2 or any(array.shape != (shape[1],) for array in statistics):
        shapes = ", ".join(text(array.shape) for array in statistics)
        raise Refused(f"statistics of the shapes {shapes} do not fit {text(shape)}")
    gamma, beta, mean, variance = statistics
    if not (variance >= 0).all() or not (variance + eps > 0).all():
        raise Refused("a variance is negative, or zero with an epsilon of zero")
    source = reader.net.shape(x.layer)
    if reader.looks.whole(x) and source[1] == shape[1] and math.prod(source[2:]) == math.prod(shape[2:]):
        layer = reader.net.batch_norm(reader.name("bn"), x.layer)
        reader.set(layer, **batch_norm(statistics, eps, reader.conv_biases.get(x.layer)))
        return reader.plain(layer, shape)
    scale, ones = gamma / np.sqrt(variance + eps), (1,) * (len(shape) - 2)
    return affine(reader, node, x, scale.reshape(-1, *ones), (beta - mean * scale).reshape(-1, *ones))


def max_pool(reader: Reader, node: Node, x: Given) -> Value:
    if any(node.outputs[1:]):
        raise Refused("the places of the maxima are not possible, expected one output")
    x = reader.value(x)
    if len(x.shape) != 4:
        reader.planes(x)  # refuses
    window = _window(node, x.shape[2:], _pair(node, "kernel_shape", [], 1))
    return reader.plain(
        reader.net.max_pool(reader.name("pool"), reader.planes(x), **window, ceil=bool(node.integer("ceil_mode", 0)))
    )


def average_pool(reader: Reader, node: Node, x: Given) -> Value:
    x = reader.value(x)
    layer = reader.planes(x)
    window, ceil = _window(node, x.shape[2:], _pair(node, "kernel_shape", [], 1)), bool(node.integer("ceil_mode", 0))
    kernel, dilation = window["kernel"], window.pop("dilation")
    counts = not any(window["pad"]) or bool(node.integer("count_include_pad", 0))
    if kernel == x.shape[2:] and not any(window["pad"]) and dilation == (1, 1):
        return global_pool(reader, node, x)
    if dilation != (1, 1):
        if not counts or ceil:
            raise Refused("dilation where padding does not count, or with ceil_mode, is not possible")
        channels = x.shape[1]
        layer = reader.net.conv(
            reader.name("pool"), layer, channels, **window, dilation=dilation, groups=channels, bias=True
        )
        reader.set(layer, weight=np.full((channels, 1, *kernel), 1 / math.prod(kernel)), bias=np.zeros(channels))
        return reader.plain(layer)
    if not any(window["pad"]):
        layer, window["pad"] = _padding(reader, layer, window["pad"])
    pool = reader.net.avg_pool if counts else reader.net.valid_avg_pool
    return reader.plain(pool(reader.name("pool"), layer, **window, ceil=ceil))


def global_pool(reader: Reader, node: Node, x: Given) -> Value:
    x = reader.value(x)
    # A vector of one pixel per channel is its own mean; the planes of a flattened picture are others.
    as_it_is = x.shape[2:] == (1, 1) and reader.looks.whole(x) and reader.net.shape(x.layer)[1] == x.shape[1]
    layer = x.layer if as_it_is else reader.planes(x)
    if len(reader.net.shape(layer)) == 4:
        maximum = node.kind in ("GlobalMaxPool", "ReduceMax")
        pool = reader.net.global_max_pool if maximum else reader.net.global_avg_pool
        layer = pool(reader.name("pool"), layer)
    return reader.plain(layer, (*reader.net.shape(layer), 1, 1))


def reduce(reader: Reader, node: Node, x: Given, axes: Given | None = None) -> Value:
    """The mean or maximum of each plane, wherever the channels stand."""
    x = reader.value(x)
    shape = x.shape
    given = node.integers("axes") if axes is None else [int(n) for n in reader.constant(axes, "its axes").ravel()[:9]]
    if not given:
        if node.integer("noop_with_empty_axes", 0):
            return x
        given = list(range(len(shape)))
    if any(not -len(shape) <= axis < len(shape) for axis in given):
        raise Refused(f"its axes are {given} of {len(shape)} dimensions")
    gone = sorted({axis % len(shape) for axis in given})
    kept = [axis for axis in range(1, len(shape)) if axis not in gone]
    if 0 in gone or len(kept) != 1 or len(shape) > 4:
        raise Refused(f"its axes are {gone} of {text(shape)}, expected height and width")
    turned, channels = x.transposed([0, *kept, *gone]), shape[kept[0]]
    source = reader.net.shape(x.layer)
    if not (reader.looks.whole(turned) and source[1] == channels):
        pixels = math.prod(shape) // channels
        layer = reader.looks.layer(turned, (1, channels, *(turned.shape[2:] if len(gone) == 2 else (pixels, 1))))
    else:
        layer = x.layer
    found = global_pool(reader, node, reader.plain(layer, (*reader.net.shape(layer), 1, 1)[:4]))
    keep = node.integer("keepdims", 1)
    return reader.plain(
        found.layer, [n if axis in kept else 1 for axis, n in enumerate(shape) if keep or axis not in gone]
    )


def lrn(reader: Reader, node: Node, x: Given) -> Value:
    """ONNX's window has the larger half behind, the builder's before: an even one is turned round, as its channels."""
    size, x = node.integer("size", 0), reader.value(x)
    layer = reader.planes(x)
    back, even = range(x.shape[1])[::-1], size % 2 == 0 and x.shape[1] > 1
    if even:
        layer = reader.looks.channels(layer, np.array(back))
    layer = reader.net.lrn(
        reader.name("norm"), layer, size,
        *(node.number(key, default) for key, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))),
    )  # fmt: skip
    return reader.plain(reader.looks.channels(layer, np.array(back)) if even else layer)


def gemm(reader: Reader, node: Node, x: Given, weight: Given, bias: Given | None = None) -> Value:
    weight = reader.weights(weight, "its weights") * node.number("alpha", 1.0)
    bias = None if bias is None else reader.weights(bias, "its bias") * node.number("beta", 1.0)
    x = reader.value(x)
    if len(x.shape) != 2 or weight.ndim != 2:
        raise Refused(f"shapes {text(x.shape)} and {text(weight.shape)}, expected two matrices")
    return _dense(
        reader, x.transposed((1, 0)) if node.integer("transA", 0) else x,
        weight if node.integer("transB", 0) else weight.T, bias,
    )  # fmt: skip


def matmul(reader: Reader, node: Node, x: Given, weight: Given) -> Value:
    weight, x = reader.weights(weight, "its second input"), reader.value(x)
    if weight.ndim != 2 or math.prod(x.shape[:-1]) != 1:
        raise Refused(f"shapes {text(x.shape)} and {text(weight.shape)}, expected a vector (1xN) and a matrix")
    found = _dense(reader, Value(x.layer, ((), x.dims[-1]), x.offset), weight.T, None)
    return reader.plain(found.layer, (*x.shape[:-1], weight.shape[1]))


def _dense(reader: Reader, x: Value, weight: np.ndarray, bias: np.ndarray | None) -> Value:
    """`weight` is (units, N); what puts the vector in another order is done to its columns."""
    count = math.prod(x.shape)
    if math.prod(x.shape[2:]) != 1 or x.shape[0] != 1 or weight.shape[1] != count:
        raise Refused(f"a matrix of the shape {text(weight.shape)} does not fit a tensor of the shape {text(x.shape)}")
    if reader.looks.covers(x) and not reader.looks.whole(x):
        turned = np.empty_like(weight)
        turned[:, x.offset + places(x.flat())] = weight
        weight, x = turned, reader.plain(x.layer)
    layer = reader.net.dense(
        reader.name("dense"), reader.looks.layer(x if len(x.shape) == 2 else reader.plain(x.layer), (1, count)),
        weight.shape[0],
    )  # fmt: skip
    bias = np.zeros(weight.shape[0]) if bias is None else bias
    if bias.ndim > 2 or bias.shape[:-1] not in ((), (1,)) or bias.shape[-1:] not in ((), (1,), weight.shape[:1]):
        raise Refused(f"its bias has the shape {text(bias.shape)}, expected {weight.shape[0]}")
    reader.set(layer, weight=weight, bias=np.broadcast_to(bias.ravel(), weight.shape[:1]))
    return reader.plain(layer)


def resize(reader: Reader, node: Node, x: Given, *further: Given | None) -> Value:
    """Upsample (opset 7: attribute, 9: input), and Resize (10: scales, 11: roi, scales, sizes)."""
    x = reader.value(x)
    layer, shape, old = reader.planes(x), x.shape, node.kind == "Upsample" or reader.opset < 11
    inputs = [[] if value is None else _floats(reader, value) for value in further]
    if node.kind == "Upsample" and not inputs:
        inputs = [node.numbers("scales") or []]
    if old:
        inputs = [[], *inputs[:1]]
    _, scales, sizes = (*inputs, [], [], [])[:3]
    if bool(scales) == bool(sizes):
        raise Refused("expected either scales or sizes")
    axes, given = node.integers("axes", [0, 1, 2, 3]), scales or sizes
    if len(given) != len(axes) or not set(axes) <= {-4, -3, -2, -1, 0, 1, 2, 3} or not all(map(math.isfinite, given)):
        raise Refused(f"its scales or sizes are {given[:8]} for the axes {axes[:8]}")
    wanted = {axis % 4: number for axis, number in zip(axes, given)}
    factors: tuple[float, ...] | None
    if scales:
        factors = tuple(wanted.get(axis, 1.0) for axis in range(4))
        size = [math.floor(extent * scale) if abs(scale) < 1e6 else 0 for extent, scale in zip(shape, factors)]
        if any(n != np.floor(np.float32(e) * np.float32(s)) for n, e, s in zip(size, shape, factors) if n):
            raise Refused(f"its scales {factors} give other sizes in single precision: expected sizes in their place")
        factors = factors[2:]
    else:
        size = [int(wanted.get(axis, extent)) for axis, extent in enumerate(shape)]
        size[0] = size[0] // reader.batch if 0 in wanted and size[0] == reader.batch else size[0]
        size, factors = _policy(node, wanted, shape, size)
    if size[:2] != list(shape[:2]):
        raise Refused(f"resizes {text(shape)} to {text(size)}, expected other heights and widths only")
    mode = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear"}.get(node.choice("mode", "nearest"))
    coordinates = "asymmetric" if old else node.choice("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else node.choice("nearest_mode", "round_prefer_floor")
    if mode is None or coordinates not in COORDINATES or rounding not in ROUNDINGS:
        raise Refused(
            f"mode {node.choice('mode', '')[:20]}, coordinates {coordinates[:30]}, rounding {rounding[:30]}: expected "
            f"nearest or linear; {', '.join(COORDINATES)}; {', '.join(ROUNDINGS)}"
        )
    exact = factors is None or all(abs(n - e * s) < 1e-5 for n, e, s in zip(size[2:], shape[2:], factors))
    if coordinates == "align_corners" and not exact:
        # From here to the last pixel of what size?  The onnx package takes the scaled extent, ONNX Runtime its floor.
        raise Refused(f"aligns corners with scales {factors} that give no whole sizes: expected sizes in their place")
    if node.integer("antialias", 0) and mode == "bilinear" and any(a < b for a, b in zip(size[2:], shape[2:])):
        raise Refused("antialias is not possible where the planes become smaller")
    if mode == "bilinear":
        rounding = "floor"
    return reader.plain(
        reader.net.resize(reader.name("resize"), layer, tuple(size[2:]), mode, coordinates, rounding, factors)
    )


def _floats(reader: Reader, value: Given) -> list[float]:
    return [float(number) for number in reader.constant(value, "its scales or sizes").ravel()]


def _policy(node: Node, given: dict, shape, size: list[int]) -> tuple[list[int], tuple[float, ...] | None]:
    """Sizes, and scales where they are not the quotients of the sizes."""
    policy = node.choice("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return size, None
    if policy not in ("not_larger", "not_smaller"):
        raise Refused(f"its keep_aspect_ratio_policy is {policy[:40]!r}, expected stretch, not_larger or not_smaller")
    choose = min if policy == "not_larger" else max
    scale = choose(size[axis] / shape[axis] for axis in given)
    size = [math.floor(shape[axis] * scale + 0.5) if axis in given else n for axis, n in enumerate(size)]
    return size, tuple(scale if axis in given else 1.0 for axis in (2, 3))


OPERATORS: dict[str, Operator] = {
    "Conv": (conv, 2, 3),
    "BatchNormalization": (batch_normalization, 5, 5),
    "MaxPool": (max_pool, 1, 1),
    "AveragePool": (average_pool, 1, 1),
    "GlobalAveragePool": (global_pool, 1, 1),
    "GlobalMaxPool": (global_pool, 1, 1),
    "ReduceMean": (reduce, 1, 2),
    "ReduceMax": (reduce, 1, 2),
    "LRN": (lrn, 1, 1),
    "Gemm": (gemm, 2, 3),
    "MatMul": (matmul, 2, 2),
    "Upsample": (resize, 1, 2),
    "Resize": (resize, 1, 4),
}
