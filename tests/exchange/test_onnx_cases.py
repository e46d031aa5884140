"""The `onnx` package's own cases, compiled; the files of tests/cases; small graphs of which engines think apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network

from .. import fuzz
from ..conftest import ROOT
from ..evaluation import evaluate

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from .. import onnx_cases  # noqa: E402

FILES = sorted((ROOT / "tests" / "cases").glob("*.onnx"))
SHARE = 0.75  # of the cases that are right
# What of the listed operators is refused, and why: parts of the messages.
IMPOSSIBLE = (
    "mode cubic", "coordinates tf_crop_and_resize", "coordinates half_pixel_symmetric", "antialias is not possible",
    "aligns corners with scales", "or one for each channel", "its slopes differ", "divides by what depends",
    "expected a vector (1xN) and a matrix", "dilation where padding does not count",
)  # fmt: skip


def check(count: Counter) -> None:
    total = sum(count[kind] for kind in ("right", "wrong", "refused", "crash"))
    print(f"\n{total} cases fit: {count['right']} right, {count['wrong']} wrong, {count['crash']} crashes, "
          f"{count['refused']} refused")  # fmt: skip
    print("\n".join(key for key in sorted(count) if ": " in key))
    assert not count["wrong"] and not count["crash"]
    assert count["right"] >= SHARE * total
    unknown = [key for key in count if key.startswith("refused: ") and not any(part in key for part in IMPOSSIBLE)]
    assert not unknown, unknown


def test_sample_of_the_onnx_package(tmp_path):
    check(onnx_cases.count(list(onnx_cases.pytorch_cases())[::10], fuzz.run_library, tmp_path))


@pytest.mark.slow
def test_every_case_of_the_onnx_package(tmp_path):
    """As libraries for this machine, between fences."""
    cases = [*onnx_cases.node_cases(), *onnx_cases.pytorch_cases()]
    assert len(cases) >= 180
    check(onnx_cases.count(cases, fuzz.run_library, tmp_path))


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


def read(folder, size: tuple[int, int], nodes: list, **constants):
    """The network of a graph from x (1x8xHxW) to y."""
    ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, [1, 8, *size]),
                                                           ("y", TensorProto.FLOAT, None))]  # fmt: skip
    tensors = [numpy_helper.from_array(np.array(values), name) for name, values in constants.items()]
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "small", *([e] for e in ends),
                              tensors)  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), folder / "small.onnx")
    return load_network(folder / "small.onnx").network


MEAN = ("GlobalAveragePool", ["x"], ["m"], {})
PLANES = ("AveragePool", ["x"], ["m"], {"kernel_shape": [2, 2], "strides": [2, 2]})


@pytest.mark.parametrize("size,nodes,shape", [
    ((2, 2), [MEAN, ("Relu", ["m"], ["y"], {})], (1, 8, 1, 1)),
    ((2, 2), [MEAN, ("Flatten", ["m"], ["y"], {})], (1, 8)),
    ((2, 2), [PLANES, ("Flatten", ["m"], ["y"], {})], (1, 8)),
    ((1, 1), [("Relu", ["x"], ["m"], {}), ("Flatten", ["m"], ["y"], {})], (1, 8)),
    ((2, 2), [MEAN, ("Squeeze", ["m"], ["y"], {})], (1, 8)),  # the library's batch is always there
    ((2, 2), [MEAN, ("Transpose", ["m"], ["y"], {"perm": [0, 2, 3, 1]})], (1, 1, 1, 8)),
    ((1, 1), [("Flatten", ["x"], ["m"], {}), ("Slice", ["m", "start", "stop", "axis"], ["y"], {})], (1, 3)),
])  # fmt: skip
def test_outputs_have_the_shape_of_the_file(tmp_path, size, nodes, shape):
    found = read(tmp_path, size, nodes, start=[0], stop=[3], axis=[1])
    assert found.shapes.outputs == (shape,)
    assert found.classes == (shape[1] if shape[2:] in ((), (1, 1)) else 0)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pooling_of_a_picture_that_became_single_pixels(tmp_path, pool):
    """Each of the 32 numbers is a plane then: the mean is not that of the picture's planes."""
    nodes = [("Reshape", ["x", "shape"], ["pixels"], {}), (pool, ["pixels"], ["y"], {})]
    assert read(tmp_path, (2, 2), nodes, shape=[1, 32, 1, 1]).shapes.outputs == ((1, 32, 1, 1),)


def test_numbers_for_each_entry_of_flat_planes(tmp_path):
    """A batch norm behind Flatten has more numbers than the planes have channels."""
    statistics = {name: np.full(32, 1 + index, np.float32) for index, name in enumerate("abcd")}
    statistics["a"][5] = 3
    nodes = [("Flatten", ["x"], ["f"], {}), ("BatchNormalization", ["f", *"abcd"], ["y"], {})]
    assert [layer.op for layer in read(tmp_path, (2, 2), nodes, **statistics).layers[1:]] == ["flatten", "batch_norm"]


@pytest.mark.parametrize("scale,coordinates,message", [
    (0.5, "align_corners", "aligns corners with scales"),  # from which size the corner is counted
    (0.5, "asymmetric", None),
    (2.0, "align_corners", None),
    (np.float32(7 / 5), "asymmetric", "give other sizes in single precision"),  # 5 * 1.4f: 7, or just below it
])  # fmt: skip
def test_resizing_of_which_engines_think_apart_is_refused(tmp_path, scale, coordinates, message):
    node = ("Resize", ["x", "", "scales"], ["y"],
            {"mode": "linear", "coordinate_transformation_mode": coordinates})  # fmt: skip
    given = {"scales": np.array([1, 1, scale, scale], np.float32)}
    if message is None:
        assert read(tmp_path, (5, 5), [node], **given)
        return
    with pytest.raises(UserError, match=f"{message}.*expected sizes in their place"):
        read(tmp_path, (5, 5), [node], **given)
