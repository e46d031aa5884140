"""`NetworkBuilder`: appends layers, infers their shapes and checks every attribute.

Whatever builds a network, be it code, a description in a checkpoint, ONNX or a state dict, is checked here and nowhere
else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from . import checks
from .box_layers import BoxLayers
from .network import BATCH_NORM_EPS, Layer, Network
from .window_layers import Extents, WindowLayers

PADDINGS = ("constant", "edge", "reflect")
DEPTH_TO_SPACE = ("DCR", "CRD")
# How a position in the resized plane becomes one in the original: ONNX's names.
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")  # of the nearest pixel
LAYOUTS = ("NCHW", "NHWC")


class NetworkBuilder(WindowLayers, BoxLayers):
    """Appends layers and infers shapes; every method returns the index of the layer it appended.

    Shapes are those of one picture.  Behind `regions` the first dimension counts the regions of a picture, up to where
    `region_detections` reads all of them.

    Windows take numbers or (height, width) pairs, `pad` also (top, left, bottom, right).  Raises `UserError`, which
    names the layer, for anything that is no layer.
    """

    def __init__(self, size: Sequence[int], channels: int = 3, layout: str = "NCHW"):
        height, width = checks.integers("input", "its size in pixels", size, 2, 1)
        channels = checks.integer("input", "the number of its channels", channels, 1)
        self.layers: list[Layer] = []
        self._names: set[str] = set()
        self._parameters = 0
        self._append(
            "input", "input", (), (1, channels, height, width),
            layout=checks.choice("input", "its layout", layout, LAYOUTS),
        )  # fmt: skip

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of the output of a layer."""
        return self.layers[index].shape

    def _append(self, op: str, name: str, inputs: Sequence[int], shape: Sequence[int], /, **attrs: object) -> int:
        if checks.name(name) in self._names:
            raise UserError(f"two layers have the name {name}, expected names that differ")
        if min(shape) < 1:
            height, width = self.layers[0].shape[2:]
            raise UserError(
                f"input size {height}x{width} is too small: layer {name} would have the shape "
                f"{'x'.join(map(str, shape))}; use a larger --size"
            )
        checks.elements(name, "an output", shape)
        layer = Layer(op, name, tuple(inputs), tuple(shape), attrs)
        for parameter, extents in layer.parameters(self.shape(inputs[0]) if inputs else ()).items():
            checks.elements(name, f"{parameter.rpartition('.')[2]}", extents)
            self._parameters += math.prod(extents)
        if self._parameters > checks.PARAMETERS:
            raise UserError(
                f"layer {name}: with it the parameters take more than {4 * checks.PARAMETERS / 2**30:g} GiB, which is "
                "more than a library can address"
            )
        self._names.add(name)
        self.layers.append(layer)
        return len(self.layers) - 1

    def _input(self, name: str, x: int, *ranks: int) -> tuple[int, ...]:
        """The shape of layer `x`, which is read by `name` and must have one of these numbers of dimensions."""
        if isinstance(x, bool) or not isinstance(x, int) or not 0 <= x < len(self.layers):
            raise UserError(f"layer {name}: its input is {x!r}, expected the number of a layer before it")
        shape = self.shape(x)
        if len(shape) not in (ranks or (2, 4)):
            wanted = "planes (1 x C x H x W)" if ranks == (4,) else "a vector (1 x N)"
            raise UserError(f"layer {name}: its input has the shape {'x'.join(map(str, shape))}, expected {wanted}")
        return shape

    def batch_norm(self, name: str, x: int, eps: float = BATCH_NORM_EPS) -> int:
        """(x - running_mean) / sqrt(running_var + eps) * weight + bias, for each channel."""
        eps = checks.number(name, "its epsilon", eps, 1e-30, 1)
        return self._append("batch_norm", name, [x], self._input(name, x), eps=eps)

    def relu(self, name: str, x: int) -> int:
        return self._append("relu", name, [x], self._input(name, x))

    def clip(self, name: str, x: int, low: float = 0.0, high: float = 6.0) -> int:
        """min(max(x, low), high): ReLU6 by default."""
        low, high = checks.number(name, "its lower bound", low), checks.number(name, "its upper bound", high)
        if low > high:
            raise UserError(f"layer {name}: its bounds are {low:g} and {high:g}, expected them in ascending order")
        return self._append("clip", name, [x], self._input(name, x), low=low, high=high)

    def leaky_relu(self, name: str, x: int, slope: float = 0.01) -> int:
        """x, or slope * x where x is negative."""
        slope = checks.number(name, "its slope", slope)
        return self._append("leaky_relu", name, [x], self._input(name, x), slope=slope)

    def sigmoid(self, name: str, x: int) -> int:
        return self._append("sigmoid", name, [x], self._input(name, x))

    def hard_sigmoid(self, name: str, x: int, alpha: float = 1 / 6, beta: float = 0.5) -> int:
        """min(max(alpha * x + beta, 0), 1)."""
        alpha, beta = checks.number(name, "its alpha", alpha), checks.number(name, "its beta", beta)
        return self._append("hard_sigmoid", name, [x], self._input(name, x), alpha=alpha, beta=beta)

    def hard_swish(self, name: str, x: int) -> int:
        """x * min(max(x / 6 + 1/2, 0), 1)."""
        return self._append("hard_swish", name, [x], self._input(name, x))

    def softmax(self, name: str, x: int, log: bool = False, groups: int = 1) -> int:
        """Softmax over the channels, or over those of each of `groups` groups of neighbouring channels.

        With `log` the logarithm of the softmax.
        """
        groups = checks.integer(name, "the number of its groups", groups, 1)
        shape = self._input(name, x, *((4,) if groups > 1 else ()))
        if shape[1] % groups:
            raise UserError(f"layer {name}: {shape[1]} channels in {groups} groups, expected groups that divide them")
        return self._append("softmax", name, [x], shape, log=checks.flag(name, "log", log), groups=groups)

    def conv_bn(self, prefix: str, suffix: str, x: int, channels: int, relu: bool = False,
                eps: float = BATCH_NORM_EPS, **attrs: Any) -> int:  # fmt: skip
        """Convolution and batch norm, named `prefix.conv{suffix}` and `prefix.bn{suffix}`."""
        x = self.batch_norm(f"{prefix}.bn{suffix}", self.conv(f"{prefix}.conv{suffix}", x, channels, **attrs), eps)
        return self.relu(f"{prefix}.relu{suffix}", x) if relu else x

    def shuffle(self, name: str, x: int, groups: int) -> int:
        """Channel shuffle (paper section 3.1): channel a*n + b moves to b*groups + a."""
        shape, groups = self._input(name, x, 4), checks.integer(name, "the number of its groups", groups, 1)
        if shape[1] % groups:
            raise UserError(f"layer {name}: {shape[1]} channels in {groups} groups, expected groups that divide them")
        return self._append("shuffle", name, [x], shape, groups=groups)

    def slice(self, name: str, x: int, start: int, stop: int, step: int = 1) -> int:
        """Channels start, start + step, ... below `stop`, which the layer keeps as the last of them and one."""
        shape = self._input(name, x)
        start = checks.integer(name, "its first channel", start, 0, shape[1] - 1)
        stop = checks.integer(name, "where its channels end", stop, start + 1, shape[1])
        step = checks.integer(name, "the step between its channels", step, 1)
        channels = len(range(start, stop, step))
        stop = start + (channels - 1) * step + 1
        return self._append("slice", name, [x], (shape[0], channels, *shape[2:]), start=start, stop=stop, step=step)

    def gather(self, name: str, x: int, channels: Sequence[int]) -> int:
        """The channels of these numbers, in this order; one may come several times."""
        shape = self._input(name, x)
        channels = checks.integers(name, "its channels", tuple(channels), len(tuple(channels)), 0, shape[1] - 1)
        return self._append("gather", name, [x], (shape[0], len(channels), *shape[2:]), channels=channels)

    def adaptive_avg_pool(self, name: str, x: int, size: Extents) -> int:
        """Averages over `size` bins, a number or (height, width); nothing is appended where the input has that size."""
        shape, size = self._input(name, x, 4), checks.integers(name, "its size", size, 2, 1)
        if shape[2:] == size:
            return x
        return self._append("adaptive_avg_pool", name, [x], (*shape[:2], *size), size=size)

    def global_avg_pool(self, name: str, x: int) -> int:
        """Mean over all pixels: (1, C, H, W) -> (1, C)."""
        return self._append("global_avg_pool", name, [x], self._input(name, x, 4)[:2])

    def global_max_pool(self, name: str, x: int) -> int:
        """Maximum of all pixels: (1, C, H, W) -> (1, C)."""
        return self._append("global_max_pool", name, [x], self._input(name, x, 4)[:2])

    def lrn(self, name: str, x: int, size: int, alpha: float, beta: float, k: float) -> int:
        """Local response normalisation across channels c - size // 2 to c + (size - 1) // 2.

        x / (k + alpha / size * sum of squares) ^ beta
        """
        size = checks.integer(name, "its size", size, 1)
        alpha, beta = checks.number(name, "its alpha", alpha, 0), checks.number(name, "its beta", beta, 0)
        k = checks.number(name, "its k", k, 1e-30)
        return self._append("lrn", name, [x], self._input(name, x, 4), size=size, alpha=alpha, beta=beta, k=k)

    def add(self, name: str, a: int, b: int) -> int:
        """a + b of equal shapes, or one of them (1, C) or (1, C, 1, 1): a number for each channel."""
        return self._binary("add", name, a, b)

    def multiply(self, name: str, a: int, b: int) -> int:
        """a * b of equal shapes, or one of them (1, C) or (1, C, 1, 1): a scale for each channel."""
        return self._binary("multiply", name, a, b)

    def _binary(self, op: str, name: str, a: int, b: int) -> int:
        first, second = self._input(name, a), self._input(name, b)
        if math.prod(second) > math.prod(first) or (len(second), len(first)) == (4, 2):
            a, b, first, second = b, a, second, first
        per_channel = second[:2] == first[:2] and set(second[2:]) <= {1}
        if first != second and not per_channel:
            raise UserError(
                f"layer {name}: its inputs have the shapes {'x'.join(map(str, first))} and "
                f"{'x'.join(map(str, second))}, expected equal ones, or one number for each channel"
            )
        return self._append(op, name, [a, b], first)

    def concat(self, name: str, *parts: int) -> int:
        """Concatenation along the channels; the same layer may come several times."""
        if not parts:
            raise UserError(f"layer {name}: a concatenation of nothing, expected one input or more")
        shapes = [self._input(name, part) for part in parts]
        if len({(shape[0], *shape[2:]) for shape in shapes}) > 1:
            planes = ", ".join("x".join(map(str, shape)) for shape in shapes)
            raise UserError(f"layer {name}: its inputs have the shapes {planes}, expected equal heights and widths")
        return self._append("concat", name, parts, (shapes[0][0], sum(shape[1] for shape in shapes), *shapes[0][2:]))

    def pad(self, name: str, x: int, pad: Extents, channels: Sequence[int] = (0, 0), mode: str = "constant",
            value: float = 0.0) -> int:  # fmt: skip
        """Pixels (and channels, before and behind) around the planes; negative numbers cut off.

        `mode`: `value`, the nearest pixel ("edge"), or the plane mirrored at the pixel on its edge ("reflect").
        """
        shape, limit = self._input(name, x, 4), 1 << 16
        pad = checks.integers(name, "its padding", pad, 4, -limit, limit)
        channels = checks.integers(name, "its padding of channels", channels, 2, -limit, limit)
        mode = checks.choice(name, "its mode", mode, PADDINGS)
        value = checks.number(name, "its value", value)
        for extent, *ends in ((shape[2], pad[0], pad[2]), (shape[3], pad[1], pad[3]), (shape[1], *channels)):
            most = extent - 1 if mode == "reflect" else limit
            if min(ends) <= -extent or sum(ends) <= -extent or max(ends) > most:
                raise UserError(
                    f"layer {name}: padding {ends[0]} and {ends[1]} of {extent} in mode {mode} is impossible"
                )
        if mode != "constant" and any(channels):
            raise UserError(f"layer {name}: channels can be padded in mode constant only")
        plane = (shape[0], shape[1] + sum(channels), shape[2] + pad[0] + pad[2], shape[3] + pad[1] + pad[3])
        return self._append("pad", name, [x], plane, pad=pad, channels=channels, mode=mode, value=value)

    def depth_to_space(self, name: str, x: int, block: int, mode: str = "DCR") -> int:
        """(1, C, H, W) -> (1, C / block^2, H * block, W * block).

        Mode CRD is PyTorch's PixelShuffle: the position within a block is the innermost part of the channel number;
        with DCR it is the outermost.
        """
        copies, channels, height, width = self._input(name, x, 4)
        block = checks.integer(name, "its block", block, 1, 1 << 12)
        mode = checks.choice(name, "its mode", mode, DEPTH_TO_SPACE)
        if channels % block**2:
            raise UserError(f"layer {name}: {channels} channels for blocks of {block}x{block}, expected a multiple")
        shape = (copies, channels // block**2, height * block, width * block)
        return self._append("depth_to_space", name, [x], shape, block=block, mode=mode)

    def resize(self, name: str, x: int, size: Extents, mode: str = "nearest", coordinates: str = "asymmetric",
               rounding: str = "floor", scales: Sequence[float] | None = None) -> int:  # fmt: skip
        """Resizes planes to `size`, a number or (height, width).

        `coordinates` says where an output pixel lies in the input, `rounding` which pixel is nearest (ONNX, Resize).
        `scales`: output by input, where they are not the quotients of the sizes.
        """
        shape, size = self._input(name, x, 4), checks.integers(name, "its size", size, 2, 1)
        mode = checks.choice(name, "its mode", mode, ("nearest", "bilinear"))
        coordinates = checks.choice(name, "its coordinates", coordinates, COORDINATES)
        rounding = checks.choice(name, "its rounding", rounding, ROUNDINGS)
        scales = [out / extent for out, extent in zip(size, shape[2:])] if scales is None else scales
        if not isinstance(scales, Sequence) or len(scales) != 2:
            raise UserError(f"layer {name}: its scales are {scales!r}, expected two numbers")
        scales = tuple(checks.number(name, "a scale", scale, 1e-6, 1e6) for scale in scales)
        return self._append(
            "resize", name, [x], (*shape[:2], *size), size=size, mode=mode, coordinates=coordinates,
            rounding=rounding, scales=scales,
        )  # fmt: skip

    def flatten(self, name: str, x: int) -> int:
        """(1, C, H, W) -> (1, C * H * W)."""
        copies, *extents = self._input(name, x)
        return self._append("flatten", name, [x], (copies, math.prod(extents)))

    def reshape(self, name: str, x: int, shape: Sequence[int]) -> int:
        """The same numbers as (1, N) or (1, C, H, W)."""
        before = self._input(name, x)
        if not isinstance(shape, Sequence) or len(shape) not in (2, 4):
            raise UserError(f"layer {name}: its shape is {shape!r}, expected 1 x N or 1 x C x H x W")
        shape = checks.integers(name, "its shape", tuple(shape), len(shape), 1, checks.ELEMENTS)
        if shape[0] != before[0] or math.prod(shape) != math.prod(before):
            texts = ["x".join(map(str, s)) for s in (before, shape)]
            raise UserError(f"layer {name}: {texts[0]} cannot become {texts[1]}, expected as many numbers")
        return self._append("reshape", name, [x], shape, shape=shape)

    def dropout(self, name: str, x: int, p: float) -> int:
        """Dropout, which acts in training alone; the Relax module has nothing in its place."""
        p = checks.number(name, "its probability", p, 0, 1)
        return self._append("dropout", name, [x], self._input(name, x), p=p)

    def dense(self, name: str, x: int, units: int) -> int:
        """Fully connected layer with bias: (1, N) -> (1, units)."""
        copies, _ = self._input(name, x, 2)
        units = checks.integer(name, "the number of its units", units, 1, 1 << 28)
        return self._append("dense", name, [x], (copies, units))

    def network(self, name: str, *, note: str = "", outputs: Sequence[int] | None = None) -> Network:
        """The network whose outputs are these layers, by default the last one."""
        outputs = (len(self.layers) - 1,) if outputs is None else tuple(outputs)
        for index in outputs:
            if self._input("output", index)[0] > 1:
                raise UserError(f"{name}: an output is of each region, expected one of the picture")
        if not outputs:
            raise UserError(f"{name} has no output, expected one or more")
        return Network(name, tuple(self.layers), outputs, note)
