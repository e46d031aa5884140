"""From an ONNX model to a network and its parameters.

    onnx_files             the bytes: the protobuf, tensors, external data
    onnx_constants         what depends on no input is computed on the way
    onnx_values            a tensor: a layer's output, looked at in some order
    onnx_nodes_windows     nodes with weights and windows
    onnx_nodes_elements    nodes that work element by element
    onnx_nodes_shapes      nodes that choose, order and join

The graph is followed node by node, from those that lead to an output; the functions that turn a node into layers
stand in tables.  Anything else is refused by its node.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import Network, NetworkBuilder
from ..architectures.checks import ELEMENTS
from ..errors import UserError
from . import onnx_nodes_elements, onnx_nodes_shapes, onnx_nodes_windows
from .canonical import renamed, without_dead_layers
from .onnx_constants import folded
from .onnx_files import array, load_model
from .onnx_node import Node
from .onnx_qdq import Scale, without_pairs
from .onnx_values import Given, Looks, Refused, Value, plain, shown, text
from .onnx_writer import require_onnx

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

OLDEST = 6  # opset; before it, operators were others
OPERATORS = {**onnx_nodes_windows.OPERATORS, **onnx_nodes_elements.OPERATORS, **onnx_nodes_shapes.OPERATORS}


def read_onnx(
    path: str | os.PathLike, size: tuple[int, int] | None = None
) -> tuple[Network, dict[str, np.ndarray], dict[str, str], list[str], dict[str, Scale]]:
    """The network, its parameters, the metadata of the file, and notes about what was changed.

    Last, of a quantised file, scale and zero point of tensors by the names of the layers that give them.

    `size` is the picture's where the file leaves it open.  Raises `UserError` for a file that is missing or
    damaged, of an opset, with an operator or with a shape that is not supported.
    """
    onnx, path = require_onnx(f"to read {path}"), Path(path)
    model, newest = load_model(path), onnx.defs.onnx_opset_version()
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OLDEST <= opset <= newest:
        raise UserError(f"{path} is of opset {opset}, expected {OLDEST} to {newest}: export it anew")
    graph, scales = without_pairs(model.graph, path)
    reader = Reader(graph, opset, path, size)
    net, parameters = reader.network()
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return net, parameters, metadata, reader.notes, reader.by_layer(scales)


class Reader:
    """The state while a graph is read; the functions of the tables use what is public."""

    def __init__(self, graph: GraphProto, opset: int, path: Path, size: tuple[int, int] | None):
        self.graph, self.opset, self.path = graph, opset, path
        self.values: dict[str, Value | np.ndarray] = {}
        self.parameters: dict[str, np.ndarray] = {}
        self.conv_biases: dict[int, np.ndarray | None] = {}  # of those with a batch norm behind them
        self.notes: list[str] = []
        self.budget = ELEMENTS  # of the constants that are computed
        self._origin: dict[str, int] = {}  # the layer that a name was first given to
        self._names: dict[int, str] = {}  # the name in the file of what a layer gives
        self._finally: dict[str, str] = {}  # from a layer's name here to that in the network that is given
        self._outputs = [entry.name for entry in graph.output]
        self.nodes = self._live()
        self.readers: dict[str, list] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        for tensor in graph.initializer:
            if tensor.name in self.readers or tensor.name in self._outputs:
                self.values[tensor.name] = array(tensor, path)
        if any(t.values.name in self.readers for t in graph.sparse_initializer):
            raise UserError(f"{path} has sparse weights, expected dense ones")
        self._start(size)

    def _live(self) -> list:
        """The nodes that lead to an output, in the order of the file."""
        makers = {name: node for node in self.graph.node for name in node.output if name}
        waiting, found = [name for name in self._outputs if name in makers], set()
        while waiting:
            node = makers[waiting.pop()]
            if id(node) not in found:
                found.add(id(node))
                waiting += [name for name in node.input if name in makers]
        kept = {id(node) for node in makers.values() if id(node) in found}
        return [
            node for node in self.graph.node if any(name in makers and id(makers[name]) in kept for name in node.output)
        ]

    # The picture

    def _start(self, size: tuple[int, int] | None) -> None:
        weights = {tensor.name for tensor in self.graph.initializer}
        inputs = [entry for entry in self.graph.input if entry.name not in weights]
        if len(inputs) != 1 or not self._outputs:
            count = f"{len(inputs)} inputs and {len(self._outputs)} outputs"
            raise UserError(f"{self.path} has {count}, expected one input and at least one output")
        (entry,) = inputs
        kind = entry.type.tensor_type
        shape = [max(0, d.dim_value) if d.HasField("dim_value") else 0 for d in kind.shape.dim]
        if len(shape) != 4 or kind.elem_type != require_onnx("to read it").TensorProto.FLOAT:
            raise UserError(
                f"{self.path}: its input {shown(entry.name)} is no float tensor of the shape N x C x H x W or "
                "N x H x W x C"
            )
        last = self._channels_last(entry.name)
        batch, *shape = [shape[axis] for axis in ((0, 3, 1, 2) if last else (0, 1, 2, 3))]
        if min(shape[1:]) < 1 and size is None:
            raise UserError(f"{self.path}: height and width of its input {shown(entry.name)} are open: give --size")
        channels = shape[0] or self._channels_of_weights(entry.name)
        height, width = (n or wanted for n, wanted in zip(shape[1:], size or (0, 0)))
        self.batch = batch or 1
        if self.batch > 1:
            self.notes.append(f"its batch is fixed to {batch}: the library takes one picture at a time")
        try:
            self.net = NetworkBuilder((height, width), channels, "NHWC" if last else "NCHW")
        except UserError as error:
            raise UserError(f"{self.path}: its input {shown(entry.name)}: {error}") from None
        self.looks = Looks(self.net, self.name)
        picture = plain(0, self.net.shape(0))
        self.values[entry.name] = picture.transposed((0, 2, 3, 1)) if last else picture

    def _channels_last(self, name: str) -> bool:
        """Whether all that reads the picture leads, element by element, to a Transpose from N x H x W x C."""
        waiting, seen, found = [name], set(), False
        while waiting:
            name = waiting.pop()
            for node in self.readers.get(name, []):
                if node.op_type == "Transpose" and not node.domain:
                    perm = [list(a.ints) for a in node.attribute if a.name == "perm"]
                    if perm != [[0, 3, 1, 2]]:
                        return False
                    found = True
                elif node.op_type in ("Cast", "Identity", "Add", "Sub", "Mul", "Div", "Shape"):
                    if node.op_type != "Shape" and id(node) not in seen:
                        seen.add(id(node))
                        waiting += node.output
                else:
                    return False
        return found

    def _channels_of_weights(self, name: str) -> int:
        for node in self.readers.get(name, []):
            weight = self.values.get(node.input[1]) if len(node.input) > 1 else None
            if node.op_type == "Conv" and isinstance(weight, np.ndarray) and weight.ndim == 4:
                groups = next((a.i for a in node.attribute if a.name == "group"), 1)
                return weight.shape[1] * groups
        raise UserError(f"{self.path}: the number of channels of its input {shown(name)} is open, expected a fixed one")

    # The nodes

    def network(self) -> tuple[Network, dict[str, np.ndarray]]:
        number = {id(node): index for index, node in enumerate(self.graph.node)}
        for node in self.nodes:
            try:
                self._node(node)
            except (Refused, UserError) as error:
                what = shown(node.name) if node.name else f"number {number[id(node)]}"
                message = str(error).removeprefix(f"{self.path}: ").splitlines()[0]
                raise UserError(f"{self.path}: node {what} ({shown(node.op_type)}): {message}") from None
        return self._finished()

    def _node(self, proto) -> None:
        for name in proto.output:
            if name and name in self.values:
                raise Refused(f"gives {name!r}, which is there already: expected names that differ")
        missing = next((name for name in proto.input if name and name not in self.values), None)
        if missing is not None:
            raise Refused(f"its input {shown(missing)} is not known")
        node = Node(proto, self.path)
        inputs = [self.values[name] if name else None for name in proto.input]
        constants = [value for value in inputs if not isinstance(value, Value)]
        results: Sequence[Given]
        if proto.domain not in ("", "ai.onnx"):
            raise Refused(f"no network here has this operator, of the domain {proto.domain}")
        if proto.op_type in ("Shape", "Size") and len(inputs) == 1 and isinstance(inputs[0], Value):
            # The shape of a constant is a constant; that of the file has the file's batch.
            shape = inputs[0].shape
            results = [_shape(self, node, (shape[0] * self.batch, *shape[1:]) if shape else shape)]
        elif len(constants) == len(inputs):
            tensor = node.constant() if proto.op_type == "Constant" else None
            computed = folded(proto, constants, self.opset, self.budget) if tensor is None else [tensor]
            self.budget -= sum(result.size for result in computed)
            results = computed
        elif proto.op_type not in OPERATORS:
            raise Refused("no network here has this operator: express it by others, or leave it out of the model")
        else:
            results = self._layers(node, inputs)
        self.values.update((name, result) for name, result in zip(proto.output, results) if name)

    def _layers(self, node: Node, inputs: list[Given | None]) -> list[Value]:
        before = len(self.net.layers)
        function, fewest, most = OPERATORS[node.kind]
        while inputs and inputs[-1] is None:
            inputs.pop()
        if not fewest <= len(inputs) <= most or any(value is None for value in inputs[:fewest]):
            raise Refused(f"has {len(inputs)} inputs, expected {fewest}{'' if most == fewest else ' or more'}")
        try:
            results = function(self, node, *inputs)
        except (ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise Refused(f"is damaged: {(str(error).splitlines() or ['?'])[0][:200]}") from None
        results = results if isinstance(results, list) else [results]
        for name, value in zip(node.outputs, results):
            if value.layer >= before and name and value.layer not in self._names:
                self._origin[name] = self._origin.get(name, value.layer)
                self._names[value.layer] = name
        return results

    # What the functions of the tables use

    def name(self, kind: str) -> str:
        """The name of a new layer, until all names are known."""
        return f"{kind}{len(self.net.layers)}"

    def set(self, layer: int, **arrays: np.ndarray | None) -> None:
        name = self.net.layers[layer].name
        for key, values in arrays.items():
            with np.errstate(over="ignore"):
                values = np.array(values, np.float32, order="C")
            if not np.isfinite(values).all():
                raise Refused("its weights hold NaN or infinite numbers")
            self.parameters[f"{name}.{key}"] = values

    def plain(self, layer: int, shape: Sequence[int] | None = None) -> Value:
        return plain(layer, shape or self.net.shape(layer))

    def constant(self, value: Given | None, what: str) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise Refused(f"{what} depends on the input, expected a constant")
        return value

    def weights(self, value: Given | None, what: str) -> np.ndarray:
        """A constant of finite real numbers in double precision."""
        found = self.constant(value, what)
        if found.dtype.kind not in "fiub" and "float" not in str(found.dtype):
            raise Refused(f"{what} are of the type {found.dtype}, expected numbers")
        found = found.astype(np.float64)
        if not np.isfinite(found).all():
            raise Refused(f"{what} hold NaN or infinite numbers")
        return found

    def value(self, value: Given | None) -> Value:
        if not isinstance(value, Value):
            raise Refused("reads a constant where an image is expected")
        return value

    def planes(self, value: Given) -> int:
        """The layer that gives this value as planes."""
        found = self.value(value)
        if len(found.shape) != 4:
            raise Refused(f"expected planes (1xCxHxW), found a tensor of the shape {text(found.shape)}")
        return self.looks.layer(found)

    def reader(self, name: str) -> NodeProto | None:
        """The node that alone reads the tensor of this name; None where several do, none does, or it is an output."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self._outputs else None

    def alone(self, value: Value, name: str) -> bool:
        """Whether the layer of `value` is read under this name only, and once."""
        return self._origin.get(name) == value.layer and self.reader(name) is not None

    # The end

    def _finished(self) -> tuple[Network, dict[str, np.ndarray]]:
        outputs: list[int] = []
        for name in self._outputs:
            value = self.values.get(name)
            if not isinstance(value, Value):
                said = "does not depend on its input, or nothing computes it"
                raise UserError(f"{self.path}: its output {shown(name)} {said}")
            try:
                # The shape is the file's, but for a vector whose batch was squeezed away.
                layer = self.looks.layer(value, (1, *value.shape) if len(value.shape) == 1 else None)
                if layer in outputs or layer == 0:  # each output is a layer of its own
                    layer = self.net.reshape(self.name("output"), layer, self.net.shape(layer))
            except (Refused, UserError) as error:
                raise UserError(f"{self.path}: its output {shown(name)}: {error}") from None
            outputs.append(layer)
            self._names[layer] = name
        net = self.net.network(self.graph.name or "onnx", outputs=outputs)
        alive = without_dead_layers(net)
        found, parameters = renamed(alive, self._by_name(outputs), self.parameters)
        self._finally = {old.name: new.name for old, new in zip(alive.layers, found.layers)}
        return found, parameters

    def by_layer(self, scales: dict[str, Scale]) -> dict[str, Scale]:
        """Scales of the file's tensors, under the names of the layers of the network that `network` gave."""
        found: dict[str, Scale] = {}
        for name, scale in scales.items():
            value = self.values.get(name)
            if isinstance(value, Value) and (layer := self._finally.get(self.net.layers[value.layer].name)):
                found.setdefault(layer, scale)
        return found

    def _by_name(self, outputs: list[int]) -> dict[str, str]:
        """From a layer's name here to that which the file gives to its result; those of the outputs come first."""
        order = [*outputs, *(layer for layer in self._names if layer not in outputs)]
        return {self.net.layers[layer].name: self._names[layer] for layer in order}


def _shape(reader: Reader, node: Node, shape: tuple[int, ...]) -> np.ndarray:
    if node.kind == "Size":
        return np.array(math.prod(shape), np.int64)
    return np.array(shape[slice(node.integer("start", 0), node.integer("end", len(shape)))], np.int64)
