"""Which kernel computes a node of bytes, and its integers as that kernel has them.

A graph's bytes are from 0 to 255.  Kernels that take signed bytes are given each less 128, and biases that make up for
it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..architectures.resizing import resize_tables
from ..graph import Node
from ..graph.byte_tensors import is_dense
from ..graph.quantise import LARGEST, Bytes, is_whole
from ..schedules import (
    Int8AdaptiveAvgPool,
    Int8Add,
    Int8Attention,
    Int8Conv,
    Int8Dense,
    Int8Entry,
    Int8Exit,
    Int8GenericConv,
    Int8GenericPool,
    Int8GlobalAvgPool,
    Int8InnerDense,
    Int8LRN,
    Int8Matrix,
    Int8Pointwise,
    Int8Resize,
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
from ..schedules.dot4 import in_window, of_words
from ..schedules.requantise import bias_of, factors_of, limits
from .abilities import STRIDE, WINDOW, free_plane, is_depthwise, is_pointwise, square_window
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
    return weights["weight"], *_of_sums(node, bias, less), _limits(bounds, less), *gains


def _of_sums(node: Node, bias: np.ndarray, less: int) -> tuple[np.ndarray, np.ndarray]:
    """Bias and factors of a convolution, as its kernel has them for this bias."""
    start = node.weights["start"] - np.float32(less) if _short(node) else None
    return bias_of(bias, start), factors_of(node.weights["scale"], start)


def _short(node: Node) -> bool:
    """Whether a node's sums are (`schedules/requantise.py`)."""
    return "start" in node.weights


