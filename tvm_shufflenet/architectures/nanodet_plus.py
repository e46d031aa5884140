"""NanoDet-Plus-m (RangiLyu/nanodet, config/nanodet-plus-m*.yml): NanoDet with Ghost-PAN and a fourth map of stride 64.

The maps are joined by ghost bottlenecks (K. Han et al., arXiv:1911.11907), whose cheap half is a depthwise convolution
of the other half; depthwise windows have 5 pixels, and a pixel stands for its upper left corner.  The parts that guide
training alone, `aux_fpn` and `aux_head`, are left out.
"""

from __future__ import annotations

from functools import partial

from . import shufflenet_v2
from .builder import NetworkBuilder
from .entries import NOWHERE, About, Entry
from .nanodet import CHANNELS, CLASSES, NOTE, SIZE, Leaky, heads, resized, separable
from .network import Network

STRIDES, KERNEL = (8, 16, 32, 64), 5
MODELS = ("nanodet-plus-m", "nanodet-plus-m-1.5x")


def entries() -> dict[str, Entry]:
    found = {}
    for name, scale in zip(MODELS, ("1", "1.5")):
        plan, backbone = shufflenet_v2.Plan(shufflenet_v2.stages(scale), 0, halves=True), f"shufflenet-v2-{scale}x"
        build = partial(nanodet_plus, plan, CHANNELS[scale])
        about = About("v2", NOWHERE, note=NOTE)
        found[name] = Entry(build, about, (), SIZE, CLASSES, f"{backbone}-torchvision")
    return found


def nanodet_plus(
    plan: shufflenet_v2.Plan, channels: int, name: str, size: tuple[int, int], classes: int, best: int = 100
) -> Network:
    """The detector; height and width are multiples of 32, and there is no background among the `classes`.

    `channels` are those of the maps that the heads look at, an even number.
    """
    net = Leaky(size)
    stages = shufflenet_v2.stages_of(net, plan)
    reduced = [net.conv_bn(f"fpn.reduce{level}", "", x, channels, relu=True) for level, x in enumerate(stages)]
    maps = list(reduced)
    for level in (1, 0):
        place = f"fpn.down{level}"
        maps[level] = _joined(net, place, resized(net, place, maps[level + 1], maps[level]), maps[level])
    for level in (1, 2):
        place = f"fpn.up{level}"
        maps[level] = _joined(net, place, separable(net, f"{place}.smaller", maps[level - 1], KERNEL, 2), maps[level])
    extra = [separable(net, f"fpn.extra.{which}", x, KERNEL, 2) for which, x in (("in", reduced[2]), ("out", maps[2]))]
    maps.append(net.add("fpn.extra.add", *extra))
    return net.network(name, outputs=heads(net, maps, STRIDES, classes, best, KERNEL, corners=True))


def _joined(net: NetworkBuilder, name: str, x: int, other: int) -> int:
    """A ghost bottleneck of both, with as many channels as one of them has."""
    channels, x = net.shape(x)[1], net.concat(f"{name}.concat", x, other)
    y = _ghost(net, f"{name}.ghost1", x, channels, active=True)
    y = _ghost(net, f"{name}.ghost2", y, channels, active=False)
    both = net.shape(x)[1]
    x = net.conv_bn(f"{name}.shortcut", "1", x, both, kernel=KERNEL, pad=KERNEL // 2, groups=both)
    x = net.conv_bn(f"{name}.shortcut", "2", x, channels)
    return net.add(f"{name}.add", y, x)


def _ghost(net: NetworkBuilder, name: str, x: int, channels: int, active: bool) -> int:
    half = (channels + 1) // 2
    x = net.conv_bn(f"{name}.primary", "", x, half, relu=active)
    y = net.conv_bn(f"{name}.cheap", "", x, half, kernel=3, pad=1, groups=half, relu=active)
    return net.concat(f"{name}.concat", x, y)
