"""Layers of Caffe: each function turns one of a .prototxt into layers of a network.

What they compute is as in src/caffe/layers/ of BVLC/caffe, which rounds the places of poolings up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .caffe_text import Message

if TYPE_CHECKING:
    from .caffe_reader import Layer

# Types of the old format (V1LayerParameter) by those of today.
OLD_TYPES = {
    "CONCAT": "Concat", "CONVOLUTION": "Convolution", "DATA": "Data", "DROPOUT": "Dropout", "ELTWISE": "Eltwise",
    "FLATTEN": "Flatten", "IMAGE_DATA": "ImageData", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid", "SOFTMAX": "Softmax",
    "SLICE": "Slice", "SPLIT": "Split", "ACCURACY": "Accuracy", "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SILENCE": "Silence",
}  # fmt: skip


def _pair(m: Message, key: str, suffix: str, default: int) -> tuple[int, int]:
    """Height and width: one number, two, or `suffix`_h and `suffix`_w."""
    given, single = m.integers(key), (f"{suffix}_h", f"{suffix}_w")
    height, width = (m.integer(name, default) for name in single)
    if len(given) > 2 or given and any(m.has(name) for name in single):
        raise UserError(f"{m.where}: its {key} is said more than once")
    return (given[0], given[-1]) if given else (height, width)


def _axis(m: Message, key: str, wanted: int = 1) -> None:
    if m.integer(key, wanted) != wanted:
        raise UserError(f"{m.where}: its {key} is {m.integer(key, wanted)}, expected {wanted}")


def convolution(layer: Layer) -> int:
    m = layer.parameter("convolution_param")
    m.ignore("weight_filler", "bias_filler", "engine", "force_nd_im2col")
    _axis(m, "axis")
    bias, dilation = m.flag("bias_term", True), m.integers("dilation") or [1]
    kernel, stride = _pair(m, "kernel_size", "kernel", 0), _pair(m, "stride", "stride", 1)
    x = layer.net.conv(
        layer.name, layer.planes(), m.integer("num_output", 0), kernel, stride, _pair(m, "pad", "pad", 0),
        m.integer("group", 1), bias, dilation if len(dilation) > 1 else dilation[0],
    )  # fmt: skip
    layer.take(bias)
    return x


def inner_product(layer: Layer) -> int:
    m, x, net = layer.parameter("inner_product_param"), layer.x, layer.net
    m.ignore("weight_filler", "bias_filler")
    _axis(m, "axis")
    if len(net.shape(x)) == 4:
        x = net.flatten(f"{layer.name}.flat", x)
    bias, units = m.flag("bias_term", True), m.integer("num_output", 0)
    y = net.dense(layer.name, x, units)
    layer.take(bias, m.flag("transpose", False))
    if not bias:
        layer.parameters[f"{layer.name}.bias"] = np.zeros(units, np.float32)
    return y


def pooling(layer: Layer) -> int:
    m, x, net = layer.parameter("pooling_param"), layer.planes(), layer.net
    m.ignore("engine")
    kind, rounds = m.text("pool", "MAX"), m.text("round_mode", "CEIL")
    if kind not in ("MAX", "AVE", "0", "1") or rounds not in ("CEIL", "FLOOR", "0", "1"):
        raise UserError(f"{m.where}: pooling {kind:.20} that rounds {rounds:.20}, expected MAX or AVE, CEIL or FLOOR")
    most, up = kind in ("MAX", "0"), rounds in ("CEIL", "0")
    extents = net.shape(x)[2:]
    whole = m.flag("global_pooling", False)
    kernel = extents if whole else _pair(m, "kernel_size", "kernel", 0)
    stride, pad = _pair(m, "stride", "stride", 1), _pair(m, "pad", "pad", 0)
    if kernel == extents and pad == (0, 0):
        return net.global_max_pool(layer.name, x) if most else net.global_avg_pool(layer.name, x)
    y = (net.max_pool if most else net.avg_pool)(layer.name, x, kernel=kernel, stride=stride, pad=pad, ceil=up)
    places = tuple(-(-(n - k) // s) + 1 for n, k, s in zip(extents, kernel, stride))
    if up and pad == (0, 0) and net.shape(y)[2:] != places:  # with padding Caffe leaves out what begins behind it
        raise UserError(f"{m.where}: its last window lies outside of the {extents[0]}x{extents[1]} pixels")
    return y


def relu(layer: Layer) -> int:
    m = layer.parameter("relu_param")
    m.ignore("engine")
    slope = m.number("negative_slope", 0)
    return layer.net.leaky_relu(layer.name, layer.x, slope) if slope else layer.net.relu(layer.name, layer.x)


def sigmoid(layer: Layer) -> int:
    layer.parameter("sigmoid_param").ignore("engine")
    return layer.net.sigmoid(layer.name, layer.x)


def softmax(layer: Layer) -> int:
    m = layer.parameter("softmax_param")
    m.ignore("engine")
    _axis(m, "axis")
    return layer.net.softmax(layer.name, layer.x)


def lrn(layer: Layer) -> int:
    m = layer.parameter("lrn_param")
    m.ignore("engine")
    if m.text("norm_region", "ACROSS_CHANNELS") not in ("ACROSS_CHANNELS", "0"):
        raise UserError(f"{m.where}: its norm_region is {m.text('norm_region'):.40}, expected ACROSS_CHANNELS")
    size = m.integer("local_size", 5)
    if size % 2 == 0:
        raise UserError(f"{m.where}: its local_size is {size}, expected an odd number")
    alpha, beta, k = m.number("alpha", 1), m.number("beta", 0.75), m.number("k", 1)
    return layer.net.lrn(layer.name, layer.planes(), size, alpha, beta, k)


def dropout(layer: Layer) -> int:
    m = layer.parameter("dropout_param")
    if not m.flag("scale_train", True):
        raise UserError(f"{m.where}: its scale_train is false, expected true")
    return layer.net.dropout(layer.name, layer.x, m.number("dropout_ratio", 0.5))


def concat(layer: Layer) -> int:
    m = layer.parameter("concat_param")
    _axis(m, "axis")
    _axis(m, "concat_dim")
    flat = all(len(layer.net.shape(x)) == 2 for x in layer.inputs)
    return layer.net.concat(layer.name, *(x if flat else layer.planes(i) for i, x in enumerate(layer.inputs)))


def eltwise(layer: Layer) -> int:
    m, net = layer.parameter("eltwise_param"), layer.net
    m.ignore("stable_prod_grad")
    kind = m.text("operation", "SUM")
    if kind not in ("SUM", "1", "PROD", "0") or set(m.numbers("coeff")) - {1.0}:
        raise UserError(f"{m.where}: its operation is {kind:.20}, expected PROD, or SUM with coefficients of 1")
    if len({net.shape(x) for x in layer.inputs}) != 1 or len(layer.inputs) < 2:
        raise UserError(f"{m.where}: it joins {len(layer.inputs)} inputs, expected two or more of the same shape")
    x, *others = layer.inputs
    for index, other in enumerate(others):
        name = layer.name if index == len(others) - 1 else f"{layer.name}.{index}"
        x = net.add(name, x, other) if kind in ("SUM", "1") else net.multiply(name, x, other)
    return x


def normalised(layer: Layer) -> int:
    """BatchNorm: mean and variance, both times a factor; no gain and no shift."""
    m = layer.parameter("batch_norm_param")
    m.ignore("moving_average_fraction")
    if not m.flag("use_global_stats", True):
        raise UserError(f"{m.where}: its use_global_stats is false, expected true: one picture has no statistics")
    eps, x = m.number("eps", 1e-5), layer.x
    mean, variance, factor = layer.blobs(3)
    channels = layer.net.shape(x)[1]
    if mean.size != channels or variance.size != channels or factor.size != 1:
        raise UserError(f"{m.where}: its blobs have {mean.size}, {variance.size} and {factor.size} numbers for "
                        f"{channels} channels")  # fmt: skip
    scale = 1 / float(factor.item()) if factor.item() else 0.0
    mean, variance = scale * mean.ravel().astype(np.float64), scale * variance.ravel().astype(np.float64)
    if (variance < 0).any():
        raise UserError(f"{m.where}: it has a negative variance")
    return layer.norm(x, (np.ones(channels), np.zeros(channels), mean, variance), eps)


def scaled(layer: Layer) -> int:
    """Scale: a gain for each channel, learned or from another tensor, and perhaps a shift."""
    m, net = layer.parameter("scale_param"), layer.net
    m.ignore("filler", "bias_filler")
    bias = m.flag("bias_term", False)
    if len(layer.inputs) == 2:
        x, gain = layer.inputs
        _axis(m, "axis", 0)
        if bias or net.shape(gain) not in (net.shape(x), net.shape(x)[:2]):
            raise UserError(f"{m.where}: it scales by another tensor, expected one number for each channel, no bias")
        return net.multiply(layer.name, x, gain)
    _axis(m, "axis")
    _axis(m, "num_axes")
    channels = net.shape(layer.x)[1]
    learned = [blob.ravel() for blob in layer.blobs(2 if bias else 1)]
    if any(blob.size != channels for blob in learned):
        raise UserError(f"{m.where}: it has {learned[0].size} gains for {channels} channels")
    return layer.affine(layer.x, learned[0], learned[1] if bias else np.zeros(channels))


def shifted(layer: Layer) -> int:
    """Bias: a learned number for each channel."""
    m = layer.parameter("bias_param")
    m.ignore("filler")
    _axis(m, "axis")
    _axis(m, "num_axes")
    channels, (shift,) = layer.net.shape(layer.x)[1], layer.blobs(1)
    if shift.size != channels:
        raise UserError(f"{m.where}: it has {shift.size} numbers for {channels} channels")
    return layer.affine(layer.x, np.ones(channels), shift.ravel())


def power(layer: Layer) -> int:
    m = layer.parameter("power_param")
    if m.number("power", 1) != 1:
        raise UserError(f"{m.where}: its power is {m.number('power', 1):g}, expected 1")
    one = np.ones(layer.net.shape(layer.x)[1])
    return layer.affine(layer.x, m.number("scale", 1) * one, m.number("shift", 0) * one)


def flatten(layer: Layer) -> int:
    m = layer.parameter("flatten_param")
    _axis(m, "axis")
    _axis(m, "end_axis", -1)
    return layer.x if len(layer.net.shape(layer.x)) == 2 else layer.net.flatten(layer.name, layer.x)


def split(layer: Layer) -> int:
    return layer.x


def sliced(layer: Layer) -> list[int]:
    m, x, net = layer.parameter("slice_param"), layer.x, layer.net
    _axis(m, "axis")
    _axis(m, "slice_dim")
    channels, count = net.shape(x)[1], len(layer.tops)
    points = m.integers("slice_point") or [channels * i // count for i in range(1, count)]
    ends = [0, *points, channels]
    if len(points) != count - 1 or any(a >= b for a, b in zip(ends, ends[1:])) or (channels % count and not points):
        raise UserError(f"{m.where}: {channels} channels cannot be cut into its {count} parts")
    return [net.slice(f"{layer.name}.{i}", x, a, b) for i, (a, b) in enumerate(zip(ends, ends[1:]))]


LAYERS: dict[str, Callable[[Layer], int | list[int]]] = {
    "BatchNorm": normalised, "Bias": shifted, "Concat": concat, "Convolution": convolution, "Dropout": dropout,
    "Eltwise": eltwise, "Flatten": flatten, "InnerProduct": inner_product, "LRN": lrn, "Pooling": pooling,
    "Power": power, "ReLU": relu, "Scale": scaled, "Sigmoid": sigmoid, "Slice": sliced, "Softmax": softmax,
    "Split": split,
}  # fmt: skip
IGNORED = ("Accuracy", "SoftmaxWithLoss", "Silence")  # nothing that a classifier gives comes from them
SOURCES = ("Input", "Data", "ImageData")
