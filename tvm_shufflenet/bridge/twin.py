"""The PyTorch twin of a network: trains it, and tells what the compiled library must answer.

Generated from the same `Network` as the Relax module.  Every layer is a submodule under its own
dotted name, so `state_dict()` has the names of `Network.parameters()` in their order (and, behind
each batch norm, PyTorch's `num_batches_tracked`).
"""

from __future__ import annotations

import torch
from torch import nn

from ..architectures import BATCH_NORM_EPS, Layer, Network, network


class Shuffle(nn.Module):
    """Channel shuffle: of g groups of n channels, channel a*n + b moves to b*g + a."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class Concat(nn.Module):
    """Concatenation along the channels."""

    def forward(self, a, b):
        return torch.cat((a, b), 1)


class GlobalAvgPool(nn.Module):
    """Mean over all pixels: (B, C, H, W) -> (B, C)."""

    def forward(self, x):
        return x.mean((2, 3))


def _conv(layer: Layer, channels: int) -> nn.Conv2d:
    a = layer.attrs
    conv = nn.Conv2d(channels, layer.shape[1], a["kernel"], a["stride"], a["pad"], groups=a["groups"], bias=a["bias"])
    # By the inputs of one group: fan_out counts the channels of all groups and starves depthwise filters.
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if a["bias"]:
        nn.init.zeros_(conv.bias)
    return conv


# From a layer and its number of input channels to the module that executes it.
MODULES = {
    "conv": _conv,
    "batch_norm": lambda layer, channels: nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS),
    # Not in place: a residual unit and the gradient of a batch norm still need what it would overwrite.
    "relu": lambda layer, channels: nn.ReLU(),
    "shuffle": lambda layer, channels: Shuffle(layer.attrs["groups"]),
    "max_pool": lambda layer, channels: nn.MaxPool2d(*_window(layer)),
    "avg_pool": lambda layer, channels: nn.AvgPool2d(*_window(layer), count_include_pad=True),
    "valid_avg_pool": lambda layer, channels: nn.AvgPool2d(*_window(layer), count_include_pad=False),
    "adaptive_avg_pool": lambda layer, channels: nn.AdaptiveAvgPool2d(layer.attrs["size"]),
    "global_avg_pool": lambda layer, channels: GlobalAvgPool(),
    "lrn": lambda layer, channels: nn.LocalResponseNorm(**layer.attrs),
    "add": lambda layer, channels: Add(),
    "concat": lambda layer, channels: Concat(),
    "flatten": lambda layer, channels: nn.Flatten(),
    "dropout": lambda layer, channels: nn.Dropout(layer.attrs["p"]),
    "dense": lambda layer, channels: nn.Linear(channels, layer.shape[1]),
}


def _window(layer: Layer) -> tuple[int, int, int]:
    return layer.attrs["kernel"], layer.attrs["stride"], layer.attrs["pad"]


class Twin(nn.Module):
    """A network in PyTorch: fp32 (B, 3, H, W) -> logits (B, classes), for any batch B.

    Heights and widths other than `network.size` work where the network ends in a global average.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        last_use = {source: index for index, layer in enumerate(network.layers) for source in layer.inputs}
        self._steps = []
        for index, layer in enumerate(network.layers[1:], 1):
            path = layer.name.split(".")
            self._place(path, MODULES[layer.op](layer, network.layers[layer.inputs[0]].shape[1]))
            dead = [source for source in set(layer.inputs) if last_use[source] == index]
            self._steps.append((path, layer.inputs, dead))

    def _place(self, path: list[str], module: nn.Module) -> None:
        parent = self
        for part in path[:-1]:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent._modules[part]
        parent.add_module(path[-1], module)

    def forward(self, x):
        values = [x] + [None] * len(self._steps)
        for index, (path, inputs, dead) in enumerate(self._steps, 1):
            # Looked up in each call, so that a submodule which the user has replaced is the one that runs.
            module = self
            for part in path:
                module = module._modules[part]
            values[index] = module(*(values[source] for source in inputs))
            for source in dead:
                values[source] = None
        return values[-1]


def twin(model: str | Network, classes: int = 1000, size: tuple[int, int] = (224, 224)) -> Twin:
    """The twin of the model of that name, or of a `Network`, which brings its own classes and size.

    Raises `UserError` as `architectures.network` does.
    """
    return Twin(model if isinstance(model, Network) else network(model, size, classes))
