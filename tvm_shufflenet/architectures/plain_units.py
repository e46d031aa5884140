"""What ShuffleNet's Table 4 compares with: the same frame with other units (section 4.2 of arXiv:1707.01083).

The paper gives the ratios of the bottlenecks and the outputs of stage 4 at 38 M.  Everything else is the only
combination that was found to reproduce the cost of all three at 38 M: a stem of 12 channels, in each stage's first
unit the stride on the 3x3 convolution and a projection as shortcut, none in VGG-like units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from .blocks import Bottleneck, bottleneck, classifier, stem
from .builder import NetworkBuilder
from .entries import FITTED, About, Entry
from .network import Network
from .shufflenet_v1 import ARCH2_UNITS, UNITS, WIDENED, certainty, shufflenet_v1

CARDINALITY = 16  # of ResNeXt-like units

# Channels of the stem and units a stage, at each level of cost.
LEVELS = {
    "140m": (24, UNITS), "38m": (12, UNITS), "13m": (12, UNITS), "arch2-40m": (12, ARCH2_UNITS),
    "arch2-13m": (12, ARCH2_UNITS),
}  # fmt: skip
SCALE = {"140m": 1, "38m": 0.5, "13m": 0.25}  # of the ShuffleNet that costs as much
VGG = {"140m": (25, 50, 100), "38m": (12, 25, 50)}
# Outputs of stage 2; they double from stage to stage.
RESNET = {"140m": 96, "38m": 48, "13m": 24, "arch2-40m": 52, "arch2-13m": 26}
# And of the units' first two convolutions: half of that to the multiple of 16 below, at 140 M twice those at 38 M.
RESNEXT = {
    "140m": (96, (32, 96, 192)), "38m": (48, (16, 48, 96)), "13m": (24, (16, 16, 48)), "arch2-40m": (56, (16, 48, 112)),
    "arch2-13m": (26, (16, 16, 48)),
}  # fmt: skip
XCEPTION = {"140m": 144, "38m": 72, "13m": 36, "arch2-40m": 78, "arch2-13m": 38}

FIT = "stem, shortcuts and the place of the stride are those that reproduce the published cost at 38 M"
PROJECTED = f"{FIT}: 12 channels, projections, the 3x3 convolution; at 140 M everything is twice as wide"
NOTES = {
    "vgg-like": f"{FIT}: 12 channels, none, the first convolution; at 140 M everything is twice as wide",
    "resnet-like": PROJECTED,
    "resnext-like": f"{PROJECTED}; half the channels to the multiple of 16 below, at least 16, at 38 M",
}


def entries() -> dict[str, Entry]:
    found = {}
    kinds: dict[str, tuple[Callable, dict]] = {
        "vgg-like": (vgg_like, VGG), "resnet-like": (resnet_like, RESNET), "resnext-like": (resnext_like, RESNEXT),
        "xception-like": (xception_like, XCEPTION),
    }  # fmt: skip
    for kind, (build, widths) in kinds.items():
        for level, width in widths.items():
            found[f"{kind}-{level}"] = Entry(partial(build, width, *LEVELS[level]), _about(kind, level))
    return found


def _about(kind: str, level: str) -> About:
    arch2 = "arch2" in level
    if kind == "xception-like":
        mark, note = (FITTED, WIDENED) if arch2 else certainty(SCALE[level], 1)
        note = "; ".join(filter(None, ["ShuffleNet with g = 1", note]))
    else:
        mark, note = FITTED, NOTES[kind] + "; arch2's width fits its published cost" * arch2
    return About("v1", "preprint, Table 4" if arch2 else "Table 4", mark, note)


def vgg_like(
    widths: Sequence[int], stem_channels: int, units: Sequence[int], name: str, size: tuple[int, int], classes: int
) -> Network:
    """Units of two 3x3 convolutions without shortcut; `widths` are the outputs of each stage."""
    net = NetworkBuilder(size)
    x = stem(net, stem_channels)
    for stage, (channels, count) in enumerate(zip(widths, units, strict=True), 2):
        for unit in range(count):
            place = f"stage{stage}.{unit}"
            x = net.conv_bn(place, "1", x, channels, kernel=3, stride=1 if unit else 2, pad=1, relu=True)
            x = net.conv_bn(place, "2", x, channels, kernel=3, pad=1, relu=True)
    classifier(net, x, classes)
    return net.network(name)


def resnet_like(
    width: int, stem_channels: int, units: Sequence[int], name: str, size: tuple[int, int], classes: int
) -> Network:
    """ResNet's units with a bottleneck of a quarter of the outputs."""
    middles = [(width << stage) // 4 for stage in range(len(units))]
    return _residual(width, middles, 1, stem_channels, units, name, size, classes)


def resnext_like(
    widths: tuple[int, Sequence[int]],
    stem_channels: int,
    units: Sequence[int],
    name: str,
    size: tuple[int, int],
    classes: int,
) -> Network:
    """ResNeXt's units (S. Xie et al., arXiv:1611.05431) of 16 groups with a bottleneck of about half the outputs."""
    return _residual(*widths, CARDINALITY, stem_channels, units, name, size, classes)


def xception_like(
    width: int, stem_channels: int, units: Sequence[int], name: str, size: tuple[int, int], classes: int
) -> Network:
    """ShuffleNet with one group (section 4.2)."""
    return shufflenet_v1(width, 1, stem_channels, name, size, classes, units)


def _residual(width, middles, groups, stem_channels, units, name, size, classes) -> Network:
    net = NetworkBuilder(size)
    x = stem(net, stem_channels)
    for stage, (middle, count) in enumerate(zip(middles, units, strict=True)):
        for index in range(count):
            unit = Bottleneck((middle, middle), width << stage, 1 if index else 2, groups)
            x = bottleneck(net, f"stage{stage + 2}.{index}", x, unit)
    classifier(net, x, classes)
    return net.network(name)
