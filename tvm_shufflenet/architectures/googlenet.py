"""GoogLeNet (C. Szegedy et al., arXiv:1409.4842), as BVLC's Caffe model and as torchvision have it."""

from __future__ import annotations

from functools import partial

from .blocks import classifier
from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network

# Outputs of the branches: 1x1; 1x1 and 3x3; 1x1 and 5x5; 1x1 behind the pooling.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip
EPS = 1e-3  # of torchvision's batch norms


def entries() -> dict[str, Entry]:
    return {
        "googlenet": Entry(
            googlenet, About("v1", "Table 6", note="BVLC's, which has the published error, but costs more than 1500 M")
        ),
        "googlenet-torchvision": Entry(
            partial(googlenet, torchvision=True),
            About("v1", "Table 6", note="batch norms for LRN, and 3x3 convolutions where 5x5 ones belong"),
        ),
    }


def googlenet(name: str, size: tuple[int, int], classes: int, torchvision: bool = False) -> Network:
    """models/bvlc_googlenet/deploy.prototxt of BVLC/caffe; with `torchvision` that package's `googlenet`.

    Torchvision has batch norms in place of biases, no LRN, 3x3 convolutions where 5x5 ones belong, and a smaller
    window in front of module 5a.
    """
    net = NetworkBuilder(size)

    def conv(place: str, x: int, channels: int, **window: int) -> int:
        if torchvision:
            return net.conv_bn(place, "", x, channels, relu=True, eps=EPS, **window)
        return net.relu(f"{place}.relu", net.conv(f"{place}.conv", x, channels, bias=True, **window))

    def lrn(place: str, x: int) -> int:
        return x if torchvision else net.lrn(place, x, size=5, alpha=1e-4, beta=0.75, k=1.0)

    def pool(place: str, x: int, kernel: int = 3) -> int:
        return net.max_pool(place, x, kernel=kernel, stride=2, ceil=True)

    def module(place: str, x: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> int:
        wide = 3 if torchvision else 5
        parts = [
            conv(f"{place}.1x1", x, one),
            conv(f"{place}.3x3", conv(f"{place}.3x3_reduce", x, reduce3), three, kernel=3, pad=1),
            conv(f"{place}.5x5", conv(f"{place}.5x5_reduce", x, reduce5), five, kernel=wide, pad=wide // 2),
            conv(f"{place}.proj", net.max_pool(f"{place}.pool", x, kernel=3, stride=1, pad=1), pooled),
        ]
        return net.concat(f"{place}.concat", *parts)

    x = pool("pool1", conv("conv1", 0, 64, kernel=7, stride=2, pad=3))
    x = conv("conv2_reduce", lrn("norm1", x), 64)
    x = pool("pool2", lrn("norm2", conv("conv2", x, 192, kernel=3, pad=1)))
    for stage, widths in MODULES.items():
        if stage in ("4a", "5a"):
            x = pool(f"pool{int(stage[0]) - 1}", x, 2 if torchvision and stage == "5a" else 3)
        x = module(f"inception{stage}", x, *widths)
    classifier(net, x, classes, dropout=0.2 if torchvision else 0.4)
    return net.network(name)
