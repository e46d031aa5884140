"""What `classify` and `evaluate` take, and what they make of inputs and outputs of any kind."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tvm_shufflenet import load
from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.architectures.described import describe
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import build, evaluate
from tvm_shufflenet.cli.build import generic_kernels
from tvm_shufflenet.cli.classify import classify
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import load_network
from tvm_shufflenet.library.preprocess import load_picture, preprocessing

from ..conftest import ROOT, relative_error
from ..evaluation import evaluate as reference

CASES = ROOT / "tests" / "cases"
PHOTOGRAPH = ROOT / "examples" / "pictures" / "parachute.jpg"


def library(folder, name: str, ends, channels: int = 3, layout: str = "NCHW"):
    """The library and the checkpoint of a small network; `ends(net, x)` adds the last layers and gives the outputs."""
    net = NetworkBuilder((16, 16), channels, layout)
    x = net.relu("relu", net.conv("conv", 0, 5, kernel=3, stride=2, pad=1, bias=True))
    made = net.network(name, outputs=ends(net, x))
    path = folder / f"{name}.safetensors"
    save_checkpoint(path, random_parameters(made), {"network": describe(made)})
    build.main(["--weights", str(path), "--target", "native", "-o", str(folder)])
    return folder / f"{name}-native-16x16.so", path


def vector(net, x):
    return net.dense("fc", net.global_avg_pool("pool", x), 4)


def shares(path) -> np.ndarray:
    """What `classify` says of the photograph, by class."""
    rows = classify(load(path), PHOTOGRAPH, 10)
    return np.array([row["probability"] for row in sorted(rows, key=lambda row: row["class"])])


def expected(source, layout: str) -> np.ndarray:
    """What the network gives for the photograph, computed another way."""
    found = load_network(source)
    manifest = {"preprocessing": preprocessing(found.network.size), "inputs": [{"layout": "NCHW"}]}
    planes = load_picture(PHOTOGRAPH, manifest)
    data = np.ascontiguousarray(planes.transpose(0, 2, 3, 1)) if layout == "NHWC" else planes
    (result,) = reference(found.network, found.parameters, data)
    return result.ravel()


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def test_pictures_for_channels_last(tmp_path):
    """The exported model begins with a Transpose, so its input is 1x64x64x3."""
    build.main(["--weights", str(CASES / "s_nhwc.onnx"), "--target", "native", "-o", str(tmp_path)])
    (path,) = tmp_path.glob("*.so")
    (entry,) = load(path).manifest["inputs"]
    assert entry["layout"] == "NHWC" and entry["shape"] == [1, 64, 64, 3]
    assert relative_error(shares(path), softmax(expected(CASES / "s_nhwc.onnx", "NHWC"))) < 1e-5


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "log_softmax", "softmax_flatten", "softmax_planes"])
def test_probabilities_are_taken_as_they_are(tmp_path, kind):
    def ends(net, x):
        if kind.startswith("softmax_"):
            end = net.softmax("end", net.adaptive_avg_pool("small", x, (1, 1)))
            return [net.flatten("flat", end) if kind == "softmax_flatten" else end]
        if kind == "sigmoid":
            return [net.sigmoid("end", vector(net, x))]
        return [net.softmax("end", vector(net, x), log=kind == "log_softmax")]

    path, source = library(tmp_path, kind, ends)
    given = expected(source, "NCHW")
    wanted = softmax(given) if kind == "log_softmax" else given
    assert load(path).manifest["probabilities"] == (kind != "log_softmax")
    assert relative_error(shares(path), wanted) < 1e-5
    assert kind == "sigmoid" or abs(shares(path).sum() - 1) < 1e-5


@pytest.mark.parametrize("name,channels,ends,message,of_checkpoint", [
    ("two", 3, lambda net, x: [vector(net, x), x], "gives 1x4, 1x5x8x8, expected one number for each class",
     "is no classifier of pictures"),
    ("map", 3, lambda net, x: [x], "gives 1x5x8x8, expected one number for each class", "is no classifier of pictures"),
    ("grey", 1, lambda net, x: [vector(net, x)], "takes 1 channels, expected the 3 of a picture",
     "is no classifier of pictures"),
    ("four", 4, lambda net, x: [vector(net, x)], "takes 4 channels, expected the 3 of a picture",
     "is no classifier of pictures"),
])  # fmt: skip
def test_what_is_no_classifier_of_pictures(tmp_path, labelled_pictures, name, channels, ends, message, of_checkpoint):
    path, checkpoint = library(tmp_path, name, ends, channels)
    with pytest.raises(UserError, match=message) as error:
        classify(load(path), PHOTOGRAPH)
    assert "\n" not in str(error.value)
    for file, said in ((path, message), (checkpoint, of_checkpoint)):
        with pytest.raises(UserError, match=said) as error:
            evaluate.main([str(file), "--data", str(labelled_pictures), "--workers", "0"])
        assert "\n" not in str(error.value)


def test_evaluate_takes_channels_last_and_probabilities(tmp_path, labelled_pictures, capsys):
    def ends(net, x):
        return [net.softmax("end", net.dense("fc", net.global_avg_pool("pool", x), 3))]

    path, checkpoint = library(tmp_path, "last", ends, layout="NHWC")
    evaluate.main([str(path), str(checkpoint), "--data", str(labelled_pictures), "--workers", "0"])
    assert "0 of 9 decisions differ" in capsys.readouterr().out


def test_classes_in_planes_of_one_pixel(tmp_path, labelled_pictures, capsys):
    """SqueezeNet's file ends with GlobalAveragePool: the library gives 1x3x1x1 as well, and is a classifier."""
    onnx = pytest.importorskip("onnx")
    weight = np.random.default_rng(0).standard_normal((3, 3, 3, 3), np.float32)
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["c"]), onnx.helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 16, 16]), ("y", [1, 3, 1, 1]))
    ]
    graph = onnx.helper.make_graph(nodes, "small", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weight, "w")])
    source = tmp_path / "squeeze.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]), source)
    built = build_library(BuildOptions(None, "native", weights=source, output=tmp_path))
    assert built.manifest["outputs"][0]["shape"] == [1, 3, 1, 1]
    assert relative_error(shares(built.path), softmax(expected(source, "NCHW"))) < 1e-5
    evaluate.main([str(built.path), str(source), "--data", str(labelled_pictures), "--workers", "0"])
    assert "0 of 9 decisions differ" in capsys.readouterr().out


