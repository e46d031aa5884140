"""From a Caffe model, a .prototxt and a .caffemodel, to a network and its parameters.

    caffe_text     the text of a .prototxt
    caffe_weights  the protobuf of a .caffemodel
    caffe_layers   what each layer becomes
    affine         batch norms and scales in the terms of ours

The network is that of the phase TEST.  What a .prototxt says and no function reads is refused by its field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..architectures import Network, NetworkBuilder
from ..bridge.contents import read
from ..errors import UserError
from .affine import joined_norms
from .caffe_layers import IGNORED, LAYERS, OLD_TYPES, SOURCES
from .caffe_text import Message, parse
from .caffe_weights import read_caffemodel
from .canonical import STATISTICS, batch_norm, listed, renamed, without_dead_layers
from .reading import Read, pictures_note

MOST = 10_000  # layers
BVLC = (104.0, 117.0, 123.0)  # the mean of ImageNet, blue first, as the code of BVLC's models subtracts it
# Of a layer, what only training reads.
_TRAINING = ("param", "blobs_lr", "weight_decay", "loss_weight", "propagate_down", "include", "exclude", "phase")


@dataclass
class Layer:
    """A layer while it is read: `inputs` are indices of the network's layers, `arrays` its blobs."""

    net: NetworkBuilder
    name: str
    message: Message
    inputs: list[int]
    tops: list[str]
    arrays: list[np.ndarray]
    parameters: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return self.message.where

    @property
    def x(self) -> int:
        """The layer's only input, as the index of a layer of the network."""
        if len(self.inputs) != 1:
            raise UserError(f"{self.where}: it has {len(self.inputs)} inputs, expected one")
        return self.inputs[0]

    def parameter(self, name: str) -> Message:
        found = self.message.message(name)
        found.where = self.where
        return found

    def planes(self, index: int | None = None) -> int:
        """The only input, or one of several, as planes: Caffe keeps 1x1 pixels behind global poolings."""
        x = self.x if index is None else self.inputs[index]
        shape = self.net.shape(x)
        if len(shape) == 4:
            return x
        return self.net.reshape(f"{self.name}.planes{index or ''}", x, (*shape, 1, 1))

    def blobs(self, count: int) -> list[np.ndarray]:
        if len(self.arrays) != count:
            raise UserError(f"{self.where}: it has {len(self.arrays)} blobs in the .caffemodel, expected {count}")
        return self.arrays

    def take(self, bias: bool, transposed: bool = False) -> None:
        """Stores the weight, and the bias if there is one, as parameters of the layer that was appended last."""
        weight, *shift = self.blobs(2 if bias else 1)
        last = self.net.layers[-1]
        for name, shape in last.parameters(self.net.shape(last.inputs[0])).items():
            is_bias = name.endswith(".bias")
            if is_bias and not shift:
                continue
            array, turned = shift[0] if is_bias else weight, transposed and not is_bias
            expected = shape[::-1] if turned else shape
            if [n for n in array.shape if n != 1] != [n for n in expected if n != 1]:  # old ones have 1s in front
                texts = ["x".join(map(str, s)) for s in (array.shape, expected)]
                raise UserError(f"{self.where}: a blob has the shape {texts[0]}, expected {texts[1]}")
            array = array.reshape(expected)
            self.parameters[name] = np.ascontiguousarray(array.T if turned else array)

    def norm(self, x: int, statistics: Sequence[np.ndarray], eps: float) -> int:
        """(x - mean) / sqrt(variance + eps) * gain + shift, of (gain, shift, mean, variance)."""
        y = self.net.batch_norm(self.name, x)
        own = batch_norm(statistics, eps)
        self.parameters |= {f"{self.name}.{key}": own[key] for key in STATISTICS}
        return y

    def affine(self, x: int, gain: np.ndarray, shift: np.ndarray) -> int:
        """x * gain + shift, a number of each for each channel."""
        zero = np.zeros(len(gain))
        return self.norm(x, (gain, shift, zero, zero + 1), 0.0)


def read_caffe(prototxt: Path, caffemodel: Path, size: tuple[int, int] | None = None) -> Read:
    """The network, its parameters and notes; `UserError` for files that are none, or for what is not supported."""
    text = read(prototxt, "prototxt")
    try:
        net = parse(text.decode(), str(prototxt))
    except UnicodeDecodeError:
        raise UserError(f"{prototxt} is no text, expected a .prototxt file") from None
    return _Reader(net, str(prototxt), read_caffemodel(caffemodel), size).read()


