"""The `onnx` package's own test cases, as far as a library can have their shapes: a picture in, planes or vectors out.

Of a batch the first picture is taken; a vector comes out of a picture of one pixel; what works element by element takes
any array as planes, and several of one shape as the parts of a picture.  Further inputs become weights.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import load_network

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LISTED = frozenset(
    "Conv BatchNormalization Relu Clip LeakyRelu PRelu Sigmoid HardSigmoid HardSwish Add Mul Sub Div Sum Concat Split "
    "Slice Gather Reshape Transpose DepthToSpace MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean "
    "ReduceMax LRN Gemm MatMul Softmax LogSoftmax Flatten Squeeze Unsqueeze Pad Upsample Resize Identity Dropout Cast "
    "Constant ConstantOfShape Shape".split()
)
ELEMENTWISE = frozenset(
    "Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Add Sub Mul Div Sum Identity Dropout Constant".split()
)
# Cases whose expected numbers were written by hand, and to how many digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
TOLERANCE = 1e-5  # of the largest number of an output


@dataclass
class Case:
    """A model whose only input is `picture`, and what it gives."""

    name: str
    model: ModelProto
    picture: np.ndarray
    outputs: list[np.ndarray]


def node_cases() -> Iterator[Case]:
    """Those of single operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases()
    for case in found:
        if case.data_sets:
            yield from _fitting(case.name, case.model, *case.data_sets[0])


def pytorch_cases() -> Iterator[Case]:
    """Those that were converted from PyTorch's own tests."""

    def arrays(folder: Path, kind: str) -> list[np.ndarray]:
        files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"))
        return [numpy_helper.to_array(TensorProto.FromString(file.read_bytes())) for file in files]

    for folder in sorted((DATA / "pytorch-converted").iterdir()):
        model = onnx.load(folder / "model.onnx")
        yield from _fitting(folder.name, model, arrays(folder, "input"), arrays(folder, "output"))


def _fitting(name: str, model: ModelProto, inputs: list, outputs: list) -> Iterator[Case]:
    """The case, if a library can have its shapes."""
    kinds = {node.op_type for node in model.graph.node}
    if not kinds <= LISTED or any(node.domain for node in model.graph.node):
        return
    if not inputs or not all(isinstance(array, np.ndarray) for array in (*inputs, *outputs)) or not inputs[0].size:
        return
    if any(array.dtype != np.float32 for array in (inputs[0], *outputs)):
        return
    if kinds <= ELEMENTWISE and inputs[0].ndim in (1, 3):
        inputs, outputs = ([array.reshape(1, *array.shape) for array in arrays] for arrays in (inputs, outputs))
    case = _with_weights(name, ModelProto.FromString(model.SerializeToString()), inputs, outputs)
    if case and all(a.ndim == 1 or a.ndim in (2, 4) and len(a) == 1 for a in case.outputs):
        yield case


def _with_weights(name: str, model: ModelProto, inputs: list, outputs: list) -> Case | None:
    """The model that takes one picture only; None where another picture would have another result."""
    graph, weights = model.graph, {tensor.name for tensor in model.graph.initializer}
    entry, *others = [entry for entry in graph.input if entry.name not in weights]
    if len(others) != len(inputs) - 1 or inputs[0].ndim not in (2, 4):
        return None
    kinds = {node.op_type for node in graph.node}
    if kinds <= ELEMENTWISE - {"PRelu"} and {array.shape for array in inputs} == {inputs[0].shape}:
        parts = [entry.name, *(other.name for other in others)]
        graph.node.insert(0, helper.make_node("Split", ["parts"], parts, axis=1))
        if _opset(model) >= 18:
            graph.node[0].attribute.append(helper.make_attribute("num_outputs", len(parts)))
        entry.name, inputs, others = "parts", [np.concatenate(inputs, 1)], []
        del graph.input[1:]
    graph.initializer.extend(numpy_helper.from_array(array, other.name) for other, array in zip(others, inputs[1:]))
    first = inputs[0][:1]
    _declare(entry, first.shape)
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    if len(inputs[0]) > 1:
        try:
            alone = ReferenceEvaluator(model).run(None, {entry.name: first})
        except Exception:  # the batch stands in its shapes
            return None
        # The reference's LRN takes the number of pictures for that of channels: where the case's own result has the
        # same shape, it is that of the picture.
        if any(not isinstance(a, np.ndarray) or a.shape[:1] != (1,) for a in alone):
            return None
        outputs = [given[:1] if given[:1].shape == a.shape else a for given, a in zip(outputs, alone)]
    if first.ndim == 2:
        graph.node.insert(0, helper.make_node("Flatten", ["picture"], [entry.name]))
        entry.name, first = "picture", first.reshape(1, -1, 1, 1)
        _declare(entry, first.shape)
    return Case(name, model, first, outputs)


def _opset(model: ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _declare(entry: ValueInfoProto, shape: tuple[int, ...]) -> None:
    entry.type.tensor_type.shape.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, shape).tensor_type.shape)


def count(cases: Iterator[Case], run: Callable[[Network, dict, np.ndarray], tuple], folder: Path) -> Counter:
    """How many cases came out "right", "wrong", "refused" or as a "crash"; and of each that is not right, why."""
    found: Counter = Counter()
    for case in cases:
        kind, why = _outcome(case, run, folder / f"{case.name}.onnx")
        found[kind] += 1
        if why:
            found[f"{kind}: {case.name}: {why}"] += 1
    return found


def _outcome(case: Case, run, path: Path) -> tuple[str, str]:
    onnx.save(case.model, path)
    try:
        read = load_network(path)
        results = run(read.network, read.parameters, case.picture)
    except UserError as error:
        assert "\n" not in str(error)
        return "refused", str(error).removeprefix(f"{path}: ")
    except Exception as error:  # whatever it is: the other cases count too
        return "crash", f"{type(error).__name__}: {(str(error).splitlines() or [''])[-1][:200]}"
    if len(results) != len(case.outputs):
        return "wrong", f"{len(results)} outputs, expected {len(case.outputs)}"
    for result, wanted in zip(results, case.outputs):
        if result.shape != (wanted.shape if wanted.ndim > 1 else (1, *wanted.shape)):
            return "wrong", f"{result.shape}, expected {wanted.shape}"
        limit = ROUNDED.get(case.name, TOLERANCE) * max(np.abs(wanted).max(), 1e-30)
        difference = np.abs(result.astype(np.float64).ravel() - wanted.ravel()).max()
        if not difference <= limit:
            return "wrong", f"differs by {difference:.2g} of {np.abs(wanted).max():.2g}"
    return "right", ""