def test_pictures_of_every_kind(tmp_path):
    """As cameras and programs leave them: the classes of the plain picture; what is damaged is refused in one line."""
    path, _ = library(tmp_path, "kinds", lambda net, x: [net.softmax("end", vector(net, x))])
    taken = load(path)
    plain = Image.open(PHOTOGRAPH).convert("RGB").resize((96, 72))
    grey, exif = plain.convert("L"), Image.Exif()
    exif[0x0112] = 6
    values = np.asarray(grey)
    kinds = {
        "cmyk.jpg": (plain.convert("CMYK"), plain, {}), "palette.png": (plain.quantize(256), plain, {}),
        "exif6.jpg": (plain.transpose(Image.Transpose.ROTATE_90), plain, {"exif": exif}),
        "la.png": (grey.convert("LA"), grey, {}), "float.tiff": (Image.fromarray(np.float32(values) / 255), grey, {}),
        "i32.tiff": (Image.fromarray(np.int32(values) * 257), grey, {}),
        "one.png": (Image.new("RGB", (1, 1), (110, 149, 176)), Image.new("RGB", (9, 9), (110, 149, 176)), {}),
        "aspect.png": (Image.new("RGB", (65500, 1), (9, 9, 9)), Image.new("RGB", (9, 9), (9, 9, 9)), {}),
    }  # fmt: skip
    for name, (picture, same, options) in kinds.items():
        picture.save(tmp_path / name, **options)
        same.save(tmp_path / "same.png")
        found, wanted = (classify(taken, tmp_path / file, 4) for file in (name, "same.png"))
        by_class = [{row["class"]: row["probability"] for row in rows} for rows in (found, wanted)]
        assert all(abs(by_class[0][key] - by_class[1][key]) < 0.01 for key in range(4)), (name, by_class)
    plain.save(tmp_path / "samples.tiff")
    samples = b"\x15\x01\x03\0\1\0\0\0"  # the tag, 16 bits, one of them
    data = (tmp_path / "samples.tiff").read_bytes()
    assert data.count(samples + b"\3") == 1
    damaged = {"empty.jpg": b"", "trunc.jpg": (tmp_path / "exif6.jpg").read_bytes()[:-99],
               "samples.tiff": data.replace(samples + b"\3\0", samples + b"\4\x59")}  # fmt: skip
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            classify(taken, tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(error.value)
    argv = [sys.executable, "-m", "tvm_shufflenet.classify", path, tmp_path / "samples.tiff"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


def test_the_report_names_generic_kernels(tmp_path, capsys):
    def ends(net, x):
        x = net.conv("odd", x, 5, kernel=(2, 3), stride=(1, 2))
        return [net.dense("fc", net.global_avg_pool("pool", x), 4)]

    path, _ = library(tmp_path, "generic", ends)
    kernels = load(path).manifest["kernels"]
    assert "odd (generic_conv)" in kernels["generic"]
    said = capsys.readouterr().out
    assert all(line in said for line in generic_kernels(kernels["generic"]))


def test_generic_kernels_are_counted():
    assert generic_kernels([]) == []
    assert generic_kernels(["a (generic_lrn)"]) == ["1 layer runs in a generic kernel: a (generic_lrn)"]
    many = [f"c{i} (generic_conv)" for i in range(8)]
    named = ", ".join(many[:6])
    assert generic_kernels([*many, "x (copy)"]) == [
        f"8 layers run in generic kernels: {named} and 2 more", "1 copy of a tensor",
    ]  # fmt: skip
    assert generic_kernels(["x (copy)", "y (copy)"]) == ["2 copies of tensors"]
