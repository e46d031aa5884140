"""Faster R-CNN (S. Ren et al., arXiv:1506.01497) on ShuffleNet v1 and MobileNet v1: Table 7 of ShuffleNet v1.

The paper says "the publicly released Caffe code with default settings" and not where the parts are attached.  Numbers
are those of that code (py-faster-rcnn, models/coco and lib/fast_rcnn/config.py); that regions are chosen on the map of
stride 16 and looked at by the backbone's last stage is what others do with MobileNet v1, and gives about the
multiply-adds that MobileNet's paper prints of its detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt

from . import mobilenet_v1, shufflenet_v1
from .builder import NetworkBuilder
from .entries import UNCERTAIN, About, Entry
from .network import Network

SIZE, CLASSES = (300, 400), 80  # of COCO
STRIDE, MIDDLE = 16, 512  # of the map, and the channels of its 3x3 convolution
SCALES, RATIOS = (4, 8, 16, 32), (0.5, 1.0, 2.0)  # of default boxes: sides by the stride, heights by widths
REGIONS, POOLED = 300, 14
NOTE = "where its parts are attached is not published: proposals on the map of stride 16, the last stage for regions"


@dataclass(frozen=True)
class Backbone:
    """`body` appends the layers up to the map of stride 16, `head` those that look at a region behind its argument."""

    body: Callable[[NetworkBuilder], int]
    head: Callable[[NetworkBuilder, int], int]


def entries() -> dict[str, Entry]:
    found = {}
    for scale in (1, 2):
        structure = shufflenet_v1.planned(240 * scale, 3, shufflenet_v1.STEM_CHANNELS[scale])
        found[f"shufflenet-v1-{scale}x-g3"] = Backbone(
            partial(_body_of_v1, structure), partial(_head_of_v1, structure)
        )  # fmt: skip
    found["mobilenet-v1-1.0"] = Backbone(_body_of_mobilenet, _head_of_mobilenet)
    return {
        f"faster-rcnn-{name}": Entry(
            partial(faster_rcnn, backbone), About("v1", "Table 7", UNCERTAIN, NOTE), (), SIZE, CLASSES, name
        )
        for name, backbone in found.items()
    }


def faster_rcnn(
    backbone: Backbone, name: str, size: tuple[int, int], classes: int, regions: int = REGIONS, mode: str = "max",
    pooled: int = POOLED,
) -> Network:  # fmt: skip
    """The detector; `classes` are those of objects, without the background.  `mode` is that of `regions`."""
    net = NetworkBuilder(size)
    planes = backbone.body(net)
    found = region_proposals(net, planes, default_boxes(size, SCALES), regions)
    x = backbone.head(net, net.regions("regions", planes, found, pooled, mode, STRIDE))
    x = net.global_avg_pool("head.pool", x)
    scores = net.softmax("head.softmax", net.dense("head.scores", x, classes + 1))
    boxes = net.dense("head.boxes", x, 4 * (classes + 1))
    return net.network(
        name, outputs=net.boxes_of("detections", net.region_detections("detections", found, scores, boxes))
    )


def region_proposals(
    net: NetworkBuilder, planes: int, anchors: list[tuple[float, float]], regions: int, middle: int = MIDDLE
) -> int:
    """The network that chooses regions on a map."""
    x = net.relu("rpn.relu", net.conv("rpn.conv", planes, middle, kernel=3, pad=1, bias=True))
    scores = net.softmax("rpn.softmax", net.conv("rpn.scores", x, 2 * len(anchors), bias=True), groups=len(anchors))
    boxes = net.conv("rpn.boxes", x, 4 * len(anchors), bias=True)
    return net.proposals("rpn.proposals", scores, boxes, anchors=[anchors], best=regions)


def default_boxes(size: tuple[int, int], scales: tuple[int, ...]) -> list[tuple[float, float]]:
    """(width, height) of the default boxes of a pixel, as shares of the input's."""
    sides = [(STRIDE * scale / sqrt(ratio), STRIDE * scale * sqrt(ratio)) for ratio in RATIOS for scale in scales]
    return [(width / size[1], height / size[0]) for width, height in sides]


def _body_of_v1(structure: shufflenet_v1.Structure, net: NetworkBuilder) -> int:
    x = shufflenet_v1.stem_of(net, structure)
    return shufflenet_v1.stage_of(net, structure, 3, shufflenet_v1.stage_of(net, structure, 2, x))


def _head_of_v1(structure: shufflenet_v1.Structure, net: NetworkBuilder, x: int) -> int:
    return shufflenet_v1.stage_of(net, structure, 4, x)


_CHANNELS = [channels for channels, _ in mobilenet_v1.BLOCKS]
_LAST = 2  # blocks behind the map of stride 16


def _body_of_mobilenet(net: NetworkBuilder) -> int:
    return mobilenet_v1.blocks(net, mobilenet_v1.stem(net, 32), range(len(_CHANNELS) - _LAST), _CHANNELS)


def _head_of_mobilenet(net: NetworkBuilder, x: int) -> int:
    count = len(_CHANNELS)
    return mobilenet_v1.blocks(net, x, range(count - _LAST, count), _CHANNELS)
