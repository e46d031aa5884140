"""ShuffleNet V2 (N. Ma, X. Zhang, H.-T. Zheng, J. Sun, arXiv:1807.11164), its variants and its large networks.

The paper and the code of its authors (megvii-model/ShuffleNet-Series) halve the channels by taking the even and the
odd ones, and let the shortcut of a stage's first unit keep its input's channels, which gives the published cost.
torchvision's networks shuffle behind each unit and take the first and the second half, and give both branches of a
first unit half of the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from .blocks import channel_attention, classifier, stem
from .builder import NetworkBuilder
from .entries import NOWHERE, SETTLED, UNCERTAIN, About, Entry
from .network import Network

UNITS = (4, 8, 4)  # Table 5: units of stages 2, 3 and 4


@dataclass(frozen=True)
class Plan:
    """`stages` are (outputs, units, stride of the first unit), `stem` the outputs of its convolutions, `last` of conv5.

    `halves`: as torchvision has it.  `attention`: on each main branch, with half the unit's outputs as hidden units.
    `residual`: each branch of a stride-1 unit is added to its input.  `enlarged`: V2*, with a depthwise convolution
    more in front of each main branch.  `clipped`: of the stem's pooling, see `stem`.
    """

    stages: tuple[tuple[int, int, int], ...]
    last: int
    stem: tuple[int, ...] = (24,)
    halves: bool = False
    attention: bool = False
    residual: bool = False
    enlarged: bool = False
    dropout: float = 0
    clipped: bool = False


# Table 5: outputs of stage 2, which double from stage to stage, and of conv5.
WIDTHS = {"0.5": (48, 1024), "1": (116, 1024), "1.5": (176, 1024), "2": (244, 2048)}
TORCHVISION = {"0.5": "x0_5", "1": "x1_0", "1.5": "x1_5", "2": "x2_0"}

BRANCH = (
    "channel attention stands behind the main branch, its hidden units half the unit's outputs as the appendix says of "
    "SE-ShuffleNet v2-164; at 2x that costs 594 M"
)
ENLARGED = "whether a batch norm follows the further depthwise convolution is not said: it has one, without ReLU"
RESIDUAL = "the addition is in front of the last ReLU, as in the code of the authors' larger network"


def entries() -> dict[str, Entry]:
    found = {}
    for scale, (_, last) in WIDTHS.items():
        name, plan = f"shufflenet-v2-{scale}x", partial(Plan, stages(scale), last, dropout=0.2 if last == 2048 else 0)
        found[name] = _entry(plan(), "Table 8")
        found[f"{name}-torchvision"] = _entry(
            plan(halves=True), "Table 8", note="both branches of a first unit have half of the outputs",
            aliases=(f"shufflenet_v2_{TORCHVISION[scale]}",),
        )  # fmt: skip
        printed = "Table 8" if scale == "2" else NOWHERE
        found[f"{name}-se"] = _entry(plan(attention=True), printed, UNCERTAIN, BRANCH)
        found[f"{name}-residual"] = _entry(plan(residual=True), "appendix", UNCERTAIN, RESIDUAL)
        found[f"{name}-star"] = _entry(plan(enlarged=True), "Table 7", UNCERTAIN, ENLARGED)
    large = Plan(((244, 3, 1), (488, 4, 2), (976, 6, 2), (1952, 3, 2)), 2048, (64,))
    found["shufflenet-v2-50"] = _entry(large, "Table 6")
    larger = Plan(
        ((340, 10, 1), (680, 10, 2), (1360, 23, 2), (2720, 10, 2)), 2048, (64, 64, 128), attention=True, residual=True
    )
    found["se-shufflenet-v2-164"] = _entry(larger, "Table 6", UNCERTAIN, RESIDUAL)
    return found


def stages(scale: str) -> tuple[tuple[int, int, int], ...]:
    """The stages of Table 5 at that scale, as `Plan` takes them."""
    return tuple((WIDTHS[scale][0] << i, count, 2) for i, count in enumerate(UNITS))


def _entry(
    plan: Plan, table: str, mark: str = SETTLED, note: str = "", aliases: tuple[str, ...] = ()
) -> Entry:  # fmt: skip
    return Entry(partial(shufflenet_v2, plan), About("v2", table, mark, note), aliases)


def shufflenet_v2(plan: Plan, name: str, size: tuple[int, int], classes: int) -> Network:
    net = NetworkBuilder(size)
    classifier(net, body(net, plan)[-1], classes, plan.dropout)
    return net.network(name)


def body(net: NetworkBuilder, plan: Plan) -> list[int]:
    """The layers up to the classifier; the outputs of each stage from the second on, and of conv5."""
    outputs = stages_of(net, plan)
    return [*outputs, net.conv_bn("conv5", "", outputs[-1], plan.last, relu=True)]


def stages_of(net: NetworkBuilder, plan: Plan) -> list[int]:
    """The layers up to conv5; the outputs of each stage from the second on."""
    x, outputs = stem(net, *plan.stem, clipped=plan.clipped), []
    for stage, (channels, count, stride) in enumerate(plan.stages, 2):
        for index in range(count):
            named = f"stage{stage}.{index}"
            x = unit(net, named, x, plan) if index else _first_unit(net, named, x, channels, stride, plan)
        outputs.append(x)
    return outputs


def _first_unit(net: NetworkBuilder, name: str, x: int, channels: int, stride: int, plan: Plan) -> int:
    """Figure 3 (d): two branches, each of which may make the planes smaller."""
    inputs = net.shape(x)[1]
    kept = channels // 2 if plan.halves else inputs
    y = net.conv_bn(f"{name}.shortcut", "1", x, inputs, kernel=3, stride=stride, pad=1, groups=inputs)
    y = net.conv_bn(f"{name}.shortcut", "2", y, kept, relu=True)
    main = _main(net, name, x, channels // 2, channels - kept, stride, plan)
    return _joined(net, name, y, net.relu(f"{name}.relu3", main), plan)


def unit(net: NetworkBuilder, name: str, x: int, plan: Plan) -> int:
    """Figure 3 (c): half of the channels pass untouched."""
    channels = net.shape(x)[1]
    half = channels // 2
    if plan.halves:
        untouched = net.slice(f"{name}.untouched", x, 0, half)
        taken = net.slice(f"{name}.taken", x, half, channels)
    else:
        untouched = net.slice(f"{name}.untouched", x, 0, channels, 2)
        taken = net.slice(f"{name}.taken", x, 1, channels, 2)
    y = _main(net, name, taken, half, half, 1, plan)
    if plan.residual:
        y = net.add(f"{name}.add", taken, y)
    return _joined(net, name, untouched, net.relu(f"{name}.relu3", y), plan)


def _main(net: NetworkBuilder, name: str, x: int, middle: int, outputs: int, stride: int, plan: Plan) -> int:
    """The main branch up to its last ReLU."""
    if plan.enlarged:
        inputs = net.shape(x)[1]
        x = net.conv_bn(name, "0", x, inputs, kernel=3, pad=1, groups=inputs)
    y = net.conv_bn(name, "1", x, middle, relu=True)
    y = net.conv_bn(name, "2", y, middle, kernel=3, stride=stride, pad=1, groups=middle)
    y = net.conv_bn(name, "3", y, outputs)
    return channel_attention(net, f"{name}.se", y, middle) if plan.attention else y


def _joined(net: NetworkBuilder, name: str, untouched: int, new: int, plan: Plan) -> int:
    x = net.concat(f"{name}.concat", untouched, new)
    return net.shuffle(f"{name}.shuffle", x, 2) if plan.halves else x
