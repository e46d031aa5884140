"""The ONNX files of tests/cases, compiled: each library gives what the reference of the onnx package gives."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.library.loading import load

from ..conftest import ROOT, relative_error

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

FILES = sorted((ROOT / "tests" / "cases").glob("*.onnx"))
OPEN = 64  # the height and width where the file leaves them open


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_library_agrees_with_the_reference(path, tmp_path):
    model = onnx.load(path)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    size = (OPEN, OPEN) if shape[2] < 1 else None
    shape = [max(shape[0], 1), *(n if n > 0 else OPEN for n in shape[1:])]
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: data})
    built = build_library(BuildOptions(None, "native", size, weights=path, output=tmp_path))
    found = load(built.path)(data[:1])
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(expected)
    for result, wanted in zip(found, expected):
        assert result.size == wanted[:1].size
        assert relative_error(result.ravel(), wanted[:1].ravel()) < 1e-5
