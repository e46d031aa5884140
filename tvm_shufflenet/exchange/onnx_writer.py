"""A network and its parameters as an ONNX model, layer by layer.

A channel shuffle becomes Reshape, Transpose, Reshape.  Nothing is folded: what is read back is the same network
with the same numbers.
"""

from __future__ import annotations

import numpy as np

from ..architectures import BATCH_NORM_EPS, Layer, Network
from ..errors import UserError

OPSET = 17
IR = 8  # every engine of the last years reads it


def require_onnx(purpose: str):
    """The module onnx, or `UserError` saying what it is needed for."""
    try:
        import onnx
    except ImportError:
        raise UserError(f"the package onnx is needed {purpose}: run `pip install -e .[onnx]`") from None
    return onnx


def onnx_model(
    net: Network, parameters: dict[str, np.ndarray], batch: int | str = 1, metadata: dict[str, str] | None = None
) -> bytes:
    """The model as the bytes of a file, with the input `input` and the output `output`, fp32.

    `batch` is the number of pictures, or the name of a dimension that is open.
    """
    onnx = require_onnx("to write ONNX")
    from onnx import TensorProto, helper

    constants: dict[str, np.ndarray] = {}
    nodes, names = [], ["input"]
    for layer in net.layers[1:]:
        inputs = [names[source] for source in layer.inputs]
        for parameter in layer.parameters(net.layers[layer.inputs[0]].shape):
            constants[parameter] = np.ascontiguousarray(parameters[parameter], np.float32)
            inputs.append(parameter)
        operators = _operators(layer, constants, batch == 1)
        for number, (kind, further, attributes) in enumerate(operators, 1):
            last = number == len(operators)
            result = ("output" if layer is net.layers[-1] else layer.name) if last else f"{layer.name}.{number}"
            name = f"{layer.name}.{kind}{number}"
            nodes.append(helper.make_node(kind, inputs + further, [result], name=name, **attributes))
            inputs = [result]
        names.append(inputs[0] if operators else names[layer.inputs[0]])

    def value(name, layer):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *layer.shape[1:]])

    graph = helper.make_graph(
        nodes, net.name, [value("input", net.layers[0])], [value("output", net.layers[-1])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tvm_shufflenet")
    model.ir_version = IR
    helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def _operators(layer: Layer, constants: dict, single: bool) -> list[tuple[str, list[str], dict]]:
    """The chain of ONNX operators, each with its further inputs, that one layer becomes.

    Where the batch is not `single`, shapes leave their first number to the input: 0.
    """
    a, batch = layer.attrs, 1 if single else 0
    if layer.op in ("conv", "max_pool", "avg_pool", "valid_avg_pool"):
        window = {"kernel_shape": [a["kernel"]] * 2, "strides": [a["stride"]] * 2, "pads": [a["pad"]] * 4}
        if layer.op == "conv":
            return [("Conv", [], {**window, "group": a["groups"]})]
        if layer.op == "max_pool":
            return [("MaxPool", [], window)]
        return [("AveragePool", [], {**window, "count_include_pad": int(layer.op == "avg_pool")})]
    if layer.op == "shuffle":
        _, channels, height, width = layer.shape
        name, groups = layer.name, a["groups"]
        constants[f"{name}.split"] = np.array([batch, groups, channels // groups, height, width], np.int64)
        constants[f"{name}.join"] = np.array([batch, channels, height, width], np.int64)
        return [
            ("Reshape", [f"{name}.split"], {}),
            ("Transpose", [], {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", [f"{name}.join"], {}),
        ]
    if layer.op == "lrn":
        return [("LRN", [], {"size": a["size"], "alpha": a["alpha"], "beta": a["beta"], "bias": a["k"]})]
    if layer.op == "global_avg_pool":
        return [("GlobalAveragePool", [], {}), ("Flatten", [], {})]
    if layer.op == "dropout":  # acts while training only
        return []
    kinds = {
        "batch_norm": ("BatchNormalization", {"epsilon": BATCH_NORM_EPS}), "dense": ("Gemm", {"transB": 1}),
        "relu": ("Relu", {}), "add": ("Add", {}), "concat": ("Concat", {"axis": 1}), "flatten": ("Flatten", {}),
    }  # fmt: skip
    if layer.op not in kinds:
        raise UserError(f"{layer.name}: ONNX has no operator {layer.op}")
    kind, attributes = kinds[layer.op]
    return [(kind, [], attributes)]