class _Reader:
    def __init__(self, net: Message, source: str, weights: dict[str, list[np.ndarray]], size: tuple[int, int] | None):
        self.message, self.source, self.weights, self.size = net, source, weights, size
        self.blobs: dict[str, int] = {}
        self.unread: dict[str, int] = {}  # tops that no layer has read yet
        self.parameters: dict[str, np.ndarray] = {}
        self.net: NetworkBuilder | None = None
        self.notes: list[str] = []
        self.pictures: dict = {}  # what the file says of their preparation

    def read(self) -> Read:
        net = self.message
        net.ignore("force_backward", "state", "debug_info")
        name, dims = net.text("name", "caffe"), net.integers("input_dim")
        shapes = [shape.integers("dim") for shape in net.messages("input_shape")] or [dims] * bool(dims)
        for top, shape in zip(net.texts("input"), shapes, strict=False):
            self._picture(top, shape, net)
        layers = net.messages("layer") + net.messages("layers")
        if len(layers) > MOST:
            raise UserError(f"{self.source} has {len(layers)} layers, expected at most {MOST}")
        for message in layers:
            self._layer(message)
        net.check()
        if self.net is None or not self.unread or len(self.net.layers) < 2:
            raise UserError(f"{self.source} has no layers that give something from a picture")
        left = sorted(self.weights)
        if left:
            self.notes.append(f"{len(left)} layers of the .caffemodel are none of the .prototxt's, such as {left[0]}")
        found = self.net.network(name or "caffe", outputs=list(self.unread.values()))
        found, parameters = without_dead_layers(found), self.parameters
        found, parameters = joined_norms(found, parameters)
        found, parameters = renamed(found, {}, parameters)
        found = self._without_softmax(found, parameters)
        read = Read(found, parameters, "Caffe", self.notes)
        if found.layers[0].shape[1] == len(BVLC):
            read.preprocessing = {"channels": "BGR", "scale": 1.0, "mean": BVLC, "std": (1.0, 1.0, 1.0)} | self.pictures
            whose = "the .prototxt" if self.pictures else "BVLC's models, as the .prototxt does not say it"
            read.notes.append(pictures_note(whose, read.preprocessing))
        return read

    def _without_softmax(self, net: Network, parameters: dict) -> Network:
        """The network of the list gives logits: so does one that is it but for a softmax at its end."""
        last = net.layers[net.outputs[0]]
        if len(net.outputs) != 1 or last.op != "softmax":
            return net
        bare = without_dead_layers(dataclasses.replace(net, outputs=last.inputs))
        if not listed(bare, parameters):
            return net
        self.notes.append(f"the softmax {last.name} at the end left out, as networks of the list give logits")
        return bare

    def _layer(self, message: Message) -> None:
        name = message.text("name")
        message.where = f"{self.source}: layer {name:.100}"
        kind = message.text("type")
        kind = OLD_TYPES.get(kind, kind)
        tops, bottoms = message.texts("top"), message.texts("bottom")
        if kind in IGNORED or not _included(message):
            message.ignore(*message.fields)
            return
        message.ignore(*_TRAINING)
        if kind in SOURCES:
            self._source(kind, message, tops)
            return
        if kind not in LAYERS:
            raise UserError(f"{message.where} is a {kind:.40}, expected {', '.join(sorted(LAYERS))}")
        missing = [bottom for bottom in bottoms if bottom not in self.blobs]
        if missing or self.net is None:
            raise UserError(f"{message.where}: no layer before it gives its input {', '.join(missing):.60}")
        for bottom in bottoms:
            self.unread.pop(bottom, None)
        inputs, own = [self.blobs[bottom] for bottom in bottoms], self.weights.pop(name, [])
        layer = Layer(self.net, name, message, inputs, tops, own)
        try:
            made = LAYERS[kind](layer)
        except UserError as error:  # the builder's say the layer, but not the file
            said = str(error)
            raise UserError(said if said.startswith(self.source) else f"{self.source}: {said}") from None
        results = [made] * len(tops) if isinstance(made, int) else made
        if not tops or len(results) != len(tops) or (len(tops) > 1 and kind not in ("Split", "Slice")):
            raise UserError(f"{message.where}: it has {len(tops)} outputs, expected one")
        if own and not layer.parameters:
            raise UserError(f"{message.where}: it has blobs in the .caffemodel, expected none")
        self.parameters |= layer.parameters
        for top, index in zip(tops, results):
            self.blobs[top] = self.unread[top] = index

    def _source(self, kind: str, message: Message, tops: list[str]) -> None:
        if kind == "Input":
            shapes = [shape.integers("dim") for shape in message.message("input_param").messages("shape")]
            if len(tops) != 1 or len(shapes) != 1:
                raise UserError(f"{message.where}: {len(tops)} inputs of {len(shapes)} shapes, expected one")
            self._picture(tops[0], shapes[0], message)
            return
        how = message.message("transform_param")
        message.ignore("data_param", "image_data_param")
        how.ignore("mirror", "force_color")
        crop, means, scale = how.integer("crop_size", 0), how.numbers("mean_value"), how.number("scale", 1)
        if how.has("mean_file"):
            how.ignore("mean_file")
            self.notes.append("its mean is a file, of which nothing is read")
        if not crop and not self.size:
            raise UserError(f"{message.where}: it does not say the size of pictures: give --size")
        self._picture(tops[0] if tops else "data", [1, 3, crop, crop], message)
        if means or scale != 1:
            if len(means) not in (0, 1, 3):
                raise UserError(f"{message.where}: it has {len(means)} means, expected one or three")
            means = [scale * mean for mean in (means * 3 if len(means) == 1 else means or [0.0] * 3)]
            self.pictures = {"mean": tuple(means), "scale": scale}

    def _picture(self, top: str, shape: list[int], message: Message) -> None:
        if self.net is not None:
            raise UserError(f"{message.where}: a second input, expected one")
        if len(shape) != 4 or min(shape) < 0:
            raise UserError(f"{message.where}: its input has the shape {shape}, expected 4 numbers: 1 x C x H x W")
        batch, channels, *extents = shape
        if batch > 1:
            self.notes.append(f"its batch is fixed to {batch}: the library takes one picture at a time")
        self.net = NetworkBuilder(self.size or extents, channels)
        self.blobs[top] = 0


def _included(layer: Message) -> bool:
    """Whether a layer is in the network of the phase TEST, without levels and stages."""
    includes, excludes = layer.messages("include"), layer.messages("exclude")
    if layer.text("phase", "TEST") not in ("TEST", "1"):
        return False
    return any(map(_meets, includes)) if includes else not any(map(_meets, excludes))


def _meets(rule: Message) -> bool:
    lowest, highest = rule.integer("min_level", 0), rule.integer("max_level", 0)
    rule.ignore("not_stage")
    return rule.text("phase", "TEST") in ("TEST", "1") and not rule.texts("stage") and lowest <= 0 <= highest
