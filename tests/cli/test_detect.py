"""The command `detect`, and the C example that prints the same boxes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.cli import classify, detect
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.detection import Detected, joined_outputs, unlike
from tvm_shufflenet.library.link import ZIG_TARGETS
from tvm_shufflenet.library.preprocess import checked, complete, preprocessing
from tvm_shufflenet.targets import resolve

from .. import emulator, fences
from ..conftest import ROOT, same_boxes, twin_boxes

NAME, SIZE = "ssdlite-shufflenet-v2-0.5x", (64, 96)


@pytest.fixture(scope="module")
def library(build):
    return build(NAME, size=SIZE, classes=3).path


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_library_agrees_with_pytorch(library):
    net = network(NAME, SIZE, 3)
    data = np.random.default_rng(1).standard_normal((1, 3, *SIZE), "float32")
    opened = tvm_shufflenet.load(library)
    found = opened.run(data)
    assert same_boxes(found, twin_boxes(net, random_parameters(net), data))
    assert all(np.array_equal(a, b) for a, b in zip(found, opened.run(data)))  # the workspace is used again
    manifest = opened.manifest
    assert [output["name"] for output in manifest["outputs"]] == ["boxes", "scores", "labels", "count"]
    assert manifest["detector"] == {"classes": 3, "least": 0.001, "overlap": 0.55, "candidates": 300, "best": 100}
    assert manifest["preprocessing"]["resize"] == "stretch" and manifest["preprocessing"]["crop"] == [64, 96]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_threads_and_batches_change_nothing(build, precision):
    """Of both precisions; what fp16 finds differs from PyTorch's boxes by its rounding."""
    if precision == "fp16" and resolve("native").arch == "arm":
        pytest.skip("no precision but fp32 is for 32-bit processors")
    net, rng = network(NAME, SIZE, 3), np.random.default_rng(1)
    pictures = [rng.standard_normal((1, 3, *SIZE), "float32") for _ in range(2)]
    options = dict(size=SIZE, classes=3, precision=precision, team=True)
    path, both = build(NAME, **options).path, build(NAME, **options, batch=2).path
    alone = [tvm_shufflenet.load(path).run(data) for data in pictures]
    for data, found in zip(pictures, alone):
        expected = twin_boxes(net, random_parameters(net), data)
        pair = [Detected.of(joined_outputs(outputs)[0], SIZE) for outputs in (found, expected)]
        assert unlike(*pair, tolerance={"fp32": 1e-5, "fp16": 2e-2}[precision]) <= 0.02 and len(pair[0]) == 100
        threads = tvm_shufflenet.load(path, threads=2, oversubscribe=True).run(data)
        assert all(map(np.array_equal, threads, found))
    for threads in (1, 2):
        together = tvm_shufflenet.load(both, threads, oversubscribe=True).run(np.concatenate(pictures))
        assert [output.shape[0] for output in together] == [2] * 4
        for index, found in enumerate(alone):
            assert all(np.array_equal(a[index : index + 1], b) for a, b in zip(together, found))


def test_a_library_of_several_pictures_finds_the_boxes_of_one(build, library, photo, tmp_path):
    rows = []
    for path in (library, build(NAME, size=SIZE, classes=3, team=True, batch=2).path):
        detect.main([str(path), photo, "--json", str(tmp_path / "boxes.json")])
        rows.append(json.loads((tmp_path / "boxes.json").read_text())["pictures"])
    assert rows[0] == rows[1] and rows[0][0]["boxes"]


@pytest.mark.emulator
@pytest.mark.slow
def test_halves_on_aarch64(build):
    """A detector in fp16 finds on an emulated Cortex-A76 what it finds in PyTorch, and touches nothing else."""
    net, data = network(NAME, SIZE, 3), np.random.default_rng(1).standard_normal((1, 3, *SIZE), "float32")
    found = fences.check(build(NAME, "cortex-a76", size=SIZE, classes=3, precision="fp16").path, data)
    expected = twin_boxes(net, random_parameters(net), data)
    pair = [Detected.of(joined_outputs(outputs)[0], SIZE) for outputs in (found, expected)]
    assert unlike(*pair, tolerance=2e-2) <= 0.03


def test_table_picture_and_json(library, photo, tmp_path, capsys):
    drawn, file = tmp_path / "boxes.png", tmp_path / "boxes.json"
    detect.main([str(library), photo, "-o", str(drawn), "--json", str(file)])
    said, (result,) = capsys.readouterr().out, json.loads(file.read_text())["pictures"]
    assert result["size"] == [160, 120] and result["boxes"] and f"drawn: {drawn}" in said
    scores = [row["score"] for row in result["boxes"]]
    assert scores == sorted(scores, reverse=True) and min(scores) > 0.3
    for row in result["boxes"]:
        left, top, right, bottom = row["box"]
        assert 0 <= left <= right <= 160 and 0 <= top <= bottom <= 120 and row["name"] == f"class {row['class']}"
        assert f"{left:8.1f}{top:8.1f}{right:8.1f}{bottom:8.1f}" in said
    assert "these boxes mean nothing" in said
    before, after = (np.asarray(Image.open(path)) for path in (photo, drawn))
    assert before.shape == after.shape and (before != after).any()
    detect.main([str(library), photo, "--least", "0.9999"])
    assert "no boxes" in capsys.readouterr().out


