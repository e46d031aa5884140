"""ShuffleNet V2+ of the authors of ShuffleNet V2: networks of their code (megvii-model/ShuffleNet-Series), of no paper.

V2's units with windows of 3, 5 or 7 pixels, and two that are three separable convolutions; hard swish from stage 3 on,
channel attention in stages 4 and 5, with a batch norm and a hard sigmoid; and a fully connected layer more.
"""

from __future__ import annotations

from functools import partial

from .builder import NetworkBuilder
from .entries import NOWHERE, About, Entry
from .network import Network

# Outputs of stages 2 to 5; and of all sizes the units: the window of the depthwise convolution, or separable ones.
WIDTHS = {"small": (36, 104, 208, 416), "medium": (48, 128, 256, 512), "large": (68, 168, 336, 672)}
SEPARABLE = 0
UNITS = ((3, 3, SEPARABLE, 5), (5, 5, 3, 3), (7, 3, 7, 5, 5, 3, 7, 3), (7, 5, SEPARABLE, 7))
STEM, LAST = 16, 1280


def entries() -> dict[str, Entry]:
    about = About("v2", NOWHERE, note="as in the code of the authors, megvii-model/ShuffleNet-Series")
    return {f"shufflenet-v2-plus-{size}": Entry(partial(_network, widths), about) for size, widths in WIDTHS.items()}


def _network(widths: tuple[int, ...], name: str, size: tuple[int, int], classes: int) -> Network:
    net = NetworkBuilder(size)
    x = net.hard_swish("stem.swish", net.conv_bn("stem", "", 0, STEM, kernel=3, stride=2, pad=1))
    for stage, (channels, windows) in enumerate(zip(widths, UNITS), 2):
        for index, window in enumerate(windows):
            x = _unit(net, f"stage{stage}.{index}", stage, x, channels, window, first=index == 0)
    x = net.hard_swish("last.swish", net.conv_bn("last", "", x, LAST))
    x = net.global_avg_pool("pool", x)
    x = net.multiply("se.scale", x, _attention(net, "se", x))
    x = net.hard_swish("hidden.swish", net.dense("hidden", x, LAST))
    net.dense("classifier", net.dropout("dropout", x, 0.2), classes)
    return net.network(name)


def _unit(net: NetworkBuilder, name: str, stage: int, x: int, channels: int, window: int, first: bool) -> int:
    """A stage's first unit makes planes smaller and keeps the shortcut's channels; others leave the even ones alone."""
    inputs, activation = net.shape(x)[1], net.relu if stage == 2 else net.hard_swish
    if first:
        kept, y, taken = inputs, x, x
        y = net.conv_bn(f"{name}.shortcut", "1", y, kept, kernel=window, stride=2, pad=window // 2, groups=kept)
        y = activation(f"{name}.shortcut.act", net.conv_bn(f"{name}.shortcut", "2", y, kept))
    else:
        kept = inputs // 2
        y, taken = (net.slice(f"{name}.{which}", x, i, inputs, 2) for i, which in enumerate(("untouched", "taken")))
    main, stride = channels // 2, 2 if first else 1
    if window == SEPARABLE:
        for number, outputs in zip((1, 3, 5), (main, main, channels - kept)):
            taken = net.conv_bn(name, str(number), taken, net.shape(taken)[1], kernel=3, pad=1,
                                groups=net.shape(taken)[1])  # fmt: skip
            taken = activation(f"{name}.act{number}", net.conv_bn(name, str(number + 1), taken, outputs))
    else:
        taken = activation(f"{name}.act1", net.conv_bn(name, "1", taken, main))
        taken = net.conv_bn(name, "2", taken, main, kernel=window, stride=stride, pad=window // 2, groups=main)
        taken = activation(f"{name}.act3", net.conv_bn(name, "3", taken, channels - kept))
    if stage >= 4:
        mean = net.global_avg_pool(f"{name}.se.pool", taken)
        taken = net.multiply(f"{name}.se.scale", taken, _attention(net, f"{name}.se", mean))
    return net.concat(f"{name}.concat", y, taken)


def _attention(net: NetworkBuilder, name: str, mean: int) -> int:
    """A number from 0 to 1 for each plane, from their means."""
    channels = net.shape(mean)[1]
    y = net.relu(f"{name}.relu", net.batch_norm(f"{name}.bn", net.dense(f"{name}.fc1", mean, channels // 4)))
    return net.hard_sigmoid(f"{name}.sigmoid", net.dense(f"{name}.fc2", y, channels))
