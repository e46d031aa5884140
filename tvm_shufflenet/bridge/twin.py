"""The PyTorch twin of a network: trains it, and tells what the compiled library must answer.

Generated from the same `Network` as the Relax module.  Every layer is a submodule under its own dotted name, so
`state_dict()` has the names of `Network.parameters()` in their order (and, behind each batch norm, PyTorch's
`num_batches_tracked`).  What it computes is written from the operators' definitions and shares nothing with the
compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..architectures import Layer, Network, network
from .detections import Detections
from .regions import Proposals, RegionDetections, Regions


class Shuffle(nn.Module):
    """Channel shuffle: of g groups of n channels, channel a*n + b moves to b*g + a."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class GlobalAvgPool(nn.Module):
    """Mean over all pixels: (B, C, H, W) -> (B, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class PaddedConv(nn.Conv2d):
    """A convolution whose padding differs between opposite sides: `sides` is (left, right, top, bottom)."""

    def __init__(self, *args: Any, sides: tuple[int, ...], **options: Any):
        super().__init__(*args, **options)
        self.sides = sides

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, self.sides))


class Apply(nn.Module):
    """`function(*inputs, **attrs)`, for what PyTorch has no module for."""

    def __init__(self, function: Callable, **attrs: Any):
        super().__init__()
        self.function, self.attrs = function, attrs

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs, **self.attrs)

    def extra_repr(self) -> str:
        return ", ".join([self.function.__name__.strip("_"), *(f"{key}={value}" for key, value in self.attrs.items())])


def _conv(layer: Layer, channels: int) -> nn.Conv2d:
    a = layer.attrs
    options = {key: a[key] for key in ("kernel", "stride", "dilation", "groups", "bias")}
    args = (channels, layer.shape[1], options.pop("kernel"))
    if _symmetric(a["pad"]):
        conv = nn.Conv2d(*args, padding=a["pad"][:2], **options)
    else:
        conv = PaddedConv(*args, sides=_sides(a["pad"]), **options)
    # By the inputs of one group: fan_out counts the channels of all groups and starves depthwise filters.
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _symmetric(pad: tuple[int, ...]) -> bool:
    return pad[:2] == pad[2:]


def _sides(pad: tuple[int, ...]) -> tuple[int, ...]:
    """(top, left, bottom, right) as `F.pad` takes it."""
    top, left, bottom, right = pad
    return left, right, top, bottom


def _batch_norm(layer: Layer, channels: int) -> nn.Module:
    kind = nn.BatchNorm2d if len(layer.shape) == 4 else nn.BatchNorm1d
    return kind(channels, eps=layer.attrs["eps"])


def _pool(layer: Layer, channels: int) -> nn.Module:
    """PyTorch's own module where it takes such padding, else one that pads first."""
    a, op = layer.attrs, layer.op
    window = {"kernel_size": a["kernel"], "stride": a["stride"], "ceil_mode": a["ceil"]}
    if op == "max_pool":
        window["dilation"] = a["dilation"]
    if not _symmetric(a["pad"]) or any(2 * pad > kernel for pad, kernel in zip(a["pad"], a["kernel"])):
        return Apply(_padded_pool, op=op, pad=a["pad"], **window)
    if op == "max_pool":
        return nn.MaxPool2d(padding=a["pad"][:2], **window)
    return nn.AvgPool2d(padding=a["pad"][:2], count_include_pad=op == "avg_pool", **window)


