"""Structures that several networks share, each a function that appends layers and returns the last one's index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .builder import NetworkBuilder


def stem(net: NetworkBuilder, channels: int, *further: int, clipped: bool = False) -> int:
    """ShuffleNet paper, Table 1: convolution 3x3 and max pooling, each of stride 2; `further` 3x3 ones between them.

    `clipped`: the pooling has no padding, and the last window is cut off where the plane ends, as in pytorchcv's v2.
    """
    x = net.conv_bn("stem", "", 0, channels, kernel=3, stride=2, pad=1, relu=True)
    for index, outputs in enumerate(further, 2):
        x = net.conv_bn("stem", str(index), x, outputs, kernel=3, pad=1, relu=True)
    return net.max_pool("stem.pool", x, kernel=3, stride=2, pad=0 if clipped else 1, ceil=clipped)


def classifier(net: NetworkBuilder, x: int, classes: int, dropout: float = 0) -> int:
    """Mean over all pixels and a fully connected layer."""
    x = net.global_avg_pool("pool", x)
    return net.dense("classifier", net.dropout("dropout", x, dropout) if dropout else x, classes)


def channel_attention(
    net: NetworkBuilder, name: str, x: int, hidden: int, gate: Callable[[str, int], int] | None = None
) -> int:
    """Squeeze-and-excitation (J. Hu et al., arXiv:1709.01507): multiplies each plane of `x` by a number from 0 to 1.

    The numbers come from the planes' means through two fully connected layers, the first to `hidden` units, and `gate`,
    by default a sigmoid.
    """
    y = net.global_avg_pool(f"{name}.pool", x)
    y = net.relu(f"{name}.relu", net.dense(f"{name}.fc1", y, hidden))
    y = (gate or net.sigmoid)(f"{name}.sigmoid", net.dense(f"{name}.fc2", y, net.shape(x)[1]))
    return net.multiply(f"{name}.scale", x, y)


def adapted(net: NetworkBuilder, x: int, extent: int) -> tuple[int, str]:
    """`x` as planes of `extent` x `extent` pixels, for a fully connected layer, and what a note says about that."""
    y = net.adaptive_avg_pool("adapt", x, extent)
    return y, "" if y == x else f"adaptive average pooling to {extent}x{extent} before the classifier"


@dataclass(frozen=True)
class Bottleneck:
    """A residual unit of three convolutions, 1x1, 3x3 and 1x1 (K. He et al., arXiv:1512.03385), to `outputs` channels.

    `middle` are the outputs of the first two, `groups` those of the second.  The stride is the first one's where
    `stride_first`, as in ResNet v1, else the second one's.  `attention`: hidden units of a channel attention in front
    of the addition, 0 for none.  The shortcut is a projection, of a window of `projection` pixels, where the stride is
    not 1 or the channels differ.
    """

    middle: tuple[int, int]
    outputs: int
    stride: int = 1
    groups: int = 1
    stride_first: bool = False
    attention: int = 0
    projection: int = 1


def bottleneck(net: NetworkBuilder, name: str, x: int, unit: Bottleneck) -> int:
    strides = (unit.stride, 1) if unit.stride_first else (1, unit.stride)
    y = net.conv_bn(name, "1", x, unit.middle[0], stride=strides[0], relu=True)
    y = net.conv_bn(name, "2", y, unit.middle[1], kernel=3, stride=strides[1], pad=1, groups=unit.groups, relu=True)
    y = net.conv_bn(name, "3", y, unit.outputs)
    if unit.attention:
        y = channel_attention(net, f"{name}.se", y, unit.attention)
    return net.relu(f"{name}.relu", net.add(f"{name}.add", shortcut(net, name, x, y, unit.stride, unit.projection), y))


def shortcut(net: NetworkBuilder, name: str, x: int, y: int, stride: int, kernel: int = 1) -> int:
    """`x`, or its projection to the shape of `y`."""
    channels = net.shape(y)[1]
    if stride == 1 and net.shape(x)[1] == channels:
        return x
    return net.conv_bn(f"{name}.shortcut", "", x, channels, kernel=kernel, stride=stride, pad=kernel // 2)
