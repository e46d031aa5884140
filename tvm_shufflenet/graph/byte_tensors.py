"""Which nodes of a graph become bytes, which of them share a scale, and which stay floats.

Tensors that are read as one (concatenations, shuffles, reshapes) and what maximum pooling reads and gives have one
scale.  The post-processing of a detector of one stage computes with floats (`float_steps`), which exits give it.
"""

from __future__ import annotations

from ..errors import UserError
from ..targets.calibration import Calibration
from .nodes import Graph, Node

# Of a sum: 2^15 * 127 * 255, a bias and a gain times a byte are less than 2^31, and so is every part of it.
TERMS = 2**15
ACTIVATIONS = ("identity", "relu", "clip")  # as a step's least and largest byte
FACTORS = ("sigmoid", "hard_sigmoid")  # what is behind the last layer of channel attention
VIEWS = ("concat", "gather", "reshape")
BYTE_STEPS = (
    "input", "entry", "exit", "conv", "dense", "pool", "global_pool", "adaptive_avg_pool", "activation", "add",
    "multiply", "lrn", "resize", *VIEWS,
)  # fmt: skip
BEFORE_BOXES = ("softmax", "activation", "gather", "reshape")  # float steps, where nothing else reads what they give
FLOAT_STEPS = ("detections", *BEFORE_BOXES)


def tensors_of(graph: Graph) -> dict[Node, str]:
    """The tensor of each node whose numbers become bytes, under one node's name: nodes of one tensor share a scale.

    `UserError`, with the layer's name, for what int8 has no kernel for.
    """
    names: dict[Node, str] = {}
    floats = float_steps(graph)
    for node in graph.nodes:
        _check(node, graph, node in floats)
        if node in floats or node.op == "exit" or is_factor(node, graph) or node in graph.outputs:
            continue
        names[node] = node.name
        if node.op in VIEWS or keeps_scale(node):
            old, new = {names[part] for part in node.inputs}, names[node.inputs[0]]
            names = {key: new if name in (*old, node.name) else name for key, name in names.items()}
    return names


def float_steps(graph: Graph) -> set[Node]:
    """The post-processing of a detector: its `detections`, what is behind them, and in front what they alone read:
    views, activations that are steps of their own, and softmax.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        if node.op == "detections" or not found.isdisjoint(node.inputs):
            found.add(node)
    if not found:
        return found
    read = set(graph.outputs)  # by steps of bytes, or by the caller
    for node in reversed(graph.nodes):
        if node.op in BEFORE_BOXES and node not in read:
            found.add(node)
        if node not in found:
            read.update(node.inputs)
    return found


def any_scales(graph: Graph) -> Calibration:
    """Scales for every tensor that are right for no weights: for what does not depend on scales."""
    return Calibration(dict.fromkeys(tensors_of(graph).values(), (0.05, 0)), 0, "none", "")


def is_dense(node: Node) -> bool:
    """Whether a node is fully connected, as a convolution of one pixel is that has no groups."""
    if node.op != "conv":
        return node.op == "dense"
    a = node.attrs
    one = a["kernel"] == a["stride"] == (1, 1) and not any(a["pad"]) and a["groups"] == 1
    return one and node.shape[1:] == (1, 1) == node.inputs[0].shape[1:]


def is_factor(node: Node, graph: Graph) -> bool:
    """Whether nodes read this one only to multiply each of their channels by one of its numbers."""
    return is_dense(node) and node.activation.kind in FACTORS and _read_as_factor(node, graph)


def takes_activation(graph: Graph, node: Node, activation: Node, factors: bool = True) -> bool:
    """Whether a step of bytes can apply the activation, a node that alone reads it: others are steps of their own.

    `factors`: whether the last layer of channel attention takes its sigmoid.
    """
    kind = activation.activation.kind
    if factors and is_dense(node) and kind in FACTORS:
        return _read_as_factor(activation, graph)
    return kind in ACTIVATIONS and not keeps_scale(node)


def _read_as_factor(node: Node, graph: Graph) -> bool:
    readers = [reader for reader in graph.nodes if node in reader.inputs]
    return node not in graph.outputs and all(
        _takes_factor(reader) and reader.inputs.index(node) == 1 for reader in readers
    )


def _takes_factor(node: Node) -> bool:
    return node.scaled or _is_product(node)


def _is_product(node: Node) -> bool:
    """Whether each channel of the first input is multiplied by a number of the second."""
    return node.op == "multiply" and node.inputs[1].shape == (node.channels, 1, 1)


def keeps_scale(node: Node) -> bool:
    """Whether the step's bytes are bytes of its input."""
    return node.op in ("entry", "resize") or (node.op in ("pool", "global_pool") and node.attrs["kind"] == "max")


def _check(node: Node, graph: Graph, floats: bool) -> None:
    """`UserError` unless integers, or with `floats` the steps behind them, can compute the node."""

    def demand(holds: bool, what: str) -> None:
        if not holds:
            raise UserError(f"layer {node.name}: int8 has no kernel for {what}: build with --precision fp32 or fp16")

    if floats:
        demand(node.op in FLOAT_STEPS, f"the operator {node.op} behind boxes")
        return
    demand(node.op in BYTE_STEPS, f"the operator {node.op}")
    if is_factor(node, graph):
        return
    if node.scaled:
        demand(is_factor(node.inputs[1], graph), "channels times what no sigmoid of a fully connected layer gives")
    if node.op == "multiply":
        demand(_is_product(node), "a product but of channels with a number each")
    if node.op == "add":
        demand(node.inputs[0].shape == node.inputs[1].shape, "the addition of a number to each channel")
    if node.op == "lrn":
        demand(node.attrs["beta"] == 0.75, f"normalisation by the power {node.attrs['beta']:g}, but 0.75")
    if node.op in ("conv", "dense"):
        terms = node.weights["weight"][0].size
        demand(terms <= TERMS, f"sums of {terms} products, at most {TERMS}")
