"""MobileNet v1 (A. Howard et al.: "MobileNets", arXiv:1704.04861, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from ..published import v1
from .builder import NetworkBuilder
from .network import UNPUBLISHED, Network

WIDTHS = (1.0, 0.75, 0.5, 0.25)

# (output channels at width 1, stride of the depthwise layer)
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_v1(width: float, size: tuple[int, int] = (224, 224), classes: int = 1000) -> Network:
    """MobileNet v1 with width multiplier `width`."""
    name, channels = f"mobilenet-v1-{width}", (int(32 * width), *(int(channels * width) for channels, _ in BLOCKS))
    return with_channels(channels, name, size, classes, v1.printed(name))


def with_channels(
    channels: Sequence[int], name: str, size: tuple[int, int], classes: int, paper: dict | None = None, stride: int = 2
) -> Network:
    """MobileNet v1 of any width: `channels` of the stem, whose stride is `stride`, and of each block."""
    net = NetworkBuilder(size)
    x = net.conv_bn("stem", "", 0, channels[0], kernel=3, stride=stride, pad=1, relu=True)
    for index, (outputs, (_, stride)) in enumerate(zip(channels[1:], BLOCKS, strict=True)):
        inputs, block = net.shape(x)[1], f"block{index}"
        x = net.conv_bn(block, "1", x, inputs, kernel=3, stride=stride, pad=1, groups=inputs, relu=True)
        x = net.conv_bn(block, "2", x, outputs, relu=True)
    x = net.global_avg_pool("pool", x)
    net.dense("classifier", x, classes)
    return net.network(name, paper or dict(UNPUBLISHED))
