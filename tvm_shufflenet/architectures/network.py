"""The description of a network, from which its Relax module and its PyTorch twin are generated.

A `Network` is a list of `Layer`s in the order of execution; each names its inputs by index.
`NetworkBuilder` appends layers, infers their shapes and checks them.  Activations are fp32 with
batch 1: (1, C, H, W) or, behind `flatten` and `global_avg_pool`, (1, N).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import UserError

BATCH_NORM_EPS = 1e-5
UNPUBLISHED = {"macs": None, "error": None}  # what the literature prints of a network that it does not name


@dataclass(frozen=True)
class Layer:
    """One operator: its kind, its dotted name, the indices of its inputs, its output shape."""

    op: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    attrs: dict = field(default_factory=dict)

    def parameters(self, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of this layer's parameters, by full dotted name, in PyTorch's order."""
        a = self.attrs
        if self.op == "conv":
            shapes = {"weight": (self.shape[1], input_shape[1] // a["groups"], a["kernel"], a["kernel"])}
            if a["bias"]:
                shapes["bias"] = (self.shape[1],)
        elif self.op == "batch_norm":
            shapes = {k: (self.shape[1],) for k in ("weight", "bias", "running_mean", "running_var")}
        elif self.op == "dense":
            shapes = {"weight": (self.shape[1], input_shape[1]), "bias": (self.shape[1],)}
        else:
            shapes = {}
        return {f"{self.name}.{key}": shape for key, shape in shapes.items()}


@dataclass(frozen=True)
class Network:
    """A whole network.

    `layers[0]` is the input and `layers[-1]` the logits.  `paper` holds what the literature prints
    about it: `macs` (millions of multiply-adds at 224x224), `error` (ImageNet top-1, %), `source`.
    """

    name: str
    layers: tuple[Layer, ...]
    classes: int
    paper: dict
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.layers[0].shape[2:]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name, in the order of execution."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            if layer.inputs:
                shapes.update(layer.parameters(self.layers[layer.inputs[0]].shape))
        return shapes

    def multiply_adds(self) -> int:
        """Multiply-adds of the convolutions and fully connected layers, as the paper counts them."""
        total = 0
        for layer in self.layers:
            if layer.op in ("conv", "dense"):
                source = self.layers[layer.inputs[0]].shape
                weight = layer.parameters(source)[f"{layer.name}.weight"]
                pixels = layer.shape[2] * layer.shape[3] if layer.op == "conv" else 1
                total += pixels * _product(weight)
        return total

    def parameter_count(self) -> int:
        """Learned parameters: running statistics are not counted."""
        return sum(_product(s) for n, s in self.parameters().items() if ".running_" not in n)


class NetworkBuilder:
    """Appends layers and infers shapes; every method returns the index of the layer it appended."""

    def __init__(self, size: tuple[int, int], channels: int = 3):
        self.layers = [Layer("input", "input", (), (1, channels, *size))]

    def shape(self, index: int) -> tuple[int, ...]:
        return self.layers[index].shape

    def _append(self, op, name, inputs, shape, **attrs) -> int:
        if min(shape) < 1:
            height, width = self.layers[0].shape[2:]
            raise UserError(
                f"input size {height}x{width} is too small: layer {name} would have the shape "
                f"{'x'.join(map(str, shape))}; use a larger --size"
            )
        self.layers.append(Layer(op, name, tuple(inputs), tuple(shape), attrs))
        return len(self.layers) - 1

    def _window(self, op, name, x, channels, kernel, stride, pad, **attrs) -> int:
        _, _, height, width = self.shape(x)
        rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
        return self._append(op, name, [x], (1, channels, rows, columns), kernel=kernel, stride=stride, pad=pad, **attrs)

    def conv(self, name, x, channels, kernel=1, stride=1, pad=0, groups=1, bias=False) -> int:
        """Convolution, square kernel; `groups` divides the channels on both sides."""
        if self.shape(x)[1] % groups or channels % groups:
            raise ValueError(f"{name}: {self.shape(x)[1]} -> {channels} channels in {groups} groups")
        return self._window("conv", name, x, channels, kernel, stride, pad, groups=groups, bias=bias)

    def batch_norm(self, name, x) -> int:
        return self._append("batch_norm", name, [x], self.shape(x))

    def relu(self, name, x) -> int:
        return self._append("relu", name, [x], self.shape(x))

    def conv_bn(self, prefix, suffix, x, channels, relu=False, **attrs) -> int:
        """Convolution and batch norm, named `prefix.conv{suffix}` and `prefix.bn{suffix}`."""
        x = self.batch_norm(f"{prefix}.bn{suffix}", self.conv(f"{prefix}.conv{suffix}", x, channels, **attrs))
        return self.relu(f"{prefix}.relu{suffix}", x) if relu else x

    def shuffle(self, name, x, groups) -> int:
        """Channel shuffle (paper section 3.1): channel a*n + b moves to b*groups + a."""
        return self._append("shuffle", name, [x], self.shape(x), groups=groups)

    def max_pool(self, name, x, kernel, stride, pad=0) -> int:
        return self._window("max_pool", name, x, self.shape(x)[1], kernel, stride, pad)

    def avg_pool(self, name, x, kernel, stride, pad=0) -> int:
        """Average pooling; the zeros of the padding count (PyTorch's default)."""
        return self._window("avg_pool", name, x, self.shape(x)[1], kernel, stride, pad)

    def valid_avg_pool(self, name, x, kernel, stride, pad=0) -> int:
        """Average pooling over those pixels of the window that lie inside: the padding does not count."""
        return self._window("valid_avg_pool", name, x, self.shape(x)[1], kernel, stride, pad)

    def adaptive_avg_pool(self, name, x, size) -> int:
        """Averages over `size` x `size` bins; nothing is appended where the input has that size."""
        if self.shape(x)[2:] == (size, size):
            return x
        return self._append("adaptive_avg_pool", name, [x], (*self.shape(x)[:2], size, size), size=size)

    def global_avg_pool(self, name, x) -> int:
        """Mean over all pixels: (1, C, H, W) -> (1, C)."""
        return self._append("global_avg_pool", name, [x], self.shape(x)[:2])

    def lrn(self, name, x, size, alpha, beta, k) -> int:
        """Local response normalisation across channels; `alpha` is divided by `size`."""
        return self._append("lrn", name, [x], self.shape(x), size=size, alpha=alpha, beta=beta, k=k)

    def add(self, name, a, b) -> int:
        return self._append("add", name, [a, b], self.shape(a))

    def concat(self, name, a, b) -> int:
        """Concatenation along the channels."""
        (_, ca, *plane), (_, cb, *_) = self.shape(a), self.shape(b)
        return self._append("concat", name, [a, b], (1, ca + cb, *plane))

    def flatten(self, name, x) -> int:
        return self._append("flatten", name, [x], (1, _product(self.shape(x))))

    def dropout(self, name, x, p) -> int:
        """Acts while training only; the Relax module has nothing in its place."""
        return self._append("dropout", name, [x], self.shape(x), p=p)

    def dense(self, name, x, units) -> int:
        return self._append("dense", name, [x], (1, units))

    def network(self, name, classes, paper, note="") -> Network:
        return Network(name, tuple(self.layers), classes, paper, note)


def _product(values) -> int:
    result = 1
    for value in values:
        result *= value
    return result
