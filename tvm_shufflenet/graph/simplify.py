"""Leaves out what changes nothing, and moves activations to where a kernel can apply them.

    gather of all channels in their order, concat of one, affine by 1 and 0, ...  =>  its input
    relu(concat(a, b)), and what else works channel by channel                    =>  concat(relu(a), relu(b))
    relu(shuffle(x))                                                              =>  shuffle(relu(x))
    conv(x, 1x1, stride 2)                                                        =>  conv(every other pixel of x)

Behind a concatenation or a shuffle no kernel could apply it; each part's own kernel can, and then writes its part of
the result in place.  Both are done only where nothing else reads what lies between.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .nodes import Graph, Node


def simplify(graph: Graph) -> None:
    graph.drop_dead()
    _leave_out_pixels(graph)
    for node in list(graph.nodes):
        if node.inputs and _changes_nothing(node):
            graph.replace(node, node.inputs[0])
    while any(_move_up(graph, node) for node in list(graph.nodes)):
        graph.drop_dead()


def _leave_out_pixels(graph: Graph) -> None:
    """A 1x1 convolution with a stride reads some of the pixels: a step of its own takes those, once for all."""
    taken: dict[tuple, Node] = {}
    for node in list(graph.nodes):
        if node.op != "conv" or node.attrs["kernel"] != (1, 1) or any(node.attrs["pad"]):
            continue
        source, stride = node.inputs[0], node.attrs["stride"]
        if stride == (1, 1) or node.attrs["groups"] > 1 or source.op == "input":
            continue
        key = source, stride
        if key not in taken:
            attrs = dict(kind="max", kernel=(1, 1), stride=stride, pad=(0, 0, 0, 0), dilation=(1, 1))
            shape = source.channels, *node.shape[1:]
            taken[key] = Node("pool", f"{node.name}.pixels", [source], shape, attrs, copies=node.copies)
            graph.insert(taken[key], node)
        node.inputs = [taken[key]]
        node.attrs = {**node.attrs, "stride": (1, 1)}


def _changes_nothing(node: Node) -> bool:
    if node.inputs[0].shape != node.shape:
        return False
    match node.op:
        case "gather":
            return node.attrs["channels"] == tuple(range(node.channels))
        case "concat":
            return len(node.inputs) == 1
        case "affine":
            return bool(np.all(node.weights["scale"] == 1) and np.all(node.weights["shift"] == 0))
        case "reshape" | "adaptive_avg_pool":
            return True
        case "pad":
            return not any((*node.attrs["pad"], *node.attrs["channels"]))
        case "depth_to_space":
            return node.attrs["block"] == 1
    return False


def _move_up(graph: Graph, node: Node) -> bool:
    """Whether an activation or affine step changed places with the concatenation or shuffle that it alone reads."""
    if node.op not in ("activation", "affine") or node.inputs[0].op not in ("concat", "gather"):
        return False
    view = node.inputs[0]
    if graph.readers()[view] > 1:
        return False
    if view.op == "gather":
        channels = view.attrs["channels"]
        if sorted(channels) != list(range(view.inputs[0].channels)):
            return False
        order = np.argsort(channels)  # the channel behind the shuffle, of each before it
        parts = [_copy(node, view.inputs[0], order, "")]
    else:
        starts = np.cumsum([0, *(part.channels for part in view.inputs)])
        parts = [
            _copy(node, part, np.arange(starts[i], starts[i + 1]), f".{i}") for i, part in enumerate(view.inputs)
        ]  # fmt: skip
    for part in parts:
        graph.insert(part, view)
    view.inputs = parts
    graph.replace(node, view)
    return True


def _copy(node: Node, source: Node, channels: np.ndarray, suffix: str) -> Node:
    """`node` for these of its channels, which `source` gives."""
    weights = {name: array[channels] for name, array in node.weights.items()}
    return dataclasses.replace(
        node, name=node.name + suffix, inputs=[source], shape=(len(channels), *node.shape[1:]), weights=weights
    )
