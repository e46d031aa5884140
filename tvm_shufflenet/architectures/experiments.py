"""Networks that are no classifiers: blocks which the ShuffleNet papers time or count alone.

ShuffleNet v2's four experiments (arXiv:1807.11164, section 2, Tables 1 to 4), its units alone (appendix, Table 1 (b)),
and the bottlenecks whose multiply-adds section 3.2 of ShuffleNet v1 counts (arXiv:1707.01083).  Those of v2 are ten
blocks; their convolutions have neither bias nor batch norm, of which its section 2 does not speak.
"""

from __future__ import annotations

import math
import re

from .builder import NetworkBuilder
from .entries import SETTLED
from .network import Network
from .shufflenet_v2 import Plan, unit

MARK = SETTLED  # of `experiment`
BLOCKS = 10
PLANE = (56, 56)
_UNITS = re.compile(r"shufflenet-v2-units-([1-9][0-9]{0,4})")


def ratio_blocks(name: str, inputs: int, outputs: int, size: tuple[int, int] = PLANE) -> Network:
    """G1: 1x1 from `inputs` to `outputs` channels, and 1x1 back."""
    net, x = NetworkBuilder(size, inputs), 0
    for block in range(BLOCKS):
        x = net.conv(f"block{block}.conv2", net.conv(f"block{block}.conv1", x, outputs), inputs)
    return net.network(name)


def grouped_blocks(name: str, channels: int, groups: int, size: tuple[int, int] = PLANE) -> Network:
    """G2: 1x1 of `channels` to as many, in `groups` groups."""
    net, x = NetworkBuilder(size, channels), 0
    for block in range(BLOCKS):
        x = net.conv(f"block{block}.conv", x, channels, groups=groups)
    return net.network(name)


def fragmented_blocks(
    name: str, channels: int, fragments: int, parallel: bool, size: tuple[int, int] = PLANE
) -> Network:
    """G3: `fragments` 1x1 convolutions of `channels`, one behind the other or, `parallel`, added."""
    net, x = NetworkBuilder(size, channels), 0
    for block in range(BLOCKS):
        source, total = x, None
        for index in range(fragments):
            x = net.conv(f"block{block}.conv{index}", source if parallel else x, channels)
            if parallel:
                total = x if total is None else net.add(f"block{block}.add{index}", total, x)
        x = x if total is None else total
    return net.network(name)


def bottleneck_blocks(name: str, channels: int, relu: bool, shortcut: bool, size: tuple[int, int] = PLANE) -> Network:
    """G4: 1x1 to a quarter of `channels`, 3x3, 1x1 back, with ReLU and a shortcut where asked.

    ReLU stands behind each convolution, at the end behind the addition.
    """
    net, x = NetworkBuilder(size, channels), 0

    def activated(layer: str, y: int) -> int:
        return net.relu(layer, y) if relu else y

    for block in range(BLOCKS):
        y = activated(f"block{block}.relu1", net.conv(f"block{block}.conv1", x, channels // 4))
        y = activated(f"block{block}.relu2", net.conv(f"block{block}.conv2", y, channels // 4, kernel=3, pad=1))
        y = net.conv(f"block{block}.conv3", y, channels)
        x = activated(f"block{block}.relu3", net.add(f"block{block}.add", x, y) if shortcut else y)
    return net.network(name)


def shufflenet_v2_units(name: str, channels: int, size: tuple[int, int] = PLANE) -> Network:
    """Ten units of stride 1 (Figure 3 (c)), with a shuffle behind each."""
    net, x = NetworkBuilder(size, channels), 0
    for block in range(BLOCKS):
        x = unit(net, f"unit{block}", x, Plan((), 0, halves=True))
    return net.network(name)


def counted_unit(
    name: str, channels: int, middle: int, pointwise: int, spatial: int, size: tuple[int, int] = (28, 28)
) -> Network:
    """1x1 to `middle` channels, 3x3, 1x1 back, in `pointwise` and `spatial` groups, and a shortcut.

    A unit of ResNet has 1 and 1 groups, of ResNeXt 1 and g, of ShuffleNet g and `middle`.
    """
    net = NetworkBuilder(size, channels)
    y = net.conv_bn("unit", "1", 0, middle, groups=pointwise, relu=True)
    y = net.shuffle("unit.shuffle", y, pointwise) if pointwise > 1 else y
    y = net.conv_bn("unit", "2", y, middle, kernel=3, pad=1, groups=spatial, relu=pointwise == 1)
    y = net.conv_bn("unit", "3", y, channels, groups=pointwise)
    net.relu("unit.relu", net.add("unit.add", 0, y))
    return net.network(name)


def experiment(name: str, size: tuple[int, int]) -> Network | None:
    """The network alone of this name, `shufflenet-v2-units-N` with N channels; None for any other name."""
    match = _UNITS.fullmatch(name)
    return shufflenet_v2_units(name, int(match[1]), size) if match else None


def memory_access(net: Network) -> int:
    """Numbers that the convolutions of a network read and write, each once: v2's MAC.

    Of a 1x1 convolution on equal planes hw(c1 + c2) + c1 c2 / g (v2, equations 1 and 2).
    """
    total = 0
    for layer in net.layers:
        if layer.op == "conv":
            source = net.layers[layer.inputs[0]].shape
            total += math.prod(source) + math.prod(layer.shape)
            total += math.prod(layer.parameters(source)[f"{layer.name}.weight"])
    return total