def _pointwise(node: Node, site: Site) -> Choice | None:
    if not is_pointwise(node):
        return None
    plane, groups = site.planes[0], node.attrs["groups"]
    inputs, outputs = node.inputs[0].channels // groups, node.channels // groups
    pairs = site.precision.dot == "smmla" and not node.scaled and Int8Matrix.pays(inputs, outputs)
    fields = dict(
        groups=groups, inputs=inputs, outputs=outputs, plane=plane, lanes=site.lanes,
        dot="smmla" if pairs else of_words(site.precision.dot), residual=node.residual, scaled=node.scaled,
        short=_short(node), dtype=site.dtype,
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
        return Choice(Int8Window(*fields, short=_short(node), dtype=site.dtype), plane, integers)
    workload = Int8StrewnWindow(*fields, sources=source.among, short=_short(node), dtype=site.dtype)
    return Choice(workload, plane, (*integers, np.array(source.planes, "int32")))


def _stem(node: Node, site: Site) -> Choice | None:
    window, entry = square_window(node), node.inputs[0]
    if window is None or entry.op != "input":
        return None
    plane, dot = _of_rows(node, site), of_words(site.precision.dot)
    workload = Int8Stem(
        1, -(-entry.channels // in_window(dot)), node.channels, site.planes[0], plane, *window, site.lanes,
        channels=entry.channels, dot=dot, short=_short(node), dtype=site.dtype,
    )  # fmt: skip
    less, b = _less(site), entry.attrs["bytes"]
    picture = limits(b.zero - less, b.low - less, b.high - less, b.zero - less)
    return Choice(workload, plane, (*_integers(node, site), np.array([entry.attrs["scale"]]), picture))


def _of_rows(node: Node, site: Site) -> Plane:
    """In which plane a convolution by rows stores."""
    if (site.target or site.packed) and Conv2d.fits(wanted := site.after(node), site.lanes):
        return wanted
    return Plane.padded_rows(*node.shape[1:], site.lanes)


def _direct(node: Node, site: Site) -> Choice | None:
    window, groups = square_window(node), node.attrs["groups"]
    if window is None or node.residual or node.scaled:
        return None
    plane, channels = _of_rows(node, site), node.inputs[0].channels // groups
    dot = of_words(site.precision.dot)
    workload = Int8Conv(
        groups, -(-channels // in_window(dot)), node.channels // groups, site.planes[0], plane, *window, site.lanes,
        channels=channels, dot=dot, short=_short(node), dtype=site.dtype,
    )  # fmt: skip
    return Choice(workload, plane, _integers(node, site))


def _any_conv(node: Node, site: Site) -> Choice | None:
    if node.residual or node.scaled:
        return None
    a, plane, groups, bounds = node.attrs, site.after(node), node.attrs["groups"], node.attrs["bytes"]
    workload = Int8GenericConv(
        groups, node.inputs[0].channels // groups, node.channels // groups, site.planes[0], plane, a["kernel"],
        a["stride"], a["pad"][:2], a["dilation"], short=_short(node), dtype=site.dtype,
    )  # fmt: skip
    weight = node.weights["weight"]  # of bytes less their zero
    bias = node.weights["bias"] + bounds.border * weight.astype(np.int64).sum((1, 2, 3))
    parameters = weight, *_of_sums(node, bias, _less(site)), _limits(bounds, _less(site))
    return Choice(workload, plane, parameters)


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
    plane, less = site.target or site.planes[0], _less(site)
    middle = (np.array([node.attrs["other"] - less], np.int32),) if "other" in node.attrs else ()
    workload = Int8Attention(node.channels, site.planes[0], plane, bool(middle), dtype=site.dtype)
    return Choice(workload, plane, (node.weights["scale"], _limits(node.attrs["bytes"], less), *middle))


def _add(node: Node, site: Site) -> Choice:
    plane, less = site.target or site.planes[0], _less(site)
    zeros = np.array(node.attrs["zeros"], np.int32) - less
    workload = Int8Add(node.channels, site.planes[0], site.planes[1], plane, dtype=site.dtype)
    return Choice(workload, plane, (node.weights["scale"], zeros, _limits(node.attrs["bytes"], less)))


def _lrn(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = Int8LRN(node.channels, site.planes[0], plane, a["size"], a["size"] // 2, dtype=site.dtype)
    return Choice(workload, plane, (node.weights["scale"], _limits(a["bytes"], _less(site))))


def _resize(node: Node, site: Site) -> Choice:
    a, plane, less = node.attrs, site.after(node), _less(site)
    tables = resize_tables(node.inputs[0].shape[1:], a["size"], a["mode"], a["coordinates"], a["rounding"], a["scales"])
    if a["mode"] != "nearest":
        tables.append(_limits(Bytes(0, 0, 0, LARGEST), less))
    return Choice(Int8Resize(node.channels, site.planes[0], plane, a["mode"], dtype=site.dtype), plane, tuple(tables))


def _entry(node: Node, site: Site) -> Choice:
    plane = site.target or free_plane(*node.shape[1:], site.lanes, site.dense)
    workload = Int8Entry(node.channels, site.planes[0], plane, dtype=site.dtype)
    return Choice(workload, plane, (np.array([node.attrs["scale"]]), _limits(node.attrs["bytes"], _less(site))))


def _exit(node: Node, site: Site) -> Choice:
    plane = site.target or site.planes[0]
    workload = Int8Exit(node.channels, site.planes[0], plane, dtype=site.dtype)
    return Choice(workload, plane, (np.array([node.attrs["scale"]]), _limits(node.attrs["bytes"], _less(site))))


def _activation(node: Node, site: Site) -> Choice:
    less, plane = _less(site), site.target or site.planes[0]
    table = np.roll(node.weights["table"].astype(np.int64), -less) - less  # byte b is entry b of 256, also below zero
    workload = Int8Table(node.channels, site.planes[0], plane, site.precision.lookup, dtype=site.dtype)
    return Choice(workload, plane, (table.astype(site.dtype),))


def _pool(node: Node, site: Site) -> Choice | None:
    window = square_window(node)
    if window is None or window[0] > WINDOW or window[1] > STRIDE:
        return None
    plane = site.after(node)
    if node.attrs["kind"] == "max":
        workload = WindowPool(node.channels, site.planes[0], plane, *window, site.lanes, kind="max", dtype=site.dtype)
        return Choice(workload, plane)
    if not is_whole(node):
        return None
    ones = np.ones(node.channels * window[0] ** 2, np.int8)
    return _windows(node, site, (ones, *_averages(node, site, window[0] ** 2)))


def _any_pool(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = Int8GenericPool(
        a["kind"], node.channels, site.planes[0], plane, a["kernel"], a["stride"], a["pad"], a["dilation"],
        dtype=site.dtype,
    )  # fmt: skip
    return Choice(workload, plane, _means(node, site) if a["kind"] != "max" else ())


def _any_global_pool(node: Node, site: Site) -> Choice:
    before, plane = site.planes[0], Plane.dense(1, 1)
    workload = Int8GenericPool(
        node.attrs["kind"], node.channels, before, plane, (before.height, before.width), dtype=site.dtype
    )  # fmt: skip
    return Choice(workload, plane, _means(node, site) if node.attrs["kind"] != "max" else ())


def _adaptive_average(node: Node, site: Site) -> Choice:
    plane = site.after(node)
    workload = Int8AdaptiveAvgPool(node.channels, site.planes[0], plane, dtype=site.dtype)
    return Choice(workload, plane, _means(node, site))


def _means(node: Node, site: Site) -> tuple[np.ndarray, ...]:
    """Scale and limits, for sums of bytes less their zero."""
    return node.weights["scale"], _limits(node.attrs["bytes"], _less(site))


def _global_average(node: Node, site: Site) -> Choice | None:
    plane = site.planes[0]
    if node.attrs["kind"] != "avg" or plane.size % site.lanes:
        return None
    workload = Int8GlobalAvgPool(node.channels, plane, site.lanes, dtype=site.dtype)
    return Choice(workload, Plane.dense(1, 1), _averages(node, site, plane.height * plane.width))


def _averages(node: Node, site: Site, pixels: int) -> tuple[np.ndarray, ...]:
    """Bias, scale and limits of the mean of so many pixels."""
    less = _less(site)
    bias = (node.weights["bias"] + less * pixels).astype(np.int32)
    return bias, node.weights["scale"], _limits(node.attrs["bytes"], less)


RULES: dict[str, list[Rule]] = {
    "conv": [_dense, _pointwise, _depthwise, _stem, _direct, _any_conv], "dense": [_dense],
    "pool": [_pool, _any_pool], "global_pool": [_global_average, _any_global_pool],
    "adaptive_avg_pool": [_adaptive_average], "multiply": [_attention], "activation": [_activation], "add": [_add],
    "resize": [_resize], "lrn": [_lrn], "entry": [_entry], "exit": [_exit],
}  # fmt: skip
