"""PVANET (K.-H. Kim et al., arXiv:1608.08021), as ShuffleNet's Table 6 classifies with it.

The layers are those of pvanet_obsolete/imagenet/original.pt of sanghoon/pva-faster-rcnn, version 9.0.  The published
cost is that of the body with pooling 2x2 of stride 2 in front of the fully connected layers, which no source says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..errors import UserError
from .blocks import adapted
from .builder import NetworkBuilder
from .entries import FITTED, About, Entry
from .network import Network

# Units of stages 2 and 3: convolutions 1x1, 3x3 with C.ReLU, and 1x1.
RESIDUAL = {2: (24, 24, 64, 3), 3: (48, 48, 128, 4)}
# Units of stages 4 and 5: 1x1; 1x1 and 3x3; 1x1 and two 3x3; outputs.  With the reduction of the first unit's 3x3.
INCEPTION = {4: (64, (64, 128), (24, 48), 256, 48), 5: (64, (96, 192), (32, 64), 384, 96)}
POOLED = 128  # outputs of the pooled branch of a stage's first unit
MULTIPLE = 32  # elsewhere the pooled branch and the strided ones have other sizes


def entries() -> dict[str, Entry]:
    head = "the head, pooling 2x2 in front of 4096-4096-1000, is the one that fits the published cost"
    return {
        "pvanet": Entry(pvanet, About("v1", "Table 6", FITTED, head)),
        "pvanet-body": Entry(
            partial(pvanet, head=False),
            About("v1", "Table 6", note="the body alone: its output is the last feature map"),
        ),
    }


def pvanet(name: str, size: tuple[int, int], classes: int, head: bool = True) -> Network:
    """PVANET for sizes that are multiples of 32, at least 64; `UserError` for other sizes."""
    if any(extent % MULTIPLE or extent < 2 * MULTIPLE for extent in size):
        raise UserError(f"--size {size[0]}x{size[1]}: {name} takes multiples of {MULTIPLE}, at least {2 * MULTIPLE}")
    net = NetworkBuilder(size)
    x = _crelu(net, "conv1_1", 0, 16, kernel=7, stride=2, pad=3)
    x = net.max_pool("pool1", x, kernel=3, stride=2, ceil=True)
    for stage, (first, middle, outputs, count) in RESIDUAL.items():
        for unit in range(1, count + 1):
            place, stride = f"conv{stage}_{unit}", 2 if (stage, unit) == (3, 1) else 1
            y = net.conv_bn(place, "1", x, first, stride=stride, relu=True)
            y = _crelu(net, f"{place}.3x3", y, middle, kernel=3, pad=1)
            x = _added(net, place, x, net.conv_bn(place, "3", y, outputs), unit == 1, stride)
    for stage, (one, *branches, outputs, reduced) in INCEPTION.items():
        for unit in range(1, 5):
            place, stride = f"conv{stage}_{unit}", 2 if unit == 1 else 1
            three, five = ([reduced if unit == 1 else branches[0][0], branches[0][1]], [*branches[1], branches[1][1]])
            parts = [_branch(net, f"{place}.{len(b)}", x, b, stride) for b in ([one], three, five)]
            if unit == 1:
                pooled = net.max_pool(f"{place}.pool", x, kernel=3, stride=2, ceil=True)
                parts.append(net.conv_bn(f"{place}.pooled", "", pooled, POOLED, relu=True))
            y = net.conv_bn(place, "out", net.concat(f"{place}.concat", *parts), outputs)
            x = _added(net, place, x, y, unit == 1, stride)
    if not head:
        return net.network(name)
    x, note = adapted(net, net.max_pool("pool5", x, kernel=2, stride=2, ceil=True), 4)
    x = net.flatten("flatten", x)
    for index in (6, 7):
        x = net.batch_norm(f"bn{index}", net.dense(f"fc{index}", x, 4096))
        x = net.relu(f"relu{index}", net.dropout(f"drop{index}", x, 0.5))
    net.dense("fc8", x, classes)
    return net.network(name, note=note)


def _crelu(net: NetworkBuilder, place: str, x: int, channels: int, **window: Any) -> int:
    """C.ReLU: one convolution, two affine maps, which may have gains of either sign, concatenated, and ReLU.

    The original gives the second one the negated result; here the sign is its gain's.
    """
    x = net.conv(f"{place}.conv", x, channels, **window)
    parts = (net.batch_norm(f"{place}.bn_{sign}", x) for sign in ("positive", "negative"))
    return net.relu(f"{place}.relu", net.concat(f"{place}.concat", *parts))


def _branch(net: NetworkBuilder, place: str, x: int, widths: Sequence[int], stride: int) -> int:
    """A convolution 1x1, which has the stride, and 3x3 ones behind it."""
    x = net.conv_bn(place, "1", x, widths[0], stride=stride, relu=True)
    for index, channels in enumerate(widths[1:], 2):
        x = net.conv_bn(place, str(index), x, channels, kernel=3, pad=1, relu=True)
    return x


def _added(net: NetworkBuilder, place: str, x: int, y: int, project: bool, stride: int) -> int:
    """No ReLU behind the addition (version 9.0)."""
    if project:
        x = net.conv_bn(f"{place}.proj", "", x, net.shape(y)[1], stride=stride)
    return net.add(f"{place}.add", x, y)
