"""NanoDet-m (RangiLyu/nanodet, config/nanodet-m*.yml): a detector without default boxes, on ShuffleNet V2.

Three maps of the backbone, added up from the coarsest to the finest and back, are looked at by heads of their own,
which give a score for each class and, for each edge, shares of eight distances (X. Li et al., arXiv:2006.04388).
"""

from __future__ import annotations

from functools import partial

from . import shufflenet_v2
from .builder import NetworkBuilder
from .entries import NOWHERE, About, Entry
from .network import Network

SIZE, CLASSES = (320, 320), 80
STRIDES, CONVOLUTIONS, BINS = (8, 16, 32), 2, 8
CHANNELS = {"0.5": 96, "1": 96, "1.5": 128}  # of the maps that the heads look at
MODELS = ("nanodet-m", "nanodet-m-0.5x", "nanodet-m-1.5x")
SLOPE = 0.1
LEAST, OVERLAP = 0.05, 0.6
NOTE = "as in its public code, but that all pixels take part there, and here of each class the best 1000"


class Leaky(NetworkBuilder):
    """A builder that appends a leaky ReLU where others append a ReLU."""

    def relu(self, name: str, x: int) -> int:
        return self.leaky_relu(name, x, SLOPE)


def entries() -> dict[str, Entry]:
    found = {}
    for name, scale in zip(MODELS, ("1", "0.5", "1.5")):
        plan, backbone = shufflenet_v2.Plan(shufflenet_v2.stages(scale), 0, halves=True), f"shufflenet-v2-{scale}x"
        build = partial(nanodet, plan, CHANNELS[scale])
        about = About("v2", NOWHERE, note=NOTE)
        found[name] = Entry(build, about, (), SIZE, CLASSES, f"{backbone}-torchvision")
    return found


def nanodet(
    plan: shufflenet_v2.Plan, channels: int, name: str, size: tuple[int, int], classes: int, best: int = 100
) -> Network:
    """The detector; height and width are multiples of 32, and there is no background among the `classes`.

    `channels` are those of the maps that the heads look at.
    """
    net = Leaky(size)
    maps = [
        net.conv(f"fpn.lateral{level}", x, channels, bias=True)
        for level, x in enumerate(shufflenet_v2.stages_of(net, plan))
    ]
    for level in (2, 1):
        maps[level - 1] = _added(net, f"fpn.down{level}", maps[level - 1], maps[level])
    for level in (0, 1):
        maps[level + 1] = _added(net, f"fpn.up{level}", maps[level + 1], maps[level])
    return net.network(name, outputs=heads(net, maps, STRIDES, classes, best))


def heads(
    net: NetworkBuilder, maps: list[int], strides: tuple[int, ...], classes: int, best: int, kernel: int = 3,
    corners: bool = False,
) -> tuple[int, ...]:  # fmt: skip
    """A head for each map, whose depthwise windows are of `kernel` pixels, and what is found."""
    scores, boxes = [], []
    for level, x in enumerate(maps):
        for index in range(1, CONVOLUTIONS + 1):
            x = separable(net, f"head{level}.{index}", x, kernel)
        x = net.conv(f"head{level}.out", x, classes + 4 * BINS, bias=True)
        logits = net.slice(f"head{level}.logits", x, 0, classes)
        scores.append(net.sigmoid(f"head{level}.scores", logits))
        boxes.append(net.slice(f"head{level}.boxes", x, classes, classes + 4 * BINS))
    height, width = net.shape(0)[2:]
    return net.detector(
        "detections", scores, boxes, [[(stride / width, stride / height)] for stride in strides], least=LEAST,
        overlap=OVERLAP, candidates=1000, best=best, bins=BINS, background=False, corners=corners,
    )  # fmt: skip


def resized(net: NetworkBuilder, name: str, x: int, like: int) -> int:
    return net.resize(f"{name}.resize", x, net.shape(like)[2:], "bilinear", "half_pixel")


def separable(net: NetworkBuilder, name: str, x: int, kernel: int, stride: int = 1) -> int:
    channels = net.shape(x)[1]
    x = net.conv_bn(f"{name}.depthwise", "", x, channels, kernel=kernel, stride=stride, pad=kernel // 2,
                    groups=channels, relu=True)  # fmt: skip
    return net.conv_bn(f"{name}.pointwise", "", x, channels, relu=True)


def _added(net: NetworkBuilder, name: str, x: int, other: int) -> int:
    """`x`, and the other map in its size."""
    return net.add(f"{name}.add", x, resized(net, name, other, x))
