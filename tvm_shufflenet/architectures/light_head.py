"""Light-Head R-CNN (Z. Li et al., arXiv:1711.07264) on the backbones of ShuffleNet V2's Table 7.

V2's paper names the framework and the input of 800x1200.  Numbers are those of zengarden/light_head_rcnn (config.py,
network_desp.py), which has ResNet-101, and what that paper says of its small network: 64 channels between the two
windows of the large separable convolution.  The backbone is whole up to its classifier, as TropComplique's code has it
of ShuffleNet V2; its last stage keeps the stride of 16, by dilation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import mobilenet_v2, shufflenet_v1, shufflenet_v2, xception
from .atrous import AtrousBuilder
from .builder import NetworkBuilder
from .entries import UNCERTAIN, About, Entry
from .faster_rcnn import STRIDE, default_boxes, region_proposals
from .network import Network

SIZE, CLASSES = (800, 1200), 80  # of Table 7, and of COCO
SCALES = (2, 4, 8, 16, 32)  # sides of default boxes by the stride
REGIONS = 1000
WINDOW, MIDDLE = 15, 64  # of the large separable convolution
BINS, THIN = 7, 10  # of a region, and its channels
HIDDEN = 2048
NOTE = (
    "where its parts are attached is not published: proposals on the map of stride 16, the rest of the backbone "
    "dilated, and a large separable convolution of 64 channels behind it"
)
# Appends a classifier's layers in front of its pooling; gives the map of stride 16, and the last one.
Backbone = Callable[[NetworkBuilder], tuple[int, int]]
LEFT_OUT = {
    f"light-head-rcnn-mobilenet-v2-{level}m": "which MobileNet v2 has this cost is not said of Table 7"
    for level in (40, 140)
}


def entries() -> dict[str, Entry]:
    found: dict[str, Backbone] = {}
    for scale, (_, last) in shufflenet_v2.WIDTHS.items():
        plan = shufflenet_v2.Plan(shufflenet_v2.stages(scale), last)
        found[f"shufflenet-v2-{scale}x"] = partial(_of_v2, plan)
    for scale, (_, last) in shufflenet_v2.WIDTHS.items():
        plan = shufflenet_v2.Plan(shufflenet_v2.stages(scale), last, enlarged=True)
        found[f"shufflenet-v2-{scale}x-star"] = partial(_of_v2, plan)
    for width in (0.5, 1, 1.5, 2):
        structure = shufflenet_v1.planned(int(240 * width), 3, shufflenet_v1.STEM_CHANNELS[width])
        found[f"shufflenet-v1-{width:g}x-g3"] = partial(_of_v1, structure)
    for scale, widths in xception.WIDTHS.items():
        found[f"xception-{scale}x"] = partial(_of_xception, *widths)
    for scale in ("1.0", "1.4"):
        found[f"mobilenet-v2-{scale}"] = partial(_of_mobilenet, float(scale))
    return {
        f"light-head-rcnn-{name}": Entry(
            partial(light_head_rcnn, backbone), About("v2", "Table 7", UNCERTAIN, NOTE), (), SIZE, CLASSES, name
        )
        for name, backbone in found.items()
    }


def light_head_rcnn(
    backbone: Backbone, name: str, size: tuple[int, int], classes: int, regions: int = REGIONS
) -> Network:
    """The detector; `classes` are those of objects, without the background."""
    net = AtrousBuilder(size)
    with net.limited(STRIDE):
        planes, last = backbone(net)
    found = region_proposals(net, planes, default_boxes(size, SCALES), regions)
    thin = large_separable(net, "head.thin", last, MIDDLE, THIN * BINS**2)
    x = net.flatten("head.flatten", net.regions("regions", thin, found, BINS, "bins", STRIDE))
    x = net.relu("head.relu", net.dense("head.hidden", x, HIDDEN))
    scores = net.softmax("head.softmax", net.dense("head.scores", x, classes + 1))
    boxes = net.dense("head.boxes", x, 4 * (classes + 1))
    return net.network(
        name, outputs=net.boxes_of("detections", net.region_detections("detections", found, scores, boxes))
    )


def large_separable(net: NetworkBuilder, name: str, x: int, middle: int, channels: int) -> int:
    """A tall window and a wide one, and the same the other way round, added up (C. Peng et al., arXiv:1703.02719)."""
    tall: dict[str, Any] = dict(kernel=(WINDOW, 1), pad=(WINDOW // 2, 0, WINDOW // 2, 0), bias=True)
    wide: dict[str, Any] = dict(kernel=(1, WINDOW), pad=(0, WINDOW // 2, 0, WINDOW // 2), bias=True)
    first = net.conv(f"{name}.wide1", net.conv(f"{name}.tall1", x, middle, **tall), channels, **wide)
    second = net.conv(f"{name}.tall2", net.conv(f"{name}.wide2", x, middle, **wide), channels, **tall)
    return net.relu(f"{name}.relu", net.add(f"{name}.add", first, second))


def _of_v2(plan: shufflenet_v2.Plan, net: NetworkBuilder) -> tuple[int, int]:
    outputs = shufflenet_v2.body(net, plan)
    return outputs[1], outputs[-1]


def _of_v1(structure: shufflenet_v1.Structure, net: NetworkBuilder) -> tuple[int, int]:
    x = shufflenet_v1.stage_of(net, structure, 2, shufflenet_v1.stem_of(net, structure))
    x = shufflenet_v1.stage_of(net, structure, 3, x)
    return x, shufflenet_v1.stage_of(net, structure, 4, x)


def _of_xception(stem_channels: int, channels: int, net: NetworkBuilder) -> tuple[int, int]:
    outputs = xception.body(net, stem_channels, channels)
    return outputs[1], outputs[-1]


def _of_mobilenet(width: float, net: NetworkBuilder) -> tuple[int, int]:
    outputs = mobilenet_v2.body(net, width)
    return outputs[mobilenet_v2.STRIDE_16], outputs[-1]
