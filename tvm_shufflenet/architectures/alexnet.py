"""AlexNet (A. Krizhevsky, I. Sutskever, G. Hinton, NIPS 2012): grouped convolutions, LRN."""

from __future__ import annotations

from ..published import v1
from .builder import NetworkBuilder
from .network import Network


def alexnet(size: tuple[int, int] = (224, 224), classes: int = 1000) -> Network:
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
    adapted = net.adaptive_avg_pool("adapt", x, 6)
    note = "" if adapted == x else "adaptive average pooling to 6x6 before the classifier"
    x = net.flatten("flatten", adapted)
    for index in (6, 7):
        x = net.dense(f"fc{index}", net.dropout(f"drop{index}", x, 0.5), 4096)
        x = net.relu(f"relu{index}", x)
    net.dense("fc8", x, classes)
    return net.network("alexnet", v1.printed("alexnet"), note)


def _conv(net, name, x, channels, **attrs) -> int:
    return net.relu(f"{name}_relu", net.conv(name, x, channels, bias=True, **attrs))


def _lrn(net, name, x) -> int:
    """Section 3.3 with its constants.  Its sum is not divided by n: alpha is given as n x 1e-4."""
    return net.lrn(name, x, size=5, alpha=5e-4, beta=0.75, k=2.0)
