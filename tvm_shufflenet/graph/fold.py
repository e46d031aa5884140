"""conv or dense -> affine  =>  conv or dense with scaled weights and another bias.

    (conv(x, W) + b) * s + t = conv(x, W * s) + (b * s + t)

Batch norms, biases of convolutions and constants that are added or multiplied are all affine.  So are two of them in a
row.  An affine step whose input something else reads, too, stays a step of its own.
"""

from __future__ import annotations

import numpy as np

from .nodes import Graph, Node


def fold_affine(graph: Graph) -> None:
    for node in list(graph.nodes):
        if node.op != "affine":
            continue
        before = node.inputs[0]
        if before.op in ("conv", "dense", "affine") and graph.readers()[before] == 1 and not before.activation:
            _fold(before, node.weights["scale"], node.weights["shift"])
            graph.replace(node, before)


def _fold(node: Node, scale: np.ndarray, shift: np.ndarray) -> None:
    if node.op == "affine":
        node.weights = {"scale": node.weights["scale"] * scale, "shift": node.weights["shift"] * scale + shift}
        return
    weight, bias = node.weights["weight"].astype("float64"), node.weights["bias"].astype("float64")
    scaled = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    node.weights = {"weight": scaled.astype("float32"), "bias": bias * scale + shift}
