"""ResNet-50 (K. He et al., arXiv:1512.03385) and SENet-154 (J. Hu et al., arXiv:1709.01507), of V2's Table 6."""

from __future__ import annotations

from functools import partial

from .blocks import Bottleneck, bottleneck, classifier
from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network


def entries() -> dict[str, Entry]:
    later = "the stride is the 3x3 convolution's, as in torchvision"
    return {
        "resnet-50": Entry(resnet50, About("v2", "Table 6")),
        "resnet-50-torchvision": Entry(
            partial(resnet50, stride_first=False), About("v2", "Table 6", note=later), ("resnet50",)
        ),
        "senet-154": Entry(
            senet154, About("v2", "Table 6", note="as in Cadene's pretrained-models.pytorch"),
            ("senet154",),
        ),
    }  # fmt: skip


def resnet50(name: str, size: tuple[int, int], classes: int, stride_first: bool = True) -> Network:
    net = NetworkBuilder(size)
    x = net.conv_bn("stem", "", 0, 64, kernel=7, stride=2, pad=3, relu=True)
    x = net.max_pool("stem.pool", x, kernel=3, stride=2, pad=1)
    for stage, count in enumerate((3, 4, 6, 3)):
        middle = 64 << stage
        for index in range(count):
            stride = 2 if stage and not index else 1
            unit = Bottleneck((middle, middle), 4 * middle, stride, stride_first=stride_first)
            x = bottleneck(net, f"stage{stage + 2}.{index}", x, unit)
    classifier(net, x, classes)
    return net.network(name)


def senet154(name: str, size: tuple[int, int], classes: int, clipped: bool = True) -> Network:
    """ResNeXt-like units of 64 groups with channel attention, 16 channels for each hidden unit.

    `clipped`: the first pooling has no padding, and its last window is cut off where the plane ends.
    """
    net, x = NetworkBuilder(size), 0
    for index, channels in enumerate((64, 64, 128), 1):
        x = net.conv_bn("stem", str(index), x, channels, kernel=3, stride=1 if index > 1 else 2, pad=1, relu=True)
    x = net.max_pool("stem.pool", x, kernel=3, stride=2, pad=0 if clipped else 1, ceil=clipped)
    for stage, count in enumerate((3, 8, 36, 3)):
        width = 64 << stage
        for index in range(count):
            unit = Bottleneck(
                (2 * width, 4 * width), 4 * width, 2 if stage and not index else 1, groups=64,
                attention=4 * width // 16, projection=3 if stage else 1,
            )  # fmt: skip
            x = bottleneck(net, f"stage{stage + 2}.{index}", x, unit)
    classifier(net, x, classes, dropout=0.2)
    return net.network(name)
