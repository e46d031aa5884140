"""A detector of two stages as one ONNX model, for ONNX Runtime and OpenVINO.

    front       what is of the whole picture: scores and boxes for the choice of regions, and the map that they are of
    proposals   boxes decoded in tensors; TopK, and NonMaxSuppression of one class
    regions     MaxRoiPool or RoiAlign; position-sensitive RoI align is RoiAlign of single bins, on planes of their own
    head        what is of each region, for all of them as a batch
    end         NonMaxSuppression, for which each class is a picture of its own with its own boxes; TopK

Front and head are written by `exchange.onnx_writer`, as any network is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tvm_shufflenet.architectures import Layer, Network
from tvm_shufflenet.errors import UserError

from .boxes import Nodes, clipped, give_best, moved, rows

if TYPE_CHECKING:
    from onnx import ModelProto

POINTS = 2  # of a bin, along each side
HEAD = "region/"  # in front of the names of the head
KEPT = ("found", "there")  # of the regions, for the end: their edges, and 1 for each that was found


def parts(net: Network) -> tuple[Network, Network]:
    """The front, whose outputs are scores, boxes and map, and the head, whose input is a region's planes."""
    from tvm_shufflenet.exchange.canonical import without_dead_layers

    proposals, regions, end = (_index(net, op) for op in ("proposals", "regions", "region_detections"))
    outputs = *net.layers[proposals].inputs, net.layers[regions].inputs[0]
    front = without_dead_layers(dataclasses.replace(net, outputs=outputs))
    planes = dataclasses.replace(net.layers[0], shape=(1, *net.layers[regions].shape[1:]), attrs={"layout": "NCHW"})
    layers = [planes]
    for layer in net.layers[regions + 1 : end]:
        if min(layer.inputs) < regions:
            raise UserError(f"layer {layer.name} of the head of {net.name} reads what is of the whole picture")
        layers.append(dataclasses.replace(layer, inputs=tuple(index - regions for index in layer.inputs)))
    outputs = tuple(index - regions for index in net.layers[end].inputs[1:])
    return front, without_dead_layers(dataclasses.replace(net, layers=tuple(layers), outputs=outputs))


def joined(net: Network, front: bytes, head: bytes) -> bytes:
    """The whole detector, with the `input` of the front and `output`, of the two parts as ONNX models."""
    from onnx import compose, load_from_string

    first, second = parts(net)
    front_model, head_model = load_from_string(front), compose.add_prefix(load_from_string(head), HEAD)
    maps, results = [layer.name for layer in _outputs(first)], [*KEPT, *_names(second)]
    model = compose.merge_models(front_model, _chosen(net, first), list(zip(maps, maps)))
    model = compose.merge_models(model, head_model, [("planes", f"{HEAD}input")], outputs=results)
    model = compose.merge_models(model, _end(net, second), list(zip(results, results)))
    model.ir_version = front_model.ir_version
    return model.SerializeToString()


def regions(net: Network) -> int:
    """How many of them go through the head."""
    return net.layers[_index(net, "regions")].shape[0]


def _index(net: Network, op: str) -> int:
    return next(index for index, layer in enumerate(net.layers) if layer.op == op)


def _outputs(net: Network) -> list[Layer]:
    return [net.layers[index] for index in net.outputs]


def _names(head: Network) -> list[str]:
    return [f"{HEAD}{layer.name}" for layer in _outputs(head)]


def _chosen(net: Network, front: Network) -> ModelProto:
    """From the front's outputs to the regions `found` (N, 4), those that are `there` (N,), and their `planes`."""
    from onnx import TensorProto

    from tvm_shufflenet.bridge.detections import default_boxes

    a, node = net.layers[_index(net, "proposals")].attrs, Nodes("proposals")
    of_scores, of_boxes, of_planes = _outputs(front)
    defaults = default_boxes(a["anchors"], [of_scores.shape[2:]], net.size).numpy()
    scores = node("Reshape", node("Slice", rows(node, [of_scores], 2), [1], [2], [2]), [1, -1])
    scores, places = node.top(scores, min(a["candidates"], len(defaults)))
    deltas = rows(node, [of_boxes], 4)
    boxes = clipped(node, moved(node, deltas, defaults[None, :, :2], defaults[None, :, 2:], 1.0, 1.0), net.size)
    boxes = node("Gather", boxes, node("Reshape", places, [-1]), axis=1)
    low, high = (node("Slice", boxes, [start], [start + 2], [2]) for start in (0, 2))
    narrow = node("Less", node("ReduceMin", node("Sub", high, low), axes=[2], keepdims=0), np.float32([a["smallest"]]))
    scores = node("Unsqueeze", node("Where", narrow, np.float32([-1]), scores), [1])
    best = a["best"]
    chosen = node("NonMaxSuppression", boxes, scores, [best], np.float32([a["overlap"]]), np.float32([0.0]))
    # Behind what was found stand rows of no box, so that there are always as many.
    edges = node("GatherND", boxes, node("Gather", chosen, [0, 2], axis=1))
    edges = node("Concat", edges, np.zeros((best, 4), np.float32), axis=0)
    found = node("Slice", edges, [0], [best], [0], result="found")
    score = node("Concat", node("GatherND", scores, chosen), np.zeros(best, np.float32), axis=0)
    score = node("Slice", score, [0], [best], [0])
    node("Cast", node("Greater", score, [0.0]), result="there", to=TensorProto.FLOAT)
    _pool(node, net.layers[_index(net, "regions")], of_planes, found)
    shapes = {"found": (best, 4), "there": (best,), "planes": net.layers[_index(net, "regions")].shape}
    return node.model({layer.name: layer.shape for layer in _outputs(front)}, shapes)


