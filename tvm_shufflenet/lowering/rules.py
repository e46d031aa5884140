"""Which kernel computes a node: for each kind of node an ordered list of rules.

A rule returns None as soon as its kernel does not fit.  The last rule of each list is a kernel that takes every shape.
Rules see planes, not memory: whether a kernel may touch the caller's buffers is checked by `select_kernels`.
"""

from __future__ import annotations

import numpy as np

from ..architectures.resizing import resize_tables
from ..errors import UserError
from ..graph import Node
from ..schedules import (
    BYTES,
    LRN,
    AdaptiveAvgPool,
    Binary,
    BinPlanes,
    Copy,
    Detections,
    GenericLRN,
    GenericPool,
    GlobalAvgPool,
    GlobalPool,
    GroupedSoftmax,
    Pad,
    Plane,
    RegionDetections,
    RegionPixels,
    Regions,
    Resize,
    Scale,
    Softmax,
    Unary,
    ValidAvgPool,
    WindowPool,
)  # fmt: skip
from . import int8_rules
from .abilities import STRIDE, WINDOW, per_channel, square_window
from .conv_rules import CONVOLUTIONS, FULLY_CONNECTED
from .site import Choice, Rule, Site, unlike

LRN_WINDOW = 15


def choose(node: Node, site: Site) -> Choice:
    """The kernel of the first rule that fits: of floats the last one takes everything.  Else `UserError`."""
    rules = int8_rules.RULES if site.dtype in BYTES else RULES
    found = next((choice for rule in rules[node.op] if (choice := rule(node, site))), None)
    if found is None:
        what = ", ".join(f"{key} {value}" for key, value in node.attrs.items() if key != "bytes")
        raise UserError(
            f"layer {node.name}: int8 has no kernel for this {node.op} ({what}): build with --precision fp32 or fp16"
        )
    return found


# Element by element


def _affine(node: Node, site: Site) -> Choice:
    plane = site.after(node)
    parameters = tuple(np.asarray(node.weights[key], "float32") for key in ("scale", "shift"))
    return Choice(Scale(node.channels, site.planes[0], plane, node.activation, dtype=site.dtype), plane, parameters)


def _activation(node: Node, site: Site) -> Choice:
    plane = site.after(node)
    return Choice(Unary(node.channels, site.planes[0], plane, node.activation, dtype=site.dtype), plane)


def _binary(node: Node, site: Site) -> Choice:
    plane, (first, second) = site.target or site.planes[0], site.planes
    workload = Binary(
        node.op, node.channels, first, second, plane, per_channel(node), node.activation, dtype=site.dtype
    )
    return Choice(workload, plane)


# Windows


def _window_pool(node: Node, site: Site) -> Choice | None:
    window = square_window(node)
    if window is None or window[0] > WINDOW or window[1] > STRIDE:
        return None
    kernel, stride, _ = window
    for axis in (0, 1):
        reach = (node.shape[axis + 1] - 1) * stride + kernel
        padded = node.inputs[0].shape[axis + 1] + node.attrs["pad"][axis] + node.attrs["pad"][axis + 2]
        if node.attrs["kind"] == "avg" and reach > padded:  # a window that ends behind the padding counts fewer pixels
            return None
    plane = site.after(node)
    fields = node.channels, site.planes[0], plane, *window, site.lanes, node.activation
    if node.attrs["kind"] == "valid_avg" and _counts_fewer(node):
        return Choice(ValidAvgPool(*fields, dtype=site.dtype), plane)
    kind = "max" if node.attrs["kind"] == "max" else "avg"
    return Choice(WindowPool(*fields, kind, dtype=site.dtype), plane)


def _counts_fewer(node: Node) -> bool:
    """Whether some window reaches over an edge of the plane, and so holds fewer pixels than taps."""
    a = node.attrs
    ends = [
        (n - 1) * step + kernel - pad
        for n, step, kernel, pad in zip(node.shape[1:], a["stride"], a["kernel"], a["pad"])
    ]
    return any(a["pad"]) or any(end > n for end, n in zip(ends, node.inputs[0].shape[1:]))


