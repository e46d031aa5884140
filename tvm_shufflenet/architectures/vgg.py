"""VGG-16 (K. Simonyan, A. Zisserman, arXiv:1409.1556, configuration D), and with batch norms as torchvision has it."""

from __future__ import annotations

from functools import partial

from .blocks import adapted
from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # outputs and convolutions, max pooling behind each


def entries() -> dict[str, Entry]:
    return {
        "vgg16": Entry(vgg16, About("v1", "Table 6")),
        "vgg16-bn": Entry(
            partial(vgg16, batch_norm=True),
            About("v1", "Table 6", note="with batch norms behind biased convolutions, as torchvision's vgg16_bn"),
            ("vgg16_bn", "bn_vgg16b"),
        ),
    }


def vgg16(name: str, size: tuple[int, int], classes: int, batch_norm: bool = False) -> Network:
    net, x = NetworkBuilder(size), 0
    for stage, (channels, count) in enumerate(STAGES, 1):
        for index in range(1, count + 1):
            place = f"{stage}_{index}"
            x = net.conv(f"conv{place}", x, channels, kernel=3, pad=1, bias=True)
            x = net.relu(f"relu{place}", net.batch_norm(f"bn{place}", x) if batch_norm else x)
        x = net.max_pool(f"pool{stage}", x, kernel=2, stride=2)
    x, note = adapted(net, x, 7)
    x = net.flatten("flatten", x)
    for index in (6, 7):
        x = net.relu(f"relu{index}", net.dense(f"fc{index}", x, 4096))
        x = net.dropout(f"drop{index}", x, 0.5)
    net.dense("fc8", x, classes)
    return net.network(name, note=note)