def _pool(node: Nodes, regions: Layer, source: Layer, found: str) -> None:
    """The `planes` of each region."""
    count, channels, size, _ = regions.shape
    scale = 1 / regions.attrs["stride"]
    align = dict(spatial_scale=scale, sampling_ratio=POINTS, coordinate_transformation_mode="half_pixel")
    if regions.attrs["mode"] == "max":
        rois = node("Concat", np.zeros((count, 1), np.float32), found, axis=1)
        node("MaxRoiPool", source.name, rois, result="planes", pooled_shape=[size, size], spatial_scale=scale)
    elif regions.attrs["mode"] == "align":
        which = np.zeros(count, np.int64)
        node("RoiAlign", source.name, found, which, result="planes", output_height=size, output_width=size, **align)
    else:
        _, _, height, width = source.shape
        planes = node("Reshape", source.name, [channels, size * size, height, width])
        planes = node("Transpose", planes, perm=[1, 0, 2, 3])  # a picture for each bin
        low, high = (node("Slice", found, [start], [start + 2], [1]) for start in (0, 2))
        low, bin_sides = node("Unsqueeze", low, [1]), node("Unsqueeze", node("Sub", high, low), [1])
        bins = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(1, -1, 2)  # x and y, row by row
        edges = [node("Add", node("Mul", bin_sides, np.float32((bins + i) / size)), low) for i in (0, 1)]
        rois = node("Reshape", node("Concat", *edges, axis=2), [-1, 4])
        which = np.tile(np.arange(size * size), count)
        means = node("RoiAlign", planes, rois, which, output_height=1, output_width=1, **align)
        means = node("Transpose", node("Reshape", means, [count, size * size, channels]), perm=[0, 2, 1])
        node("Reshape", means, [count, channels, size, size], result="planes")


def _end(net: Network, head: Network) -> ModelProto:
    """From regions, and what the head says of them, to one row as `library.detection.joined_outputs` has it."""
    from tvm_shufflenet.bridge.detections import CENTRE, SIDES

    layer, node = net.layers[_index(net, "region_detections")], Nodes("end")
    a, count, (of_scores, of_boxes) = layer.attrs, net.layers[_index(net, "regions")].shape[0], _names(head)
    classes = net.classes
    scores = node("Mul", node("Slice", of_scores, [1], [1 + classes], [1]), node("Unsqueeze", "there", [1]))
    scores = node("Unsqueeze", node("Transpose", scores, perm=[1, 0]), [1])
    deltas = node("Slice", node("Reshape", of_boxes, [count, 1 + classes, 4]), [1], [1 + classes], [1])
    deltas = node("Transpose", deltas, perm=[1, 0, 2])
    low, high = (node("Unsqueeze", node("Slice", "found", [start], [start + 2], [1]), [0]) for start in (0, 2))
    centres = node("Mul", node("Add", low, high), np.float32([0.5]))
    boxes = clipped(node, moved(node, deltas, centres, node("Sub", high, low), CENTRE, SIDES), net.size)
    best = a["best"]
    chosen = node("NonMaxSuppression", boxes, scores, [best], np.float32([a["overlap"]]), np.float32([a["least"]]))
    give_best(node, scores, chosen, boxes, best, label=0)
    shapes = {"found": (count, 4), "there": (count,)}
    shapes |= {of_scores: (count, 1 + classes), of_boxes: (count, 4 * (1 + classes))}
    return node.model(shapes, {"output": (1, 6 * best + 1)})
