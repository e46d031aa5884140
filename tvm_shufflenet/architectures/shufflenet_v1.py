"""ShuffleNet v1 (X. Zhang, X. Zhou, M. Lin, J. Sun: "ShuffleNet", arXiv:1707.01083)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import gcd

from ..published.v1 import ARCH2_ABLATED
from .blocks import channel_attention, classifier
from .builder import NetworkBuilder
from .entries import FITTED, NOWHERE, SETTLED, UNCERTAIN, About, Entry
from .network import Network

SCALES = (0.25, 0.5, 1, 1.5, 2)
GROUPS = (1, 2, 3, 4, 8)

STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # Table 1, at scale 1
UNITS = (4, 8, 4)  # Table 1: units of stages 2, 3 and 4, the first of stride 2
# The paper gives 24 at scale 1 only.  The widths here reproduce the multiply-adds of all its tables.
STEM_CHANNELS = {0.25: 12, 0.5: 12, 0.75: 18, 1: 24, 1.5: 24, 2: 48}
ATTENTION = 16  # channels for each hidden unit of the channel attention

# "arch2" of the preprint (arXiv:1707.01083v1, section 4.1.1): two units of stage 3 fewer, wider maps.
ARCH2_UNITS = (4, 6, 4)
ARCH2_CHANNELS = {0.5: {1: 78, 2: 108, 3: 132, 4: 152, 8: 208}, 0.25: {1: 38, 2: 52, 3: 63, 4: 72, 8: 96}}
WIDENED = (
    "widths: stage 2 is the multiple of g nearest to 13/12 of Table 1's that is within 3.5 % of the published cost"
)
SE_PLACE = "channel attention on the output channels, 16 to a hidden unit, fits the 527 M of 2x g=3"


def entries() -> dict[str, Entry]:
    found = {}
    for scale, groups in ((scale, groups) for scale in SCALES for groups in GROUPS):
        name, sure = f"shufflenet-v1-{scale:g}x-g{groups}", certainty(scale, groups)
        build = partial(shufflenet_v1, int(STAGE2_CHANNELS[groups] * scale), groups, STEM_CHANNELS[scale])
        table = "Table 2" if scale <= 1 else "Table 5" if groups == 3 else NOWHERE
        found[name] = Entry(build, About("v1", table, *sure))
        table = "Table 3" if scale <= 1 and groups in (3, 8) else NOWHERE
        found[f"{name}-noshuffle"] = Entry(partial(build, shuffle=False), About("v1", table, *sure))
    return found


def further_entries() -> dict[str, Entry]:
    """Variants: 0.75x, channel attention, the preprint's arch2 and the shallow network of Table 5."""
    found = {}
    for groups in (1, 3):
        build = partial(shufflenet_v1, STAGE2_CHANNELS[groups] * 3 // 4, groups, STEM_CHANNELS[0.75])
        about = About("v1", NOWHERE, *certainty(0.75, groups))
        found[f"shufflenet-v1-0.75x-g{groups}"] = Entry(build, about)
        found[f"shufflenet-v1-0.75x-g{groups}-noshuffle"] = Entry(partial(build, shuffle=False), about)
    for scale, groups in [(scale, groups) for scale in SCALES for groups in GROUPS] + [(0.75, 1), (0.75, 3)]:
        build = partial(
            shufflenet_v1, int(STAGE2_CHANNELS[groups] * scale), groups, STEM_CHANNELS[scale], attention=ATTENTION
        )
        mark, note = certainty(scale, groups)
        about = About(
            "v1", "Table 5, with channel attention" if (scale, groups) == (2, 3) else NOWHERE,
            FITTED if mark == SETTLED else mark, "; ".join(filter(None, [SE_PLACE, note])),
        )  # fmt: skip
        found[f"shufflenet-v1-{scale:g}x-g{groups}-se"] = Entry(build, about)
    for scale, groups in ((scale, groups) for scale in ARCH2_CHANNELS for groups in GROUPS):
        name, about = f"shufflenet-v1-arch2-{scale:g}x-g{groups}", About("v1", "preprint, Table 2", FITTED, WIDENED)
        build = partial(shufflenet_v1, ARCH2_CHANNELS[scale][groups], groups, STEM_CHANNELS[scale], units=ARCH2_UNITS)
        found[name] = Entry(build, about)
        table = "preprint, Table 3" if (scale, groups) in ARCH2_ABLATED else NOWHERE
        found[f"{name}-noshuffle"] = Entry(partial(build, shuffle=False), dataclasses.replace(about, table=table))
    found["shufflenet-v1-shallow-0.5x-g3"] = Entry(
        partial(shufflenet_v1, 174, 3, STEM_CHANNELS[0.5], units=(2, 4, 2)),
        About("v1", "Table 5", FITTED, "width of stage 2, 174, fits the published cost"),
    )
    return found


def certainty(scale: float, groups: int) -> tuple[str, str]:
    """The mark of ShuffleNet v1 and its note."""
    if scale == 0.75:
        return SETTLED, f"widths of pytorchcv's shufflenet_g{groups}_w3d4, units as in the paper"
    if scale == 1 or (groups == 3 and scale > 0.25):  # Table 1, and megvii's code
        return SETTLED, ""
    if scale > 1:
        return UNCERTAIN, "not in the paper: the stem is that of g = 3"
    note = "the stem of 12 channels, which fits the published cost at all g"
    if groups == 8:
        note += "; 4 groups where the first unit's outputs are no multiple of 8"
    return FITTED, note + ("; megvii's code has 16 channels" if (scale, groups) == (0.5, 8) else "")


def bottleneck_channels(channels: int, groups: int) -> int:
    """A quarter of the unit's output channels (section 3.2), to the nearest multiple of `groups`.

    The quarter itself is no multiple of g for g = 2 and 4 at scales 0.25, 0.5 and 1.5.
    """
    return (channels + 2 * groups) // (4 * groups) * groups


@dataclass(frozen=True)
class Stem:
    """The layers before the first unit: a convolution, and max pooling where `pool`."""

    channels: int
    kernel: int = 3
    stride: int = 2
    pool: bool = True
    relu: bool = True


@dataclass(frozen=True)
class Unit:
    """`groups` are those of the two pointwise convolutions, to `bottleneck` and to `outputs` channels.

    `shuffle` is the number of groups of the channel shuffle, 1 for none; with `downsample` the unit has the stride
    `stride`, and its input is concatenated to the outputs, average-pooled with a window of `pool` (1: as it is).
    `attention`: hidden units of the channel attention, 0 for none.
    """

    bottleneck: int
    outputs: int
    groups: tuple[int, int]
    shuffle: int
    downsample: bool
    stride: int = 2
    pool: int = 3
    attention: int = 0


@dataclass(frozen=True)
class Structure:
    """The points in which implementations of ShuffleNet v1 differ; the defaults are the paper's."""

    stem: Stem
    stages: tuple[tuple[Unit, ...], ...]
    pooled_first: bool = True  # in the concatenation
    late_shuffle: bool = False  # behind the depthwise convolution
    depthwise_relu: bool = False


def shufflenet_v1(
    channels: int,
    groups: int,
    stem: int,
    name: str,
    size: tuple[int, int],
    classes: int,
    units: Sequence[int] = UNITS,
    shuffle: bool = True,
    attention: int = 0,
) -> Network:
    """ShuffleNet with `groups` groups, `stem` channels in its stem, `channels` in stage 2, twice as many in each next.

    `shuffle=False` is the ablation of Table 3.  `attention`: channels for each hidden unit of the channel attention, 0
    for none.
    """
    structure = planned(channels, groups, stem, units, shuffle, attention)
    return of_structure(structure, name, size, classes)


def planned(
    channels: int, groups: int, stem: int, units: Sequence[int] = UNITS, shuffle: bool = True, attention: int = 0
) -> Structure:
    """The structure of `shufflenet_v1`."""
    inputs, stages = stem, []
    for stage, count in enumerate(units, 2):
        of_stage = []
        for unit in range(count):
            # "We do not apply group convolution on the first pointwise layer" of stage 2 (Table 1).
            first = 1 if (stage, unit) == (2, 0) else groups
            outputs = channels - inputs if unit == 0 else channels
            # 12 channels of the stem leave 84 and 180 for 8 groups at 0.25x and 0.5x: then 4 groups.
            both, shuffled = (first, gcd(groups, outputs)), first if shuffle else 1
            hidden = max(1, channels // attention) if attention else 0
            middle = bottleneck_channels(channels, groups)
            of_stage.append(Unit(middle, outputs, both, shuffled, unit == 0, attention=hidden))
        stages.append(tuple(of_stage))
        inputs, channels = channels, 2 * channels
    return Structure(Stem(stem), tuple(stages))


def of_structure(structure: Structure, name: str, size: tuple[int, int], classes: int) -> Network:
    """The network of a structure; `ValueError` where groups do not divide the channels."""
    net = NetworkBuilder(size)
    classifier(net, body(net, structure)[-1], classes)
    return net.network(name)


def body(net: NetworkBuilder, structure: Structure) -> list[int]:
    """The layers up to the classifier; the outputs of each stage from the second on."""
    x, outputs = stem_of(net, structure), []
    for stage in range(2, 2 + len(structure.stages)):
        x = stage_of(net, structure, stage, x)
        outputs.append(x)
    return outputs


def stem_of(net: NetworkBuilder, structure: Structure) -> int:
    stem = structure.stem
    conv = dict(kernel=stem.kernel, stride=stem.stride, pad=stem.kernel // 2)
    x = net.conv_bn("stem", "", 0, stem.channels, relu=stem.relu, **conv)
    if stem.pool:
        x = net.max_pool("stem.pool", x, kernel=3, stride=2, pad=1)
    return x


def stage_of(net: NetworkBuilder, structure: Structure, stage: int, x: int) -> int:
    """The units of a stage, from 2 on, behind `x`."""
    for index, unit in enumerate(structure.stages[stage - 2]):
        x = _unit(net, f"stage{stage}.{index}", x, unit, structure)
    return x


def _unit(net, name, x, unit, structure) -> int:
    """One ShuffleNet unit: Figure 2 (b), or with `downsample` (stride 2) Figure 2 (c)."""
    middle, stride = unit.bottleneck, unit.stride if unit.downsample else 1

    def shuffle(y, here):
        return net.shuffle(f"{name}.shuffle", y, unit.shuffle) if here and unit.shuffle > 1 else y

    y = net.conv_bn(name, "1", x, middle, groups=unit.groups[0], relu=True)
    y = shuffle(y, not structure.late_shuffle)
    y = net.conv_bn(name, "2", y, middle, kernel=3, stride=stride, pad=1, groups=middle, relu=structure.depthwise_relu)
    y = shuffle(y, structure.late_shuffle)
    y = net.conv_bn(name, "3", y, unit.outputs, groups=unit.groups[1])
    if unit.downsample:
        window = dict(kernel=unit.pool, stride=stride, pad=unit.pool // 2 if unit.pool % 2 else 0)
        pooled = net.avg_pool(f"{name}.pool", x, **window) if unit.pool > 1 else x
        y = net.concat(f"{name}.concat", *((pooled, y) if structure.pooled_first else (y, pooled)))
        y = net.relu(f"{name}.relu", y)
        # Behind the ReLU, so that the means are of what leaves the unit.
        return channel_attention(net, f"{name}.se", y, unit.attention) if unit.attention else y
    if unit.attention:
        y = channel_attention(net, f"{name}.se", y, unit.attention)
    return net.relu(f"{name}.relu", net.add(f"{name}.add", x, y))
