"""Computes what depends on no input: shapes, and weights that exporters put together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..architectures.checks import ELEMENTS
from .onnx_values import Refused

if TYPE_CHECKING:
    from onnx import NodeProto

ELEMENTWISE = frozenset(
    "Abs Add And Cast CastLike Ceil Clip Div Equal Exp Floor Greater GreaterOrEqual Identity Less LessOrEqual Log Max "
    "Min Mod Mul Neg Not Or Pow Reciprocal Relu Round Sigmoid Sign Sqrt Sub Sum Tanh Where Xor".split()
)
SMALLER = frozenset(  # what they give is no larger than their first input
    "ArgMax ArgMin Dropout Flatten ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Shape Size Slice Split "
    "Squeeze Transpose Unsqueeze BatchNormalization Softmax".split()
)


def folded(node: NodeProto, inputs: list[np.ndarray | None], opset: int, budget: int) -> list[np.ndarray]:
    """What a node gives for constants, by the rules of the file's opset.

    Raises `Refused` for an operator that is not computed here and for one that gives more than `budget` elements.
    """
    from onnx.reference import ReferenceEvaluator

    given = [array for array in inputs if array is not None]
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise Refused("graphs within a node are not possible: export a model without control flow")
    try:
        size = _size(node, given)
        if size > min(ELEMENTS, budget):
            raise Refused(f"gives a constant of {size} numbers, expected at most {ELEMENTS} in all")
        names = [name for name in node.input if name]
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(_alone(node, opset)).run(None, dict(zip(names, given)))
    except Refused:
        raise
    except Exception as error:  # of whichever operator
        raise Refused(f"cannot be computed: {(str(error).splitlines() or [type(error).__name__])[0][:200]}") from None
    return [np.asarray(result) for result in results]


def _alone(node, opset: int):
    """A model of one node: the evaluator takes the operators of an opset from a model only."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(node.input) if name
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output if name]
    graph = helper.make_graph([node], "constants", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _size(node, inputs: list[np.ndarray]) -> int:
    """How many elements the node will give at most."""
    kind, shapes = node.op_type, [array.shape for array in inputs]
    if kind in ELEMENTWISE:
        return math.prod(np.broadcast_shapes(*shapes))
    if kind in SMALLER:
        return inputs[0].size
    if kind == "Constant":
        return 0  # as large as the file has it
    if kind == "ConstantOfShape":
        return math.prod(_numbers(inputs[0]))
    if kind == "Expand":
        return math.prod(np.broadcast_shapes(shapes[0], tuple(_numbers(inputs[1]))))
    if kind == "Tile":
        return inputs[0].size * math.prod(_numbers(inputs[1]))
    if kind == "Concat":
        return sum(array.size for array in inputs)
    if kind == "Gather":
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        return inputs[0].size // max(1, shapes[0][axis]) * inputs[1].size
    if kind == "Range":
        start, limit, delta = (float(array.reshape(())) for array in inputs)
        return max(0, math.ceil((limit - start) / delta))
    if kind == "NonZero":
        return inputs[0].size * max(1, inputs[0].ndim)
    if kind == "MatMul" and all(len(shape) == 2 for shape in shapes):
        if math.prod(shapes[0]) * shapes[1][1] > ELEMENTS:
            return ELEMENTS + 1  # multiplications
        return shapes[0][0] * shapes[1][1]
    raise Refused("no network here has this operator, and it is none that is computed from constants")


def _numbers(array: np.ndarray) -> list[int]:
    numbers = [int(number) for number in array.ravel()[:64]]
    if array.size > 64 or min(numbers, default=0) < 0:
        raise Refused("its shape holds a negative number or has more than 64 dimensions")
    return numbers
