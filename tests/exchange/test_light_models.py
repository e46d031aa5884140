"""The `light` models of the onnx package, real graphs of the model zoo, with random weights: read, compiled, compared.

In the files every weight is a ConstantOfShape, so that nothing would tell one channel from another.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tvm_shufflenet import load
from tvm_shufflenet.building.build_library import BuildOptions, build_library

from ..conftest import picture, relative_error

onnx = pytest.importorskip("onnx")
from ..onnx_torch import tensors, with_random_constants  # noqa: E402

pytestmark = pytest.mark.slow
FILES = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem.removeprefix("light_") for path in FILES])
def test_light_models(tmp_path, path):
    """Also what is put into the softmax at the end, which hides differences."""
    model = with_random_constants(onnx.load(path))
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        model.graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None))
    data, source = picture((224, 224)), tmp_path / path.name
    onnx.save(model, source)
    library = build_library(BuildOptions(None, "native", weights=source, output=tmp_path)).path
    found, expected = load(library)(data), tensors(model, data)
    for file in (source, library):  # up to 600 MB each
        file.unlink()
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(model.graph.output)
    for result, output in zip(found, model.graph.output):
        wanted = expected[output.name]
        assert result.shape == wanted.shape and wanted.std() > 1e-5
        assert relative_error(result, wanted) < 1e-4
