"""NanoDet-m (RangiLyu/nanodet, config/nanodet-m.yml): a detector without default boxes, on ShuffleNet V2.

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
STRIDES, CHANNELS, CONVOLUTIONS, BINS = (8, 16, 32), 96, 2, 8
SLOPE = 0.1
LEAST, OVERLAP = 0.05, 0.6
NOTE = (
    "NanoDet-m 1.0x as in its public code, but that of each map the best 1000 pixels take part there, and here of each "
    "class the best 1000 of all maps"
)


class _Leaky(NetworkBuilder):
    """In which what is a ReLU elsewhere leaks."""

    def relu(self, name: str, x: int) -> int:
        return self.leaky_relu(name, x, SLOPE)


def entries() -> dict[str, Entry]:
    backbone = "shufflenet-v2-1x-torchvision"
    plan = shufflenet_v2.Plan(shufflenet_v2.stages("1"), 0, halves=True)
    return {
        "nanodet-m": Entry(partial(nanodet, plan), About("v2", NOWHERE, note=NOTE), (), SIZE, CLASSES, backbone)
    }  # fmt: skip


def nanodet(plan: shufflenet_v2.Plan, name: str, size: tuple[int, int], classes: int, best: int = 100) -> Network:
    """The detector; height and width are multiples of 32, and there is no background among the `classes`."""
    net = _Leaky(size)
    maps = [
        net.conv(f"fpn.lateral{level}", x, CHANNELS, bias=True)
        for level, x in enumerate(shufflenet_v2.stages_of(net, plan))
    ]
    for level in (2, 1):
        maps[level - 1] = _added(net, f"fpn.down{level}", maps[level - 1], maps[level])
    for level in (0, 1):
        maps[level + 1] = _added(net, f"fpn.up{level}", maps[level + 1], maps[level])
    scores, boxes = [], []
    for level, x in enumerate(maps):
        for index in range(1, CONVOLUTIONS + 1):
            x = _separable(net, f"head{level}.{index}", x)
        x = net.conv(f"head{level}.out", x, classes + 4 * BINS, bias=True)
        logits = net.slice(f"head{level}.logits", x, 0, classes)
        scores.append(net.sigmoid(f"head{level}.scores", logits))
        boxes.append(net.slice(f"head{level}.boxes", x, classes, classes + 4 * BINS))
    height, width = size
    outputs = net.detector(
        "detections", scores, boxes, [[(stride / width, stride / height)] for stride in STRIDES], least=LEAST,
        overlap=OVERLAP, candidates=1000, best=best, bins=BINS, background=False,
    )  # fmt: skip
    return net.network(name, outputs=outputs)


def _added(net: NetworkBuilder, name: str, x: int, other: int) -> int:
    """`x`, and the other map in its size."""
    resized = net.resize(f"{name}.resize", other, net.shape(x)[2:], "bilinear", "half_pixel")
    return net.add(f"{name}.add", x, resized)


def _separable(net: NetworkBuilder, name: str, x: int) -> int:
    x = net.conv_bn(f"{name}.depthwise", "", x, CHANNELS, kernel=3, pad=1, groups=CHANNELS, relu=True)
    return net.conv_bn(f"{name}.pointwise", "", x, CHANNELS, relu=True)
