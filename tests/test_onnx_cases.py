"""The `onnx` package's own test cases, its light models, and the files of tests/cases: read right, or refused."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network

from .evaluation import evaluate

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
CASES = Path(__file__).parent / "cases"
LISTED = frozenset(
    "Conv BatchNormalization Relu Clip LeakyRelu PRelu Sigmoid HardSigmoid HardSwish Add Mul Sub Div Sum Concat Split "
    "Slice Gather Reshape Transpose DepthToSpace MaxPool AveragePool GlobalAveragePool GlobalMaxPool ReduceMean "
    "ReduceMax LRN Gemm MatMul Softmax LogSoftmax Flatten Squeeze Unsqueeze Pad Upsample Resize Identity Dropout Cast "
    "Constant ConstantOfShape Shape".split()
)
# What of these operators is refused, and why: parts of the messages.
IMPOSSIBLE = (
    "in training mode", "the places of the maxima", "expected the channels", "expected height and width", "antialias",
    "or one for each channel", "its slopes differ", "expected nearest or linear", "expected constant, edge or reflect",
    "depends on the input", "or nothing computes it", "expected 1xN or 1xCxHxW", "expected an integer",
    "in another order",
    "expected planes", "cuts the batch", "do not fit each other here", "expected other heights and widths",
    "expected 1 (FLOAT)", "does not fit", "where padding does not count", "a window holds none", "expected channels",
    "expected a vector (1xN) and a matrix", "is not known", "constant, edge or reflect", "divides by",
)  # fmt: skip


def compare(path, model, arrays: list[np.ndarray], expected: list[np.ndarray], count: Counter) -> None:
    """Reads a model whose input is the first array; further ones become weights."""
    graph, weights = model.graph, {tensor.name for tensor in model.graph.initializer}
    names = [entry.name for entry in graph.input if entry.name not in weights]
    for name, array in list(zip(names, arrays))[1:]:
        if array is None:
            count["other"] += 1
            return
        graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, path)
    try:
        found = load_network(path)
    except UserError as error:
        assert "\n" not in str(error)
        count["refused"] += 1
        count[f"refused: {str(error).partition(': ')[2]}"] += 1
        return
    results = evaluate(found.network, found.parameters, arrays[0])
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected):
        assert result.size == wanted.size, (graph.name, result.shape, wanted.shape)
        difference = np.abs(result.ravel() - wanted.astype(np.float64).ravel()).max()
        rounded = graph.name == "test_averagepool_2d_ceil_last_window_starts_on_pad"  # written by hand, four digits
        limit = (1e-3 if rounded else 1e-5) * max(np.abs(wanted).max(), 1e-30)
        if not difference <= limit:
            count["wrong"] += 1
            count[f"wrong: {graph.name} {difference / limit * 1e-5:.2g}"] += 1
            return
    count["right"] += 1


def fits(model, arrays) -> bool:
    kinds = {node.op_type for node in model.graph.node}
    first = arrays[0] if arrays else None
    return (
        kinds <= LISTED and isinstance(first, np.ndarray) and first.dtype == np.float32 and first.ndim == 4
        and first.size > 0 and first.shape[0] == 1 and not any(node.domain for node in model.graph.node)
    )  # fmt: skip


def test_node_cases_of_the_onnx_package(tmp_path):
    from onnx.backend.test.case.node import collect_testcases

    count = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases()
    for case in cases:
        inputs, outputs = case.data_sets[0]
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        if inputs and isinstance(inputs[0], np.ndarray) and inputs[0].ndim == 4 and inputs[0].shape[0] != 1:
            model, inputs, outputs = first_picture(model, inputs, outputs)
        if model is not None and fits(model, inputs):
            model.graph.name = case.name
            compare(tmp_path / f"{case.name}.onnx", model, list(inputs), list(outputs), count)
    finish(count, 60)


def first_picture(model, inputs, given):
    """The same node for the first picture of a batch, and what it gives; None if that is another node."""
    inputs = [inputs[0][:1], *inputs[1:]]
    for entry in (*model.graph.input[:1], *model.graph.output):
        dims = entry.type.tensor_type.shape.dim
        if not dims:
            return None, inputs, []
        dims[0].dim_value = 1
    names = [entry.name for entry in model.graph.input]
    try:
        outputs = ReferenceEvaluator(model).run(None, dict(zip(names, inputs)))
    except Exception:  # the batch stands in its shapes
        return None, inputs, []
    if any(not isinstance(output, np.ndarray) or output.shape[:1] != (1,) for output in outputs):
        return None, inputs, []
    # The reference's LRN takes the number of pictures for that of channels: the case's own result where it is one.
    return model, inputs, [g[:1] if g[:1].shape == output.shape else output for g, output in zip(given, outputs)]


def test_cases_converted_from_pytorch(tmp_path):
    count = Counter()
    for folder in sorted((DATA / "pytorch-converted").iterdir()):
        model = onnx.load(folder / "model.onnx")
        files = sorted((folder / "test_data_set_0").glob("input_*.pb"))
        inputs = [numpy_helper.to_array(TensorProto.FromString(file.read_bytes())) for file in files]
        outputs = [
            numpy_helper.to_array(TensorProto.FromString(file.read_bytes()))
            for file in sorted((folder / "test_data_set_0").glob("output_*.pb"))
        ]
        if inputs and inputs[0].ndim == 4 and inputs[0].shape[0] > 1:
            inputs = [inputs[0][:1], *inputs[1:]]
            outputs = [output[:1] for output in outputs]
        if fits(model, inputs):
            model.graph.name = folder.name
            compare(tmp_path / f"{folder.name}.onnx", model, inputs, outputs, count)
    finish(count, 20)


def finish(count: Counter, fewest: int) -> None:
    print(f"\n{count['right']} right, {count['wrong']} wrong, {count['refused']} refused")
    print("\n".join(key for key in sorted(count) if ": " in key))
    assert not count["wrong"] and count["right"] >= fewest
    unknown = [key for key in count if key.startswith("refused: ") and not any(part in key for part in IMPOSSIBLE)]
    assert not unknown, unknown


FILES = sorted(CASES.glob("*.onnx"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_files_that_failed_once(path):
    model = onnx.load(path)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    data = np.random.default_rng(0).standard_normal([n if n > 0 else 64 for n in shape]).astype(np.float32)
    if shape[0] < 1:
        data = data[:1]
    expected = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: data})
    found = load_network(path, reading=Reading(size=(64, 64)) if shape[2] < 1 else None)
    assert any("batch is fixed to 4" in note for note in found.notes) == (shape[0] == 4)
    results = evaluate(found.network, found.parameters, data[:1])
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected):
        assert np.abs(result - wanted[:1]).max() < 1e-5 * np.abs(wanted[:1]).max()
    assert found.network.layers[0].attrs["layout"] == ("NHWC" if path.stem == "s_nhwc" else "NCHW")
    assert found.network.gives_probabilities == (path.stem == "s_sig")


LIGHT = sorted((DATA / "light").glob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=[re.sub("light_", "", path.stem) for path in LIGHT])
def test_light_models_are_read(path):
    found = load_network(path)
    assert found.network.multiply_adds() > 1e8
    assert found.network.parameters().keys() == found.parameters.keys()
