"""ShuffleNet v1 (X. Zhang, X. Zhou, M. Lin, J. Sun: "ShuffleNet", arXiv:1707.01083)."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from ..published import v1
from .builder import NetworkBuilder
from .network import UNPUBLISHED, Network

SCALES = (0.25, 0.5, 1, 1.5, 2)
GROUPS = (1, 2, 3, 4, 8)

STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # Table 1, at scale 1
UNITS = {2: 4, 3: 8, 4: 4}  # Table 1: units a stage, the first of stride 2
# The paper gives 24 at scale 1 only.  These widths reproduce the multiply-adds of all its tables.
STEM_CHANNELS = {0.25: 12, 0.5: 12, 1: 24, 1.5: 24, 2: 48}


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
    """

    bottleneck: int
    outputs: int
    groups: tuple[int, int]
    shuffle: int
    downsample: bool
    stride: int = 2
    pool: int = 3


@dataclass(frozen=True)
class Structure:
    """What implementations of ShuffleNet v1 differ in; the defaults are the paper's."""

    stem: Stem
    stages: tuple[tuple[Unit, ...], ...]
    pooled_first: bool = True  # in the concatenation
    late_shuffle: bool = False  # behind the depthwise convolution
    depthwise_relu: bool = False


def shufflenet_v1(
    scale: float, groups: int, size: tuple[int, int] = (224, 224), classes: int = 1000, shuffle: bool = True
) -> Network:
    """ShuffleNet `scale`x with `groups` groups; `shuffle=False` is the ablation of Table 3."""
    inputs, stages = STEM_CHANNELS[scale], []
    for stage, count in UNITS.items():
        channels, units = int(STAGE2_CHANNELS[groups] * scale) * 2 ** (stage - 2), []
        for unit in range(count):
            # "We do not apply group convolution on the first pointwise layer" of stage 2 (Table 1).
            first = 1 if (stage, unit) == (2, 0) else groups
            outputs = channels - inputs if unit == 0 else channels
            # 12 channels of the stem leave 84 and 180 for 8 groups at 0.25x and 0.5x: then 4 groups.
            both, shuffled = (first, gcd(groups, outputs)), first if shuffle else 1
            units.append(Unit(bottleneck_channels(channels, groups), outputs, both, shuffled, unit == 0))
        stages.append(tuple(units))
        inputs = channels
    name = f"shufflenet-v1-{scale:g}x-g{groups}" + ("" if shuffle else "-noshuffle")
    return of_structure(Structure(Stem(STEM_CHANNELS[scale]), tuple(stages)), name, size, classes, v1.printed(name))


def of_structure(
    structure: Structure, name: str, size: tuple[int, int], classes: int, paper: dict | None = None
) -> Network:
    """The network of a structure; `ValueError` where groups do not divide the channels."""
    net, stem = NetworkBuilder(size), structure.stem
    conv = dict(kernel=stem.kernel, stride=stem.stride, pad=stem.kernel // 2)
    x = net.conv_bn("stem", "", 0, stem.channels, relu=stem.relu, **conv)
    if stem.pool:
        x = net.max_pool("stem.pool", x, kernel=3, stride=2, pad=1)
    for stage, units in enumerate(structure.stages, 2):
        for index, unit in enumerate(units):
            x = _unit(net, f"stage{stage}.{index}", x, unit, structure)
    x = net.global_avg_pool("pool", x)
    net.dense("classifier", x, classes)
    return net.network(name, paper or dict(UNPUBLISHED))


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
    else:
        y = net.add(f"{name}.add", x, y)
    return net.relu(f"{name}.relu", y)
