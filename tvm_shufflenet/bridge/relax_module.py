"""The Relax module of a network: the description, layer by layer, in TVM's graph IR.

The module's `main` takes the picture and then every parameter, under its name in the state dict and in the order of
`Network.parameters()`; `relax.transform.BindParams` makes them constants.  A layer that Relax has an operator for is
that operator.  One that takes several, such as the channel shuffle, is a call of a private function of these.  The
attribute "tsn" of this function is the layer's kind, "tsn.attrs" are its attributes: a reader of the module need not
recognise what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax, te, topi
from tvm.relax import op
from tvm.relax.op import nn

from ..architectures import Layer, Network
from ..architectures.resizing import resize_tables

KIND, ATTRIBUTES = "tsn", "tsn.attrs"
NAMES = "tsn.layers"  # of `main`: the layer that a variable is, whose own name Relax has made an identifier
OF_BOXES = ("detections", "proposals", "regions", "region_detections")  # which take the picture's size
PADDINGS = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


def relax_module(network: Network) -> tvm.IRModule:
    """Module with one public function `main(input (1, C, H, W), *parameters)`, fp32.

    It gives the one output of the network, or the tuple of several.
    """
    parameters = {name: relax.Var(name, _type(shape)) for name, shape in network.parameters().items()}
    picture = relax.Var("input", _type(network.layers[0].shape))
    builder = relax.BlockBuilder()
    functions = {index: _function(builder, network, index) for index in range(1, len(network.layers))}
    values = [picture]
    with builder.function("main", [picture, *parameters.values()], attrs={"num_input": 1}):
        with builder.dataflow():
            for index, layer in enumerate(network.layers[1:], 1):
                shape = network.layers[layer.inputs[0]].shape
                arguments = [values[i] for i in layer.inputs] + [parameters[n] for n in layer.parameters(shape)]
                if layer.op == "dropout":
                    value = arguments[0]
                elif functions[index] is not None:
                    value = builder.emit(relax.Call(functions[index], arguments), layer.name)
                else:
                    value = _EMIT[layer.op](builder, layer, *arguments)
                values.append(value)
            outputs = [values[index] for index in network.outputs]
            result = builder.emit_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
        builder.emit_func_output(result)
    module = builder.get()
    names = {value.name: layer.name for value, layer in zip(values, network.layers) if layer.op != "dropout"}
    module["main"] = module["main"].with_attr(NAMES, names)
    return module


def _type(shape: tuple[int, ...]) -> relax.TensorType:
    return relax.TensorType(shape, "float32")


def _function(builder: relax.BlockBuilder, network: Network, index: int) -> tvm.ir.GlobalVar | None:
    """The private function of a layer that takes several operators; None for any other."""
    layer = network.layers[index]
    kind, attributes = layer.op, dict(layer.attrs)
    if kind == "conv" and layer.attrs["bias"]:
        kind = "biased_conv"
    elif kind == "softmax" and layer.attrs["groups"] > 1:
        kind = "grouped_softmax"
    elif kind in OF_BOXES:
        attributes["size"] = network.size
    if kind not in _COMPOSE:
        return None
    shapes = [network.layers[source].shape for source in layer.inputs]
    shapes += layer.parameters(shapes[0]).values()
    inner = relax.BlockBuilder()
    arguments = [relax.Var(f"x{i}", _type(shape)) for i, shape in enumerate(shapes)]
    with inner.function("inner", arguments):
        with inner.dataflow():
            result = inner.emit_output(_COMPOSE[kind](inner, layer, *arguments))
        inner.emit_func_output(result)
    function = inner.get()["inner"].without_attr("global_symbol")
    function = function.with_attr(KIND, kind).with_attr(ATTRIBUTES, attributes)
    return builder.add_func(function, f"{kind}_{index}")


# Layers of one operator


def _convolution(layer, x, weight):
    a = layer.attrs
    return nn.conv2d(x, weight, a["stride"], a["pad"], a["dilation"], a["groups"])


def _conv(builder, layer, x, weight):
    return builder.emit(_convolution(layer, x, weight), layer.name)


def _batch_norm(builder, layer, x, gamma, beta, mean, variance):
    normalised = nn.batch_norm(x, gamma, beta, mean, variance, axis=1, epsilon=layer.attrs["eps"], training=False)
    return builder.emit(relax.TupleGetItem(builder.emit(normalised), 0), layer.name)


def _max_pool(builder, layer, x):
    a = layer.attrs
    return builder.emit(
        nn.max_pool2d(x, a["kernel"], a["stride"], a["pad"], a["dilation"], a["ceil"]), layer.name
    )  # fmt: skip


def _avg_pool(counts_padding: bool) -> Callable:
    def emit(builder, layer, x):
        a = layer.attrs
        pool = nn.avg_pool2d(x, a["kernel"], a["stride"], a["pad"], a["dilation"], a["ceil"], counts_padding)
        return builder.emit(pool, layer.name)

    return emit


def _binary(operator: Callable) -> Callable:
    def emit(builder, layer, a, b):
        if len(b.ty.shape) < len(a.ty.shape):  # a number for each channel
            b = builder.emit(op.reshape(b, (*layer.shape[:2], 1, 1)))
        return builder.emit(operator(a, b), layer.name)

    return emit


def _softmax(builder, layer, x):
    function = nn.log_softmax if layer.attrs["log"] else nn.softmax
    return builder.emit(function(x, axis=1), layer.name)


def _lrn(builder, layer, x):
    """Relax has no operator for it: a call of TOPI's."""
    a = layer.attrs
    if a["size"] % 2 == 0:  # TOPI's window is symmetric
        return _as_tir(builder, layer, _even_lrn(layer), x)
    constants = dict(size=a["size"], axis=1, alpha=a["alpha"], beta=a["beta"], bias=a["k"])
    return _as_tir(builder, layer, lambda data: topi.nn.lrn(data, **constants), x)


