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


class Nodes:
    """Collects nodes and constants; a call appends a node and gives its output's name.

    All names begin with `name`, but those of results that are given.
    """

    def __init__(self, name: str = "boxes"):
        from onnx import helper

        self.name = name
        self.make = helper.make_node
        self.nodes, self.constants = [], []

    def __call__(self, kind: str, *inputs, result: str = "", **attributes) -> str:
        result = result or f"{self.name}.{len(self.nodes)}.{kind}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(self.make(kind, names, [result], **attributes))
        return result

    def constant(self, values) -> str:
        from onnx import numpy_helper

        array = np.asarray(values)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"{self.name}.constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def top(self, x: str, count: int) -> tuple[str, str]:
        """The `count` largest, in falling order, and where they are."""
        values, places = (f"{self.name}.{len(self.nodes)}.{what}" for what in ("values", "places"))
        self.nodes.append(self.make("TopK", [x, self.constant([count])], [values, places]))
        return values, places

    def model(self, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> ModelProto:
        """All nodes, as a model with these inputs and outputs of floats."""
        from onnx import TensorProto, helper

        from tvm_shufflenet.exchange.onnx_writer import IR, OPSET

        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
            for each in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, self.name, *ends, self.constants)
        found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        found.ir_version = IR
        return found


def _graph(net: Network) -> ModelProto:
    """From the maps of the heads to one row as `library.detection.joined_outputs` has it: (1, 6 * best + 1)."""
    from tvm_shufflenet.bridge.detections import CENTRE, SIDES, default_boxes

    node, outputs, a = Nodes(), _outputs(net), net.layers[net.detector].attrs
    maps, best, bins, background = outputs[: len(outputs) // 2], a["best"], a["bins"], int(a["background"])
    planes = [(layer.shape[2], layer.shape[3]) for layer in maps]
    defaults = default_boxes(a["anchors"], planes, net.size, a["corners"]).numpy()

    logits = rows(node, maps, a["classes"] + background)
    if background:
        scores = node("Slice", node("Softmax", logits, axis=2), [1], [a["classes"] + 1], [2])
    else:
        scores = node("Sigmoid", logits)
    scores = node("Transpose", scores, perm=[0, 2, 1])
    deltas = rows(node, outputs[len(maps) :], 4 * max(bins, 1))
    centres, sides = defaults[None, :, :2], defaults[None, :, 2:]
    if bins:
        boxes = _distances(node, deltas, centres, sides, bins)
    else:
        boxes = moved(node, deltas, centres, sides, CENTRE, SIDES)
    boxes = clipped(node, boxes, net.size)
    chosen = node(
        "NonMaxSuppression", boxes, scores, [min(a["candidates"], best)], np.float32([a["overlap"]]),
        np.float32([a["least"]]),
    )  # fmt: skip
    give_best(node, scores, chosen, boxes, best, label=1)
    return node.model({layer.name: layer.shape for layer in outputs}, {"output": (1, 6 * best + 1)})


def rows(node: Nodes, layers, numbers: int) -> str:
    """Maps (1, A * numbers, H, W) as (1, N, numbers), in the order of the default boxes."""
    found = []
    for layer in layers:
        _, channels, height, width = layer.shape
        x = node("Reshape", layer.name, [1, channels // numbers, numbers, height * width])
        found.append(node("Reshape", node("Transpose", x, perm=[0, 3, 1, 2]), [1, -1, numbers]))
    return node("Concat", *found, axis=1)


def clipped(node: Nodes, boxes: str, size: tuple[int, int]) -> str:
    """Cut off at the edges of a picture of (height, width)."""
    return node("Min", node("Max", boxes, [0.0]), np.float32([size[1], size[0]] * 2))


def give_best(node: Nodes, scores: str, chosen: str, boxes: str, best: int, label: int) -> None:
    """The `output`: the best boxes of all classes, of `chosen` rows of NonMaxSuppression.

    `scores` and `boxes` are what that has read; column `label` of a row is the class.
    """
    from onnx import TensorProto

    # Behind what was found stand rows of score 0, so that there are always enough.
    found = node("Concat", node("GatherND", scores, chosen), np.zeros(best, np.float32), axis=0)
    chosen = node("Concat", chosen, np.zeros((best, 3), np.int64), axis=0)
    found, places = node.top(found, best)
    chosen = node("Gather", chosen, places, axis=0)
    there = node("Cast", node("Greater", found, [0.0]), to=TensorProto.FLOAT)
    labels = node("Cast", node("Gather", chosen, label, axis=1), to=TensorProto.FLOAT)
    sides = node("GatherND", boxes, node("Gather", chosen, [0, 2], axis=1))
    sides = node("Mul", sides, node("Unsqueeze", there, [1]))
    parts = [node("Reshape", sides, [-1]), found, node("Mul", labels, there), node("ReduceSum", there, keepdims=1)]
    node("Unsqueeze", node("Concat", *parts, axis=0), [0], result="output")


def moved(
    node: Nodes, deltas: str, centres: str | np.ndarray, sides: str | np.ndarray, centre: float, ratio: float
) -> str:
    """Default boxes moved and stretched by (B, N, 4) numbers, of which those of `centre` and `ratio` are worth so much.

    `centres` and `sides` are (1, N, 2).
    """
    from tvm_shufflenet.bridge.detections import LARGEST

    by_centre, by_side = (node("Slice", deltas, [start], [start + 2], [2]) for start in (0, 2))
    places = node("Add", node("Mul", node("Mul", by_centre, np.float32([centre])), sides), centres)
    stretched = node("Exp", node("Min", node("Mul", by_side, np.float32([ratio])), np.float32([LARGEST])))
    half = node("Mul", node("Mul", stretched, np.float32([0.5])), sides)
    return node("Concat", node("Sub", places, half), node("Add", places, half), axis=2)


def _distances(node: Nodes, edges: str, places: np.ndarray, sides: np.ndarray, bins: int) -> str:
    """Boxes whose edges are means of distances from a pixel's place."""
    shares = node("Softmax", node("Reshape", edges, [1, -1, 4, bins]), axis=3)
    means = node("Reshape", node("MatMul", shares, np.arange(bins, dtype=np.float32)[:, None]), [1, -1, 4])
    distances = node("Mul", means, np.tile(sides, 2))
    low, high = (node("Slice", distances, [start], [start + 2], [2]) for start in (0, 2))
    return node("Concat", node("Sub", node.constant(places), low), node("Add", high, places), axis=2)
