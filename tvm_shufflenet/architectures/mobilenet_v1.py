"""MobileNet v1 (A. Howard et al.: "MobileNets", arXiv:1704.04861, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .blocks import classifier
from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network

# (output channels at width 1, stride of the depthwise layer)
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
PYTORCHCV = {1.0: "mobilenet_w1", 0.75: "mobilenet_w3d4", 0.5: "mobilenet_wd2", 0.25: "mobilenet_wd4"}


def entries() -> dict[str, Entry]:
    return {
        f"mobilenet-v1-{width}": Entry(partial(mobilenet_v1, width), About("v1", "Table 5"), (alias,))
        for width, alias in PYTORCHCV.items()
    }


def mobilenet_v1(width: float, name: str, size: tuple[int, int], classes: int) -> Network:
    """MobileNet v1 with width multiplier `width`."""
    return with_channels([int(32 * width), *(int(channels * width) for channels, _ in BLOCKS)], name, size, classes)


def with_channels(channels: Sequence[int], name: str, size: tuple[int, int], classes: int, stride: int = 2) -> Network:
    """MobileNet v1 of any width: `channels` of the stem, whose stride is `stride`, and of each block."""
    net = NetworkBuilder(size)
    x = blocks(net, stem(net, channels[0], stride), range(len(BLOCKS)), channels[1:])
    classifier(net, x, classes)
    return net.network(name)


def stem(net: NetworkBuilder, channels: int, stride: int = 2) -> int:
    return net.conv_bn("stem", "", 0, channels, kernel=3, stride=stride, pad=1, relu=True)


def blocks(net: NetworkBuilder, x: int, which: range, channels: Sequence[int]) -> int:
    """Appends the blocks numbered `which` behind `x`; `channels` are the outputs of all blocks."""
    for index in which:
        inputs, block = net.shape(x)[1], f"block{index}"
        x = net.conv_bn(block, "1", x, inputs, kernel=3, stride=BLOCKS[index][1], pad=1, groups=inputs, relu=True)
        x = net.conv_bn(block, "2", x, channels[index], relu=True)
    return x
