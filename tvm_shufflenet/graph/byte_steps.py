"""Of int8, steps in the place of others, and steps at the ends of a network: bytes of the picture, floats of bytes.

affine                              convolution of each channel alone
input -> step                       the step itself, where its kernel reads floats (`reads_floats`)
input -> entry -> step              else: bytes, made once for all
step -> exit -> output              floats of bytes, where the step is no classifier's last layer
step -> exit -> detections          floats of bytes, once for all float steps that read them (`float_steps`)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .byte_tensors import float_steps, is_dense
from .nodes import Graph, Node

ENDS = ("entry", "exit")


def as_convolutions(graph: Graph) -> None:
    """Puts convolutions in the place of scales and shifts of each channel."""
    for node in graph.nodes:
        if node.op == "affine":
            node.op, weights = "conv", node.weights
            one, none = (1, 1), (0, 0, 0, 0)
            node.attrs = dict(kernel=one, stride=one, dilation=one, pad=none, groups=node.channels)
            shift = np.asarray(weights["shift"], np.float32)
            node.weights = {"weight": weights["scale"].astype(np.float32).reshape(-1, 1, 1, 1), "bias": shift}


def add_ends(graph: Graph, reads_floats: Callable[[Node], bool]) -> None:
    """Adds entries and exits; `reads_floats(node)` says whether a kernel for the node takes the caller's picture."""
    picture, names = graph.input, {node.name for node in graph.nodes}

    def named(wanted: str) -> str:
        while wanted in names:
            wanted += "'"
        names.add(wanted)
        return wanted

    readers = [node for node in graph.nodes if picture in node.inputs and not reads_floats(node)]
    if readers or picture in graph.outputs:
        entry = Node("entry", named(f"{picture.name}.bytes"), [picture], picture.shape, copies=picture.copies)
        graph.nodes.insert(1, entry)
        for node in readers:
            node.inputs = [entry if source is picture else source for source in node.inputs]
        graph.outputs = [entry if node is picture else node for node in graph.outputs]
    floats = float_steps(graph)
    if floats:
        _exits_before(graph, floats, named)
    counts = graph.readers()
    for place, node in enumerate(graph.outputs):
        if node in floats or (is_dense(node) and not node.activation and counts[node] == 1):
            continue
        leave = Node("exit", named(f"{node.name}.floats"), [node], node.shape, copies=node.copies)
        graph.nodes.append(leave)
        graph.outputs[place] = leave


def _exits_before(graph: Graph, floats: set[Node], named: Callable[[str], str]) -> None:
    """Exits in front of float steps; behind all steps of bytes come the exits, and behind these the float steps."""
    behind = [node for node in graph.nodes if node in floats]
    exits: dict[Node, Node] = {}
    for node in behind:
        for source in node.inputs:
            if source not in floats and source not in exits:
                name = named(f"{source.name}.floats")
                exits[source] = Node("exit", name, [source], source.shape, copies=source.copies)
        node.inputs = [exits.get(source, source) for source in node.inputs]
    graph.nodes = [*(node for node in graph.nodes if node not in floats), *exits.values(), *behind]
