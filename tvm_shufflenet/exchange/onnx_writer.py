"""A network and its parameters as an ONNX model, layer by layer.

A channel shuffle becomes Reshape, Transpose, Reshape.  Nothing is folded: what is read back is the same network
with the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..architectures import Layer, Network
from ..errors import UserError

if TYPE_CHECKING:
    from types import ModuleType

OPSET = 17
IR = 8  # every engine of the last years reads it


def require_onnx(purpose: str) -> ModuleType:
    """The module onnx, or `UserError` saying what it is needed for."""
    try:
        import onnx
    except ImportError:
        raise UserError(f"the package onnx is needed {purpose}: run `pip install -e .[onnx]`") from None
    return onnx


def onnx_model(
    net: Network,
    parameters: dict[str, np.ndarray],
    batch: int | str = 1,
    metadata: dict[str, str] | None = None,
    notes: dict[str, dict[str, str]] | None = None,
) -> bytes:
    """The model as the bytes of a file, with the input `input`, fp32.

    A single output is `output`, several have the names of their layers.

    `batch` is the number of pictures, or the name of a dimension that is open.  `notes`, by the name of a layer, become
    metadata of its nodes, which viewers such as Netron show.
    """
    onnx = require_onnx("to write ONNX")
    from onnx import TensorProto, helper

    constants: dict[str, np.ndarray] = {}
    nodes, names, last_layer = [], ["input"], len(net.layers) - 1
    picture = list(net.layers[0].shape[1:])
    if net.layers[0].attrs["layout"] == "NHWC":
        picture = [*picture[1:], picture[0]]
        nodes.append(helper.make_node("Transpose", ["input"], ["planes"], name="planes", perm=[0, 3, 1, 2]))
        names = ["planes"]
    results = {index: "output" if net.outputs == (last_layer,) else net.layers[index].name for index in net.outputs}
    if 0 in results:  # an output of ONNX has a name of its own
        results[0] = f"{net.layers[0].name}.copy"
        nodes.append(helper.make_node("Identity", names, [results[0]], name=results[0]))
    for index, layer in enumerate(net.layers[1:], 1):
        first, inputs = len(nodes), [names[source] for source in layer.inputs]
        for parameter in layer.parameters(net.layers[layer.inputs[0]].shape):
            constants[parameter] = np.ascontiguousarray(parameters[parameter], np.float32)
            inputs.append(parameter)
        if layer.op in ("add", "multiply"):
            inputs = _of_equal_rank(net, layer, inputs, nodes, helper, constants)
        if layer.op == "adaptive_avg_pool" and not _equal_bins(layer, net.layers[layer.inputs[0]].shape):
            inputs = [_bins(layer, net.layers[layer.inputs[0]].shape, inputs[0], nodes, helper, constants)]
        operators = _operators(layer, constants, batch == 1, net.layers[layer.inputs[0]].shape)
        if any(f"{layer.name}.sizes" in further and batch != 1 for _, further, _ in operators):
            _open_sizes(layer, inputs[0], nodes, helper, constants)
        if not operators and index in results:
            operators = [("Identity", [], {})]
        for number, (kind, further, attributes) in enumerate(operators, 1):
            last = number == len(operators)
            result = results.get(index, layer.name) if last else f"{layer.name}.{number}"
            name = f"{layer.name}.{kind}{number}"
            nodes.append(helper.make_node(kind, inputs + further, [result], name=name, **attributes))
            inputs = [result]
        for node in nodes[first:]:
            for key, text in (notes or {}).get(layer.name, {}).items():
                node.metadata_props.add(key=key, value=text)
        names.append(inputs[0] if operators else names[layer.inputs[0]])

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])

    graph = helper.make_graph(
        nodes, net.name, [value("input", picture)],
        [value(name, net.layers[index].shape[1:]) for index, name in results.items()],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tvm_shufflenet")
    model.ir_version = IR
    helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def _of_equal_rank(net: Network, layer: Layer, inputs: list[str], nodes: list, helper, constants: dict) -> list[str]:
    """ONNX aligns shapes at their ends: a number for each channel needs its height and width of 1."""
    shapes, found = [net.layers[source].shape for source in layer.inputs], []
    for number, (name, shape) in enumerate(zip(inputs, shapes)):
        if len(shape) < max(map(len, shapes)):
            constants["last axes"] = np.array([2, 3], np.int64)
            result = f"{layer.name}.planes{number}"
            nodes.append(helper.make_node("Unsqueeze", [name, "last axes"], [result], name=result))
            name = result
        found.append(name)
    return found


def _open_sizes(layer: Layer, x: str, nodes: list, helper, constants: dict) -> None:
    """The sizes of a resized tensor whose batch is that of its input."""
    batch, planes, result = (f"{layer.name}.{key}" for key in ("batch", "planes", "sizes"))
    constants[planes] = np.array(layer.shape[1:], np.int64)
    nodes.append(helper.make_node("Shape", [x], [batch], name=batch, start=0, end=1))
    nodes.append(helper.make_node("Concat", [batch, planes], [result], name=result, axis=0))


def _equal_bins(layer: Layer, source: tuple[int, ...]) -> bool:
    return all(extent % bins == 0 for extent, bins in zip(source[2:], layer.shape[2:]))


def _bins(layer: Layer, source: tuple[int, ...], x: str, nodes: list, helper, constants: dict) -> str:
    """The means of bins that overlap or differ in size, as channels: bin after bin, each with all channels."""

    def edges(extent: int, bins: int) -> list[tuple[int, int]]:
        return [(i * extent // bins, -(-(i + 1) * extent // bins)) for i in range(bins)]

    constants["last axes"] = np.array([2, 3], np.int64)
    means, rows, columns = [], edges(source[2], layer.shape[2]), edges(source[3], layer.shape[3])
    for number, (row, column) in enumerate((row, column) for row in rows for column in columns):
        name = f"{layer.name}.bin{number}"
        corners = [f"{name}.start", f"{name}.stop"]
        constants |= {corner: np.array(at, np.int64) for corner, at in zip(corners, zip(row, column))}
        nodes.append(helper.make_node("Slice", [x, *corners, "last axes"], [name], name=name))
        nodes.append(helper.make_node("GlobalAveragePool", [name], [f"{name}.mean"], name=f"{name}.mean"))
        means.append(f"{name}.mean")
    result = f"{layer.name}.means"
    nodes.append(helper.make_node("Concat", means, [result], name=result, axis=1))
    return result


def _operators(
    layer: Layer, constants: dict, single: bool, source: tuple[int, ...]
) -> list[tuple[str, list[str], dict]]:
    """The chain of ONNX operators, each with its further inputs, that one layer becomes.

    Where the batch is not `single`, shapes leave their first number to the input: 0.  `source` is the input's shape.
    """
    a, batch, name = layer.attrs, 1 if single else 0, layer.name

    def constant(key: str, values, dtype=np.int64) -> str:
        constants[f"{name}.{key}"] = np.array(values, dtype)
        return f"{name}.{key}"

    if layer.op in ("conv", "max_pool", "avg_pool", "valid_avg_pool"):
        window = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": a["pad"]}
        if layer.op == "conv":
            return [("Conv", [], {**window, **_dilations(a), "group": a["groups"]})]
        window |= {"ceil_mode": 1} if a["ceil"] else {}
        if layer.op == "max_pool":
            return [("MaxPool", [], {**window, **_dilations(a)})]
        return [("AveragePool", [], {**window, "count_include_pad": int(layer.op == "avg_pool")})]
    if layer.op == "adaptive_avg_pool":
        _, channels, height, width = layer.shape
        if _equal_bins(layer, source):
            bin_ = (source[2] // height, source[3] // width)
            return [("AveragePool", [], {"kernel_shape": bin_, "strides": bin_})]
        return [
            ("Reshape", [constant("bins", [batch, height * width, channels])], {}),
            ("Transpose", [], {"perm": [0, 2, 1]}),
            ("Reshape", [constant("planes", [batch, channels, height, width])], {}),
        ]
    if layer.op == "shuffle":
        _, channels, height, width = layer.shape
        groups = a["groups"]
        return [
            ("Reshape", [constant("split", [batch, groups, channels // groups, height, width])], {}),
            ("Transpose", [], {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", [constant("join", [batch, channels, height, width])], {}),
        ]
    if layer.op == "softmax" and a["groups"] > 1:
        _, channels, height, width = layer.shape
        return [
            ("Reshape", [constant("split", [batch, a["groups"], channels // a["groups"], height, width])], {}),
            ("LogSoftmax" if a["log"] else "Softmax", [], {"axis": 2}),
            ("Reshape", [constant("join", [batch, channels, height, width])], {}),
        ]
    if layer.op == "lrn":
        options = {"size": a["size"], "alpha": a["alpha"], "beta": a["beta"], "bias": a["k"]}
        lrn: tuple[str, list[str], dict] = ("LRN", [], options)
        if a["size"] % 2:
            return [lrn]
        back = ("Gather", [constant("back", range(source[1])[::-1])], {"axis": 1})
        return [back, lrn, back]  # ONNX has the larger half of an even window on the other side
    if layer.op in ("global_avg_pool", "global_max_pool"):
        return [
            ("GlobalAveragePool" if layer.op == "global_avg_pool" else "GlobalMaxPool", [], {}),
            ("Flatten", [], {}),
        ]
    if layer.op == "dropout":  # acts while training only
        return []
    if layer.op == "clip":
        return [("Clip", [constant("low", a["low"], np.float32), constant("high", a["high"], np.float32)], {})]
    if layer.op == "slice":
        numbers = {"start": a["start"], "stop": a["stop"], "axis": 1, "step": a["step"]}
        return [("Slice", [constant(key, [number]) for key, number in numbers.items()], {})]
    if layer.op == "gather":
        return [("Gather", [constant("channels", a["channels"])], {"axis": 1})]
    if layer.op == "pad":
        (top, left, bottom, right), (first, last) = a["pad"], a["channels"]
        around = constant("around", [0, first, top, left, 0, last, bottom, right])
        return [("Pad", [around, constant("value", a["value"], np.float32)], {"mode": a["mode"]})]
    if layer.op == "resize":
        mode = {"nearest": "nearest", "bilinear": "linear"}[a["mode"]]
        # Engines multiply in single or in double precision: both have to come to the size.
        sized = all(
            [int(n * kind(np.float32(s))) for n, s in zip(source[2:], a["scales"])] == list(a["size"])
            for kind in (np.float32, float)
        )
        if sized:
            further = ["", constant("scales", [1, 1, *a["scales"]], np.float32)]
        elif a["scales"] == tuple(o / n for o, n in zip(a["size"], source[2:])):
            further = ["", "", constant("sizes", [1, *layer.shape[1:]]) if single else f"{name}.sizes"]
        else:
            raise UserError(f"{name}: ONNX cannot resize to {a['size']} with the scales {a['scales']}")
        attributes = {"coordinate_transformation_mode": a["coordinates"], "mode": mode}
        return [("Resize", further, attributes | ({"nearest_mode": a["rounding"]} if mode == "nearest" else {}))]
    if layer.op == "reshape":
        return [("Reshape", [constant("shape", [batch, *a["shape"][1:]])], {})]
    kinds: dict[str, tuple[str, dict]] = {
        "batch_norm": ("BatchNormalization", {"epsilon": a.get("eps")}), "dense": ("Gemm", {"transB": 1}),
        "relu": ("Relu", {}), "add": ("Add", {}), "multiply": ("Mul", {}), "concat": ("Concat", {"axis": 1}),
        "flatten": ("Flatten", {}), "leaky_relu": ("LeakyRelu", {"alpha": a.get("slope")}), "sigmoid": ("Sigmoid", {}),
        "hard_sigmoid": ("HardSigmoid", {"alpha": a.get("alpha"), "beta": a.get("beta")}),
        "hard_swish": ("HardSwish", {}), "softmax": ("LogSoftmax" if a.get("log") else "Softmax", {"axis": 1}),
        "depth_to_space": ("DepthToSpace", {"blocksize": a.get("block"), "mode": a.get("mode")}),
    }  # fmt: skip
    if layer.op == "detections":
        raise UserError(f"{name}: ONNX has no such post-processing; `Network.heads()` is the detector without it")
    if layer.op in ("proposals", "regions", "region_detections"):
        raise UserError(f"{name}: ONNX has no such layer: a detector that looks at regions cannot be written")
    if layer.op not in kinds:
        raise UserError(f"{name}: ONNX has no operator {layer.op}")
    kind, attributes = kinds[layer.op]
    return [(kind, [], attributes)]


def _dilations(attributes: dict) -> dict:
    return {} if attributes["dilation"] == (1, 1) else {"dilations": attributes["dilation"]}
