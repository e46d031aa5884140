"""MobileNet v2 (M. Sandler et al., arXiv:1801.04381) and IGCV3-D (K. Sun et al., arXiv:1806.00178), of its units."""

from __future__ import annotations

from functools import partial
from typing import Any

from .blocks import classifier
from .builder import NetworkBuilder
from .entries import NOWHERE, About, Entry
from .network import Network

# Table 2 of MobileNet v2: expansion, outputs, units, stride of the first.
BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
UNITS = tuple(units for _, _, units, _ in BLOCKS)
IGCV3_UNITS = (1, 4, 6, 8, 6, 6, 1)  # symbols/igcv3.py of homles11/IGCV3
STEM, LAST = 32, 1280
STRIDE_16 = 4  # the last block whose map has this stride
WIDTHS = {"1.4": "Table 8", "1.0": "Table 8", **dict.fromkeys(("0.75", "0.5", "0.35"), NOWHERE)}


def entries() -> dict[str, Entry]:
    found = {}
    for width, table in WIDTHS.items():
        aliases = ("mobilenet_v2",) if width == "1.0" else ()
        found[f"mobilenet-v2-{width}"] = Entry(partial(mobilenet_v2, float(width)), About("v2", table), aliases)
    found["igcv3-d-1.0"] = Entry(
        partial(mobilenet_v2, 1.0, units=IGCV3_UNITS, groups=2),
        About("v2", "Table 8", note="as the authors' code has it; the published cost is 1.6 % more"),
    )
    return found


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8, but not below nine tenths of `channels` (MobileNet's code)."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def mobilenet_v2(
    width: float, name: str, size: tuple[int, int], classes: int,
    units: tuple[int, ...] = UNITS, groups: int = 1,
) -> Network:  # fmt: skip
    """`groups`: of the pointwise convolutions within units, 2 for IGCV3, whose units shuffle between them."""
    net = NetworkBuilder(size)
    classifier(net, body(net, width, units, groups)[-1], classes, dropout=0.2)
    return net.network(name)


def body(net: NetworkBuilder, width: float, units: tuple[int, ...] = UNITS, groups: int = 1) -> list[int]:
    """The layers up to the classifier; the outputs of each block, and of the last convolution."""
    x, outputs = _conv(net, "stem", "", 0, rounded(STEM * width), kernel=3, stride=2, pad=1), []
    for block, ((expansion, channels, _, stride), count) in enumerate(zip(BLOCKS, units, strict=True)):
        for index in range(count):
            place = f"block{block}.{index}"
            x = inverted_residual(net, place, x, expansion, rounded(channels * width), 1 if index else stride, groups)
        outputs.append(x)
    return [*outputs, _conv(net, "last", "", x, rounded(LAST * max(1.0, width)))]


def inverted_residual(
    net: NetworkBuilder, name: str, x: int, expansion: int, outputs: int, stride: int, groups: int = 1
) -> int:
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 without activation; added where shapes are equal.

    With more than one group, as in IGCV3, no activation follows the first convolution, but a shuffle.
    """
    inputs = net.shape(x)[1]
    middle, y = inputs * expansion, x
    if groups > 1:
        y = net.shuffle(f"{name}.shuffle", net.conv_bn(name, "1", y, middle, groups=groups), groups)
    elif expansion > 1:
        y = _conv(net, name, "1", y, middle)
    y = _conv(net, name, "2", y, middle, kernel=3, stride=stride, pad=1, groups=middle)
    y = net.conv_bn(name, "3", y, outputs, groups=groups)
    return net.add(f"{name}.add", x, y) if stride == 1 and inputs == outputs else y


def _conv(net: NetworkBuilder, prefix: str, suffix: str, x: int, channels: int, **window: Any) -> int:
    """Convolution, batch norm and ReLU6."""
    return net.clip(f"{prefix}.relu{suffix}", net.conv_bn(prefix, suffix, x, channels, **window))
