"""Training: the same weights with and without a break, alone and in two processes, and bad data by name."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import load_checkpoint, load_parameters
from tvm_shufflenet.cli import train
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.training.pictures import find_pictures, labels_for
from tvm_shufflenet.training.recipes import RECIPES

from ..conftest import ROOT

MODEL = "shufflenet-v1-0.25x-g3"
SMALL = [MODEL, "--size", "32", "--batch", "8", "--device", "cpu", "--workers", "1"]


@pytest.fixture(scope="module")
def data(labelled_pictures):
    return labelled_pictures


@pytest.fixture
def copied(data, tmp_path):
    return shutil.copytree(data, tmp_path / "pictures")


def as_tar(folder, path):
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
    return path


def weights(path) -> dict:
    return load_checkpoint(path)[0]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


def fit(data, out, *arguments) -> dict:
    """Runs the command in this process; the weights that it wrote."""
    train.main([*SMALL, "--data", str(data), "--out", str(out), *arguments])
    return weights(out)


def stop_at(monkeypatch, step: int) -> None:
    """Ctrl-C in that iteration."""
    from tvm_shufflenet.training.log import Log

    def iteration(self, trainer, *_):
        if trainer.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Log, "iteration", iteration)


def test_it_learns_and_leaves_weights_csv_plot_and_names(data, tmp_path, capsys):
    out = tmp_path / "new" / "net.safetensors"
    fit(data, out, "--epochs", "10", "--rate", "0.05", "--validate", "5")
    assert {p.name for p in out.parent.iterdir()} == {"net.safetensors", "net.pth", "net.csv", "net.svg"}
    rows = list(csv.DictReader(io.StringIO((out.parent / "net.csv").read_text())))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 11))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert [row["epoch"] for row in rows if row["top1"]] == ["5", "10"]
    assert [row["crop"] for row in rows] == ["16"] * 6 + ["24"] * 3 + ["32"]
    assert float(rows[-1]["top1"]) == 1 and rows[-1]["images"] == "9"
    assert "<svg" in (out.parent / "net.svg").read_text()
    net = network(MODEL, (32, 32), 3)
    parameters, metadata = load_parameters(net, out)
    assert json.loads(metadata["class_names"]) == ["tench", "English springer", "weather"]
    assert metadata["model"] == MODEL and metadata["top1"] == "1.0" and metadata["iterations"] == "40 of 40"
    assert same(parameters, load_parameters(net, out.with_suffix(".pth"))[0])  # `build` takes either
    output = capsys.readouterr()
    assert output.out.strip() == str(out) and "epoch 10, iteration 40 of 40" in output.err


def test_a_resumed_run_makes_the_same_weights(data, tmp_path, monkeypatch):
    """Stopped in the middle of the second epoch; another number of workers changes nothing either."""
    unbroken = fit(data, tmp_path / "a.safetensors", "--epochs", "3", "--seed", "7")
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            fit(data, tmp_path / "b.safetensors", "--epochs", "3", "--seed", "7")
    assert load_checkpoint(tmp_path / "b.pth")[1]["iterations"] == "6 of 12"
    assert not same(weights(tmp_path / "b.safetensors"), unbroken)
    train.main(["--data", str(data), "--resume", str(tmp_path / "b.pth"), "--device", "cpu", "--workers", "0"])
    assert same(weights(tmp_path / "b.safetensors"), unbroken)
    first, second = (list(csv.DictReader(io.StringIO((tmp_path / f"{n}.csv").read_text()))) for n in "ab")
    for row in first + second:
        del row["seconds"]
    assert first == second
    assert not same(fit(data, tmp_path / "c.safetensors", "--epochs", "3", "--seed", "8"), unbroken)


@pytest.mark.slow  # 60 million parameters
def test_dropout_is_resumed_too(data, tmp_path, monkeypatch):
    """AlexNet has dropout, whose numbers are PyTorch's own."""
    arguments = ["alexnet", "--data", str(data), "--size", "67", "--batch", "4", "--iterations", "3", "--workers", "0",
                 "--device", "cpu", "--rate", "0.001", "--out"]  # fmt: skip
    train.main([*arguments, str(tmp_path / "a.safetensors")])
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train.main([*arguments, str(tmp_path / "b.safetensors")])
    train.main(["--data", str(data), "--resume", str(tmp_path / "b.pth"), "--device", "cpu"])
    assert same(weights(tmp_path / "a.safetensors"), weights(tmp_path / "b.safetensors"))


