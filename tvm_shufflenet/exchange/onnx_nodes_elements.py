"""ONNX nodes that work element by element: activations, additions and products of tensors and with constants.

Each result has the order of its input.  A constant for each channel becomes part of the weights of the layer before,
where nothing else reads that layer, else a batch norm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import BATCH_NORM_EPS
from .onnx_node import Node, Operator
from .onnx_values import Given, Refused, Value, places, text

if TYPE_CHECKING:
    from .onnx_reader import Reader

LIMIT = 3e38  # beyond it a bound is none


def _each(reader: Reader, x: Given, append) -> Value:
    """`append(layer)` gives the layer that does the same to each number of its input."""
    x = reader.value(x)
    if not reader.looks.covers(x):
        x = reader.plain(reader.looks.layer(x))
    return Value(append(x.layer), x.dims, x.offset)


def relu(reader: Reader, node: Node, x: Given) -> Value:
    return _each(reader, x, lambda layer: reader.net.relu(reader.name("relu"), layer))


def sigmoid(reader: Reader, node: Node, x: Given) -> Value:
    return _each(reader, x, lambda layer: reader.net.sigmoid(reader.name("sigmoid"), layer))


def hard_sigmoid(reader: Reader, node: Node, x: Given) -> Value:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    alpha = 1 / 6 if abs(alpha - 1 / 6) < 1e-7 else alpha
    return _each(reader, x, lambda layer: reader.net.hard_sigmoid(reader.name("gate"), layer, alpha, beta))


def hard_swish(reader: Reader, node: Node, x: Given) -> Value:
    return _each(reader, x, lambda layer: reader.net.hard_swish(reader.name("swish"), layer))


def leaky_relu(reader: Reader, node: Node, x: Given) -> Value:
    return _leaky(reader, x, node.number("alpha", 0.01))


def prelu(reader: Reader, node: Node, x: Given, slope: Given) -> Value:
    slope = reader.weights(slope, "its slopes")
    if slope.size < 1 or (slope != slope.flat[0]).any():
        raise Refused("its slopes differ between the channels, expected one for all")
    return _leaky(reader, x, float(slope.flat[0]))


def _leaky(reader: Reader, x: Given, slope: float) -> Value:
    return _each(reader, x, lambda layer: reader.net.leaky_relu(reader.name("leaky"), layer, slope))


def clip(reader: Reader, node: Node, x: Given, low: Given | None = None, high: Given | None = None) -> Value:
    """Clip: its bounds are attributes before opset 11, inputs since; a missing bound is open."""
    least, most = node.number("min", -math.inf), node.number("max", math.inf)
    least, most = _bound(reader, low, least), _bound(reader, high, most)
    if math.isnan(least) or math.isnan(most) or least >= LIMIT or most <= -LIMIT:
        raise Refused(f"its bounds are {least:g} and {most:g}, expected numbers")
    least = min(least, most)  # then all becomes the upper one
    if least <= -LIMIT and most >= LIMIT:
        return reader.value(x)
    if least == 0 and most >= LIMIT:
        return relu(reader, node, x)
    least, most = max(least, -LIMIT), min(most, LIMIT)
    return _each(reader, x, lambda layer: reader.net.clip(reader.name("clip"), layer, least, most))


def _bound(reader: Reader, given: Given | None, default: float) -> float:
    if given is None:
        return default
    number = reader.constant(given, "a bound")
    if number.size != 1 or number.dtype.kind not in "fiu" or np.isnan(number).any():
        raise Refused("a bound is no single number")
    return float(number.ravel()[0])


def softmax(reader: Reader, node: Node, x: Given) -> Value:
    """Softmax along one axis; before opset 13 over that axis and all axes behind."""
    x = reader.value(x)
    shape, old = x.shape, reader.opset < 13
    axis, log = node.integer("axis", 1 if old else -1), node.kind == "LogSoftmax"
    if not -len(shape) <= axis < len(shape):
        raise Refused(f"its axis is {axis} of {len(shape)} dimensions")
    axis %= len(shape)
    old = old and axis < len(shape) - 1  # over the last one both are the same
    joined = axis if not old else 1
    if old and math.prod(shape[1:axis]) != 1 or axis == 0 or shape[0] != 1:
        raise Refused(f"its axis is {axis} of the shape {text(shape)}, expected the channels")
    if old or len(shape) == 2 or math.prod(shape) == shape[joined]:
        layer = reader.looks.layer(x, (1, math.prod(shape))) if not _vector(reader, x) else x.layer
        return reader.plain(reader.net.softmax(reader.name("softmax"), layer, log), shape)
    order = [0, joined, *(a for a in range(1, len(shape)) if a != joined)]
    turned = x.transposed(order)
    layer = reader.looks.layer(turned, (*turned.shape, 1)[:4])
    found = reader.plain(reader.net.softmax(reader.name("softmax"), layer, log), turned.shape)
    return found.transposed([order.index(axis) for axis in range(len(shape))])


def _vector(reader: Reader, x: Value) -> bool:
    return reader.looks.whole(x) and math.prod(reader.net.shape(x.layer)[2:]) == 1


# Two tensors, or a tensor and a constant


def add(reader: Reader, node: Node | None, a: Given, b: Given) -> Value:
    a, b = _operands(reader, node, a, b)
    if isinstance(b, np.ndarray):
        return affine(reader, node, a, 1.0, b)
    if isinstance(a, np.ndarray):
        return affine(reader, node, b, 1.0, a)
    return _joined(reader, a, b, reader.net.add, "add")


def sub(reader: Reader, node: Node, a: Given, b: Given) -> Value:
    a, b = _operands(reader, node, a, b)
    if isinstance(b, np.ndarray):
        return affine(reader, node, a, 1.0, -b)
    if isinstance(a, np.ndarray):
        return affine(reader, node, b, -1.0, a)
    return _joined(reader, a, affine(reader, None, b, -1.0, 0.0), reader.net.add, "add")


def mul(reader: Reader, node: Node, a: Given, b: Given) -> Value:
    a, b = _operands(reader, node, a, b)
    if isinstance(b, np.ndarray):
        return affine(reader, node, a, b, 0.0)
    if isinstance(a, np.ndarray):
        return affine(reader, node, b, a, 0.0)
    for x, gate in ((a, b), (b, a)):
        layer = reader.net.layers[gate.layer]
        if layer.op == "hard_sigmoid" and layer.attrs == {"alpha": 1 / 6, "beta": 0.5}:
            if layer.inputs == (x.layer,) and (x.dims, x.offset) == (gate.dims, gate.offset):
                return hard_swish(reader, node, x)
    return _joined(reader, a, b, reader.net.multiply, "mul")


def div(reader: Reader, node: Node, a: Given, b: Given) -> Value:
    a, b = _operands(reader, node, a, b)
    if not isinstance(b, np.ndarray):
        raise Refused("divides by what depends on the input, expected a constant")
    if (b == 0).any():
        raise Refused("divides by zero")
    return affine(reader, node, a, 1 / b, 0.0)


def sum_of(reader: Reader, node: Node, first: Given, *others: Given | None) -> Value:
    values = [value for value in (first, *others) if value is not None]
    found = values[0]
    for value in values[1:]:
        if isinstance(found, np.ndarray) and isinstance(value, np.ndarray):
            found = found + value
        else:
            found = add(reader, node if len(values) == 2 else None, found, value)
    return reader.value(found)


def _operands(reader: Reader, node: Node | None, a: Given, b: Given) -> tuple[Given, Given]:
    """Constants as numbers; before opset 7 the second operand says at which axis it starts."""
    a, b = (value if isinstance(value, Value) else reader.weights(value, "its constants") for value in (a, b))
    if reader.opset < 7 and node is not None and node.kind != "Sum" and a.shape != b.shape:
        if not node.integer("broadcast", 0):
            raise Refused(f"the shapes {text(a.shape)} and {text(b.shape)} differ")
        rank, axis = len(a.shape), node.integer("axis", len(a.shape) - len(b.shape))
        shape = (1,) * (axis % rank) + b.shape + (1,) * (rank - axis % rank - len(b.shape))
        turned = b.reshaped(shape) if isinstance(b, Value) else b.reshape(shape)
        if len(shape) != rank or turned is None:
            raise Refused(f"the shapes {text(a.shape)} and {text(b.shape)} do not fit from axis {axis} on")
        b = turned
    return a, b


def _joined(reader: Reader, a: Value, b: Value, append, kind: str) -> Value:
    shapes = [reader.net.shape(value.layer) for value in (a, b)]
    if (a.dims, a.offset, shapes[0]) == (b.dims, b.offset, shapes[1]) and reader.looks.covers(a):
        return Value(append(reader.name(kind), a.layer, b.layer), a.dims, a.offset)
    shape = np.broadcast_shapes(a.shape, b.shape)
    if len(a.shape) == len(b.shape) == 4 and (a.shape[3], b.shape[3]) != (1, 1) and a.shape != b.shape:
        small = a if math.prod(a.shape) < math.prod(b.shape) else b
        if small.shape[1:3] == (1, 1) and small.shape[3] > 1:  # a number for each channel of N x H x W x C
            a, b = (value.transposed((0, 3, 1, 2)) for value in (a, b))
            return _joined(reader, a, b, append, kind).transposed((0, 2, 3, 1))
    if len(a.shape) != len(b.shape) or len(shape) not in (2, 4):
        if a.shape != b.shape:
            raise Refused(f"the shapes {text(a.shape)} and {text(b.shape)} do not fit each other here")
        flat = (1, math.prod(shape))
        return reader.plain(append(reader.name(kind), reader.looks.layer(a, flat), reader.looks.layer(b, flat)), shape)
    layers = []
    for value in (a, b):
        if value.shape[2:] == (1, 1) and reader.looks.whole(value) and len(reader.net.shape(value.layer)) == 2:
            layer = value.layer
        else:
            layer = reader.looks.layer(value)
        if value.shape[1] < shape[1]:
            layer = reader.looks.channels(layer, np.zeros(shape[1], int))
        layers.append(layer)
    if shape not in (a.shape, b.shape) and (1, shape[1], *shape[2:]) not in (
        (1, shape[1], *a.shape[2:]), (1, shape[1], *b.shape[2:])
    ):  # fmt: skip
        raise Refused(f"the shapes {text(a.shape)} and {text(b.shape)} do not fit each other here")
    return reader.plain(append(reader.name(kind), *layers), shape)


def affine(
    reader: Reader, node: Node | None, x: Given, scale: np.ndarray | float, shift: np.ndarray | float
) -> Value:  # fmt: skip
    """x * scale + shift, whose shapes broadcast to that of x.

    `node` is the one that reads x, or None if x must not be changed in place.
    """
    x = reader.value(x)
    if not reader.looks.covers(x):
        x = reader.plain(reader.looks.layer(x))
    try:
        scale, shift = (_per_channel(reader, x, np.asarray(array, np.float64)) for array in (scale, shift))
    except Refused:
        if len(x.shape) not in (2, 4) or reader.looks.layer(x) == x.layer:
            raise
        return affine(reader, None, reader.plain(reader.looks.layer(x)), scale, shift)
    source = reader.net.layers[x.layer]
    keys = {"conv": ("weight", "bias"), "dense": ("weight", "bias"), "batch_norm": ("weight", "bias")}.get(source.op)
    names = [f"{source.name}.{key}" for key in keys or ()]
    mine = node is not None and any(reader.alone(x, name) for name in node.inputs)
    if keys and mine and all(name in reader.parameters for name in names):
        weight, bias = (reader.parameters[name].astype(np.float64) for name in names)
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
        reader.set(x.layer, weight=weight, bias=bias * scale + shift)
        return x
    layer = reader.net.batch_norm(reader.name("affine"), x.layer)
    one = np.ones_like(scale)
    reader.set(
        layer, weight=scale * math.sqrt(1 + BATCH_NORM_EPS), bias=shift, running_mean=0 * one, running_var=one
    )  # fmt: skip
    return Value(layer, x.dims, x.offset)


def _per_channel(reader: Reader, x: Value, constant: np.ndarray) -> np.ndarray:
    """The number for each channel of the layer that `x` looks at."""
    source = reader.net.shape(x.layer)
    if constant.size and (constant == constant.flat[0]).all():
        constant = constant.ravel()[:1].reshape((1,) * min(constant.ndim, len(x.shape)))
    if np.broadcast_shapes(constant.shape, x.shape) != x.shape:
        raise Refused(f"a constant of the shape {text(constant.shape)} does not fit {text(x.shape)}")
    constant = constant.reshape((1,) * (len(x.shape) - constant.ndim) + constant.shape)
    plane, rest, index = math.prod(source[2:]), x.offset % math.prod(source[2:]), np.zeros((1,) * len(x.shape), int)
    for axis, dim in enumerate(x.dims):
        found = places(dim)
        if (found % plane).any():
            rest += int(found.max())
            if constant.shape[axis] > 1 or found.min() < 0:
                rest = plane
        else:
            index = index + (found // plane).reshape([-1 if a == axis else 1 for a in range(len(x.shape))])
    if rest >= plane:
        raise Refused(
            f"a constant of the shape {text(constant.shape)} for a tensor of the shape {text(x.shape)}: expected one "
            "number, or one for each channel"
        )
    numbers = np.empty(source[1])
    numbers[index + x.offset // plane] = np.broadcast_to(constant, np.broadcast_shapes(constant.shape, index.shape))
    return numbers


OPERATORS: dict[str, Operator] = {
    "Relu": (relu, 1, 1),
    "Sigmoid": (sigmoid, 1, 1),
    "HardSigmoid": (hard_sigmoid, 1, 1),
    "HardSwish": (hard_swish, 1, 1),
    "LeakyRelu": (leaky_relu, 1, 1),
    "PRelu": (prelu, 2, 2),
    "Clip": (clip, 1, 3),
    "Softmax": (softmax, 1, 1),
    "LogSoftmax": (softmax, 1, 1),
    "Add": (add, 2, 2),
    "Sub": (sub, 2, 2),
    "Mul": (mul, 2, 2),
    "Div": (div, 2, 2),
    "Sum": (sum_of, 1, 1000),
}
