"""Files made to harm: `convert`, `build` and `classify` refuse each in one line and leave nothing behind."""

from __future__ import annotations

import os
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tvm_shufflenet.cli import build, convert
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.preprocess import load_picture, preprocessing

from ..fuzz_readers import READERS

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def model():
    """A small classifier, 1x3x16x16."""
    return onnx.load_from_string(READERS["onnx"].seeds()[0])


def refused(folder, path) -> str:
    """What both commands say; the folder holds what it held."""
    before, said = sorted(os.listdir(folder)), []
    for command, argv in ((convert, [path, folder / "out.onnx"]),
                          (build, ["--weights", path, "--target", "native", "-o", folder])):  # fmt: skip
        with pytest.raises(UserError) as error:
            command.main([*map(str, argv)])
        said.append(str(error.value))
    assert said[0] == said[1] and "\n" not in said[0] and sorted(os.listdir(folder)) == before
    return said[0]


def written(folder, change) -> os.PathLike:
    made = model()
    change(made.graph)
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def named(graph, name):
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def with_input(index: int, size: int):
    return lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[index], "dim_value", size)


def with_dims(*dims: int):
    def change(graph):
        named(graph, "w").dims[:] = dims

    return change


def with_output(name: str):
    """The second node gives `name`, and the third reads it."""

    def change(graph):
        graph.node[1].output[0] = graph.node[2].input[0] = name

    return change


def with_op_type(kind: str):
    return lambda graph: setattr(graph.node[1], "op_type", kind)


def with_result(name: str):
    return lambda graph: setattr(graph.output[0], "name", name)


def with_attribute(node: int, name: str, value):
    def change(graph):
        kept = [item for item in graph.node[node].attribute if item.name != name]
        del graph.node[node].attribute[:]
        graph.node[node].attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


@pytest.mark.parametrize("change,message", [
    pytest.param(lambda g: g.node[1].input.__setitem__(0, "m"), r"\(Relu\): its input m is not known", id="cycle"),
    pytest.param(lambda g: g.node[1].input.__setitem__(0, "r"), "its input r is not known", id="own-output"),
    pytest.param(with_output("c"), "gives 'c', which is there already", id="twice"),
    pytest.param(with_output("w"), "gives 'w', which is there already", id="weight"),
    pytest.param(with_op_type("Re\nlu"), r"\('Re\\nlu'\): no network here has", id="lines-in-an-operator"),
    pytest.param(with_result("m\n"), r"its output 'm\\n' does not depend", id="lines-in-an-output"),
    pytest.param(with_input(2, 1_000_000_000), "input", id="huge-input"),
    pytest.param(with_input(2, -5), "input", id="negative-input"),
    pytest.param(with_dims(1 << 40, 3, 3, 3), "its tensor 'w' is incomplete", id="huge-weight"),
    pytest.param(with_dims(1 << 62, 1 << 62, 3, 3), "its tensor 'w' is incomplete", id="overflow"),
    pytest.param(with_dims(-4, 3, -3, 3), "its tensor 'w' is incomplete", id="negative-weight"),
    pytest.param(with_attribute(0, "strides", "two"), "its attribute strides is no list", id="string"),
    pytest.param(with_attribute(0, "strides", [2.0, 2.0]), "its attribute strides is no list", id="floats"),
    pytest.param(with_attribute(0, "group", [1]), "its attribute group is no", id="list"),
    pytest.param(with_attribute(0, "pads", [1 << 40] * 4), "its pads are", id="huge-pads"),
    pytest.param(with_attribute(2, "strides", [0, 0]), r"its strides is \[0, 0\]", id="no-stride"),
    pytest.param(with_attribute(2, "kernel_shape", [1 << 20, 1 << 20]), "MaxPool", id="huge-window"),
])  # fmt: skip
def test_graphs(tmp_path, change, message):
    said = refused(tmp_path, written(tmp_path, change))
    assert re.search(message, said), said


@pytest.mark.parametrize("name", [b"dense", b"GlobalAveragePool", b"m"])
def test_names_that_are_no_text(tmp_path, name):
    """Protobuf does not mind, and gives bytes where texts are expected."""
    good = model().SerializeToString()
    (tmp_path / "net.onnx").write_bytes(good.replace(name, b"\xff" * len(name)))
    assert "is corrupt: a name in it is no UTF-8" in refused(tmp_path, tmp_path / "net.onnx")


@pytest.mark.parametrize("location", [
    "../secret.bin", "ABSOLUTE", "pipe", "link", ".", "", "missing.bin", "own.bin/../../secret.bin", "a\0b",
    "/dev/zero",
])  # fmt: skip
def test_weights_elsewhere(tmp_path, location):
    """Nothing outside the model's folder is read, and a pipe is not waited for."""
    folder, weights = tmp_path / "model", numpy_helper.to_array(named(model().graph, "w"))
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(weights.tobytes())
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(secret)
    location = str(secret) if location == "ABSOLUTE" else location

    assert "which is not beside it or too short" in refused(folder, written(folder, outside(location)))


def outside(location: str, **entries: str):
    """The weights of the convolution are said to be in that file."""

    def change(graph):
        tensor = named(graph, "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize("entries", [
    {"offset": "-4"}, {"offset": "4"}, {"offset": "9" * 30}, {"offset": "x"}, {"length": "4"}, {"length": "1e3"},
])  # fmt: skip
def test_places_outside_of_a_file(tmp_path, entries):
    weights = numpy_helper.to_array(named(model().graph, "w"))
    (tmp_path / "own.bin").write_bytes(weights.tobytes())
    assert "which is not beside it or too short" in refused(tmp_path, written(tmp_path, outside("own.bin", **entries)))


def test_tensors_that_unpack_into_more_than_their_file(tmp_path):
    torch.save({"a": torch.zeros(1).expand(1 << 31)}, tmp_path / "expanded.pth")
    assert "its tensors take 8.0 GiB" in refused(tmp_path, tmp_path / "expanded.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 27))
    assert "but unpacks into 0.1 GiB" in refused(tmp_path, tmp_path / "bomb.pth")


def test_pictures(tmp_path):
    """A picture of one row of 65500 pixels is one; of more pixels than any camera's none is unpacked."""
    manifest = {"preprocessing": preprocessing((32, 32)), "inputs": [{"layout": "NCHW"}]}
    Image.new("RGB", (65500, 1), (9, 8, 7)).save(tmp_path / "row.png")
    data = load_picture(tmp_path / "row.png", manifest)
    assert data.shape == (1, 3, 32, 32) and np.isfinite(data).all() and np.ptp(data, axis=(2, 3)).max() == 0
    Image.new("1", (10000, 9500)).save(tmp_path / "bomb.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in (("bomb.png", "has more than 89 million pixels"), ("pipe.png", "not a file")):
        with pytest.raises(UserError, match=message):
            load_picture(tmp_path / name, manifest)