def _padded_pool(x, op: str, pad: tuple[int, ...], **window):
    padded = F.pad(x, _sides(pad), value=float("-inf") if op == "max_pool" else 0.0)
    y = (F.max_pool2d if op == "max_pool" else F.avg_pool2d)(padded, **window)
    if op == "valid_avg_pool":
        y = y / F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), _sides(pad)), **window)
    if window["ceil_mode"]:  # the last window is left out where it would start in the padding behind the plane
        places = []
        for axis, step in enumerate(window["stride"]):
            span = window.get("dilation", (1, 1))[axis] * (window["kernel_size"][axis] - 1) + 1
            last = -(-(padded.shape[2 + axis] - span) // step)
            places.append(last + (last * step < pad[axis] + x.shape[2 + axis]))
        y = y[:, :, : places[0], : places[1]]
    return y


def _add(a, b):
    return a + _beside(a, b)


def _multiply(a, b):
    return a * _beside(a, b)


def _beside(a, b):
    """`b` so that it broadcasts against `a`: (B, C) becomes (B, C, 1, 1)."""
    return b[:, :, None, None] if b.dim() < a.dim() else b


def _concat(*parts):
    return torch.cat(parts, 1)


def _clip(x, low: float, high: float):
    return x.clamp(low, high)


def _hard_sigmoid(x, alpha: float, beta: float):
    return (alpha * x + beta).clamp(0, 1)


def _softmax(layer: Layer, channels: int) -> nn.Module:
    if layer.attrs["groups"] > 1:
        return Apply(_grouped_softmax, **layer.attrs)
    return (nn.LogSoftmax if layer.attrs["log"] else nn.Softmax)(1)


def _grouped_softmax(x, log: bool, groups: int):
    return (F.log_softmax if log else F.softmax)(x.unflatten(1, (groups, -1)), 2).flatten(1, 2)


def _slice(x, start: int, stop: int, step: int):
    return x[:, start:stop:step]


def _gather(x, channels: tuple[int, ...]):
    return x[:, list(channels)]


def _global_max_pool(x):
    return x.amax((2, 3))


def _reshape(x, shape: tuple[int, ...]):
    return x.reshape(len(x), *shape[1:])


def _pad(x, pad: tuple[int, ...], channels: tuple[int, ...], mode: str, value: float):
    if mode == "constant":
        return F.pad(x, (*_sides(pad), *channels), value=value)
    # What is cut off is still there to be mirrored.
    x = F.pad(x, [max(side, 0) for side in _sides(pad)], mode={"edge": "replicate"}.get(mode, mode))
    return F.pad(x, [min(side, 0) for side in _sides(pad)])


def _depth_to_space(x, block: int, mode: str):
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    x = x.unflatten(1, (block, block, -1)).permute(0, 3, 4, 1, 5, 2)
    return x.flatten(4, 5).flatten(2, 3)


def _resize(x, size, mode: str, coordinates: str, rounding: str, scales):
    """By the formulas of ONNX's operator Resize, one axis after the other."""
    for axis, (extent, scale) in enumerate(zip(size, scales), 2):
        last = x.shape[axis] - 1
        position = _position(torch.arange(extent, dtype=torch.float64), last, scale, coordinates)
        if mode == "nearest":
            x = x.index_select(axis, ROUND[rounding](position).clamp(0, last).long())
            continue
        position = position.clamp(0, last)
        below = position.floor().long()
        share = (position - below).float().reshape([-1 if a == axis else 1 for a in range(4)])
        above = (below + 1).clamp(max=last)
        x = x.index_select(axis, below) * (1 - share) + x.index_select(axis, above) * share
    return x


def _position(place, last: int, scale: float, coordinates: str):
    """Where output pixels lie in an input whose last pixel is number `last`."""
    if coordinates == "align_corners":
        return place * last / max(len(place) - 1, 1)
    if coordinates == "asymmetric":
        return place / scale
    if coordinates == "pytorch_half_pixel" and len(place) == 1:
        return torch.zeros_like(place)
    return (place + 0.5) / scale - 0.5


ROUND = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda position: torch.ceil(position - 0.5),
    "round_prefer_ceil": lambda position: torch.floor(position + 0.5),
}

