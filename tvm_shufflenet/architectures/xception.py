"""The light Xception that ShuffleNet V2's Table 8 compares with (described in Light-Head R-CNN, arXiv:1711.07264).

Widths and shortcuts are those that reproduce the cost of all four published networks.
"""

from __future__ import annotations

from functools import partial

from .blocks import classifier, shortcut, stem
from .builder import NetworkBuilder
from .entries import FITTED, About, Entry
from .network import Network

UNITS = (4, 8, 4)
# Channels of the stem and of stage 2, which double from stage to stage.
WIDTHS = {"0.5": (8, 64), "1": (24, 128), "1.5": (24, 192), "2": (24, 256)}


def entries() -> dict[str, Entry]:
    note = "widths and 1x1 projections as shortcuts fit the published cost at all four"
    about = About("v2", "Table 8", FITTED, note)
    return {f"xception-{scale}x": Entry(partial(xception, *widths), about) for scale, widths in WIDTHS.items()}


def xception(
    stem_channels: int, channels: int, name: str, size: tuple[int, int], classes: int
) -> Network:  # fmt: skip
    net = NetworkBuilder(size)
    classifier(net, body(net, stem_channels, channels)[-1], classes)
    return net.network(name)


def body(net: NetworkBuilder, stem_channels: int, channels: int) -> list[int]:
    """The layers up to the classifier; the outputs of each stage from the second on."""
    x, outputs = stem(net, stem_channels), []
    for stage, count in enumerate(UNITS):
        for unit in range(count):
            x = _unit(net, f"stage{stage + 2}.{unit}", x, channels << stage, 1 if unit else 2)
        outputs.append(x)
    return outputs


def _unit(net: NetworkBuilder, name: str, x: int, channels: int, stride: int) -> int:
    """Three separable convolutions, with one batch norm each, to a quarter of the channels twice and to all of them."""
    y = x
    for index, outputs in enumerate((channels // 4, channels // 4, channels), 1):
        inputs, step = net.shape(y)[1], stride if index == 1 else 1
        y = net.conv(f"{name}.depthwise{index}", y, inputs, kernel=3, stride=step, pad=1, groups=inputs)
        y = net.conv_bn(name, str(index), y, outputs, relu=index < 3)
    return net.relu(f"{name}.relu", net.add(f"{name}.add", shortcut(net, name, x, y, stride), y))
