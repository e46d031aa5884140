"""CondenseNet-74 (G. Huang et al., arXiv:1711.09224), converted for inference, of ShuffleNet V2's Table 8.

In the form that ShichenLiu/CondenseNet converts to: each group of a 1x1 convolution reads a list of channels.  Which
ones is learned; here group after group takes every G-th channel, and the classifier the first half.
"""

from __future__ import annotations

from functools import partial

from .builder import NetworkBuilder
from .entries import About, Entry
from .network import Network

LAYERS, GROWTH = (4, 6, 8, 10, 8), (8, 16, 32, 64, 128)
BOTTLENECK = 4  # outputs of a layer's 1x1 convolution by those of its 3x3 one


def entries() -> dict[str, Entry]:
    note = "which channels a group reads is learned: here every G-th; the published cost counts batch norms"
    about = About("v2", "Table 8", note=note)
    return {f"condensenet-74-g{groups}": Entry(partial(condensenet, groups), about) for groups in (4, 8)}


def condensenet(groups: int, name: str, size: tuple[int, int], classes: int) -> Network:
    """`groups`: of both convolutions of a layer, and the factor by which the first one was condensed."""
    net = NetworkBuilder(size)
    x = net.conv("stem", 0, 2 * GROWTH[0], kernel=3, stride=2, pad=1)
    for block, (count, growth) in enumerate(zip(LAYERS, GROWTH, strict=True), 1):
        if block > 1:
            x = net.avg_pool(f"transition{block - 1}", x, kernel=2, stride=2)
        for index in range(1, count + 1):
            x = _layer(net, f"block{block}.{index}", x, growth, groups)
    x = net.relu("relu", net.batch_norm("bn", x))
    x = net.global_avg_pool("pool", x)
    x = net.gather("selected", x, range(net.shape(x)[1] // 2))
    net.dense("classifier", x, classes)
    return net.network(name)


def _layer(net: NetworkBuilder, name: str, x: int, growth: int, groups: int) -> int:
    """Batch norm, ReLU and grouped convolution, 1x1 of selected channels and 3x3, behind what came before."""
    inputs = net.shape(x)[1]
    y = net.gather(f"{name}.selected", x, [c for group in range(groups) for c in range(group, inputs, groups)])
    y = net.relu(f"{name}.relu1", net.batch_norm(f"{name}.bn1", y))
    y = net.shuffle(f"{name}.shuffle", net.conv(f"{name}.conv1", y, BOTTLENECK * growth, groups=groups), groups)
    y = net.relu(f"{name}.relu2", net.batch_norm(f"{name}.bn2", y))
    return net.concat(f"{name}.concat", x, net.conv(f"{name}.conv2", y, growth, kernel=3, pad=1, groups=groups))