# From a layer and the size of the picture to the module that executes it.
OF_BOXES: dict[str, Callable[[Layer, tuple[int, int]], nn.Module]] = {
    "detections": lambda layer, size: Detections(**layer.attrs, size=size),
    "proposals": lambda layer, size: Proposals(**layer.attrs, size=size),
    "regions": lambda layer, size: Regions(**layer.attrs),
    "region_detections": lambda layer, size: RegionDetections(**layer.attrs, size=size),
}
# From a layer and its number of input channels to the module that executes it.
MODULES = {
    "conv": _conv,
    "batch_norm": _batch_norm,
    # Not in place: a residual unit and the gradient of a batch norm still need what it would overwrite.
    "relu": lambda layer, channels: nn.ReLU(),
    "clip": lambda layer, channels: Apply(_clip, **layer.attrs),
    "leaky_relu": lambda layer, channels: nn.LeakyReLU(layer.attrs["slope"]),
    "sigmoid": lambda layer, channels: nn.Sigmoid(),
    "hard_sigmoid": lambda layer, channels: Apply(_hard_sigmoid, **layer.attrs),
    "hard_swish": lambda layer, channels: nn.Hardswish(),
    "softmax": _softmax,
    "shuffle": lambda layer, channels: Shuffle(layer.attrs["groups"]),
    "slice": lambda layer, channels: Apply(_slice, **layer.attrs),
    "gather": lambda layer, channels: Apply(_gather, **layer.attrs),
    "max_pool": _pool,
    "avg_pool": _pool,
    "valid_avg_pool": _pool,
    "adaptive_avg_pool": lambda layer, channels: nn.AdaptiveAvgPool2d(layer.attrs["size"]),
    "global_avg_pool": lambda layer, channels: GlobalAvgPool(),
    "global_max_pool": lambda layer, channels: Apply(_global_max_pool),
    "lrn": lambda layer, channels: nn.LocalResponseNorm(**layer.attrs),
    "add": lambda layer, channels: Apply(_add),
    "multiply": lambda layer, channels: Apply(_multiply),
    "concat": lambda layer, channels: Apply(_concat),
    "pad": lambda layer, channels: Apply(_pad, **layer.attrs),
    "depth_to_space": lambda layer, channels: Apply(_depth_to_space, **layer.attrs),
    "resize": lambda layer, channels: Apply(_resize, **layer.attrs),
    "flatten": lambda layer, channels: nn.Flatten(),
    "reshape": lambda layer, channels: Apply(_reshape, **layer.attrs),
    "dropout": lambda layer, channels: nn.Dropout(layer.attrs["p"]),
    "dense": lambda layer, channels: nn.Linear(channels, layer.shape[1]),
}


class Twin(nn.Module):
    """A network in PyTorch: fp32 (B, C, H, W), or (B, H, W, C) where its layout says so, -> its output.

    The batch B may be any.  Several outputs come as a tuple.  Heights and widths other than `network.size` work where
    the network ends in a global average.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        last_use = {source: index for index, layer in enumerate(network.layers) for source in layer.inputs}
        self._steps = []
        for index, layer in enumerate(network.layers[1:], 1):
            path = layer.name.split(".")
            if layer.op in OF_BOXES:
                module: nn.Module = OF_BOXES[layer.op](layer, network.size)
            else:
                module = MODULES[layer.op](layer, network.layers[layer.inputs[0]].shape[1])
            self._place(path, module)
            dead = [s for s in set(layer.inputs) if last_use[s] == index and s not in network.outputs]
            self._steps.append((path, layer.inputs, dead))

    def _place(self, path: list[str], module: nn.Module) -> None:
        # Not by `add_module`, which refuses names such as "network" and "forward": a file may hold any.
        parent: nn.Module = self
        for part in path[:-1]:
            parent._modules.setdefault(part, nn.Module())
            parent = _child(parent, part)
        if path[-1] in parent._modules:  # of layers a.b and a
            module._modules.update(_child(parent, path[-1])._modules)
        parent._modules[path[-1]] = module

    def layer(self, index: int) -> nn.Module:
        """The submodule of the network's layer of that number, from 1 on."""
        module: nn.Module = self
        for part in self._steps[index - 1][0]:
            module = _child(module, part)
        return module

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if self.network.layers[0].attrs["layout"] == "NHWC":
            x = x.permute(0, 3, 1, 2)
        values = {0: x}
        for index, (_, inputs, dead) in enumerate(self._steps, 1):
            # Looked up in each call, so that a submodule which the user has replaced is the one that runs.
            values[index] = self.layer(index)(*(values[source] for source in inputs))
            for source in dead:
                del values[source]
        outputs = tuple(values[index] for index in self.network.outputs)
        return outputs if len(outputs) > 1 else outputs[0]


def _child(module: nn.Module, name: str) -> nn.Module:
    child = module._modules[name]
    assert child is not None  # only what `register_module` is given may be None
    return child


def twin(model: str | Network, classes: int | None = None, size: tuple[int, int] | None = None) -> Twin:
    """The twin of the model of that name, or of a `Network`, which brings its own classes and size.

    Raises `UserError` as `architectures.network` does.
    """
    return Twin(model if isinstance(model, Network) else network(model, size, classes))
