"""Channel attention behind a 1x1 convolution, without a pass over its result.

    y = conv(x);  s = f(dense(mean(y)));  y * s    =>    s = f(dense'(mean(x)));  conv(x) scaled by s

The mean of a convolution is the convolution of the mean, which the fully connected layer takes in: it then reads the
convolution's inputs, of which a ShuffleNet unit has a quarter as many.  And s is known before y, so that y is scaled as
it is stored.  Only where nothing lies between, no activation above all, and nothing else reads y or its mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .nodes import Graph, Node


def fold_attention(graph: Graph, takes_scale: Callable[[Node], bool]) -> None:
    """Lets convolutions apply the scale of their channel attention; `takes_scale(node)`: whether a kernel can."""
    for product in list(graph.nodes):
        if product.op == "multiply" and product.inputs[1].shape == (product.channels, 1, 1):
            _fold(graph, product, takes_scale)


def _fold(graph: Graph, product: Node, takes_scale: Callable[[Node], bool]) -> None:
    conv, scale = product.inputs
    readers = graph.readers()
    means = [node for node in graph.nodes if conv in node.inputs and node is not product]
    if conv.op != "conv" or conv.activation or readers[conv] != 2 or len(means) != 1 or not takes_scale(conv):
        return
    (mean,) = means
    dense = [node for node in graph.nodes if mean in node.inputs]
    is_mean = mean.op == "global_pool" and mean.attrs["kind"] == "avg" and not mean.activation
    if not is_mean or readers[mean] != 1 or len(dense) != 1 or not _is_dense(dense[0]):
        return
    (source,) = conv.inputs
    _read_inputs(dense[0], conv)
    mean.inputs, mean.shape = [source], (source.channels, 1, 1)
    graph.nodes.remove(conv)  # the scale is computed only behind its place
    graph.replace(product, conv)
    conv.inputs, conv.scaled = [source, scale], True


def _is_dense(node: Node) -> bool:
    """Whether the step is fully connected; many write it as a convolution of one pixel."""
    if node.op != "conv":
        return node.op == "dense"
    return node.attrs["kernel"] == (1, 1) and node.attrs["groups"] == 1 and not any(node.attrs["pad"])


def _read_inputs(dense: Node, conv: Node) -> None:
    """Lets `dense`, which reads the mean of a convolution's result, read the mean of its inputs instead."""
    groups, channels = conv.attrs["groups"], conv.channels
    tail = dense.weights["weight"].shape[2:]
    weight = dense.weights["weight"].astype("float64").reshape(-1, groups, channels // groups)
    kernel = conv.weights["weight"].astype("float64").reshape(groups, channels // groups, -1)
    through = np.einsum("hgo,gok->hgk", weight, kernel).reshape(len(weight), -1, *tail)
    bias = weight.reshape(len(weight), -1) @ conv.weights["bias"] + dense.weights["bias"]
    dense.weights = {"weight": through.astype("float32"), "bias": bias}
