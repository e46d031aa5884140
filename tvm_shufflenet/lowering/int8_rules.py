"""Which kernel computes a node of bytes, and its integers as that kernel has them.

A graph's bytes are from 0 to 255.  Kernels that take signed bytes are given each less 128, and biases that make up for
it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Node
from ..graph.quantise import Bytes, is_dense
from ..schedules import (
    Int8Attention,
    Int8Dense,
    Int8GlobalAvgPool,
    Int8InnerDense,
    Int8Matrix,
    Int8Pointwise,
    Int8Stem,
    Int8Strewn,
    Int8StrewnMatrix,
    Int8StrewnWindow,
    Int8Table,
    Int8Window,
    Plane,
    WindowPool,
)  # fmt: skip
from ..schedules.conv2d import Conv2d
from ..schedules.dot4 import WORD, of_words
from ..schedules.requantise import limits
from .abilities import STRIDE, WINDOW, is_depthwise, is_pointwise, square_window
from .site import Choice, Places, Rule, Site, shuffle_groups


def _less(site: Site) -> int:
    """By how much the kernels' bytes are less than the graph's."""
    return 128 if site.dtype == "int8" else 0


def _limits(b: Bytes, less: int) -> np.ndarray:
    return limits(b.zero - less, b.low - less, b.high - less, b.border - less)


def _integers(node: Node, site: Site) -> tuple[np.ndarray, ...]:
    """Weight, bias, scale, limits and gains of a convolution."""
    less, weights = _less(site), node.weights
    bias = weights["bias"] + less * weights["weight"].astype(np.int64).sum((1, 2, 3))
    gains, bounds = (weights["gain"],) if node.residual else (), node.attrs["bytes"]
    if node.scaled:
        bounds = replace(bounds, border=node.attrs.get("other", 0))
    else:
        for gain in gains:
            bias = bias + less * gain.astype(np.int64)
    return weights["weight"], bias.astype(np.int32), weights["scale"], _limits(bounds, less), *gains


def _pointwise(node: Node, site: Site) -> Choice | None:
    if not is_pointwise(node):
        return None
    plane, groups = site.planes[0], node.attrs["groups"]
    inputs, outputs = node.inputs[0].channels // groups, node.channels // groups
    pairs = site.precision.dot == "smmla" and not node.scaled and Int8Matrix.pays(inputs, outputs)
    fields = dict(
        groups=groups, inputs=inputs, outputs=outputs, plane=plane, lanes=site.lanes,
        dot="smmla" if pairs else of_words(site.precision.dot), residual=node.residual, scaled=node.scaled,
        dtype=site.dtype,
    )  # fmt: skip
    home = site.home or Places(tuple(range(node.channels)), node.channels)
    shuffle = 0 if home.is_run else shuffle_groups(home.order)
    if all(source.is_run for source in site.sources) and (home.is_run or (shuffle == groups and not node.residual)):
        kind = Int8Matrix if pairs else Int8Pointwise
        return Choice(kind(**fields, shuffle=bool(shuffle)), plane, _integers(node, site))
    source, other = site.sources[0], site.sources[-1] if node.residual else None
    strewn = Int8StrewnMatrix if pairs else Int8Strewn
    workload = strewn(**fields, sources=source.among, targets=home.among, others=other.among if other else 0)
    tables = (np.array(places.planes, "int32") for places in (source, home, other) if places)
    return Choice(workload, plane, (*_integers(node, site), *tables))


def _depthwise(node: Node, site: Site) -> Choice | None:
    if not is_depthwise(node):
        return None
    return _windows(node, site, _integers(node, site))


def _windows(node: Node, site: Site, integers: tuple[np.ndarray, ...]) -> Choice | None:
    window = square_window(node)
    if window is None:
        return None
    plane, source = site.after(node), site.sources[0]
    fields = node.channels, site.planes[0], plane, *window, site.lanes, of_words(site.precision.dot)
    if source.is_run:
        return Choice(Int8Window(*fields, dtype=site.dtype), plane, integers)
    workload = Int8StrewnWindow(*fields, sources=source.among, dtype=site.dtype)
    return Choice(workload, plane, (*integers, np.array(source.planes, "int32")))


def _stem(node: Node, site: Site) -> Choice | None:
    window, entry = square_window(node), node.inputs[0]
    if window is None or node.attrs["groups"] > 1 or entry.op != "input" or node.residual:
        return None
    plane = Plane.padded_rows(*node.shape[1:], site.lanes)
    if (site.target or site.packed) and Conv2d.fits(wanted := site.after(node), site.lanes):
        plane = wanted
    workload = Int8Stem(
        1, -(-entry.channels // WORD), node.channels, site.planes[0], plane, *window, site.lanes,
        channels=entry.channels, dot=of_words(site.precision.dot), dtype=site.dtype,
    )  # fmt: skip
    less, b = _less(site), entry.attrs["bytes"]
    picture = limits(b.zero - less, b.low - less, b.high - less, b.zero - less)
    return Choice(workload, plane, (*_integers(node, site), np.array([entry.attrs["scale"]]), picture))


def _dense(node: Node, site: Site) -> Choice | None:
    if not is_dense(node):
        return None
    weight, table = node.weights["weight"].reshape(node.channels, -1), node.weights.get("table")
    bias = node.weights["bias"] + _less(site) * weight.astype(np.int64).sum(1)
    fields = node.inputs[0].channels, node.channels, site.machine.lanes
    parameters = weight, bias.astype(np.int32), node.weights["scale"]
    if node.attrs["last"]:
        workload = Int8Dense(*fields, dot=of_words(site.precision.dot), dtype=site.dtype)
        return Choice(workload, Plane.dense(1, 1), parameters)
    entries = 0 if table is None else len(table)
    workload = Int8InnerDense(*fields, dot=of_words(site.precision.dot), entries=entries, dtype=site.dtype)
    bounds = _limits(node.attrs["bytes"], 0 if entries else _less(site))
    further = () if table is None else (table,)
    return Choice(workload, Plane.dense(1, 1), (*parameters, bounds, *further))


def _attention(node: Node, site: Site) -> Choice:
    plane = site.target or site.planes[0]
    workload = Int8Attention(node.channels, site.planes[0], plane, dtype=site.dtype)
    return Choice(workload, plane, (node.weights["scale"], _limits(node.attrs["bytes"], _less(site))))


def _activation(node: Node, site: Site) -> Choice:
    less, plane = _less(site), site.target or site.planes[0]
    table = np.roll(node.weights["table"].astype(np.int64), -less) - less  # byte b is entry b of 256, also below zero
    workload = Int8Table(node.channels, site.planes[0], plane, dtype=site.dtype)
    return Choice(workload, plane, (table.astype(site.dtype),))


def _pool(node: Node, site: Site) -> Choice | None:
    window = square_window(node)
    if window is None or window[0] > WINDOW or window[1] > STRIDE:
        return None
    plane = site.after(node)
    if node.attrs["kind"] == "max":
        workload = WindowPool(node.channels, site.planes[0], plane, *window, site.lanes, kind="max", dtype=site.dtype)
        return Choice(workload, plane)
    if any(
        (n - 1) * window[1] + window[0] > size + before + behind
        for n, size, before, behind in zip(
            node.shape[1:], node.inputs[0].shape[1:], node.attrs["pad"][:2], node.attrs["pad"][2:]
        )
    ):  # a window that ends behind the padding counts fewer pixels
        return None
    ones = np.ones(node.channels * window[0] ** 2, np.int8)
    return _windows(node, site, (ones, *_averages(node, site, window[0] ** 2)))


def _global_average(node: Node, site: Site) -> Choice | None:
    plane = site.planes[0]
    if plane.size % site.lanes:
        return None
    workload = Int8GlobalAvgPool(node.channels, plane, site.lanes, dtype=site.dtype)
    return Choice(workload, Plane.dense(1, 1), _averages(node, site, plane.height * plane.width))


def _averages(node: Node, site: Site, pixels: int) -> tuple[np.ndarray, ...]:
    """Bias, scale and limits of the mean of so many pixels."""
    less = _less(site)
    bias = (node.weights["bias"] + less * pixels).astype(np.int32)
    return bias, node.weights["scale"], _limits(node.attrs["bytes"], less)


RULES: dict[str, list[Rule]] = {
    "conv": [_dense, _pointwise, _depthwise, _stem], "dense": [_dense], "pool": [_pool],
    "global_pool": [_global_average], "multiply": [_attention],
    "activation": [_activation],
}  # fmt: skip
