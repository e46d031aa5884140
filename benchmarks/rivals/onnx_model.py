"""A network as an ONNX model, for the rivals that read or convert one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from .folded import Step, fold

OPSET = 17


def write(net, parameters: dict[str, np.ndarray], path: Path) -> None:
    """Writes `net` with the input `input` and the output `output`."""
    import onnx
    from onnx import TensorProto, helper

    steps = fold(net, parameters)
    nodes, constants = _graph(steps)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, steps[0].shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, steps[-1].shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8  # every engine of the last years reads it
    onnx.save(model, str(path))


def _graph(steps: list[Step]) -> tuple[list, dict[str, np.ndarray]]:
    from onnx import helper

    constants: dict[str, np.ndarray] = {}
    nodes = []
    names = ["input"]
    for index, step in enumerate(steps[1:], 1):
        inputs = [names[source] for source in step.inputs]
        output = "output" if index == len(steps) - 1 else step.name
        if step.weight is not None:
            for key, array in (("weight", step.weight), ("bias", step.bias)):
                constants[f"{step.name}.{key}"] = array
                inputs.append(f"{step.name}.{key}")
        operators = _operators(step, constants)
        if step.relu:
            operators.append(("Relu", [], {}))
        for number, (kind, further, attributes) in enumerate(operators, 1):
            last = number == len(operators)
            result = output if last else f"{step.name}.{number}"
            nodes.append(
                helper.make_node(kind, inputs + further, [result], name=f"{step.name}.{kind}{number}", **attributes)
            )
            inputs = [result]
        names.append(output)
    return nodes, constants


def _operators(step: Step, constants: dict) -> list[tuple[str, list[str], dict]]:
    """The chain of ONNX operators, each with its further inputs, that one step becomes."""
    a = step.attrs
    if step.op in ("conv", "max_pool", "avg_pool"):
        window = {"kernel_shape": [a["kernel"]] * 2, "strides": [a["stride"]] * 2, "pads": [a["pad"]] * 4}
        if step.op == "conv":
            return [("Conv", [], {**window, "group": a["groups"]})]
        if step.op == "max_pool":
            return [("MaxPool", [], window)]
        return [("AveragePool", [], {**window, "count_include_pad": 1})]
    if step.op == "shuffle":
        _, channels, height, width = step.shape
        name, groups = step.name, a["groups"]
        constants[f"{name}.split"] = np.array([1, groups, channels // groups, height, width], np.int64)
        constants[f"{name}.join"] = np.array(step.shape, np.int64)
        return [
            ("Reshape", [f"{name}.split"], {}),
            ("Transpose", [], {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", [f"{name}.join"], {}),
        ]
    if step.op == "lrn":
        return [("LRN", [], {"size": a["size"], "alpha": a["alpha"], "beta": a["beta"], "bias": a["k"]})]
    if step.op == "global_avg_pool":
        return [("GlobalAveragePool", [], {}), ("Flatten", [], {})]
    kinds = {
        "dense": ("Gemm", {"transB": 1}), "relu": ("Relu", {}), "add": ("Add", {}),
        "concat": ("Concat", {"axis": 1}), "flatten": ("Flatten", {}),
    }  # fmt: skip
    if step.op not in kinds:
        raise UserError(f"{step.name}: ONNX has no operator {step.op}")
    kind, attributes = kinds[step.op]
    return [(kind, [], attributes)]
