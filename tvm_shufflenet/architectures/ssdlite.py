"""SSDLite on ShuffleNet: a detector of one stage whose heads are depthwise separable.

SSD (W. Liu et al., arXiv:1512.02325) with the heads of MobileNet v2 (M. Sandler et al., arXiv:1801.04381, section 6.2).
Default boxes, extra maps and post-processing are those of torchvision's `ssdlite320_mobilenet_v3_large`; the maps that
ShuffleNet gives, its last two of strides 16 and 32, are this project's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt
from typing import Any

from . import shufflenet_v1, shufflenet_v2
from .builder import NetworkBuilder
from .entries import NOWHERE, UNCERTAIN, About, Entry
from .network import Network

SIZE, CLASSES = (320, 320), 90  # of COCO, some of whose numbers stand for nothing
EXTRAS = (512, 256, 256, 128)  # outputs of the maps behind the backbone's, each half as high and wide
EPS = 1e-3  # of the batch norms that are not the backbone's
SMALLEST, LARGEST = 0.2, 0.95  # sides of the square default boxes of the first and the last map, by the input's
RATIOS = (2, 3)  # of width to height, and the other way round


def entries() -> dict[str, Entry]:
    found = {}
    note = "the maps of strides 16 and 32 are this project's choice; extra maps and default boxes as torchvision's"
    for scale in ("0.5", "1"):
        v1 = shufflenet_v1.planned(240 * int(2 * float(scale)) // 2, 3, shufflenet_v1.STEM_CHANNELS[float(scale)])
        v2 = shufflenet_v2.Plan(shufflenet_v2.stages(scale), shufflenet_v2.WIDTHS[scale][1])
        bodies: dict[str, Callable[[NetworkBuilder], list[int]]] = {
            f"shufflenet-v1-{scale}x-g3": partial(shufflenet_v1.body, structure=v1),
            f"shufflenet-v2-{scale}x": partial(_maps_of_v2, v2),
        }
        for backbone, body in bodies.items():
            about = About(backbone.split("-")[1], NOWHERE, UNCERTAIN, note)
            found[f"ssdlite-{backbone}"] = Entry(partial(ssdlite, body), about, (), SIZE, CLASSES, backbone)
    return found


def _maps_of_v2(plan: shufflenet_v2.Plan, net: NetworkBuilder) -> list[int]:
    """Conv5 stands for stage 4, whose 1x1 convolution it is."""
    *before, _, conv5 = shufflenet_v2.body(net, plan)
    return [*before, conv5]


def ssdlite(
    body: Callable[[NetworkBuilder], list[int]], name: str, size: tuple[int, int], classes: int, best: int = 100
) -> Network:
    """The detector on the last two maps of a backbone; its outputs are those of `NetworkBuilder.detections`.

    `classes` are those of objects, without the background; `best` is how many boxes it gives at most.
    """
    net = NetworkBuilder(size)
    maps = body(net)[-2:]
    for index, outputs in enumerate(EXTRAS):
        maps.append(_extra(net, f"extra{index}", maps[-1], outputs))
    anchors = default_boxes(len(maps))
    scores, boxes = [], []
    for index, (x, sides) in enumerate(zip(maps, anchors)):
        logits = _head(net, f"scores{index}", x, len(sides) * (classes + 1))
        scores.append(net.softmax(f"softmax{index}", logits, groups=len(sides)))
        boxes.append(_head(net, f"boxes{index}", x, 4 * len(sides)))
    return net.network(name, outputs=net.detector("detections", scores, boxes, anchors, best=best))


def default_boxes(maps: int) -> list[list[tuple[float, float]]]:
    """(width, height) of the default boxes of each map, as shares of the input's."""
    scales = [SMALLEST + (LARGEST - SMALLEST) * index / (maps - 1) for index in range(maps)] + [1.0]
    return [_sides(here, following, RATIOS) for here, following in zip(scales, scales[1:])]


def _sides(here: float, following: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    between = sqrt(here * following)
    found = [(here, here), (between, between)]
    for ratio in ratios:
        long, short = here * sqrt(ratio), here / sqrt(ratio)
        found += [(long, short), (short, long)]
    return [(min(width, 1.0), min(height, 1.0)) for width, height in found]


def _extra(net: NetworkBuilder, name: str, x: int, outputs: int) -> int:
    x = _conv(net, name, "1", x, outputs // 2)
    x = _conv(net, name, "2", x, outputs // 2, kernel=3, stride=2, pad=1, groups=outputs // 2)
    return _conv(net, name, "3", x, outputs)


def _head(net: NetworkBuilder, name: str, x: int, outputs: int) -> int:
    channels = net.shape(x)[1]
    x = _conv(net, name, "1", x, channels, kernel=3, pad=1, groups=channels)
    return net.conv(f"{name}.conv2", x, outputs, bias=True)


def _conv(net: NetworkBuilder, name: str, suffix: str, x: int, outputs: int, **window: Any) -> int:
    return net.clip(f"{name}.relu{suffix}", net.conv_bn(name, suffix, x, outputs, eps=EPS, **window))
