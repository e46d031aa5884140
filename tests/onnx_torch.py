"""ONNX models in PyTorch, node by node: independent of the reader.

The onnx package's own evaluator takes hours for a network, and takes the first batch norms for those in training.
"""

from __future__ import annotations

import numpy as np
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F


def execute(model, data: np.ndarray) -> np.ndarray:
    """The first output of a model for its only input."""
    return tensors(model, data)[model.graph.output[0].name]


def tensors(model, data: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of it, by name."""
    graph = model.graph
    values = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    (entry,) = [entry for entry in graph.input if entry.name not in values]
    values[entry.name] = torch.from_numpy(data)
    for node in graph.node:
        a = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        x = [values[name] for name in node.input]
        stride = a.get("strides", 1)
        match node.op_type:
            case "Conv":
                y = F.conv2d(_padded(x[0], a), *x[1:], *[None] * (3 - len(x)), stride, groups=a.get("group", 1))
            case "BatchNormalization":
                scale, shift, mean, var = (v.reshape(-1, 1, 1) for v in x[1:])
                y = (x[0] - mean) / (var + a.get("epsilon", 1e-5)).sqrt() * scale + shift
            case "Relu":
                y = x[0].relu()
            case "MaxPool":
                y = F.max_pool2d(_padded(x[0], a, -torch.inf), a["kernel_shape"], stride)
            case "AveragePool":
                y, share = (
                    F.avg_pool2d(_padded(v, a), a["kernel_shape"], stride) for v in (x[0], torch.ones_like(x[0]))
                )
                y = y if a.get("count_include_pad") else y / share
            case "GlobalAveragePool":
                y = x[0].mean((2, 3), keepdim=True)
            case "ReduceMean":
                y = x[0].mean((2, 3), keepdim=bool(a.get("keepdims", 1)))
            case "Reshape":
                y = x[0].reshape([n or x[0].shape[i] for i, n in enumerate(x[1].tolist())])
            case "Transpose":
                y = x[0].permute(a["perm"])
            case "Flatten":
                y = x[0].flatten(1)
            case "Concat":
                y = torch.cat(x, a["axis"])
            case "Sum" | "Add":
                y = x[0] + x[1]
            case "Mul":
                y = x[0] * x[1]
            case "Unsqueeze":
                y = x[0]
                for axis in a["axes"]:
                    y = y.unsqueeze(axis)
            case "Gemm":
                y = F.linear(x[0], x[1] if a.get("transB") else x[1].T, x[2])
            case "MatMul":
                y = x[0] @ x[1]
            case "Softmax":
                y = x[0].softmax(1)
            case "LRN":
                y = F.local_response_norm(x[0], a["size"], a["alpha"], a["beta"], a["bias"])
            case "ConstantOfShape":
                y = torch.full(x[0].tolist(), float(numpy_helper.to_array(a["value"])[0]))
            case "Identity" | "Dropout":
                y = x[0]
            case _:
                raise AssertionError(node.op_type)
        values[node.output[0]] = y
    return {name: value.numpy() for name, value in values.items()}


def _padded(x, attributes: dict, value: float = 0.0):
    assert not attributes.get("ceil_mode") and set(attributes.get("dilations", [1])) == {1}
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    return F.pad(x, (left, right, top, bottom), value=value)


def with_random_constants(model, seed=0):
    """The same graph with numbers in place of its constants, as large as keeps activations alive."""
    rng = np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    tensors, nodes = [], []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            nodes.append(node)
            continue
        shape, name = shapes[node.input[0]].tolist(), node.output[0]
        if len(shape) > 1:
            values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            values = rng.uniform(0.5, 1.5, shape) if name in variances else rng.uniform(-0.3, 0.8, shape)
        tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors)
    return model
