"""Which kernel computes a convolution or a fully connected layer of floats: rules as those of `rules`."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Node
from ..schedules import (
    LONGEST,
    Conv2d,
    Dense,
    Depthwise,
    GenericConv,
    LongConv,
    Plane,
    Pointwise,
    Reshuffled,
    Strewn,
    StrewnDepthwise,
    Winograd,
)  # fmt: skip
from .abilities import any_window, dilated_window, is_depthwise, is_pointwise, on_one_pixel, square_window
from .site import Choice, Places, Rule, Site, shuffle_groups, unlike


def _weights(node: Node) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(node.weights[key], "float32") for key in ("weight", "bias"))


def _pointwise(node: Node, site: Site) -> Choice | None:
    if not is_pointwise(node):
        return None
    plane, groups = site.planes[0], node.attrs["groups"]
    fields = dict(
        groups=groups, inputs=node.inputs[0].channels // groups, outputs=node.channels // groups, plane=plane,
        lanes=site.lanes, activation=node.activation, residual=node.residual, scaled=node.scaled, dtype=site.dtype,
    )  # fmt: skip
    home = site.home or Places(tuple(range(node.channels)), node.channels)
    shuffle = 0 if home.is_run else shuffle_groups(home.order)
    if all(source.is_run for source in site.sources) and (home.is_run or (shuffle and not node.residual)):
        if shuffle in (0, groups):
            return Choice(Pointwise(**fields, shuffle=bool(shuffle)), plane, _weights(node))
        return Choice(Reshuffled(**fields, shuffle_groups=shuffle), plane, _weights(node))
    source, other = site.sources[0], site.sources[-1] if node.residual else None
    workload = Strewn(**fields, sources=source.among, targets=home.among, others=other.among if other else 0)
    tables = (np.array(places.planes, "int32") for places in (source, home, other) if places)
    return Choice(workload, plane, (*_weights(node), *tables))


def _conv_of_one_pixel(node: Node, site: Site) -> Choice | None:
    if not on_one_pixel(node):
        return None
    return _fully_connected(node, site)


def _depthwise(node: Node, site: Site) -> Choice | None:
    window = dilated_window(node)
    if window is None or not is_depthwise(node):
        return None
    plane, source, (kernel, stride, pad, dilation) = site.after(node), site.sources[0], window
    fields = node.channels, site.planes[0], plane, kernel, stride, pad, site.lanes, node.activation
    if source.is_run:
        return Choice(Depthwise(*fields, dtype=site.dtype, dilation=dilation), plane, _weights(node))
    workload = StrewnDepthwise(*fields, sources=source.among, dtype=site.dtype, dilation=dilation)
    return Choice(workload, plane, (*_weights(node), np.array(source.planes, "int32")))


def _winograd(node: Node, site: Site) -> Choice | None:
    window, groups = square_window(node), node.attrs["groups"]
    if window is None or not Winograd.fits(*window[:2]) or node.inputs[0].channels == groups:
        return None
    kernel, _, pad = window
    anywhere = site.target or site.packed
    plane = site.after(node) if anywhere else Winograd.plane(*node.shape[1:], kernel, site.lanes)
    workload = Winograd(
        groups, node.inputs[0].channels // groups, node.channels // groups, site.planes[0], plane, kernel, pad,
        site.machine.lanes, node.activation, data_dtype=unlike("float32", site.dtypes[0]),
        out_dtype=unlike("float32", site.dtype),
    )  # fmt: skip
    return Choice(workload, plane, _weights(node))


def _direct(node: Node, site: Site) -> Choice | None:
    window, groups = square_window(node), node.attrs["groups"]
    if window is None:
        return None
    inputs = node.inputs[0].channels // groups
    dtype = site.dtype if inputs * window[0] ** 2 <= LONGEST else "float32"
    plane = Plane.padded_rows(*node.shape[1:], site.lanes)
    if (site.target or site.packed) and Conv2d.fits(wanted := site.after(node), site.lanes):
        plane = wanted
    workload = Conv2d(
        groups, inputs, node.channels // groups, site.planes[0], plane, *window, site.machine.at(dtype).lanes,
        node.activation, dtype=dtype, data_dtype=unlike(dtype, site.dtypes[0]),
        out_dtype=unlike(dtype, site.dtype),
    )  # fmt: skip
    return Choice(workload, plane, _weights(node))


def _long(node: Node, site: Site) -> Choice | None:
    a, groups, window = node.attrs, node.attrs["groups"], any_window(node)
    if window is None:
        return None
    inputs = node.inputs[0].channels // groups
    dtype = site.dtype if inputs * math.prod(a["kernel"]) <= LONGEST else "float32"
    plane = site.after(node)
    workload = LongConv(
        groups, inputs, node.channels // groups, site.planes[0], plane, *window, site.machine.at(dtype).lanes,
        node.activation, dtype=dtype, data_dtype=unlike(dtype, site.dtypes[0]), out_dtype=unlike(dtype, site.dtype),
    )  # fmt: skip
    return Choice(workload, plane, _weights(node))


def _any_conv(node: Node, site: Site) -> Choice:
    a, plane = node.attrs, site.after(node)
    workload = GenericConv(
        a["groups"], node.inputs[0].channels // a["groups"], node.channels // a["groups"], site.planes[0], plane,
        tuple(a["kernel"]), a["stride"], a["pad"][:2], a["dilation"], node.activation,
    )  # fmt: skip
    return Choice(workload, plane, _weights(node))


def _fully_connected(node: Node, site: Site) -> Choice:
    weight, bias = _weights(node)
    weights, dtype = site.precision.dense_weights, site.dtypes[0]
    workload = Dense(
        node.inputs[0].channels, node.channels, site.machine.at(weights).lanes, node.activation, dtype=dtype,
        weights=unlike(dtype, weights), out_dtype=unlike(dtype, site.result),
    )  # fmt: skip
    return Choice(workload, Plane.dense(1, 1), (weight.reshape(node.channels, -1), bias))


CONVOLUTIONS: list[Rule] = [_conv_of_one_pixel, _pointwise, _depthwise, _winograd, _direct, _long, _any_conv]
FULLY_CONNECTED: list[Rule] = [_fully_connected]
