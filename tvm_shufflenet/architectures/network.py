"""The description of a network, from which its Relax module and its PyTorch twin are generated.

A `Network` is a list of `Layer`s in the order of execution; each names its inputs by index.  `NetworkBuilder`
(builder.py) makes it.  Activations are fp32 with batch 1: (1, C, H, W) or, behind `flatten` and the global poolings,
(1, N).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UserError

BATCH_NORM_EPS = 1e-5
# Of a network that is called by its name alone, wherever it is: the papers' figures are of these.
SIZE = (224, 224)  # height and width of the picture in pixels
CLASSES = 1000
PARTS = ("body", "rpn", "head")  # of a detector of two stages


@dataclass(frozen=True)
class Layer:
    """One operator: its kind, its dotted name, the indices of its inputs, its output shape.

    Attributes are as `NetworkBuilder` leaves them: `kernel`, `stride`, `dilation` are (height, width), `pad` is
    (top, left, bottom, right).
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    attrs: dict = field(default_factory=dict)

    def parameters(self, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of this layer's parameters, by full dotted name, in PyTorch's order."""
        a = self.attrs
        if self.op == "conv":
            shapes = {"weight": (self.shape[1], input_shape[1] // a["groups"], *a["kernel"])}
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
class Shapes:
    """Shapes of the caller's arrays; the input's shape is in the input's own layout."""

    input: tuple[int, ...]
    outputs: tuple[tuple[int, ...], ...]

    def of_pictures(self, pictures: int) -> Shapes:
        """The arrays for so many pictures: the first dimension counts them."""
        return Shapes((pictures, *self.input[1:]), tuple((pictures, *shape[1:]) for shape in self.outputs))


@dataclass(frozen=True)
class Network:
    """A whole network.

    `layers[0]` is the input, whose attribute `layout` says in which order the caller's array has its dimensions
    (its `shape` is (1, C, H, W) in any case).  `outputs` are indices of layers.  `note` says in what it differs from
    the network that its name stands for.
    """

    name: str
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        height, width = self.layers[0].shape[2:]
        return height, width

    @property
    def layout(self) -> str:
        """The layout of the caller's input, "NCHW" or "NHWC"."""
        return self.layers[0].attrs["layout"]

    @property
    def shapes(self) -> Shapes:
        batch, channels, height, width = self.layers[0].shape
        image = (batch, height, width, channels) if self.layout == "NHWC" else (batch, channels, height, width)
        return Shapes(image, tuple(self.layers[index].shape for index in self.outputs))

    @property
    def detector(self) -> int:
        """The number of the layer that makes a detector's boxes; 0 of a network without any."""
        found = (index for index, layer in enumerate(self.layers) if layer.op in ("detections", "region_detections"))
        return next(found, 0)

    @property
    def two_stages(self) -> bool:
        """Whether it is a detector that looks at regions of its own."""
        return any(layer.op == "regions" for layer in self.layers)

    def heads(self) -> Network:
        """A detector without its post-processing: its outputs are each map's logits, then each map's boxes."""
        if self.two_stages:
            raise UserError(f"{self.name} looks at regions that it chooses itself: it has no heads without them")
        where = self.layers[self.detector].inputs
        softmax, boxes = where[: len(where) // 2], where[len(where) // 2 :]
        outputs = (*(self.layers[index].inputs[0] for index in softmax), *boxes)
        return dataclasses.replace(self, layers=self.layers[: max(outputs) + 1], outputs=outputs)

    @property
    def classes(self) -> int:
        """The number of classes: of a detector those of its boxes.

        N where the only output is (1, N) or (1, N, 1, 1), a classifier's; else 0.
        """
        if self.detector:
            layer = self.layers[self.detector]
            return layer.attrs["classes"] if layer.op == "detections" else self.layers[layer.inputs[1]].shape[1] - 1
        shapes = [self.layers[index].shape for index in self.outputs]
        return shapes[0][1] if len(shapes) == 1 and shapes[0][2:] in ((), (1, 1)) else 0

    @property
    def gives_probabilities(self) -> bool:
        """Whether the first output is that of a softmax or sigmoid, in whatever shape."""
        layer = self.layers[self.outputs[0]]
        while layer.op in ("flatten", "reshape", "dropout"):
            layer = self.layers[layer.inputs[0]]
        return layer.op == "sigmoid" or layer.op == "softmax" and not layer.attrs["log"]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name, in the order of execution."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            if layer.inputs:
                shapes.update(layer.parameters(self.layers[layer.inputs[0]].shape))
        return shapes

    def multiply_adds(self, layers: Sequence[Layer] | None = None) -> int:
        """Multiply-adds of the convolutions and fully connected layers, as the paper counts them; or of some `layers`.

        Those behind `regions` count once for each region.
        """
        total = 0
        for layer in self.layers if layers is None else layers:
            if layer.op in ("conv", "dense"):
                source = self.layers[layer.inputs[0]].shape
                weight = layer.parameters(source)[f"{layer.name}.weight"]
                pixels = layer.shape[2] * layer.shape[3] if layer.op == "conv" else 1
                total += layer.shape[0] * pixels * math.prod(weight)
        return total

    def parts(self) -> dict[str, int]:
        """The multiply-adds of a detector of two stages: of its body, of its region proposals, and of all its regions.

        To the regions belong layers of the picture that make the map of the regions alone, whose names begin with
        "head.".
        """
        found: dict[str, list[Layer]] = {part: [] for part in PARTS}
        for layer in self.layers:
            named = layer.name.partition(".")[0]
            found["head" if layer.shape[0] > 1 else named if named in PARTS else "body"].append(layer)
        return {part: self.multiply_adds(layers) for part, layers in found.items()} if self.two_stages else {}

    def parameter_count(self) -> int:
        """Learned parameters: running statistics are not counted."""
        return sum(math.prod(s) for n, s in self.parameters().items() if ".running_" not in n)
