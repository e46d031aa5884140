"""SqueezeNet (F. Iandola et al., arXiv:1602.07360), versions 1.0 and 1.1 of DeepScale/SqueezeNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network

SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)  # outputs of the squeezing convolutions of fire2 to fire9


def entries() -> dict[str, Entry]:
    note = "the published cost is that at 227x227; the last convolution has no padding, as torchvision's"
    return {
        "squeezenet-1.0": Entry(
            partial(squeezenet, 96, 7, (2, 5, 9)), About("v1", "Table 6", note=note),
            ("squeezenet1_0", "squeezenet_v1_0"),
        ),
        "squeezenet-1.1": Entry(
            partial(squeezenet, 64, 3, (2, 4, 6)), About("v1", "Table 6", note="a cheaper version of its authors'"),
            ("squeezenet1_1", "squeezenet_v1_1"),
        ),
    }  # fmt: skip


def squeezenet(
    channels: int, kernel: int, pooled: Sequence[int], name: str, size: tuple[int, int], classes: int
) -> Network:
    """`channels` and `kernel` are the first convolution's; max pooling stands in front of the fire modules `pooled`.

    The logits are means of ReLUs.
    """
    net = NetworkBuilder(size)

    def conv(place: str, x: int, outputs: int, **window: int) -> int:
        return net.relu(f"{place}.relu", net.conv(f"{place}.conv", x, outputs, bias=True, **window))

    x = conv("conv1", 0, channels, kernel=kernel, stride=2)
    for fire, squeezed in enumerate(SQUEEZED, 2):
        if fire in pooled:
            x = net.max_pool(f"pool{fire - 1}", x, kernel=3, stride=2, ceil=True)
        x = conv(f"fire{fire}.squeeze", x, squeezed)
        parts = (
            conv(f"fire{fire}.expand1x1", x, 4 * squeezed),
            conv(f"fire{fire}.expand3x3", x, 4 * squeezed, kernel=3, pad=1),
        )
        x = net.concat(f"fire{fire}.concat", *parts)
    x = conv("conv10", net.dropout("dropout", x, 0.5), classes)
    net.global_avg_pool("pool10", x)
    return net.network(name)