def test_boxes_are_drawn_where_they_are():
    picture = Image.new("RGB", (200, 100), "white")
    found = Detected(np.array([[20.0, 40.0, 120.0, 90.0]]), np.array([0.9]), np.array([1]), (200, 100))
    pixels = np.asarray(detect.drawn(picture, found, ["a", "b"])).astype(int)
    colour = np.array([0x00, 0x72, 0xB2])
    for y, x in ((60, 20), (60, 120), (90, 70), (40, 70)):
        assert np.abs(pixels[y, x] - colour).sum() == 0
    assert (pixels[65, 70] == 255).all() and (pixels[5, 190] == 255).all()
    assert (np.asarray(picture) == 255).all()


def test_the_c_example_prints_the_same_boxes(library, photo, tmp_path, capsys):
    program, raw, file = tmp_path / "detect", tmp_path / "image.raw", tmp_path / "boxes.json"
    detect.main([str(library), photo, "--raw", str(raw), "--json", str(file)])
    compile_example(program, "x86_64")
    rows = run_example([str(program), str(library), str(raw)])
    check(rows, json.loads(file.read_text())["pictures"][0]["boxes"])
    raw.write_bytes(raw.read_bytes()[:-4])
    done = subprocess.run([str(program), str(library), str(raw)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "expected 73728 bytes" in done.stderr


@pytest.mark.emulator
@pytest.mark.slow
def test_the_c_example_prints_the_same_boxes_on_aarch64(build, library, photo, tmp_path):
    """A detector for AArch64, emulated, finds what the one for this machine finds."""
    program, raw, file = tmp_path / "detect", tmp_path / "image.raw", tmp_path / "boxes.json"
    detect.main([str(library), photo, "--raw", str(raw), "--json", str(file)])
    compile_example(program, "aarch64")
    other = build(NAME, "cortex-a72", size=SIZE, classes=3).path
    rows = run_example(emulator.command(str(program), str(other), str(raw), arch="aarch64"))
    check(rows, json.loads(file.read_text())["pictures"][0]["boxes"])


def compile_example(program, arch: str) -> None:
    source = ROOT / "examples" / "c" / "detect.c"
    options = ["-target", ZIG_TARGETS[arch], "-O2", "-Wall", "-Werror", f"-I{ROOT / 'tvm_shufflenet' / 'library'}"]
    argv = [sys.executable, "-m", "ziglang", "cc", *options, str(source), "-o", str(program), "-ldl"]
    subprocess.run(argv, check=True)


def run_example(argv: list[str]) -> list[list[float]]:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [list(map(float, line.split())) for line in done.stdout.splitlines()]


def check(rows: list[list[float]], expected: list[dict]) -> None:
    """Boxes of the C example are in pixels of the input, those of the command in the picture's."""
    assert len(rows) == len(expected) > 0
    scale = np.array([160 / 96, 120 / 64] * 2)
    for (label, score, *box), row in zip(rows, expected):
        assert label == row["class"] and score == pytest.approx(row["score"], abs=1e-5)
        np.testing.assert_allclose(np.array(box) * scale, row["box"], atol=0.02)


def test_bad_input(library, build, photo, tmp_path, labelled_pictures):
    classifier = build("shufflenet-v1-0.25x-g3", size=(64, 64), classes=10).path
    with pytest.raises(UserError, match="is no detector: it gives classifier"):
        detect.main([str(classifier), photo])
    with pytest.raises(UserError, match=r"finds boxes: see `python -m tvm_shufflenet.detect`"):
        classify.main([str(library), photo])
    for options, message in (
        (["-o", str(tmp_path / "x.gif")], "expected a name that ends in .png"),
        (["-o", str(tmp_path / "missing" / "x.png")], "there is no such folder"),
        (["--least", "1"], "--least 1: expected a score"),
        (["--least", "nan"], "--least nan: expected a score"),
        ([photo, "-o", str(tmp_path / "x.png")], "2 pictures need a folder"),
        ([photo, "-o", str(tmp_path)], "two pictures would become"),
        ([photo, "--raw", str(tmp_path / "x.raw")], "holds one picture, but 2 are named"),
        ([str(tmp_path / "none.jpg")], "none.jpg: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            detect.main([str(library), photo, *options])


def test_preprocessing_of_a_detector():
    how = preprocessing((64, 96), {"mean": [0.5] * 3}, whole=True)
    assert list(how) == ["channels", "resize", "crop", "scale", "mean", "std"] and complete(how, "x") == how
    with pytest.raises(UserError, match="a detector sees whole pictures"):
        preprocessing((64, 96), {"resize_shorter_side_ratio": 1.0}, whole=True)
    with pytest.raises(UserError, match="preprocessing has resize 'crop', expected stretch"):
        checked({"resize": "crop"}, "x")
    with pytest.raises(UserError, match="has no resize_shorter_side_ratio"):
        complete({key: value for key, value in how.items() if key != "resize"}, "x")
