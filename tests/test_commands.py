"""The commands as a user types them: what they write, what they say, and how they refuse."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.loading import read_manifest

from .conftest import ROOT

SMALL = ["shufflenet-v1-0.25x-g3", "--classes", "10", "--size", "64"]
PICTURE = str(ROOT / "examples" / "pictures" / "parachute.jpg")


def call(command: str, *arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"tvm_shufflenet.{command}", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, cwd=ROOT, **options,
    )  # fmt: skip


def refused(command: str, *arguments, **options) -> str:
    """The one line in which a command says why it does not do it."""
    done = call(command, *arguments, **options)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_build_writes_library_manifest_and_header(tmp_path):
    done = call("build", *SMALL, "--target", "cortex-a72", "-o", tmp_path, "--json", tmp_path / "built.json")
    assert done.returncode == 0, done.stderr
    name = "shufflenet-v1-0.25x-g3-cortex-a72-64x64"
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.so", f"{name}.json", "tvm_shufflenet.h", "built.json"}
    manifest = json.loads((tmp_path / f"{name}.json").read_text())
    assert manifest == read_manifest(tmp_path / f"{name}.so")
    assert manifest["inputs"][0]["shape"] == [1, 3, 64, 64] and manifest["outputs"][0]["shape"] == [1, 10]
    assert manifest["cpu"] == "cortex-a72" and "+neon" in manifest["features"]
    assert manifest["kernels"]["tuned"] == 0
    assert len(manifest["kernels"]["default_schedule"]) == manifest["kernels"]["total"] > 0
    (built,) = json.loads((tmp_path / "built.json").read_text())
    assert built["bytes"] == (tmp_path / f"{name}.so").stat().st_size
    assert "random, seed 0" in done.stdout and "0 of" in done.stdout


def test_the_weights_decide_the_hash_and_the_target_does_not(build):
    hashes = {}
    for target in ("native", "cortex-a53"):
        for seed in (0, 1):
            built = build("shufflenet-v1-0.25x-g3", target=target, seed=seed, size=(64, 64), classes=10)
            hashes[target, seed] = built.manifest["weights"]["sha256"]
    assert hashes["native", 0] == hashes["cortex-a53", 0] != hashes["native", 1] == hashes["cortex-a53", 1]


def test_the_library_is_little_more_than_its_weights(build):
    net = network("shufflenet-v1-1x-g3")
    size = build(net.name, target="arm").path.stat().st_size
    assert size < 4 * net.parameter_count() + (1 << 20)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint with names of classes."""
    net = network("shufflenet-v1-0.25x-g3", (64, 64), 10)
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(path, random_parameters(net, 3), {"class_names": json.dumps([f"kind {i}" for i in range(10)])})
    return path


def test_classify_names_the_classes(tmp_path, checkpoint):
    built = call("build", *SMALL, "--target", "native", "--weights", checkpoint, "-o", tmp_path)
    assert built.returncode == 0 and checkpoint.name in built.stdout
    library, answer = tmp_path / "shufflenet-v1-0.25x-g3-native-64x64.so", tmp_path / "answer.json"
    done = call("classify", library, PICTURE, PICTURE, "--json", answer)
    assert done.returncode == 0 and "kind " in done.stdout and "random" not in done.stdout
    first, second = json.loads(answer.read_text())["pictures"]
    assert first == second and len(first["classes"]) == 5
    shares = [row["probability"] for row in first["classes"]]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3': did you mean"),
        (["--target", "cortex-z99"], "unknown target 'cortex-z99'"),
        (["--target", '{"kind": "cuda"}'], "expected {"),
        (["--size", "224x"], "--size 224x: expected"),
        (["alexnet", "--size", "32"], "input size 32x32 is too small"),
        (["--classes", "0"], "--classes 0: expected 1 or more"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--weights", "missing.pth"], "missing.pth does not exist"),
        (["--cc", "no-such-compiler"], "no-such-compiler"),
    ],
)
def test_build_refuses(tmp_path, arguments, said):
    assert said in refused("build", *arguments, "-o", tmp_path / "out")
    assert not list(tmp_path.rglob("*.so")) and not list(tmp_path.rglob("*.json"))


