"""AlexNet (A. Krizhevsky, I. Sutskever, G. Hinton, NIPS 2012), and torchvision's, of which no figure is published."""

from __future__ import annotations

from .blocks import adapted
from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network


def entries() -> dict[str, Entry]:
    return {
        "alexnet": Entry(alexnet, About("v1", "Table 6")),
        "alexnet-torchvision": Entry(one_column, About("v1", "Table 6", note="one column, without LRN")),
    }


def alexnet(name: str, size: tuple[int, int], classes: int) -> Network:
    """The original two-column AlexNet: layers 2, 4 and 5 in two groups, LRN behind layers 1 and 2."""
    net = NetworkBuilder(size)
    x = _conv(net, "conv1", 0, 96, kernel=11, stride=4, pad=2)
    x = net.max_pool("pool1", _lrn(net, "norm1", x), kernel=3, stride=2)
    x = _conv(net, "conv2", x, 256, kernel=5, pad=2, groups=2)
    x = net.max_pool("pool2", _lrn(net, "norm2", x), kernel=3, stride=2)
    x = _conv(net, "conv3", x, 384, kernel=3, pad=1)
    x = _conv(net, "conv4", x, 384, kernel=3, pad=1, groups=2)
    x = _conv(net, "conv5", x, 256, kernel=3, pad=1, groups=2)
    x = net.max_pool("pool5", x, kernel=3, stride=2)
    return _classified(net, x, classes, name)


def one_column(name: str, size: tuple[int, int], classes: int) -> Network:
    """torchvision's alexnet (A. Krizhevsky, "One weird trick", arXiv:1404.5997): no groups, narrower, no LRN."""
    net = NetworkBuilder(size)
    x = net.max_pool("pool1", _conv(net, "conv1", 0, 64, kernel=11, stride=4, pad=2), kernel=3, stride=2)
    x = net.max_pool("pool2", _conv(net, "conv2", x, 192, kernel=5, pad=2), kernel=3, stride=2)
    x = _conv(net, "conv3", x, 384, kernel=3, pad=1)
    x = _conv(net, "conv4", x, 256, kernel=3, pad=1)
    x = _conv(net, "conv5", x, 256, kernel=3, pad=1)
    return _classified(net, net.max_pool("pool5", x, kernel=3, stride=2), classes, name)


def _classified(net: NetworkBuilder, x: int, classes: int, name: str) -> Network:
    x, note = adapted(net, x, 6)
    x = net.flatten("flatten", x)
    for index in (6, 7):
        x = net.dense(f"fc{index}", net.dropout(f"drop{index}", x, 0.5), 4096)
        x = net.relu(f"relu{index}", x)
    net.dense("fc8", x, classes)
    return net.network(name, note=note)


def _conv(net, name, x, channels, **attrs) -> int:
    return net.relu(f"{name}_relu", net.conv(name, x, channels, bias=True, **attrs))


def _lrn(net, name, x) -> int:
    """Normalisation of section 3.3, which does not divide the sum by n as `lrn` does: alpha is n x 1e-4."""
    return net.lrn(name, x, size=5, alpha=5e-4, beta=0.75, k=2.0)