def test_ctrl_c_keeps_a_checkpoint_and_exits_130(data, tmp_path):
    out = tmp_path / "net.safetensors"
    command = [sys.executable, "-m", "tvm_shufflenet.train", *SMALL, "--data", str(data), "--out", str(out),
               "--iterations", "100000"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while "epoch 2" not in process.stderr.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        said = process.communicate(timeout=300)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and "Traceback" not in said
    done = int(load_checkpoint(tmp_path / "net.pth")[1]["iterations"].split()[0])
    assert done >= 8 and f"stopped at iteration {done}" in said


def test_two_processes_of_torchrun(data, tmp_path):
    """They share each batch, learn, and one of them writes."""
    out = tmp_path / "net.safetensors"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "tvm_shufflenet.train", *SMALL, "--data", str(data), "--out", str(out), "--epochs", "10",
               "--rate", "0.05"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 10, iteration 40 of 40") == 1 and done.stdout.split() == [str(out)]
    row = list(csv.DictReader(io.StringIO((tmp_path / "net.csv").read_text())))[-1]
    assert row["images"] == "9" and float(row["top1"]) > 0.6
    refused = subprocess.run([*command, "--batch", "7"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert refused.returncode != 0 and "--batch 7 cannot be split among 2 processes" in refused.stderr


def test_a_tar_and_a_folder_give_the_same_weights(data, tmp_path):
    for split in ("train", "val"):
        as_tar(data / split, tmp_path / f"{split}.tar")
    one = find_pictures(data, "train")
    for place in (tmp_path / "train.tar", tmp_path):  # the tar, and the folder that holds it
        other = find_pictures(place, "train")
        assert other.names == tuple(f"train/{name.removeprefix('train/')}" for name in one.names)
        assert (other.labels == one.labels).all() and other.read(17) == one.read(17)
    out = tmp_path / "tar.safetensors"
    found = fit(tmp_path / "train.tar", out, "--iterations", "4")
    assert same(found, fit(data, tmp_path / "folder.safetensors", "--iterations", "4"))
    assert "top1" in load_checkpoint(out)[1]  # val.tar beside it was found


def test_one_broken_picture_is_named_and_skipped(copied, tmp_path, capsys):
    broken = copied / "train" / "weather" / "3.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    (copied / "val" / "weather" / "1.jpeg").write_bytes(b"not a picture")
    fit(copied, tmp_path / "net.safetensors", "--epochs", "3", "--validate", "1")
    said = capsys.readouterr().err
    assert said.count("train/weather/3.jpeg: cannot be read") == 1
    assert said.count("val/weather/1.jpeg: not a picture") == 1
    row = list(csv.DictReader(io.StringIO((tmp_path / "net.csv").read_text())))[-1]
    assert row["images"] == "8"


def test_nothing_but_broken_pictures(copied, tmp_path):
    for path in (copied / "train").rglob("*.jpeg"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="none of the pictures of a whole batch can be read"):
        fit(copied, tmp_path / "net.safetensors", "--epochs", "1")


def refused(*arguments) -> str:
    with pytest.raises(UserError) as error:
        train.main([*SMALL, "--epochs", "1", *map(str, arguments)])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_data_are_refused_by_name(copied, tmp_path):
    out = ["--out", tmp_path / "net.safetensors"]
    assert "missing: no such folder or tar" in refused("--data", tmp_path / "missing", *out)
    (copied / "train" / "empty").mkdir()
    assert "the class train/empty has no pictures" in refused("--data", copied, *out)
    assert "the class train/empty has no pictures" in refused(
        "--data", as_tar(copied / "train", tmp_path / "x.tar"), *out
    )
    (copied / "train" / "empty").rmdir()
    shutil.rmtree(copied / "val" / "weather")
    assert "val has no class weather" in refused("--data", copied, *out).replace(f"{copied} has", "val has")
    (copied / "top").mkdir()
    shutil.copy(copied / "train" / "weather" / "0.jpeg", copied / "top" / "0.jpeg")
    assert "the picture 0.jpeg lies in no class folder" in refused("--data", copied / "top", *out)
    assert "wrong layout" in refused("--data", copied, *out)  # top/0.jpeg beside train/weather/0.jpeg
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "README.md").write_text("no picture")
    assert "holds no pictures" in refused("--data", tmp_path / "text", *out)
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(copied / "train", "train")
    assert "a compressed one has to be unpacked" in refused("--data", tmp_path / "packed.tar.gz", *out)
    with tarfile.open(tmp_path / "tars.tar", "w") as archive:
        archive.add(as_tar(copied / "train" / "weather", tmp_path / "weather.tar"), "weather.tar")
    assert "holds tars such as weather.tar" in refused("--data", tmp_path / "tars.tar", *out)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:700])
    assert "cut.tar is no whole tar" in refused("--data", tmp_path / "cut.tar", *out)
    assert not (tmp_path / "net.pth").exists()


