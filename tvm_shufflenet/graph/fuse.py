"""A step, the tensor that is added to it and the activation behind it  =>  one step, if one kernel does it all.

    conv -> add(other) -> activation    conv with `residual` and `activation`
    conv, dense, pool, add ... -> activation

Only what nothing else reads is taken in: a tensor that is read before and behind its ReLU keeps both.
"""

from __future__ import annotations

from collections.abc import Callable

from .nodes import Graph, Node

Takes = Callable[[Graph, Node, Node], bool]

# Steps whose kernels apply an activation to their result, all of them.
WITH_ACTIVATION = ("conv", "dense", "affine", "add", "multiply", "pool", "global_pool")


def fuse_epilogues(
    graph: Graph, takes_residual: Callable[[Node], bool], takes_activation: Takes = lambda graph, node, activation: True
) -> None:
    """Takes additions and activations into the steps before them.

    `takes_residual(node)` says whether a kernel for the node can add a tensor of its own shape, and
    `takes_activation(graph, node, activation)` whether a kernel for the node can apply the activation, a node behind.
    """
    for node in list(graph.nodes):
        if node not in graph.nodes:
            continue
        readers = graph.readers()
        if node.op == "add" and node.inputs[0].shape == node.inputs[1].shape:
            _fuse_residual(graph, node, readers, takes_residual)
        elif node.op == "activation":
            before = node.inputs[0]
            alone = before.op in WITH_ACTIVATION and readers[before] == 1 and not before.activation
            if alone and takes_activation(graph, before, node):
                before.activation = node.activation
                graph.replace(node, before)


def _fuse_residual(graph: Graph, add: Node, readers: dict, takes_residual: Callable[[Node], bool]) -> None:
    for index in (1, 0):
        conv, other = add.inputs[index], add.inputs[1 - index]
        if conv is other or conv.op != "conv" or conv.activation or conv.residual or readers[conv] > 1:
            continue
        if takes_residual(conv):
            graph.nodes.remove(conv)  # the tensor that is added may be computed only behind its place
            graph.replace(add, conv)
            conv.inputs, conv.residual = [*conv.inputs, other], True
            return
