"""From an ONNX model to a network and its parameters.

The graph is followed node by node, and each becomes a layer; a Reshape-Transpose-Reshape that permutes channels
becomes a shuffle.  What depends on no input is computed on the way.  Anything else is refused by its node.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..architectures import Network, NetworkBuilder
from ..architectures.network import UNPUBLISHED
from ..errors import UserError
from .onnx_writer import require_onnx
from .parameters import batch_norm, shuffled

OPSETS = 7, 26  # Add and BatchNormalization were others before; what comes later was not seen


@dataclass(frozen=True)
class Value:
    """What a tensor of the graph is: the layer that computes it, and the shape which the graph gives it.

    Within a shuffle `order` has the places in the layer's output from which its elements come.
    """

    layer: int
    shape: tuple[int, ...]
    order: np.ndarray | None = None


class _Refused(Exception):
    """What is wrong with a node; the reader says with which."""


def read_onnx(
    path: str | os.PathLike, size: tuple[int, int] | None = None
) -> tuple[Network, dict[str, np.ndarray], dict[str, str], list[str]]:
    """The network, its parameters, the metadata of the file, and notes about what was changed.

    `size` is the picture's where the file leaves it open.  Raises `UserError` for a file that is missing or
    damaged, of an opset, with an operator or with a shape that is not supported.
    """
    onnx = require_onnx(f"to read {path}")
    model = _load(onnx, Path(path))
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise UserError(f"{path} is of opset {opset}, expected {OPSETS[0]} to {OPSETS[1]}: export it anew")
    reader = _Reader(onnx, model.graph, opset, str(path), size)
    net, parameters, notes = reader.network()
    return net, parameters, {entry.key: entry.value for entry in model.metadata_props}, notes


def _load(onnx, path: Path):
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except DecodeError:
        raise UserError(f"{path} is truncated, corrupt or no .onnx file") from None
    if not model.graph.node:
        raise UserError(f"{path} is truncated, corrupt or no .onnx file: it holds no graph")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.absolute().parent))
    except (OSError, ValueError, onnx.checker.ValidationError):
        entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
        files = sorted({entry.value for entry in entries if entry.key == "location"})
        raise UserError(f"{path} has its weights in {', '.join(files)}, which is not beside it or too short") from None
    return model


class _Reader:
    def __init__(self, onnx, graph, opset: int, source: str, size: tuple[int, int] | None):
        self.onnx, self.graph, self.opset, self.source = onnx, graph, opset, source
        self.values: dict[str, Value | np.ndarray] = {}
        self.parameters: dict[str, np.ndarray] = {}
        self.conv_biases: dict[int, np.ndarray | None] = {}  # of those with a batch norm behind them
        self.notes: list[str] = []
        for tensor in graph.initializer:
            try:
                self.values[tensor.name] = onnx.numpy_helper.to_array(tensor)
            except (ValueError, TypeError):
                raise UserError(f"{source} is truncated or corrupt: its tensor {tensor.name} is incomplete") from None
        picture, shape = self._picture(size)
        self.net = NetworkBuilder(shape[2:])
        self.values[picture] = Value(0, shape)
        self.readers: dict[str, list] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def _picture(self, size) -> tuple[str, tuple[int, ...]]:
        """The name and shape of the one input that is no constant."""
        inputs = [entry for entry in self.graph.input if entry.name not in self.values]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise UserError(
                f"{self.source} has {len(inputs)} inputs and {len(self.graph.output)} outputs, expected one of each"
            )
        (entry,) = inputs
        dims = entry.type.tensor_type.shape.dim
        shape = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
        if len(shape) != 4 or shape[1] not in (0, 3) or entry.type.tensor_type.elem_type != self.onnx.TensorProto.FLOAT:
            raise UserError(f"{self.source}: its input {entry.name} is no float tensor of the shape N x 3 x H x W")
        if min(shape[2:]) < 1 and size is None:
            raise UserError(f"{self.source}: height and width of its input {entry.name} are open: give --size")
        # The batch of a library is 1; a file with another fixed one may have it in its shapes.
        return entry.name, (1, 3, *(n or wanted for n, wanted in zip(shape[2:], size or (0, 0))))

    def network(self) -> tuple[Network, dict[str, np.ndarray], list[str]]:
        for number, node in enumerate(self.graph.node):
            try:
                self._node(node)
            except _Refused as error:
                what = node.name or f"number {number}"
                raise UserError(f"{self.source}: node {what} ({node.op_type}): {error}") from None
        result = self.values.get(self.graph.output[0].name)
        if not isinstance(result, Value) or result.order is not None or len(self.net.shape(result.layer)) != 2:
            raise UserError(f"{self.source}: its output {self.graph.output[0].name} is no vector of classes")
        if result.layer != len(self.net.layers) - 1:
            raise UserError(f"{self.source}: some of its nodes do not lead to its output")
        return self.net.network(self.graph.name, dict(UNPUBLISHED)), self.parameters, self.notes

    def _node(self, node) -> None:
        inputs = [self.values.get(name) for name in node.input if name]
        if any(value is None for value in inputs):
            raise _Refused(f"its input {next(n for n in node.input if n and n not in self.values)} is not known")
        if node.op_type == "Shape" and isinstance(inputs[0], Value):
            inputs = [np.zeros(inputs[0].shape, bool)]  # the shape of a constant is a constant
        method = getattr(self, f"_{node.op_type.lower()}", None)
        if all(isinstance(value, np.ndarray) for value in inputs):
            self._constant(node, inputs)
        elif node.domain not in ("", "ai.onnx") or method is None:
            raise _Refused("no network here has this operator")
        else:
            attributes = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
            self.name = node.output[0]
            self.values[node.output[0]] = method(node, attributes, *inputs)

    def _constant(self, node, inputs) -> None:
        from onnx.reference import ReferenceEvaluator

        try:
            evaluator = ReferenceEvaluator(node, opsets={"": self.opset})
            results = evaluator.run(None, dict(zip((name for name in node.input if name), inputs)))
        except Exception as error:  # of whichever operator
            raise _Refused(f"cannot be computed: {str(error).splitlines()[0]}") from None
        self.values.update(zip(node.output, results))

    # Layers

    def _value(self, layer: int, shape: tuple[int, ...] | None = None) -> Value:
        return Value(layer, shape or self.net.shape(layer))

    def _set(self, layer: int, **arrays) -> None:
        name = self.net.layers[layer].name
        self.parameters.update({f"{name}.{k}": np.array(a, np.float32, order="C") for k, a in arrays.items()})

    def _conv(self, node, attributes, x, weight, bias=None) -> Value:
        weight = self._array(weight, "its weights")
        name = self._layer_name("conv")
        if weight.ndim != 4:
            raise _Refused(f"{weight.ndim - 2} dimensions, expected a convolution of planes")
        if len(self.net.shape(x.layer)) == 2 and x.order is None:  # behind the global average: the classifier
            return self._classifier(x, attributes, weight, bias)
        self._plane(x)
        groups = attributes.get("group", 1)
        if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
            raise _Refused(f"weights of the shape {weight.shape} in {groups} groups do not fit {x.shape[1]} channels")
        window = self._window({"kernel_shape": weight.shape[2:], **attributes})
        reader = self._reader(node)
        normalised = reader is not None and reader.op_type == "BatchNormalization"
        layer = self.net.conv(name, x.layer, weight.shape[0], **window, groups=groups, bias=not normalised)
        self._set(layer, weight=weight)
        if normalised:
            self.conv_biases[layer] = None if bias is None else self._array(bias, "its bias")
        else:
            self._set(layer, bias=np.zeros(weight.shape[0]) if bias is None else self._array(bias, "its bias"))
        return self._value(layer)

    def _classifier(self, x, attributes, weight, bias) -> Value:
        pads, strides = attributes.get("pads", [0]), attributes.get("strides", [1])
        if weight.shape[2:] != (1, 1) or attributes.get("group", 1) != 1 or set(pads) != {0} or set(strides) != {1}:
            raise _Refused("behind the global average only a plain 1x1 convolution is possible")
        layer = self._dense(x, weight[:, :, 0, 0], bias)
        return self._value(layer.layer, (*layer.shape, 1, 1))

    def _batchnormalization(self, node, attributes, x, *statistics) -> Value:
        statistics = [self._array(array, "a statistic") for array in statistics]
        if self.net.layers[x.layer].op != "conv" or self.net.layers[x.layer].attrs["bias"]:
            raise _Refused("expected right behind a convolution that nothing else reads")
        if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
            raise _Refused("it is in training mode, or not one for each channel: export the model for inference")
        layer = self.net.batch_norm(self._layer_name("bn"), x.layer)
        if not (statistics[3] >= 0).all():
            raise _Refused("a variance is negative")
        self._set(layer, **batch_norm(statistics, attributes.get("epsilon", 1e-5), self.conv_biases[x.layer]))
        return self._value(layer)

    def _relu(self, node, attributes, x) -> Value:
        return Value(self.net.relu(self._layer_name("relu"), self._whole(x).layer), x.shape)

    def _maxpool(self, node, attributes, x) -> Value:
        return self._value(
            self.net.max_pool(self._layer_name("pool"), self._plane(x).layer, **self._window(attributes))
        )

    def _averagepool(self, node, attributes, x) -> Value:
        window = self._window(attributes, square=False)
        if tuple(attributes["kernel_shape"]) == self._plane(x).shape[2:] and not window["pad"]:
            return self._globalaveragepool(node, attributes, x)
        window = self._window(attributes)
        inside = window["pad"] and not attributes.get("count_include_pad", 0)
        pool = self.net.valid_avg_pool if inside else self.net.avg_pool
        return self._value(pool(self._layer_name("pool"), x.layer, **window))

    def _globalaveragepool(self, node, attributes, x) -> Value:
        layer = self.net.global_avg_pool(self._layer_name("pool"), self._plane(x).layer)
        return self._value(layer, (*self.net.shape(layer), 1, 1))

    def _reducemean(self, node, attributes, x, axes=None) -> Value:
        axes = attributes.get("axes", axes)
        if axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            raise _Refused("only the mean over height and width is possible")
        value = self._globalaveragepool(node, attributes, x)
        return value if attributes.get("keepdims", 1) else self._value(value.layer)

    def _lrn(self, node, attributes, x) -> Value:
        constants = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, **attributes}
        return self._value(
            self.net.lrn(
                self._layer_name("norm"), self._plane(x).layer, attributes["size"],
                *(round(float(constants[key]), 9) for key in ("alpha", "beta", "bias")),
            )
        )  # fmt: skip

    def _add(self, node, attributes, a, b) -> Value:
        a, b = (a, b) if isinstance(a, Value) else (b, a)
        if isinstance(b, np.ndarray):
            return self._bias(node, a, b)
        if self._whole(a).shape != self._whole(b).shape:
            raise _Refused(f"the shapes {a.shape} and {b.shape} differ")
        return Value(self.net.add(self._layer_name("add"), a.layer, b.layer), a.shape)

    def _sum(self, node, attributes, *values) -> Value:
        if len(values) != 2:
            raise _Refused(f"{len(values)} terms, expected two")
        return self._add(node, attributes, *values)

    def _bias(self, node, x: Value, bias: np.ndarray) -> Value:
        """A constant that is added to what a convolution or the classifier gives."""
        source, channels = self.net.layers[x.layer], (x.shape[1], *(1,) * (len(x.shape) - 2))
        alone = all(len(self.readers[name]) == 1 for name in node.input if self.values[name] is x)
        if f"{source.name}.bias" not in self.parameters or source.op == "batch_norm" or not alone:
            raise _Refused("a constant can be added only behind a convolution or the classifier")
        if bias.shape not in (channels, (1, *channels)):
            raise _Refused(f"the constant has the shape {bias.shape}, expected one for each of {x.shape[1]} channels")
        self._set(x.layer, bias=self.parameters[f"{source.name}.bias"] + bias.ravel())
        return x

    def _concat(self, node, attributes, *values) -> Value:
        if len(values) != 2 or attributes.get("axis") not in (1, -3) or any(isinstance(v, np.ndarray) for v in values):
            raise _Refused("only the concatenation of the channels of two tensors is possible")
        a, b = map(self._plane, values)
        if a.shape[2:] != b.shape[2:]:
            raise _Refused(f"the shapes {a.shape} and {b.shape} differ in height or width")
        return self._value(self.net.concat(self._layer_name("concat"), a.layer, b.layer))

    def _gemm(self, node, attributes, x, weight, bias=None) -> Value:
        if attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1 or attributes.get("transA", 0):
            raise _Refused("expected alpha = beta = 1, and no transposition of its first input")
        weight = self._array(weight, "its weights")
        return self._dense(x, weight if attributes.get("transB", 0) else weight.T, bias)

    def _matmul(self, node, attributes, x, weight) -> Value:
        return self._dense(x, self._array(weight, "its second input").T, None)

    def _dense(self, x, weight, bias) -> Value:
        if not isinstance(x, Value) or len(self.net.shape(x.layer)) != 2 or weight.ndim != 2:
            raise _Refused("expected a matrix behind the global average or a flattened tensor")
        if weight.shape[1] != self.net.shape(x.layer)[1]:
            raise _Refused(f"a matrix of the shape {weight.shape} does not fit {self.net.shape(x.layer)[1]} channels")
        layer = self.net.dense(self._layer_name("dense"), x.layer, weight.shape[0])
        bias = np.zeros(weight.shape[0]) if bias is None else self._array(bias, "its bias").ravel()
        self._set(layer, weight=weight, bias=np.broadcast_to(bias, weight.shape[:1]))
        return self._value(layer)

    # Views

    def _reshape(self, node, attributes, x, shape) -> Value:
        wanted = [int(n) for n in self._array(shape, "its shape")]
        if not attributes.get("allowzero", 0):
            wanted = [x.shape[i] if n == 0 and i < len(x.shape) else n for i, n in enumerate(wanted)]
        return self._viewed(x, wanted)

    def _flatten(self, node, attributes, x) -> Value:
        if attributes.get("axis", 1) not in (1, 1 - len(x.shape)):
            raise _Refused("expected axis 1")
        return self._viewed(x, [1, -1])

    def _squeeze(self, node, attributes, x, axes=None) -> Value:
        axes = attributes.get("axes", axes)
        axes = range(1, len(x.shape)) if axes is None else [int(axis) % len(x.shape) for axis in axes]
        return self._viewed(x, [n for i, n in enumerate(x.shape) if i not in axes or n != 1])

    def _transpose(self, node, attributes, x) -> Value:
        order = self._order(x).transpose(attributes.get("perm", range(len(x.shape))[::-1]))
        return Value(x.layer, order.shape, order)

    def _viewed(self, x: Value, shape: list[int]) -> Value:
        """`x` in another shape: a step of a shuffle, its end, or the flattening before the classifier."""
        source = self.net.shape(x.layer)
        try:
            order = self._order(x).reshape(shape)
        except ValueError:
            raise _Refused(f"a tensor of the shape {x.shape} does not fit into {tuple(shape)}") from None
        if not np.array_equal(order.ravel(), np.arange(order.size)):
            return self._shuffle(x.layer, order) if order.shape == source else Value(x.layer, order.shape, order)
        if order.shape == source or len(source) == 2:
            return Value(x.layer, order.shape)
        if order.shape == (1, order.size):
            return self._value(self.net.flatten(self._layer_name("flatten"), x.layer))
        return Value(x.layer, order.shape, order)

    def _shuffle(self, layer: int, order: np.ndarray) -> Value:
        """A view that ends in its layer's shape again: is it a shuffle of the channels?"""
        _, channels, height, width = order.shape
        source = order[0, :, 0, 0] // (height * width)
        groups = channels // max(1, int(source[1])) if channels > 1 else 0
        plane = np.arange(height * width).reshape(height, width)
        if (
            not groups or channels % groups or not np.array_equal(source, shuffled(channels, groups))
            or not np.array_equal(order[0], source[:, None, None] * (height * width) + plane)
        ):  # fmt: skip
            raise _Refused("this Reshape-Transpose-Reshape is no channel shuffle")
        return self._value(self.net.shuffle(self._layer_name("shuffle"), layer, groups))

    @staticmethod
    def _order(x: Value) -> np.ndarray:
        return x.order if x.order is not None else np.arange(int(np.prod(x.shape))).reshape(x.shape)

    # What changes nothing here

    def _identity(self, node, attributes, x) -> Value:
        return x

    def _dropout(self, node, attributes, x, *_) -> Value:
        return x

    def _softmax(self, node, attributes, x) -> Value:
        if node.output[0] != self.graph.output[0].name:
            raise _Refused("possible only as the last node")
        self.notes.append(f"its {node.op_type} at the end is left out: the network gives logits")
        return x

    _logsoftmax = _softmax

    # What is demanded

    def _reader(self, node):
        """The only node that reads what this one gives, or None."""
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and node.output[0] != self.graph.output[0].name else None

    def _layer_name(self, kind: str) -> str:
        return f"{kind}{len(self.net.layers)}"

    def _array(self, value, what: str) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise _Refused(f"{what} depends on the input, expected a constant")
        return value

    def _whole(self, x) -> Value:
        """`x` if it is what its layer gives, perhaps in another shape, and no step of a shuffle."""
        if not isinstance(x, Value) or x.order is not None:
            raise _Refused("stands between the steps of a shuffle, or reads a constant where an image is expected")
        return x

    def _plane(self, x) -> Value:
        if len(self._whole(x).shape) != 4 or x.shape != self.net.shape(x.layer):
            raise _Refused(f"expected planes, found a tensor of the shape {x.shape}")
        return x

    def _window(self, attributes, square: bool = True) -> dict:
        """Kernel, stride and padding, the same in both directions."""
        kernel, strides = (list(attributes.get(key, [1, 1])) for key in ("kernel_shape", "strides"))
        pads, auto = list(attributes.get("pads", [0] * 4)), attributes.get("auto_pad", b"NOTSET")
        if auto not in (b"NOTSET", b"VALID") or set(attributes.get("dilations", [1])) != {1}:
            raise _Refused(f"auto_pad {auto.decode()} or dilation is not possible")
        if attributes.get("ceil_mode", 0) or attributes.get("storage_order", 0):
            raise _Refused("ceil_mode and storage_order are not possible")
        if square and (len(set(kernel)) != 1 or len(set(strides)) != 1) or len(set(pads)) != 1:
            raise _Refused(f"kernel {kernel}, strides {strides}, pads {pads}: expected equal numbers in each")
        return {"kernel": kernel[0], "stride": strides[0], "pad": pads[0]}