def test_bad_options_are_refused(data, tmp_path):
    out = ["--data", data, "--out", tmp_path / "net.safetensors"]
    assert "--batch 0: expected 1 or more" in refused(*out, "--batch", 0)
    assert "--rate -1: expected a number above 0" in refused(*out, "--rate", -1)
    assert "ends in .safetensors" in refused("--data", data, "--out", tmp_path / "net.pth")
    (tmp_path / "file").touch()
    assert "cannot create the folder" in refused("--data", data, "--out", tmp_path / "file" / "net.safetensors")
    assert "missing.pth does not exist" in refused(*out, "--resume", tmp_path / "missing.pth")
    (tmp_path / "bad.pth").write_bytes(b"bad")
    assert "truncated, corrupt" in refused(*out, "--resume", tmp_path / "bad.pth")
    fit(data, tmp_path / "net.safetensors", "--iterations", "2")
    assert "is no training checkpoint" in refused(*out, "--resume", tmp_path / "net.safetensors")
    assert "others are given here" in refused(*out, "--resume", tmp_path / "net.pth", "--batch", 9)
    few = tmp_path / "few"
    shutil.copytree(data / "train", few, ignore=shutil.ignore_patterns("1.jpeg"))
    with pytest.raises(UserError, match="33 pictures of 3 classes, the checkpoint was made from 36 of 3"):
        train.main(["--data", str(few), "--resume", str(tmp_path / "net.pth"), "--device", "cpu"])


def test_a_diverging_run_ends_with_its_reason(data, tmp_path):
    assert "training diverged" in refused("--data", data, "--out", tmp_path / "net.safetensors", "--rate", 1e20)


def test_the_command_refuses_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tvm_shufflenet.train", "--data", str(tmp_path / "missing")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    done = subprocess.run(
        [sys.executable, "-m", "tvm_shufflenet.train", "-h"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "example:\n  python -m tvm_shufflenet.train" in done.stdout


def test_the_papers_recipe():
    paper = RECIPES["paper"]
    assert (paper.batch, paper.iterations, paper.weight_decay, paper.momentum) == (1024, 300_000, 4e-5, 0.9)
    assert [paper.learning_rate(step, 300_000) for step in (0, 150_000)] == [0.5, 0.25]
    assert 0 < paper.learning_rate(299_999, 300_000) < 1e-5 and paper.crop(0.5, 224) == 224
    small = RECIPES["small"]
    rates = [small.learning_rate(step, 1000) for step in range(1000)]
    assert max(rates) == small.rate and rates.index(max(rates)) < 50 and rates[0] < 0.2 * small.rate


def test_labels_go_by_name_where_there_are_names(data):
    pictures = find_pictures(data, "val")
    assert labels_for(pictures, 3, None, "x").tolist() == [0] * 3 + [1] * 3 + [2] * 3
    names = ["weather", "n02102040", "other", "tench"]  # folder or readable
    assert labels_for(pictures, 4, names, "x").tolist() == [3] * 3 + [1] * 3 + [0] * 3
    with pytest.raises(UserError, match="has 3 classes, x has 1000 outputs"):
        labels_for(pictures, 1000, None, "x")
    with pytest.raises(UserError, match="x knows no class weather"):
        labels_for(pictures, 2, ["tench", "English springer"], "x")
    assert pictures.first(4).labels.tolist() == [0, 0, 1, 2]
