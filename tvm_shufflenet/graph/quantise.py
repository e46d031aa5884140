"""A graph of floats and the scales of its tensors  =>  a graph of bytes.

A number is scale * (byte - zero), bytes from 0 to 255; weights are signed bytes with a scale for each output channel.
So a step is sums of products in 32 bits and one rounding:

    sum = bias + sum of weight * byte (+ gain * byte of the residual);   byte = round(sum * scale) + zero

Average pooling is the same with weights of 1; where windows have fewer pixels than taps, the scale is divided by their
number.  What stands for zero around a plane is the byte `zero`.  A ReLU is the
least byte that a step may give.  Of a residual the gain is a whole number: the weights' scales are chosen so.

Short sums are computed and rounded in a way that takes fewer instructions (`schedules/requantise.py`): the weights then
have a "start" for each channel.  They are those of convolutions whose bytes and weights allow for no longer ones.

An activation that is no least and largest byte is a step of its own: the byte that it gives is the entry of a table for
the byte that it is given.

Factors of channel attention are floats from a table: the argument of the sigmoid in steps of 1/64 is its index.  What
they multiply is scaled before the residual is added, whose gain then is a float.  Other factors are bytes, each of
which less its zero is a float: those that no sigmoid of a fully connected layer gives, and of scales in `parts`
(`Calibration`) all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..schedules.requantise import short_sums
from ..targets.calibration import Calibration
from .byte_tensors import VIEWS, float_steps, is_dense, is_factor, tensors_of
from .nodes import Graph, Node

LARGEST = 255  # byte
WEIGHT = 127
GAIN = 2**15 - 1
BIAS = 2.0**30
ENTRIES = 1024  # of a table of factors, for arguments from -8 to 8
STEP = 1 / 64
CURVES: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    "relu": lambda x, a, b: np.maximum(x, 0),
    "clip": lambda x, a, b: np.clip(x, a, b),
    "leaky_relu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "sigmoid": lambda x, a, b: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
}


@dataclass(frozen=True)
class Bytes:
    """The bytes of a step: which stands for zero in its input and in its output, and its least and largest output."""

    border: int
    zero: int
    low: int
    high: int


def quantise(graph: Graph, calibration: Calibration) -> None:
    """Puts integers in the place of weights, and `Bytes` into each step's attributes, called "bytes".

    The input has the scale of its bytes as "scale".  `UserError` where a tensor has no scale, or a layer's weights
    cannot be bytes.
    """
    names = tensors_of(graph)
    if missing := sorted(set(names.values()) - set(calibration.tensors)):
        raise UserError(
            f"the scales of these weights are of another network: they lack layer {missing[0]}: run "
            "`python -m tvm_shufflenet.quantize` on them again"
        )

    def scale(node: Node) -> tuple[float, int]:
        return calibration.tensors[names[node]]

    floats = float_steps(graph)
    for node in graph.nodes:
        if node in floats:
            continue
        if node.op == "input":
            step, zero = scale(node)
            node.attrs = {**node.attrs, "bytes": Bytes(0, zero, 0, LARGEST), "scale": np.float32(1 / step)}
        elif is_factor(node, graph):
            _factors(node, scale)
        elif is_dense(node):
            _dense(node, scale, node in graph.outputs)
        elif node.op == "multiply":
            _attention(node, scale, node.inputs[1] in names)
        elif node.op not in VIEWS:
            _STEPS[node.op](node, scale)


def taps_of(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """How many pixels a mean is of, (rows of the output,) and (columns,): those in the padded plane, or of "valid_avg"
    in the plane alone.
    """
    found, a = [], node.attrs
    for side, extent in enumerate(node.inputs[0].shape[1:]):
        count = np.arange(node.shape[side + 1])[:, None]
        if node.op == "adaptive_avg_pool":
            first, bins = count * extent // len(count), len(count)
            taps = ((count + 1) * extent + bins - 1) // bins - first
        else:
            place = count * a["stride"][side] - a["pad"][side] + np.arange(a["kernel"][side]) * a["dilation"][side]
            padded = a["kind"] == "avg"
            taps = (place < extent + padded * a["pad"][side + 2]) & (padded | (place >= 0))
        found.append(taps.sum(1))
    return found[0], found[1]


def is_whole(node: Node) -> bool:
    """Whether each mean of a pool is of as many pixels as its window has taps."""
    if node.op != "pool":
        return False
    return all(bool((taps == kernel).all()) for taps, kernel in zip(taps_of(node), node.attrs["kernel"]))


Scale = Callable[[Node], tuple[float, int]]


def _bytes(node: Node, scale: Scale) -> Bytes:
    step, zero = scale(node)
    kind, a, b = node.activation.kind, node.activation.a, node.activation.b

    def byte(value: float) -> int:
        return int(np.clip(np.rint(value / step) + zero, 0, LARGEST))

    low = zero if kind == "relu" else byte(a) if kind == "clip" else 0
    return Bytes(scale(node.inputs[0])[1], zero, low, byte(b) if kind == "clip" else LARGEST)


def _conv(node: Node, scale: Scale) -> None:
    (step, zero), axes = scale(node.inputs[0]), (1, 2, 3)
    weight, bias = node.weights["weight"].astype(np.float64), node.weights["bias"].astype(np.float64)
    summed = node.residual and not node.scaled
    other, other_zero = scale(node.inputs[-1]) if node.residual else (0.0, 0)
    steps, gains = weight_steps(node.name, weight, bias, step, other if summed else None)
    integers = _rounded(weight, steps.reshape(-1, 1, 1, 1))
    sums = integers.astype(np.int64).sum(axes)
    offset = np.rint(bias / (step * steps)).astype(np.int64) - zero * sums
    if summed:
        offset -= other_zero * gains
    result = _bytes(node, scale)
    node.weights = {
        "weight": integers, "bias": offset.astype(np.int32),
        "scale": (step * steps / scale(node)[0]).astype(np.float32),
        **({"gain": gains.astype(np.int16)} if summed else {}),
    }  # fmt: skip
    node.attrs = {**node.attrs, "bytes": result}
    if not node.scaled:
        _shorten(node)
    if node.residual and node.scaled:
        node.weights["gain"] = np.full(len(bias), other / scale(node)[0], np.float32)
        node.attrs["other"] = other_zero


def _shorten(node: Node) -> None:
    """Short sums of a convolution, if they are: its scale and bias become others, and there is a start."""
    weight = node.weights["weight"].astype(np.int64)
    gains = node.weights.get("gain", np.zeros(1, np.int16)).astype(np.int64)
    low, high = (LARGEST * part.sum((1, 2, 3)) for part in (np.minimum(weight, 0), np.maximum(weight, 0)))
    numbers = node.weights["scale"], node.weights["bias"].astype(np.int64), low, high + LARGEST * gains
    if short := short_sums(*numbers, node.attrs["bytes"].zero):
        scale, bias, start = short
        node.weights = {**node.weights, "scale": scale, "bias": bias.astype(np.int32), "start": start}


def _dense(node: Node, scale: Scale, last: bool) -> None:
    _fully_connected(node, scale, 1 if last else scale(node)[0])
    result = Bytes(0, 0, 0, LARGEST) if last else _bytes(node, scale)
    node.attrs = {**node.attrs, "bytes": dataclasses.replace(result, border=scale(node.inputs[0])[1]), "last": last}


def _factors(node: Node, scale: Scale) -> None:
    _fully_connected(node, scale, STEP)
    arguments = (np.arange(ENTRIES) - ENTRIES // 2) * STEP
    table = CURVES[node.activation.kind](arguments, node.activation.a, node.activation.b)
    node.weights["table"] = table.astype(np.float32)
    node.attrs = {**node.attrs, "bytes": Bytes(scale(node.inputs[0])[1], ENTRIES // 2, 0, ENTRIES - 1), "last": False}


def _fully_connected(node: Node, scale: Scale, unit: float) -> None:
    """Integers for sums in multiples of `unit`."""
    step, zero = scale(node.inputs[0])
    bias = node.weights["bias"].astype(np.float64)
    weight = node.weights["weight"].astype(np.float64).reshape(len(bias), -1)
    steps, _ = weight_steps(node.name, weight, bias, step)
    integers = _rounded(weight, steps[:, None])
    offset = np.rint(bias / (step * steps)).astype(np.int64) - zero * integers.astype(np.int64).sum(1)
    scales = (step * steps / unit).astype(np.float32)
    node.weights = {"weight": integers, "bias": offset.astype(np.int32), "scale": scales}


def _pool(node: Node, scale: Scale) -> None:
    if node.attrs["kind"] != "max":
        _average(node, scale, int(np.prod(node.attrs["kernel"])) if is_whole(node) else 0)
    else:
        node.attrs = {**node.attrs, "bytes": _bytes(node, scale)}


def _global_pool(node: Node, scale: Scale) -> None:
    _, height, width = node.inputs[0].shape
    if node.attrs["kind"] == "avg":
        _average(node, scale, height * width)
    else:
        node.attrs = {**node.attrs, "bytes": _bytes(node, scale)}


def _average(node: Node, scale: Scale, pixels: int) -> None:
    """Of so many pixels; of 0 the number is another in each place, and the mean is of bytes less their zero."""
    step, zero = scale(node.inputs[0])
    node.weights = {
        "bias": np.full(node.channels, -zero * pixels, np.int32),
        "scale": np.full(node.channels, step / (max(1, pixels) * scale(node)[0]), np.float32),
    }
    node.attrs = {**node.attrs, "bytes": _bytes(node, scale)}


def _attention(node: Node, scale: Scale, of_bytes: bool) -> None:
    """`of_bytes`: whether the factors are bytes."""
    step, _ = scale(node.inputs[0])
    unit, middle = scale(node.inputs[1]) if of_bytes else (1.0, 0)
    node.weights = {"scale": np.array([step * unit / scale(node)[0]], np.float32)}
    node.attrs = {**node.attrs, "bytes": _bytes(node, scale), **({"other": middle} if of_bytes else {})}


def _add(node: Node, scale: Scale) -> None:
    result = scale(node)[0]
    node.weights = {"scale": np.array([scale(source)[0] / result for source in node.inputs], np.float32)}
    zeros = tuple(scale(source)[1] for source in node.inputs)
    node.attrs = {**node.attrs, "bytes": _bytes(node, scale), "zeros": zeros}


def _lrn(node: Node, scale: Scale) -> None:
    a, (step, _) = node.attrs, scale(node.inputs[0])
    numbers = a["alpha"] / a["size"] * step**2, a["k"], step / scale(node)[0]
    node.weights = {"scale": np.array(numbers, np.float32)}
    node.attrs = {**a, "bytes": _bytes(node, scale)}


def _resize(node: Node, scale: Scale) -> None:
    node.attrs = {**node.attrs, "bytes": _bytes(node, scale)}


def _entry(node: Node, scale: Scale) -> None:
    step, zero = scale(node)
    node.attrs = {"bytes": Bytes(0, zero, 0, LARGEST), "scale": np.float32(1 / step)}


def _exit(node: Node, scale: Scale) -> None:
    step, zero = scale(node.inputs[0])
    node.attrs = {"bytes": Bytes(zero, 0, 0, LARGEST), "scale": np.float32(step)}


def _activation(node: Node, scale: Scale) -> None:
    (step, zero), (result, middle) = scale(node.inputs[0]), scale(node)
    numbers = CURVES[node.activation.kind]((np.arange(LARGEST + 1) - zero) * step, node.activation.a, node.activation.b)
    node.weights = {"table": np.clip(np.rint(numbers / result) + middle, 0, LARGEST).astype(np.uint8)}


def weight_steps(
    name: str, weight: np.ndarray, bias: np.ndarray, step: float, other: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The scale of the weights of each output channel of layer `name`, and the gain of what is added, int64.

    The scale is as small as weight (O, ...) and bias (O,), both float64, allow, and with `other`, the scale of what is
    added, such that the gain is whole.  `step` is the scale of the input.  `UserError` where there is no such gain.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    steps = np.maximum.reduce([largest / WEIGHT, np.abs(bias) / (step * BIAS), np.full(len(bias), 1e-12)])
    if other is None:
        return steps, np.zeros(len(bias), np.int64)
    gains = np.minimum(np.floor(other / (step * steps)), GAIN).astype(np.int64)
    if not gains.all():
        raise UserError(
            f"layer {name}: its weights are too large for int8 beside the tensor that is added: build with "
            "--precision fp32 or fp16"
        )
    return other / (step * gains), gains


def _rounded(weight: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weight / steps), -WEIGHT, WEIGHT).astype(np.int8)


_STEPS: dict[str, Callable[[Node, Scale], None]] = {
    "conv": _conv, "pool": _pool, "global_pool": _global_pool, "activation": _activation, "add": _add,
    "adaptive_avg_pool": lambda node, scale: _average(node, scale, 0), "resize": _resize, "lrn": _lrn,
    "entry": _entry, "exit": _exit,
}  # fmt: skip
