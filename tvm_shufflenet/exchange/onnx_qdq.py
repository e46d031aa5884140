"""Quantised ONNX files (QDQ): QuantizeLinear and DequantizeLinear around operators of floats.

The pairs are taken out, so that a graph of floats is read as any other; weights are what DequantizeLinear makes of
them.  The scales that the pairs had become those of the compiler's tensors (`targets/calibration.py`).  What is read:
a tensor has one scale and a zero point of 8 bits, weights are signed bytes around zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import Network
from ..bridge.parameters import digest
from ..errors import UserError
from ..targets.calibration import Calibration
from .onnx_files import array
from .onnx_values import Refused, shown
from .onnx_writer import require_onnx

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
OBSERVER = "the file's QuantizeLinear"
SIGNED = 128  # what a signed byte is less than the byte of the same number
HOW = "quantise with ONNX Runtime's quantize_static: QuantFormat.QDQ, QuantType.QUInt8 or QInt8, weights QInt8"

Scale = tuple[float, int]


def without_pairs(graph: GraphProto, path: Path) -> tuple[GraphProto, dict[str, Scale]]:
    """The graph of floats, and scale and zero point, a byte, by the names of tensors; `UserError` for other schemes.

    A graph without pairs is given back as it is.
    """
    if not any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in graph.node):
        return graph, {}
    taken = _Pairs(graph, path)
    for number, node in enumerate(graph.node):
        try:
            taken.node(node)
        except (Refused, ValueError, IndexError) as error:
            what, kind = shown(node.name) or f"number {number}", shown(node.op_type)
            said = error if isinstance(error, Refused) else "has too few or too many inputs or outputs"
            raise UserError(f"{path}: node {what} ({kind}): {said}") from None
    return taken.graph(), taken.scales


class _Pairs:
    def __init__(self, graph: GraphProto, path: Path):
        self.given, self.path = graph, path
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[NodeProto] = []
        self.quantised: dict[str, tuple[str, Scale]] = {}  # by the name of bytes: of what they are
        self.same: dict[str, str] = {}  # by the name of dequantised bytes: of what these are
        self.floats: dict[str, np.ndarray] = {}
        self.scales: dict[str, Scale] = {}

    def node(self, node: NodeProto) -> None:
        """Takes the node over, or out."""
        if node.op_type == QUANTIZE:
            self._quantize(node)
        elif node.op_type == DEQUANTIZE:
            self._dequantize(node)
        else:
            if bytes_ := [name for name in node.input if name in self.quantised]:
                raise Refused(f"reads the bytes {bytes_[0]!r}, expected a DequantizeLinear between: {HOW}")
            kept = type(node)()
            kept.CopyFrom(node)
            kept.input[:] = [self.same.get(name, name) for name in node.input]
            self.nodes.append(kept)

    def _quantize(self, node: NodeProto) -> None:
        source = self.same.get(node.input[0], node.input[0])
        scale = self._one_scale(node)
        if source in self.constants or source in self.floats:
            raise Refused(f"quantises constants as the model runs, expected their bytes in the file: {HOW}")
        self.quantised[node.output[0]] = source, scale
        self.scales.setdefault(source, scale)

    def _dequantize(self, node: NodeProto) -> None:
        (name,) = node.output
        if node.input[0] in self.constants:
            self.floats[name] = self._weights(node)
            return
        if node.input[0] not in self.quantised:
            raise Refused(f"reads what no QuantizeLinear gives: {HOW}")
        source, scale = self.quantised[node.input[0]]
        if self._one_scale(node) != scale:
            raise Refused("has another scale or zero point than the QuantizeLinear before")
        self.same[name] = source

    def _constant(self, node: NodeProto, index: int, what: str) -> np.ndarray:
        name = node.input[index]
        if name not in self.constants:
            raise Refused(f"its {what} is no constant of the file: {HOW}")
        return array(self.constants[name], self.path)

    def _scale(self, node: NodeProto) -> np.ndarray:
        found = self._constant(node, 1, "scale")
        if found.dtype != np.float32 or not (np.isfinite(found).all() and (found > 0).all()):
            raise Refused("its scale is damaged: expected float32 numbers above zero")
        return found

    def _zero(self, node: NodeProto) -> np.ndarray:
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(1, np.uint8)
        return self._constant(node, 2, "zero point")

    def _one_scale(self, node: NodeProto) -> Scale:
        """The scale and zero point of a tensor, which must have one of each."""
        scale, zero = self._scale(node), self._zero(node)
        if scale.size != 1 or zero.size != 1:
            raise Refused(f"has {scale.size} scales for one tensor, expected one: weights alone have several here")
        if zero.dtype not in (np.uint8, np.int8):
            raise Refused(f"its bytes are of the type {zero.dtype}, expected uint8 or int8: {HOW}")
        return float(scale.item()), int(zero.item()) + (SIGNED if zero.dtype == np.int8 else 0)

    def _weights(self, node: NodeProto) -> np.ndarray:
        numbers, scale, zero = self._constant(node, 0, "weight"), self._scale(node), self._zero(node)
        if numbers.dtype not in (np.int8, np.int32) or zero.any():
            kind = f"{numbers.dtype}{' with a zero point' if zero.any() else ''}"
            raise Refused(f"its constants are {kind}, expected signed ones around 0: {HOW}")
        if scale.size > 1:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            if not -numbers.ndim <= axis < numbers.ndim or scale.ndim != 1 or len(scale) != numbers.shape[axis]:
                raise Refused(f"has {scale.size} scales along axis {axis} of constants {numbers.shape}")
            scale = scale.reshape([-1 if place == axis % numbers.ndim else 1 for place in range(numbers.ndim)])
        return numbers.astype(np.float32) * scale

    def graph(self) -> GraphProto:
        """Outputs keep their names."""
        onnx = require_onnx(f"to read {self.path}")
        found = type(self.given)()
        found.CopyFrom(self.given)
        del found.node[:]
        found.node.extend(self.nodes)
        for entry in found.output:
            if entry.name in self.same:
                found.node.append(onnx.helper.make_node("Identity", [self.same[entry.name]], [entry.name]))
        found.initializer.extend(onnx.numpy_helper.from_array(floats, name) for name, floats in self.floats.items())
        return found


def calibration_of(
    net: Network, parameters: dict[str, np.ndarray], scales: dict[str, Scale], source: str
) -> Calibration:
    """The scales of the compiler's tensors, of those that the file has by the names of layers.

    A step of the compiler has the scale of the last layer in it that has one: that of a convolution's ReLU, and of a
    concatenation rather than of its parts.  Channel attention is computed in the file's parts.  `UserError` where a
    tensor has none.
    """
    from ..graph.byte_tensors import VIEWS, tensors_of
    from ..pipeline import byte_graph

    graph = byte_graph(net, parameters, parts=True)
    names, steps = tensors_of(graph), {node.name for node in graph.nodes}
    readers: dict[int, list[int]] = {}
    for index, layer in enumerate(net.layers):
        for read in layer.inputs:
            readers.setdefault(read, []).append(index)
    places = {layer.name: index for index, layer in enumerate(net.layers)}

    def chain(name: str) -> Sequence[str]:
        """The layers of a step, the last one first."""
        if name not in places:  # a step that the compiler made
            return [name]
        found, index = [name], places[name]
        while len(behind := readers.get(index, [])) == 1 and net.layers[behind[0]].name not in steps:
            index = behind[0]
            found.append(net.layers[index].name)
        return found[::-1]

    tensors: dict[str, Scale] = {}
    for node, name in names.items():
        scale = next((scales[layer] for layer in chain(node.name) if layer in scales), None)
        if scale and (name not in tensors or node.op in VIEWS):
            tensors[name] = scale
    if missing := sorted(set(names.values()) - set(tensors)):
        raise UserError(f"{source}: layer {missing[0]} gives floats that no QuantizeLinear reads: {HOW}")
    return Calibration(tensors, 0, OBSERVER, digest(parameters), parts=True)
