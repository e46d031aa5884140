"""ONNX models of floats as quantised ones (QDQ), of any scales: for the reader, not for accuracy."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

WEIGHTED = ("Conv", "Gemm")


def quantised(floats: onnx.ModelProto, unsigned: bool = True) -> onnx.ModelProto:
    """With a pair behind the input and each node but the last, of some scale, and weights as bytes."""
    model = onnx.ModelProto()
    model.CopyFrom(floats)
    graph = model.graph
    nodes, arrays = list(graph.node), {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made, constants, same = [], [], {}

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def pair(name: str, scale: float, zero: int) -> None:
        of = [constant(f"{name}.scale", np.float32(scale)), constant(f"{name}.zero", kind(zero))]
        made.append(helper.make_node("QuantizeLinear", [name, *of], [f"{name}.bytes"], f"{name}.q"))
        made.append(helper.make_node("DequantizeLinear", [f"{name}.bytes", *of], [f"{name}.floats"], f"{name}.dq"))
        same[name] = f"{name}.floats"

    def weights(name: str) -> None:
        axes = tuple(range(1, arrays[name].ndim))
        scale = (np.abs(arrays[name]).max(axes) / 127).astype(np.float32)
        found = np.rint(arrays[name] / scale.reshape(-1, *(1,) * len(axes))).astype(np.int8)
        of = [constant(f"{name}.bytes", found), constant(f"{name}.scale", scale)]
        zero = constant(f"{name}.zero", np.zeros(len(scale), np.int8))
        made.append(helper.make_node("DequantizeLinear", [*of, zero], [f"{name}.floats"], f"{name}.dq", axis=0))
        same[name] = f"{name}.floats"

    kind = np.uint8 if unsigned else np.int8
    middle = 128 if unsigned else 0
    pair(graph.input[0].name, 0.03, middle)
    for number, node in enumerate(nodes):
        if node.op_type in WEIGHTED:
            weights(node.input[1])
        node.input[:] = [same.get(name, name) for name in node.input]
        made.append(node)
        for name in node.output if number + 1 < len(nodes) else ():
            pair(name, 0.02 + 0.001 * number, middle + number % 5)
    del graph.node[:]
    graph.node.extend(made)
    graph.initializer.extend(constants)
    return model
