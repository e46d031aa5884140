"""The post-processing of a detector for engines that have none of their own: a graph of ONNX operators.

Scores by softmax or sigmoid, boxes decoded, all in tensors; then ONNX's NonMaxSuppression and a TopK over all classes.
ONNX Runtime and OpenVINO run this behind the heads as one model; behind ncnn's heads ONNX Runtime runs the graph alone.
A class's best candidates are not sought in front of the suppression, which would cost the engines most of their time:
with `passing.COUNT` scores no class has more than take part.

Importing this module imports neither torch nor onnx, which engines in a process of their own are to do without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

FILE = "boxes.onnx"


def in_front(net: Network) -> Network:
    """What an engine computes itself: of a detector the heads, else all."""
    if not net.detector:
        return net
    from tvm_shufflenet.exchange.canonical import without_dead_layers

    return without_dead_layers(net.heads())


def behind(heads: bytes, net: Network) -> bytes:
    """The ONNX model of a detector's heads with the post-processing behind them, whose output is `output`."""
    from onnx import compose, load_from_string

    names = [(layer.name, layer.name) for layer in _outputs(net)]
    front, graph = load_from_string(heads), _graph(net)
    model = compose.merge_models(front, graph, names)
    model.ir_version = front.ir_version
    return model.SerializeToString()


def write(net: Network, folder: Path) -> None:
    """The post-processing alone, for an engine that gives the maps under the names of their layers."""
    (folder / FILE).write_bytes(_graph(net).SerializeToString())


def load(folder: Path, threads: int):
    """Names of the maps, and a function from the maps (1, C, H, W) to all boxes; None where there is none."""
    if not (folder / FILE).exists():
        return None
    try:
        import onnxruntime
    except ImportError:
        raise UserError("its boxes are found by ONNX Runtime, which is not installed") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return names, lambda maps: session.run(["output"], dict(zip(names, maps)))[0]


def _outputs(net: Network):
    heads = net.heads()
    return [heads.layers[index] for index in heads.outputs]


class _Nodes:
    """Collects nodes and constants; a call appends a node and gives its output's name."""

    def __init__(self):
        from onnx import helper

        self.make = helper.make_node
        self.nodes, self.constants = [], []

    def __call__(self, kind: str, *inputs, result: str = "", **attributes) -> str:
        result = result or f"boxes.{len(self.nodes)}.{kind}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(self.make(kind, names, [result], **attributes))
        return result

    def constant(self, values) -> str:
        from onnx import numpy_helper

        array = np.asarray(values)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"boxes.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def top(self, x: str, count: int) -> tuple[str, str]:
        """The `count` largest, in falling order, and where they are."""
        values, places = (f"boxes.{len(self.nodes)}.{what}" for what in ("values", "places"))
        self.nodes.append(self.make("TopK", [x, self.constant([count])], [values, places]))
        return values, places


def _graph(net: Network) -> ModelProto:
    """From the maps of the heads to one row as `library.detection.joined_outputs` has it: (1, 6 * best + 1)."""
    from onnx import TensorProto, helper

    from tvm_shufflenet.bridge.detections import default_boxes
    from tvm_shufflenet.exchange.onnx_writer import IR, OPSET

    node, outputs, a = _Nodes(), _outputs(net), net.layers[net.detector].attrs
    maps, best, bins, background = outputs[: len(outputs) // 2], a["best"], a["bins"], int(a["background"])
    planes = [(layer.shape[2], layer.shape[3]) for layer in maps]
    defaults = default_boxes(a["anchors"], planes, net.size, a["corners"]).numpy()

    def rows(layers, numbers: int) -> str:
        found = []
        for layer in layers:
            _, channels, height, width = layer.shape
            x = node("Reshape", layer.name, [1, channels // numbers, numbers, height * width])
            found.append(node("Reshape", node("Transpose", x, perm=[0, 3, 1, 2]), [1, -1, numbers]))
        return node("Concat", *found, axis=1)

    logits = rows(maps, a["classes"] + background)
    if background:
        scores = node("Slice", node("Softmax", logits, axis=2), [1], [a["classes"] + 1], [2])
    else:
        scores = node("Sigmoid", logits)
    scores = node("Transpose", scores, perm=[0, 2, 1])
    deltas = rows(outputs[len(maps) :], 4 * max(bins, 1))
    boxes = (_distances if bins else _moved)(node, deltas, defaults, bins)
    height, width = net.size
    boxes = node("Min", node("Max", boxes, [0.0]), np.float32([width, height] * 2))
    chosen = node(
        "NonMaxSuppression", boxes, scores, [min(a["candidates"], best)], np.float32([a["overlap"]]),
        np.float32([a["least"]]),
    )  # fmt: skip
    # Behind what was found stand rows of score 0, so that there are always enough.
    found = node("Concat", node("GatherND", scores, chosen), np.zeros(best, np.float32), axis=0)
    chosen = node("Concat", chosen, np.zeros((best, 3), np.int64), axis=0)
    found, places = node.top(found, best)
    chosen = node("Gather", chosen, places, axis=0)
    there = node("Cast", node("Greater", found, [0.0]), to=TensorProto.FLOAT)
    labels = node("Cast", node("Gather", chosen, 1, axis=1), to=TensorProto.FLOAT)
    sides = node("Gather", node("Squeeze", boxes, [0]), node("Gather", chosen, 2, axis=1), axis=0)
    sides = node("Mul", sides, node("Unsqueeze", there, [1]))
    parts = [node("Reshape", sides, [-1]), found, node("Mul", labels, there), node("ReduceSum", there, keepdims=1)]
    node("Unsqueeze", node("Concat", *parts, axis=0), [0], result="output")

    def value(name: str, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        node.nodes, "boxes", [value(layer.name, layer.shape) for layer in outputs],
        [value("output", [1, 6 * best + 1])], node.constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR
    return model


def _moved(node: _Nodes, deltas: str, defaults: np.ndarray, bins: int) -> str:
    """Default boxes moved and stretched."""
    from tvm_shufflenet.bridge.detections import CENTRE, LARGEST, SIDES

    by_centre, by_side = (node("Slice", deltas, [start], [start + 2], [2]) for start in (0, 2))
    sides = defaults[None, :, 2:]
    centres = node("Add", node("Mul", by_centre, np.float32(CENTRE * sides)), defaults[None, :, :2])
    ratio = node("Exp", node("Min", node("Mul", by_side, np.float32([SIDES])), np.float32([LARGEST])))
    half = node("Mul", ratio, np.float32(0.5 * sides))
    return node("Concat", node("Sub", centres, half), node("Add", centres, half), axis=2)


def _distances(node: _Nodes, edges: str, defaults: np.ndarray, bins: int) -> str:
    """Boxes whose edges are means of distances from a pixel's place."""
    shares = node("Softmax", node("Reshape", edges, [1, -1, 4, bins]), axis=3)
    means = node("Reshape", node("MatMul", shares, np.arange(bins, dtype=np.float32)[:, None]), [1, -1, 4])
    distances = node("Mul", means, np.tile(defaults[None, :, 2:], 2))
    low, high = (node("Slice", distances, [start], [start + 2], [2]) for start in (0, 2))
    places = defaults[None, :, :2]
    return node("Concat", node("Sub", node.constant(places), low), node("Add", high, places), axis=2)
