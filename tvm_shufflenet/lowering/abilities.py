"""What kernels can take: which steps read or store planes anywhere, in which order, and in which planes.

The one place for it: rules choose kernels by it, homes and pools decide by it where tensors lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..graph import Node
from ..schedules import Machine, Plane

# Beyond these the window kernels, which are unrolled whole, would become too much code.
WINDOW, STRIDE = 7, 2
SPAN = 64  # pixels from the first tap of a window to the last, where rows are copied for it


def free_plane(height: int, width: int, lanes: int, dense: bool = False) -> Plane:
    """Planes of whole vectors; of single pixels, and where `dense` asks for it, without padding."""
    return Plane.dense(height, width) if dense or height * width == 1 else Plane.padded(height, width, lanes)


def wanted_planes(node: Node, planes: Sequence[Plane], machine: Machine) -> list[Plane]:
    """The planes in which a node's kernel wants its inputs: the planes that they have, wherever it takes those."""

    def whole(plane: Plane) -> Plane:
        fits = plane.size % machine.lanes == 0
        return plane if fits else Plane.padded(plane.height, plane.width, machine.lanes)

    if is_pointwise(node):  # all in the one with the fewest pixels to compute
        large = [plane for i, plane in enumerate(planes) if not (node.scaled and i == 1)]
        chosen = [min(map(whole, large), key=lambda plane: plane.size)] * len(large)
        return [chosen[0], Plane.dense(1, 1), *chosen[1:]] if node.scaled else chosen
    if per_channel(node):
        return [planes[0], Plane.dense(1, 1)]
    if node.op in ("dense", "region_pixels") or on_one_pixel(node):
        return [Plane.dense(1, 1)] * len(planes)
    if node.op in ("global_pool", "lrn") and planes[0].height * planes[0].width > 1:
        return [whole(planes[0])]
    return list(planes)


def is_pointwise(node: Node) -> bool:
    """Whether the pointwise kernels compute a node; they alone scale, add a residual, or store planes anywhere."""
    return _is_1x1(node) and node.shape[1] * node.shape[2] > 1


stores_anywhere = is_pointwise


def reads_anywhere(node: Node, index: int = 0) -> bool:
    """Whether the planes of that input may lie anywhere."""
    return is_depthwise(node) or (is_pointwise(node) and not (node.scaled and index == 1))


def order_free(node: Node) -> bool:
    """Whether its first input's channels may come in any order, if its weights do."""
    return node.op == "dense" or (node.op == "conv" and node.attrs["groups"] == 1)


def channelwise(node: Node) -> bool:
    """Whether each output channel is computed from that channel alone of one input: its outputs follow their order."""
    if node.op == "conv":
        return node.attrs["groups"] == node.channels == node.inputs[0].channels > 1 and not node.residual
    return node.op in ("affine", "activation", "pool", "global_pool", "adaptive_avg_pool", "resize")


def reordered(node: Node, order: Sequence[int]) -> Node:
    """The node for a first input whose channel i is channel order[i] of the node's own input."""
    axis, names = (1, ("weight",)) if order_free(node) else (0, ("weight", "bias", "scale", "shift", "start"))
    weights = {k: np.take(v, order, axis) if k in names else v for k, v in node.weights.items()}
    return dataclasses.replace(node, weights=weights)


def _is_1x1(node: Node) -> bool:
    return node.op == "conv" and node.attrs["kernel"] == node.attrs["stride"] == (1, 1) and not any(node.attrs["pad"])


def on_one_pixel(node: Node) -> bool:
    """A convolution of a single pixel without groups is a fully connected layer."""
    return _is_1x1(node) and node.shape[1:] == (1, 1) and node.attrs["groups"] == 1


def _one(values: Sequence[int]) -> int | None:
    """The number that all are equal to, or None."""
    return values[0] if len(set(values)) == 1 else None


def square_window(node: Node) -> tuple[int, int, int] | None:
    """Kernel, stride and padding of a square window, padded alike above and left, each window touching pixels."""
    *window, dilation = dilated_window(node) or (0, 0, 0, 0)
    return (window[0], window[1], window[2]) if dilation == 1 else None


def dilated_window(node: Node) -> tuple[int, int, int, int] | None:
    """Kernel, stride, padding and dilation of a square window, as `square_window`; its taps may be apart."""
    a = node.attrs
    kernel, stride, pad, dilation = _one(a["kernel"]), _one(a["stride"]), _one(a["pad"][:2]), _one(a["dilation"])
    if kernel is None or stride is None or pad is None or dilation is None or pad > dilation * (kernel - 1):
        return None
    return kernel, stride, pad, dilation


def any_window(node: Node) -> tuple[tuple[int, int], int, tuple[int, int], tuple[int, int]] | None:
    """Kernel, stride, padding and dilation of a convolution; None of one that takes much room, or goes unlike steps."""
    a = node.attrs
    stride, spans = _one(a["stride"]), [d * (k - 1) + 1 for k, d in zip(a["kernel"], a["dilation"])]
    if stride is None or stride > STRIDE or max(spans) > SPAN or any(p >= span for p, span in zip(a["pad"], spans)):
        return None
    return tuple(a["kernel"]), stride, tuple(a["pad"][:2]), tuple(a["dilation"])


def is_depthwise(node: Node) -> bool:
    """Whether the depthwise kernels compute a node."""
    window = dilated_window(node) if node.op == "conv" else None
    if window is None or window[0] > WINDOW or window[1] > STRIDE:
        return False
    return node.attrs["groups"] == node.channels == node.inputs[0].channels


def reads_floats(node: Node) -> bool:
    """Whether the first kernel of int8 computes a convolution, of the caller's picture."""
    if node.op != "conv" or node.attrs["groups"] > 1 or node.residual or node.scaled or is_depthwise(node):
        return False
    return square_window(node) is not None and not _is_1x1(node)


def per_channel(node: Node) -> bool:
    """Whether the second input has a number for each channel of the first."""
    return node.op in ("add", "multiply") and node.inputs[0].shape != node.inputs[1].shape