def _even_lrn(layer: Layer) -> Callable:
    a = layer.attrs
    ahead = a["size"] // 2

    def compute(data):
        squares = topi.nn.pad(data, [0, ahead, 0, 0], [0, ahead - 1, 0, 0])
        d = te.reduce_axis((0, a["size"]), "d")
        total = te.compute(
            data.shape, lambda n, c, y, x: te.sum(squares[n, c + d, y, x] * squares[n, c + d, y, x], axis=d)
        )
        return te.compute(
            data.shape,
            lambda *i: data(*i) / topi.power(a["k"] + a["alpha"] / a["size"] * total(*i), a["beta"]),
        )

    return compute


def _resize(builder, layer, x):
    """By tables, since Relax's operator takes no scales: each pixel is one of the input, or the sum of four."""
    a, (_, _, height, width) = layer.attrs, (int(n) for n in x.ty.shape)
    tables = resize_tables((height, width), a["size"], a["mode"], a["coordinates"], a["rounding"], a["scales"])
    constants = [relax.const(table) for table in tables]

    def nearest(data, rows, columns):
        return te.compute(layer.shape, lambda n, c, i, j: data[n, c, rows[i], columns[j]])

    def bilinear(data, top, bottom, row, left, right, column):
        def mixed(n, c, y, j):
            return data[n, c, y, left[j]] * (1 - column[j]) + data[n, c, y, right[j]] * column[j]

        return te.compute(
            layer.shape,
            lambda n, c, i, j: mixed(n, c, top[i], j) * (1 - row[i]) + mixed(n, c, bottom[i], j) * row[i],
        )

    return _as_tir(builder, layer, nearest if a["mode"] == "nearest" else bilinear, x, *constants)


def _as_tir(builder, layer, compute, *arguments):
    name = re.sub(r"\W", "_", layer.name)
    attributes = {KIND: layer.op, ATTRIBUTES: dict(layer.attrs)}
    return builder.emit_te(compute, *arguments, name_hint=name, primfunc_attrs=attributes, primfunc_name_hint=name)


_EMIT: dict[str, Callable] = {
    "conv": _conv,
    "batch_norm": _batch_norm,
    "relu": lambda builder, layer, x: builder.emit(nn.relu(x), layer.name),
    "leaky_relu": lambda builder, layer, x: builder.emit(nn.leakyrelu(x, layer.attrs["slope"]), layer.name),
    "sigmoid": lambda builder, layer, x: builder.emit(op.sigmoid(x), layer.name),
    "softmax": _softmax,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool(True),
    "valid_avg_pool": _avg_pool(False),
    "adaptive_avg_pool": lambda builder, layer, x: builder.emit(
        nn.adaptive_avg_pool2d(x, layer.attrs["size"]), layer.name
    ),
    "global_avg_pool": lambda builder, layer, x: builder.emit(op.mean(x, axis=[2, 3]), layer.name),
    "global_max_pool": lambda builder, layer, x: builder.emit(op.max(x, axis=[2, 3]), layer.name),
    "lrn": _lrn,
    "resize": _resize,
    "add": _binary(op.add),
    "multiply": _binary(op.multiply),
    "concat": lambda builder, layer, *parts: builder.emit(op.concat(list(parts), axis=1), layer.name),
    "flatten": lambda builder, layer, x: builder.emit(op.reshape(x, layer.shape), layer.name),
    "reshape": lambda builder, layer, x: builder.emit(op.reshape(x, layer.shape), layer.name),
}  # fmt: skip


