"""MobileNet v3 Large (A. Howard et al., arXiv:1905.02244, Table 1), as torchvision has it, and SSDLite on it.

Hard swish from the seventh unit on, channel attention that ends in a hard sigmoid.  The reduced tail of the paper's
section 6.3, with half of the channels behind stride 16, is the body of torchvision's `ssdlite320_mobilenet_v3_large`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from . import ssdlite
from .blocks import channel_attention
from .builder import NetworkBuilder
from .entries import NOWHERE, About, Entry
from .mobilenet_v2 import rounded
from .network import Network


class Unit(NamedTuple):
    """`middle`: channels behind the expansion; `swish`: hard swish, else ReLU."""

    kernel: int
    middle: int
    outputs: int
    attention: bool
    swish: bool
    stride: int


TAIL = 12  # units in front of the tail
UNITS = tuple(map(Unit._make, (
    (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
)))  # fmt: skip
STEM, LAST, HIDDEN, EPS = 16, 960, 1280, 1e-3
BEST = 300  # boxes that torchvision's detector gives


def entries() -> dict[str, Entry]:
    note = "as in torchvision's code"
    reduced = f"{note}; the tail has half of the channels, which torchvision calls reduced_tail"
    body = "mobilenet-v3-large-reduced"
    return {
        "mobilenet-v3-large": Entry(mobilenet_v3, About("v2", NOWHERE, note=note), ("mobilenet_v3_large",)),
        body: Entry(partial(mobilenet_v3, share=2), About("v2", NOWHERE, note=reduced)),
        f"ssdlite-{body}": Entry(
            partial(detector, share=2), About("v2", NOWHERE, note=f"{note}, ssdlite320_mobilenet_v3_large"),
            ("ssdlite320_mobilenet_v3_large",), ssdlite.SIZE, ssdlite.CLASSES, body,
        ),
    }  # fmt: skip


def mobilenet_v3(name: str, size: tuple[int, int], classes: int, share: int = 1) -> Network:
    """The classifier; the tail's channels are divided by `share`."""
    net = NetworkBuilder(size)
    x = net.global_avg_pool("pool", _body(net, share)[-1])
    x = net.hard_swish("hidden.swish", net.dense("hidden", x, HIDDEN // share))
    net.dense("classifier", net.dropout("dropout", x, 0.2), classes)
    return net.network(name)


def detector(name: str, size: tuple[int, int], classes: int, share: int = 1) -> Network:
    """SSDLite on the expansion in front of stride 32, and on the last convolution."""
    return ssdlite.ssdlite(partial(_body, share=share), name, size, classes, best=BEST)


def _body(net: NetworkBuilder, share: int) -> list[int]:
    """The expansion in front of the last depthwise convolution of stride 2, and the last map."""
    x = net.hard_swish("stem.swish", net.conv_bn("stem", "", 0, STEM, kernel=3, stride=2, pad=1, eps=EPS))
    for index, unit in enumerate(UNITS):
        wide, middle = unit.outputs, unit.middle
        if index >= TAIL:
            wide //= share
            middle = middle // share if index > TAIL else middle
        x, expanded = _unit(net, f"block{index}", x, unit._replace(middle=middle, outputs=wide))
        if index == TAIL:
            found = expanded
    return [found, net.hard_swish("last.swish", net.conv_bn("last", "", x, LAST // share, eps=EPS))]


def _unit(net: NetworkBuilder, name: str, x: int, unit: Unit) -> tuple[int, int]:
    """1x1 to `middle` channels, depthwise, attention, 1x1 without activation; and the first one's output."""
    inputs, activation = net.shape(x)[1], net.hard_swish if unit.swish else net.relu
    y = x
    if unit.middle != inputs:
        y = activation(f"{name}.act1", net.conv_bn(name, "1", y, unit.middle, eps=EPS))
    expanded = y
    y = net.conv_bn(name, "2", y, unit.middle, kernel=unit.kernel, stride=unit.stride, pad=unit.kernel // 2,
                    groups=unit.middle, eps=EPS)  # fmt: skip
    y = activation(f"{name}.act2", y)
    if unit.attention:
        y = channel_attention(net, f"{name}.se", y, rounded(unit.middle // 4), net.hard_sigmoid)
    y = net.conv_bn(name, "3", y, unit.outputs, eps=EPS)
    added = unit.stride == 1 and inputs == unit.outputs
    return (net.add(f"{name}.add", x, y) if added else y), expanded
