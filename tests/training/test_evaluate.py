"""Accuracy of libraries and checkpoints, and that both decide alike; the weights that the project holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import load_checkpoint, random_parameters, save_checkpoint
from tvm_shufflenet.bridge.shipped import FOLDER, shipped
from tvm_shufflenet.cli import convert, evaluate
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.measure import entries
from tvm_shufflenet.training.evaluation import _score

from .. import emulator
from ..boards.test_rpc import daemon, relay, wait_for
from ..conftest import IMAGENETTE, ROOT

MODEL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
NAMES = ["tench", "English springer", "weather"]
TRAINED = "shufflenet-v1-0.5x-g3"
photographs = pytest.mark.skipif(not (IMAGENETTE / "val.tar").is_file(), reason=f"no photographs in {IMAGENETTE}")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    parameters = random_parameters(network(MODEL, SIZE, 3), 5)
    save_checkpoint(path, parameters, {"model": MODEL, "size": "64", "class_names": json.dumps(NAMES)})
    return path


def score(tmp_path, *arguments) -> dict:
    evaluate.main([*map(str, arguments), "--json", str(tmp_path / "score.json")])
    return json.loads((tmp_path / "score.json").read_text())


def test_a_library_and_its_checkpoint_agree(build, labelled_pictures, checkpoint, tmp_path, capsys):
    library = build(MODEL, classes=3, size=SIZE, weights=checkpoint).path
    found = score(tmp_path, library, checkpoint, "--data", labelled_pictures)
    assert found["images"] == 9 and found["top5"] == 1 and 0 <= found["top1"] <= 1 and found["skipped"] == 0
    (other,) = found["others"]
    assert other["top1"] == found["top1"] and other["model"] == MODEL
    difference = found["difference"]
    assert difference["decisions"] == 0 and 0 < difference["logits"] < 1e-5 * difference["largest_logit"]
    assert "0 of 9 decisions differ" in capsys.readouterr().out
    assert score(tmp_path, library, "--data", labelled_pictures, "--workers", 0)["top1"] == found["top1"]


@pytest.mark.parametrize("suffix", ["onnx", "safetensors", "pth"])
def test_whatever_convert_writes_is_evaluated(labelled_pictures, checkpoint, tmp_path, suffix):
    """ONNX files too, in any size."""
    written = tmp_path / f"net.{suffix}"
    convert.main([str(checkpoint), str(written), "--size", "96x64"])
    here = score(tmp_path, checkpoint, "--size", "96x64", "--data", labelled_pictures)
    found = score(tmp_path, written, "--data", labelled_pictures)
    assert found["images"] == 9 and found["top1"] == here["top1"]


def test_what_differs_is_counted(labelled_pictures, checkpoint, tmp_path):
    parameters, metadata = load_checkpoint(checkpoint)
    parameters["classifier.bias"] = parameters["classifier.bias"] + np.float32([0, 0, 100])  # always the last class
    save_checkpoint(tmp_path / "other.pth", parameters, metadata)
    found = score(tmp_path, tmp_path / "other.pth", checkpoint, "--data", labelled_pictures / "train")
    assert found["images"] == 36 and found["top1"] == pytest.approx(1 / 3)
    assert found["difference"]["decisions"] > 0 and found["difference"]["logits"] == pytest.approx(100, rel=1e-3)
    assert score(tmp_path, checkpoint, "--data", labelled_pictures, "--limit", "3")["images"] == 3


def test_top1_and_top5_by_hand():
    logits = np.float32([[7, 6, 5, 4, 3, 2, 1]] * 4)
    result = _score(logits, np.array([0, 1, 4, 5]))
    assert (result.top1, result.top5, result.images) == (0.25, 0.75, 4)
    assert _score(np.zeros((2, 7), np.float32), np.array([0, 6])).top1 == 0.5  # of equals the lower number


def test_broken_pictures_are_left_out(labelled_pictures, checkpoint, tmp_path, capsys):
    folder = shutil.copytree(labelled_pictures / "val", tmp_path / "val")
    (folder / "weather" / "2.jpeg").write_bytes(b"no picture")
    found = score(tmp_path, checkpoint, "--data", folder)
    assert (found["images"], found["skipped"]) == (8, 1)
    assert "weather/2.jpeg: not a picture" in capsys.readouterr().err


def refused(*arguments) -> str:
    with pytest.raises(UserError) as error:
        evaluate.main([*map(str, arguments)])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusals(build, labelled_pictures, checkpoint, tmp_path):
    data = ["--data", labelled_pictures]
    assert "missing.so" in refused(tmp_path / "missing.so", *data)
    assert "missing.pth does not exist" in refused(tmp_path / "missing.pth", *data)
    assert "no such folder or tar" in refused(checkpoint, "--data", tmp_path / "missing")
    arm = build(MODEL, target="arm", classes=3, size=SIZE).path
    assert "is for aarch64" in refused(arm, *data)
    assert "has 3 classes" in refused(build(MODEL, classes=5, size=SIZE).path, *data)
    bare = tmp_path / "bare.safetensors"
    save_checkpoint(bare, load_checkpoint(checkpoint)[0])
    misfit = refused(bare, *data, "--model", "shufflenet-v1-0.5x-g3")
    assert "does not fit shufflenet-v1-0.5x-g3: tensor stage2.0.conv1.weight" in misfit
    assert "expected one, or two" in refused(bare, bare, bare, *data)
    assert "--limit 0: expected 1 or more" in refused(bare, *data, "--limit", 0)
    assert "only libraries run on a board" in refused(checkpoint, *data, "--rpc", "localhost:1")
    assert "nothing listens" in refused(arm, *data, "--rpc", "localhost:1")
    done = subprocess.run(
        [sys.executable, "-m", "tvm_shufflenet.evaluate", "missing.so", "--data", "missing"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    done = subprocess.run(
        [sys.executable, "-m", "tvm_shufflenet.evaluate", "-h"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "example:\n  python -m tvm_shufflenet.evaluate" in done.stdout


def test_boards_that_are_right_wrong_or_freeze(build, labelled_pictures, checkpoint, tmp_path, capsys, monkeypatch):
    """An RPC server on this machine stands in for a board."""
    random = build(MODEL, classes=3, size=SIZE).path
    data = ["--data", labelled_pictures, "--key", "board", "--rpc"]
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        board = wait_for(port)
        assert score(tmp_path, random, *data, board)["images"] == 9
        assert "not checked" not in capsys.readouterr().err
        right = entries.expected_outputs
        monkeypatch.setattr(entries, "expected_outputs", lambda entry: tuple(x + np.float32(1) for x in right(entry)))
        with pytest.raises(UserError, match=f"{random.stem}: its outputs on the board at {board} differ"):
            score(tmp_path, random, *data, board)
        monkeypatch.undo()
        trained = build(MODEL, classes=3, size=SIZE, weights=checkpoint).path
        score(tmp_path, trained, *data, board)
        assert "its weights are not at hand, so the board is not checked" in capsys.readouterr().err
        with relay(board, tmp_path / "frozen", limit=100_000) as address:
            with pytest.raises(UserError, match="no answer within 3 s: it hangs"):
                score(tmp_path, random, *data, address, "--timeout", 3)


@photographs
@pytest.mark.parametrize("limit", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", [TRAINED, "shufflenet-v2-0.5x"])
def test_the_library_decides_as_pytorch_and_as_the_model_card_says(build, tmp_path, model, limit):
    weights = shipped(model)
    library = build(model, classes=10, weights=weights).path
    found = score(tmp_path, library, weights, "--data", IMAGENETTE / "val.tar", "--limit", limit)
    assert found["images"] == limit and found["difference"]["decisions"] == 0
    assert found["difference"]["logits"] < 1e-5 * found["difference"]["largest_logit"]
    claimed = float(load_checkpoint(weights)[1]["top1"])
    if limit < 2000:
        assert abs(found["top1"] - claimed) < 0.08  # three standard deviations of 200 pictures
    else:
        assert found["top1"] == pytest.approx(claimed, abs=1e-3) and found["top1"] >= 0.85
        assert f"{100 * found['top1']:.2f} %" in (FOLDER / "README.md").read_text()


@photographs
@pytest.mark.emulator
@pytest.mark.parametrize("limit", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_an_emulated_arm_decides_as_pytorch(build, tmp_path, limit):
    weights = shipped(TRAINED)
    library = build(TRAINED, target="arm", classes=10, weights=weights).path
    with emulator.tracker() as tracker, emulator.rpc_server(tracker, key="arm"):
        found = score(
            tmp_path, library, weights, "--data", IMAGENETTE / "val.tar", "--limit", limit,
            "--rpc", f"{tracker[0]}:{tracker[1]}", "--timeout", 60,
        )  # fmt: skip
    assert found["images"] == limit and found["difference"]["decisions"] == 0
    assert found["difference"]["logits"] < 1e-5 * found["difference"]["largest_logit"]
