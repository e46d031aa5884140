"""MobileNet v1 (A. Howard et al.: "MobileNets", arXiv:1704.04861, Table 1)."""

from __future__ import annotations

from .network import Network, NetworkBuilder

WIDTHS = (1.0, 0.75, 0.5, 0.25)

# (output channels at width 1, stride of the depthwise layer)
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# Millions of multiply-adds (MobileNet paper, Table 6) and top-1 error (ShuffleNet paper, Table 5).
PAPER = {1.0: (569, 29.4), 0.75: (325, 31.6), 0.5: (149, 36.3), 0.25: (41, 49.4)}


def mobilenet_v1(width: float, size: tuple[int, int] = (224, 224), classes: int = 1000) -> Network:
    """MobileNet v1 with width multiplier `width`."""
    net = NetworkBuilder(size)
    x = net.conv_bn("stem", "", 0, int(32 * width), kernel=3, stride=2, pad=1, relu=True)
    for index, (channels, stride) in enumerate(BLOCKS):
        inputs, name = net.shape(x)[1], f"block{index}"
        x = net.conv_bn(name, "1", x, inputs, kernel=3, stride=stride, pad=1, groups=inputs, relu=True)
        x = net.conv_bn(name, "2", x, int(channels * width), relu=True)
    x = net.global_avg_pool("pool", x)
    net.dense("classifier", x, classes)
    macs, error = PAPER[width]
    return net.network(f"mobilenet-v1-{width}", classes, {"macs": macs, "error": error})
