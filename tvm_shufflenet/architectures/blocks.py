"""Structures that several networks share, each a function that appends layers and returns the last one's index."""

from __future__ import annotations

from .builder import NetworkBuilder


def stem(net: NetworkBuilder, channels: int) -> int:
    """ShuffleNet paper, Table 1: convolution 3x3 and max pooling, each of stride 2."""
    x = net.conv_bn("stem", "", 0, channels, kernel=3, stride=2, pad=1, relu=True)
    return net.max_pool("stem.pool", x, kernel=3, stride=2, pad=1)


def classifier(net: NetworkBuilder, x: int, classes: int, dropout: float = 0) -> int:
    """Mean over all pixels and a fully connected layer."""
    x = net.global_avg_pool("pool", x)
    return net.dense("classifier", net.dropout("dropout", x, dropout) if dropout else x, classes)


def channel_attention(net: NetworkBuilder, name: str, x: int, hidden: int) -> int:
    """Squeeze-and-excitation (J. Hu et al., arXiv:1709.01507): the planes of `x`, each times a number from 0 to 1.

    The numbers come from the planes' means through two fully connected layers, the first to `hidden` units.
    """
    y = net.global_avg_pool(f"{name}.pool", x)
    y = net.relu(f"{name}.relu", net.dense(f"{name}.fc1", y, hidden))
    y = net.sigmoid(f"{name}.sigmoid", net.dense(f"{name}.fc2", y, net.shape(x)[1]))
    return net.multiply(f"{name}.scale", x, y)


def adapted(net: NetworkBuilder, x: int, extent: int) -> tuple[int, str]:
    """`x` as planes of `extent` x `extent` pixels, for a fully connected layer, and what a note says of that."""
    y = net.adaptive_avg_pool("adapt", x, extent)
    return y, "" if y == x else f"adaptive average pooling to {extent}x{extent} before the classifier"
