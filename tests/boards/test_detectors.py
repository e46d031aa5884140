"""Detectors, whose libraries have several outputs, on boards: an RPC server on this machine stands in for one."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from PIL import Image

from tvm_shufflenet.cli import evaluate
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.detection import Detected, joined_outputs, split_outputs, unlike
from tvm_shufflenet.measure import entries
from tvm_shufflenet.measure.comparison import CompareOptions, compare
from tvm_shufflenet.measure.packing import PackOptions, pack
from tvm_shufflenet.measure.profiling import ProfileOptions, profile

from .test_rpc import daemon, wait_for

NAME, SIZE = "ssdlite-shufflenet-v2-0.5x", (64, 64)


@pytest.fixture(scope="module")
def server():
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        yield wait_for(port)


@pytest.fixture(scope="module")
def library(build):
    return build(NAME, size=SIZE, classes=2).path


def scrambled(right):
    """Other numbers of the same shapes: what a library says that is wrong."""

    def wrong(entry):
        boxes, scores, labels, count = right(entry)
        return boxes / 2, scores, labels, count

    return wrong


def test_evaluate_measures_on_a_board_what_it_measures_here(server, library, tmp_path, capsys, monkeypatch):
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.xml").write_text(
            "<annotation>" + "".join(
                f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>5</ymin><xmax>{x + 30}</xmax>"
                "<ymax>40</ymax></bndbox></object>" for name, x in (("blue", 5), ("red", 45))
            ) + "</annotation>"
        )  # fmt: skip
    results, file = [], tmp_path / "result.json"
    for where in (["--workers", "0"], ["--rpc", server, "--key", "board"]):
        evaluate.main([str(library), str(library), "--data", str(tmp_path), "--json", str(file), *where])
        results.append(json.loads(file.read_text()))
    assert results[0] == results[1] and results[1]["agreement"]["same"] == results[1]["agreement"]["first"] > 0
    assert "not checked" not in capsys.readouterr().err
    monkeypatch.setattr(entries, "expected_outputs", scrambled(entries.expected_outputs))
    with pytest.raises(UserError, match=f"{library.stem}: its outputs on the board at {server} differ"):
        evaluate.main([str(library), "--data", str(tmp_path), "--rpc", server, "--key", "board"])


def test_compare_and_profile_check_boxes(server, library, monkeypatch):
    result = compare(CompareOptions((str(library),), "native", rpc=server, key="board", rounds=1))
    assert result.checked and result.entries[0].difference == 0 and result.entries[0].seconds
    measured = profile(ProfileOptions(str(library), rpc=server, key="board", rounds=1))
    assert measured.differences == [] and any(call.kernel.startswith("detections") for call in measured.calls)
    monkeypatch.setattr(entries, "expected_outputs", scrambled(entries.expected_outputs))
    with pytest.raises(UserError, match="its outputs on the board at .* differ from .*, expected less than 1e-01"):
        compare(CompareOptions((str(library),), "native", rpc=server, key="board", rounds=1))


def test_a_program_for_boards_says_that_boxes_are_not_checked(build, tmp_path):
    archive = build(NAME, size=SIZE, classes=2, emit="static", prefix="boxes").path
    made = pack(PackOptions((str(archive),), "native", output=tmp_path / "bench"))
    assert list(made.unchecked.values()) == ["rounding decides a detector's boxes"]
    done = subprocess.run([made.path, "--rounds", "1"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["networks"][0]["output_difference"] is None


def test_boxes_that_differ_are_counted():
    size, sides = (64, 64), np.array([[0.0, 0, 20, 20], [30, 30, 60, 60], [30, 0, 60, 20], [0, 40, 20, 60]])
    found = Detected(sides, np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 0, 1]), size)
    order = [1, 0, 2, 3]
    swapped = Detected(sides[order], found.scores[order], found.labels[order], size)
    assert unlike(found, found, 0) == unlike(found, swapped, 0) == 0
    assert unlike(found, found.above(0.65), 0) == 0.25
    for other in (
        Detected(sides, found.scores, 1 - found.labels, size), Detected(sides, found.scores - 0.1, found.labels, size),
        Detected(sides + [0, 0, 9, 9], found.scores, found.labels, size),
    ):  # fmt: skip
        assert unlike(found, other, 0.01) == 1
    nothing = found.above(1)
    assert unlike(nothing, nothing, 0) == 0 and unlike(found, nothing, 0) == 1


def test_outputs_are_split_as_they_were_joined():
    outputs = [np.arange(24.0).reshape(2, 3, 1, 4), np.arange(6.0).reshape(2, 3), np.arange(2.0).reshape(2, 1)]
    rows = joined_outputs(outputs)
    assert rows.shape == (2, 16)
    again = split_outputs(rows, [output.shape for output in outputs])
    assert all(np.array_equal(a, b) and a.shape == b.shape for a, b in zip(again, outputs))
