"""The Relax module of a network: the description, operator by operator, in TVM's graph IR.

The module's `main` takes the picture and then every parameter, under its name in the state dict and
in the order of `Network.parameters()`; `relax.transform.BindParams` makes them constants.
"""

from __future__ import annotations

import tvm
from tvm import relax, topi
from tvm.relax.op import nn

from ..architectures import BATCH_NORM_EPS, Network


def relax_module(network: Network) -> tvm.IRModule:
    """Module with one function `main(input (1, 3, H, W), *parameters) -> logits (1, classes)`, fp32."""
    parameters = {
        name: relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in network.parameters().items()
    }
    picture = relax.Var("input", relax.TensorType(network.layers[0].shape, "float32"))
    builder = relax.BlockBuilder()
    values = [picture]
    with builder.function("main", [picture, *parameters.values()], attrs={"num_input": 1}):
        with builder.dataflow():
            for layer in network.layers[1:]:
                shape = network.layers[layer.inputs[0]].shape
                own = [parameters[name] for name in layer.parameters(shape)]
                values.append(_EMIT[layer.op](builder, layer, *(values[i] for i in layer.inputs), *own))
            logits = builder.emit_output(values[-1])
        builder.emit_func_output(logits)
    return builder.get()


def _conv(builder, layer, x, weight, bias=None):
    a = layer.attrs
    y = builder.emit(nn.conv2d(x, weight, a["stride"], a["pad"], a["dilation"], a["groups"]))
    if bias is None:
        return y
    channels = layer.shape[1]
    return builder.emit(relax.op.add(y, builder.emit(relax.op.reshape(bias, (1, channels, 1, 1)))))


def _batch_norm(builder, layer, x, gamma, beta, mean, variance):
    normalised = nn.batch_norm(x, gamma, beta, mean, variance, axis=1, epsilon=BATCH_NORM_EPS, training=False)
    return builder.emit(relax.TupleGetItem(builder.emit(normalised), 0))


def _shuffle(builder, layer, x):
    """Section 3.1 of the paper: reshape to (g, n), transpose, flatten."""
    (_, channels, height, width), groups = layer.shape, layer.attrs["groups"]
    x = builder.emit(relax.op.reshape(x, (1, groups, channels // groups, height, width)))
    x = builder.emit(relax.op.permute_dims(x, (0, 2, 1, 3, 4)))
    return builder.emit(relax.op.reshape(x, layer.shape))


def _window(op, **extra):
    def emit(builder, layer, x):
        a = layer.attrs
        return builder.emit(op(x, a["kernel"], a["stride"], a["pad"], a["dilation"], a["ceil"], **extra))

    return emit


def _lrn(builder, layer, x):
    """Relax has no operator for it: a call of TOPI's, which lowering replaces by the kernel."""
    a = layer.attrs
    return builder.emit_te(
        topi.nn.lrn, x, size=a["size"], axis=1, alpha=a["alpha"], beta=a["beta"], bias=a["k"],
        primfunc_attrs={"lrn": {key: a[key] for key in ("size", "alpha", "beta", "k")}},
    )  # fmt: skip


def _dense(builder, layer, x, weight, bias):
    product = builder.emit(relax.op.matmul(x, builder.emit(relax.op.permute_dims(weight))))
    return builder.emit(relax.op.add(product, bias))


_EMIT = {
    "conv": _conv,
    "batch_norm": _batch_norm,
    "relu": lambda builder, layer, x: builder.emit(nn.relu(x)),
    "shuffle": _shuffle,
    "max_pool": _window(nn.max_pool2d),
    "avg_pool": _window(nn.avg_pool2d, count_include_pad=True),
    "valid_avg_pool": _window(nn.avg_pool2d, count_include_pad=False),
    "adaptive_avg_pool": lambda builder, layer, x: builder.emit(nn.adaptive_avg_pool2d(x, (layer.attrs["size"],) * 2)),
    "global_avg_pool": lambda builder, layer, x: builder.emit(relax.op.mean(x, axis=[2, 3])),
    "lrn": _lrn,
    "add": lambda builder, layer, a, b: builder.emit(relax.op.add(a, b)),
    "concat": lambda builder, layer, a, b: builder.emit(relax.op.concat([a, b], axis=1)),
    "flatten": lambda builder, layer, x: builder.emit(relax.op.reshape(x, layer.shape)),
    "dropout": lambda builder, layer, x: x,
    "dense": _dense,
}