def _any_pool(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = GenericPool(
        a["kind"], node.channels, site.planes[0], plane, a["kernel"], a["stride"], a["pad"], a["dilation"],
        node.activation,
    )  # fmt: skip
    return Choice(workload, plane)


def _global_average(node: Node, site: Site) -> Choice | None:
    plane = site.planes[0]
    if node.attrs["kind"] != "avg" or node.activation or plane.size % site.lanes:
        return None
    out = unlike(site.dtype, site.result)
    workload = GlobalAvgPool(node.channels, plane, site.lanes, dtype=site.dtype, out_dtype=out)
    return Choice(workload, Plane.dense(1, 1))


def _any_global_pool(node: Node, site: Site) -> Choice:
    workload = GlobalPool(node.attrs["kind"], node.channels, site.planes[0], node.activation)
    return Choice(workload, Plane.dense(1, 1))


def _adaptive_average(node: Node, site: Site) -> Choice:
    plane = site.after(node)
    return Choice(AdaptiveAvgPool(node.channels, site.planes[0], plane), plane)


# The rest


def _lrn(node: Node, site: Site) -> Choice | None:
    a, plane = node.attrs, site.planes[0]
    if a["beta"] != 0.75 or plane.size % site.lanes or a["size"] > LRN_WINDOW:
        return None
    vectors = plane.size // site.lanes
    workload = LRN(node.channels, vectors, site.lanes, a["size"], a["alpha"], a["k"], dtype=site.dtype)
    return Choice(workload, plane)


def _any_lrn(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = GenericLRN(
        node.channels, site.planes[0], plane, a["size"], a["size"] // 2, a["alpha"], a["beta"], a["k"]
    )
    return Choice(workload, plane)


def _softmax(node: Node, site: Site) -> Choice:
    plane, groups = site.after(node), node.attrs["groups"]
    if groups > 1:
        workload = GroupedSoftmax(groups, node.channels // groups, site.planes[0], plane, node.attrs["log"])
        return Choice(workload, plane)
    return Choice(Softmax(node.channels, site.planes[0], plane, node.attrs["log"]), plane)


def _pad(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = Pad(
        node.inputs[0].channels, node.channels, site.planes[0], plane, a["pad"][:2], a["channels"][0], a["mode"],
        a["value"],
    )  # fmt: skip
    return Choice(workload, plane)


def _resize(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    tables = resize_tables(node.inputs[0].shape[1:], a["size"], a["mode"], a["coordinates"], a["rounding"], a["scales"])
    return Choice(Resize(node.channels, site.planes[0], plane, a["mode"]), plane, tuple(tables))


def _depth_to_space(node: Node, site: Site) -> Choice:
    """A copy: row i of a block in row y of the input becomes row y * block + i."""
    before, plane, block, channels = site.planes[0], site.after(node), node.attrs["block"], node.channels
    outer, inner = (1, block**2) if node.attrs["mode"] == "CRD" else (channels, 1)
    workload = Copy.of(
        (channels, before.height, block, before.width, block),
        (inner * before.size, before.pitch, outer * block * before.size, 1, outer * before.size),
        (plane.size, block * plane.pitch, plane.pitch, block, 1),
        (site.dtypes[0], site.result),
    )
    return Choice(workload, plane)


def _detections(node: Node, site: Site) -> Choice:
    a, count = node.attrs, len(node.inputs) // 2
    sides = [len(boxes) for boxes in a["anchors"]]
    further = {key: a[key] for key in ("centre", "ratio", "smallest", "bins", "background", "corners") if key in a}
    workload = Detections.of(
        a["size"], a["classes"], sides, site.planes[:count], site.planes[count:], a["least"], a["overlap"],
        a["candidates"], a["best"], **further,
    )  # fmt: skip
    height, width = a["size"]
    defaults = np.array([box for boxes in a["anchors"] for box in boxes], "float32")
    defaults *= np.array([width, height], "float32")
    return Choice(workload, Plane.dense(1, 1), (defaults,))


def _regions(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    if a["mode"] == "bins":
        return Choice(BinPlanes(node.channels, site.planes[0], plane, a["stride"]), plane)
    return Choice(Regions(node.channels, site.planes[0], plane, a["mode"], a["stride"]), plane)


def _region_pixels(node: Node, site: Site) -> Choice:
    """How far apart the regions lie `give_places` says."""
    plane = site.after(node)
    return Choice(RegionPixels(node.channels, node.channels, plane), plane)


def _region_detections(node: Node, site: Site) -> Choice:
    a, (found, scores, _) = node.attrs, node.inputs
    _, of_scores, of_boxes = site.planes  # of a block: how far apart blocks lie `give_places` says
    height, width = a["size"]
    workload = RegionDetections(
        height, width, scores.channels - 1, found.channels // 6, scores.shape[2], of_scores.size, of_boxes.size, 0, 0,
        a["least"], a["overlap"], a["best"],
    )  # fmt: skip
    return Choice(workload, Plane.dense(1, 1))


RULES: dict[str, list[Rule]] = {
    "conv": CONVOLUTIONS,
    "dense": FULLY_CONNECTED,
    "affine": [_affine],
    "activation": [_activation],
    "add": [_binary],
    "multiply": [_binary],
    "pool": [_window_pool, _any_pool],
    "global_pool": [_global_average, _any_global_pool],
    "adaptive_avg_pool": [_adaptive_average],
    "lrn": [_lrn, _any_lrn],
    "softmax": [_softmax],
    "detections": [_detections],
    "regions": [_regions],
    "region_pixels": [_region_pixels],
    "region_detections": [_region_detections],
    "pad": [_pad],
    "resize": [_resize],
    "depth_to_space": [_depth_to_space],
}