# Layers whose attributes Relax keeps as expressions, and those of several operators


def _biased_conv(builder, layer, x, weight, bias):
    product = builder.emit(_convolution(layer, x, weight))
    return op.add(product, builder.emit(op.reshape(bias, (1, layer.shape[1], 1, 1))))


def _slice(builder, layer, x):
    a = layer.attrs
    return op.strided_slice(x, [1], [a["start"]], [a["stop"]], [a["step"]])


def _gather(builder, layer, x):
    return op.take(x, relax.const(np.array(layer.attrs["channels"], "int64")), axis=1)


def _shuffle(builder, layer, x):
    """Section 3.1 of the paper: reshape to (g, n), transpose, flatten."""
    (copies, channels, height, width), groups = layer.shape, layer.attrs["groups"]
    x = builder.emit(op.reshape(x, (copies, groups, channels // groups, height, width)))
    x = builder.emit(op.permute_dims(x, (0, 2, 1, 3, 4)))
    return op.reshape(x, layer.shape)


def _depth_to_space(builder, layer, x):
    (copies, channels, height, width), block = layer.shape, layer.attrs["block"]
    height, width = height // block, width // block
    if layer.attrs["mode"] == "DCR":
        shape, axes = (copies, block, block, channels, height, width), (0, 3, 4, 1, 5, 2)
    else:
        shape, axes = (copies, channels, block, block, height, width), (0, 1, 4, 2, 5, 3)
    return op.reshape(builder.emit(op.permute_dims(builder.emit(op.reshape(x, shape)), axes)), layer.shape)


def _dense(builder, layer, x, weight, bias):
    return op.add(builder.emit(op.matmul(x, builder.emit(op.permute_dims(weight)))), bias)


def _hard_sigmoid(builder, layer, x):
    x = builder.emit(op.multiply(x, relax.const(layer.attrs["alpha"], "float32")))
    return op.clip(builder.emit(op.add(x, relax.const(layer.attrs["beta"], "float32"))), 0, 1)


def _hard_swish(builder, layer, x):
    share = builder.emit(op.multiply(x, relax.const(1 / 6, "float32")))
    share = builder.emit(op.clip(builder.emit(op.add(share, relax.const(0.5, "float32"))), 0, 1))
    return op.multiply(x, share)


def _pad(builder, layer, x):
    """Negative padding cuts off, for which Relax has another operator."""
    a = layer.attrs
    (top, left, bottom, right), (front, back) = a["pad"], a["channels"]
    begins, ends = (front, top, left), (back, bottom, right)
    widths = [0, 0] + [max(0, n) for pair in zip(begins, ends) for n in pair]
    shape = [int(n) + sum(widths[2 * i : 2 * i + 2]) for i, n in enumerate(x.ty.shape)]
    padded = builder.emit(nn.pad(x, widths, PADDINGS[a["mode"]], a["value"]))
    starts = [max(0, -n) for n in begins]
    stops = [n - max(0, -end) for n, end in zip(shape[1:], ends)]
    return op.strided_slice(padded, [1, 2, 3], starts, stops)


def _grouped_softmax(builder, layer, x):
    groups, shape = layer.attrs["groups"], layer.shape
    grouped = builder.emit(op.reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:])))
    function = nn.log_softmax if layer.attrs["log"] else nn.softmax
    return op.reshape(builder.emit(function(grouped, axis=2)), shape)


def _unknown(builder, layer, *inputs):
    """Relax has no such operator: a call of a function that it does not know."""
    return op.call_dps_packed(f"tsn.{layer.op}", relax.Tuple(inputs), _type(layer.shape))


_COMPOSE: dict[str, Callable] = {
    "biased_conv": _biased_conv,
    "grouped_softmax": _grouped_softmax,
    **dict.fromkeys(OF_BOXES, _unknown),
    "slice": _slice,
    "gather": _gather,
    "clip": lambda builder, layer, x: op.clip(x, layer.attrs["low"], layer.attrs["high"]),
    "shuffle": _shuffle,
    "depth_to_space": _depth_to_space,
    "dense": _dense,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "pad": _pad,
}