def test_build_refuses_checkpoints_that_do_not_fit(tmp_path, checkpoint):
    small = ["--size", "64", "--weights", checkpoint, "-o", tmp_path / "out"]
    assert "use --classes 10" in refused("build", "shufflenet-v1-0.25x-g3", "--classes", "1000", *small)
    assert "stem.conv.weight" in refused("build", "shufflenet-v1-1x-g3", "--classes", "10", *small)
    assert "build them one by one" in refused("build", "alexnet", "mobilenet-v1-0.5", *small)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(checkpoint.read_bytes()[:-1000])
    assert "truncated" in refused("build", *SMALL, "--weights", truncated, "-o", tmp_path / "out")
    parameters = random_parameters(network("shufflenet-v1-0.25x-g3", (64, 64), 10))
    parameters["stage3.2.conv1.weight"][0, 0] = np.nan
    save_checkpoint(tmp_path / "nan.safetensors", parameters, {})
    line = refused("build", *SMALL, "--weights", tmp_path / "nan.safetensors", "-o", tmp_path / "out")
    assert "stage3.2.conv1.weight" in line and "NaN" in line
    assert not list(tmp_path.rglob("*.so"))


def test_build_refuses_a_folder_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot create the folder" in refused("build", *SMALL, "-o", tmp_path / "file" / "out")
    assert "cannot create the folder" in refused("build", *SMALL, "-o", tmp_path / "file")
    if os.getuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        assert "permission denied" in refused("build", *SMALL, "-o", tmp_path / "locked")


def test_a_failed_build_leaves_the_old_library_alone(tmp_path):
    arguments = [*SMALL, "--target", "arm", "-o", str(tmp_path)]
    build_command.main(arguments)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UserError):
        build_command.main([*arguments, "--cc", "false"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_classify_refuses(tmp_path, build):
    arm = build("shufflenet-v1-0.25x-g3", target="arm", classes=10, size=(64, 64)).path
    native = build("shufflenet-v1-0.25x-g3", classes=10, size=(64, 64)).path
    assert "is for aarch64" in refused("classify", arm, PICTURE)
    assert "not an ELF library" in refused("classify", PICTURE, PICTURE)
    assert "missing.so" in refused("classify", tmp_path / "missing.so", PICTURE)
    assert "no such file" in refused("classify", native, tmp_path / "missing.jpg")
    assert "not a picture" in refused("classify", native, native)


@pytest.mark.parametrize(
    "command", ["build", "classify", "compare", "convert", "guidelines", "models", "paper", "targets"]
)
def test_help_has_an_example(command):
    done = call(command, "--help")
    assert done.returncode == 0 and "example" in done.stdout
    assert f"python -m tvm_shufflenet.{command}" in done.stdout.partition("example")[2]


def test_no_command_imports_torch(tmp_path, checkpoint):
    """Building, loading and classifying need no PyTorch: here it cannot be imported."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('blocked by a test')")
    environment = {**os.environ, "PYTHONPATH": f"{blocked}{os.pathsep}{ROOT}"}
    built = call("build", *SMALL, "--target", "native", "--weights", checkpoint, "-o", tmp_path, env=environment)
    assert built.returncode == 0, built.stderr
    library = tmp_path / "shufflenet-v1-0.25x-g3-native-64x64.so"
    for command in (["classify", library, PICTURE], ["models"], ["targets"], ["compare", library, "--rounds", "1"]):
        done = call(*command, env=environment)
        assert done.returncode == 0, done.stderr


def test_importing_the_package_is_cheap():
    """`import tvm_shufflenet` brings neither TVM nor numpy nor torch."""
    code = "import sys, tvm_shufflenet; print(sorted({'tvm', 'numpy', 'torch', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
