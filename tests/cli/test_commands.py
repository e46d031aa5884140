"""The commands as a user types them: what they write, what they say, and how they refuse."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.bridge.shipped import trained
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.cli import terminal
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.library.processors import allowed_processors

from ..conftest import ROOT

SMALL = ["shufflenet-v1-0.25x-g3", "--classes", "10", "--size", "64"]
PICTURE = str(ROOT / "examples" / "pictures" / "parachute.jpg")


def call(command: str, *arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"tvm_shufflenet.{command}", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, cwd=ROOT, **options,
    )  # fmt: skip


def without_progress(stderr: str) -> list[str]:
    """The lines of stderr but for those that say what takes long."""
    return [line for line in stderr.splitlines() if not line.endswith(" ...")]


def refused(command: str, *arguments, **options) -> str:
    """The one line in which a command says why it does not do it."""
    done = call(command, *arguments, **options)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    (line,) = without_progress(done.stderr)
    assert line.startswith("error: ")
    return line


def test_build_writes_library_manifest_and_header(tmp_path):
    done = call("build", *SMALL, "--target", "cortex-a72", "-o", tmp_path, "--json", tmp_path / "built.json")
    assert done.returncode == 0, done.stderr
    name = "shufflenet-v1-0.25x-g3-cortex-a72-64x64"
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.so", f"{name}.json", "tvm_shufflenet.h", "built.json"}
    manifest = json.loads((tmp_path / f"{name}.json").read_text())
    digest = hashlib.sha256((tmp_path / f"{name}.so").read_bytes()).hexdigest()
    assert manifest == {**read_manifest(tmp_path / f"{name}.so"), "library_sha256": digest}
    assert manifest["inputs"][0]["shape"] == [1, 3, 64, 64] and manifest["outputs"][0]["shape"] == [1, 10]
    assert manifest["cpu"] == "cortex-a72" and "+neon" in manifest["features"]
    assert manifest["kernels"]["tuned"] == 0
    assert len(manifest["kernels"]["default_schedule"]) == manifest["kernels"]["total"] > 0
    (built,) = json.loads((tmp_path / "built.json").read_text())
    assert built["bytes"] == (tmp_path / f"{name}.so").stat().st_size and built["library_sha256"] == digest
    assert "random, seed 0" in done.stdout and "0 of" in done.stdout


def test_builds_are_the_same_to_the_byte(tmp_path):
    """In two processes, in different folders, with other hashes of strings and another temporary folder."""
    runs, targets = ("1", "two/folders/deep"), ("native", "cortex-a72")
    for run, target in itertools.product(runs, targets):
        folder = tmp_path / run
        (folder / "temporary").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONHASHSEED": str(len(run)), "TMPDIR": str(folder / "temporary")}
        done = call("build", *SMALL, "--target", target, "-o", folder / "out", env=environment)
        assert done.returncode == 0, done.stderr
    for target in targets:
        name = f"shufflenet-v1-0.25x-g3-{target}-64x64.so"
        first, second = ((tmp_path / run / "out" / name).read_bytes() for run in runs)
        assert first == second, target


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


def test_the_c_example_takes_what_classify_writes(tmp_path, build):
    """Word by word as `classify --help` says, with the compiler that the project brings along."""
    built, raw, program = (
        build("shufflenet-v1-0.5x-g3", weights=trained("shufflenet-v1-0.5x-g3"), size=(64, 64)),
        tmp_path / "image.raw",
        tmp_path / "c",
    )
    answer = tmp_path / "answer.json"
    done = call("classify", built.path, PICTURE, "--raw", raw, "--json", answer)
    assert done.returncode == 0, done.stderr
    assert raw.stat().st_size == 3 * 64 * 64 * 4
    line = "-O2 -I tvm_shufflenet/library examples/c/classify.c -o"
    assert line in " ".join(call("classify", "--help").stdout.split())
    compiler = [sys.executable, "-m", "ziglang", "cc", *line.split(), str(program), "-ldl", "-lpthread"]
    subprocess.run(compiler, check=True, cwd=ROOT, capture_output=True)
    said = subprocess.run([program, built.path, raw], check=True, capture_output=True, text=True).stdout
    best = [(row["class"], row["name"]) for row in json.loads(answer.read_text())["pictures"][0]["classes"]]
    rows = [row.split(maxsplit=2) for row in said.splitlines()]
    assert [(int(number), name) for number, _logit, name in rows] == best
    there = raw.read_bytes()
    raw.unlink()
    other = build("shufflenet-v1-0.25x-g4", target="armv7", size=(64, 64))
    done = call("classify", other.path, PICTURE, "--raw", raw)
    assert done.returncode == 0 and "which is for arm: it is not run here" in done.stdout
    assert raw.read_bytes() == there
    said = refused("classify", built.path, PICTURE, PICTURE, "--raw", raw)
    assert "--raw" in said and "holds one picture" in said


def test_a_network_that_fails_does_not_stop_the_others(tmp_path):
    good, small = "shufflenet-v1-0.25x-g3", "alexnet"
    done = call("build", small, good, "--size", "32x64", "--target", "arm", "-o", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    said, line = without_progress(done.stderr)
    assert said == "error: 1 of 2 networks not built" and line.startswith("  alexnet: ") and "too small" in line
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{good}-arm-32x64.so", f"{good}-arm-32x64.json", "tvm_shufflenet.h"
    }  # fmt: skip


def test_colours_only_where_they_are_wanted():
    """None in a pipe; on a terminal none with NO_COLOR."""
    assert "\x1b" not in call("models").stdout
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}
    colour = "\x1b[31m"
    code = "from tvm_shufflenet.cli.terminal import open_console; open_console().print('[red]x')"

    def shown(**more) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, cwd=ROOT).stdout

    assert colour in shown() and colour not in shown(NO_COLOR="1") and "x" in shown(NO_COLOR="1")


def test_what_takes_long_is_said_where_no_terminal_is(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "LOG_SECONDS", 0.02)
    shown = terminal.Terminal()
    with shown.step("nothing"):
        pass
    with shown.step("building all [of] it"):
        time.sleep(0.2)
    with shown.rounds(3) as advance:
        for _ in range(3):
            time.sleep(0.05)
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["building all [of] it ...", "1 of 3 rounds, 0 s left", "2 of 3 rounds, 0 s left"]


def test_of_several_steps_the_time_left_is_said(monkeypatch, capsys):
    """As long as those before took on average, for each that is left; steps in between do not count."""
    monkeypatch.setattr(terminal, "LOG_SECONDS", 0.02)
    shown, now = terminal.Terminal(), 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    for number, seconds in ((1, 50), (2, 150), (3, 0)):
        with shown.step("building", number, 3):
            threading.Event().wait(0.2)
            now += seconds
        with shown.step("connecting"):
            now += 1000
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("building")]
    assert told == [
        "building, 1 of 3 ...",
        "building, 2 of 3, about 100 s left ...",
        "building, 3 of 3, about 100 s left ...",
    ]


def test_the_share_that_is_done_tells_the_time_left(monkeypatch):
    """Of one step on its own, and of those behind it that take as long on average; it runs down in between."""
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    alone, second = terminal.Countdown(None), terminal.Countdown(200, 2, [50.0])
    assert str(alone) == "" and str(second) == ", about 200 s left"
    now = 10.0
    alone.done(0.01)  # too early to say
    assert str(alone) == "" and str(second) == ", about 190 s left"
    alone.done(0.25)
    second.done(0.1)
    assert str(alone) == ", about 30 s left"
    assert str(second) == ", about 240 s left"  # 90, and twice the mean of 50 and 100
    now = 25.0
    assert str(alone) == ", about 15 s left"
    now = 100.0
    assert str(alone) == ""  # longer than was foreseen


def test_a_log_says_the_time_left_of_a_single_step(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "LOG_SECONDS", 0.02)
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with terminal.Terminal().step("building") as done:
        now += 5
        done(0.25)
        threading.Event().wait(0.2)
    assert capsys.readouterr().err == "building, about 15 s left ...\n"


def test_a_terminal_shows_the_time_left_at_once(monkeypatch):
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    for is_terminal in (True, False):
        shown = terminal.Terminal()
        shown.console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        with shown.step("building [it]") as done:
            now += 10
            done(0.25)
        assert ("building [it], about 30 s left" in shown.console.file.getvalue()) == is_terminal


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
    assert not list(tmp_path.iterdir())


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
    assert "build --weights FILE" in refused("classify", PICTURE, PICTURE)
    assert "missing.so" in refused("classify", tmp_path / "missing.so", PICTURE)
    assert "no such file" in refused("classify", native, tmp_path / "missing.jpg")
    assert "not a picture" in refused("classify", native, native)


@pytest.mark.parametrize(
    "command",
    ["build", "classify", "compare", "convert", "guidelines", "inspect", "models", "paper", "report", "targets"],
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


def test_numbers_of_threads_that_cannot_be():
    """Before anything is built or read."""
    many = str(allowed_processors() + 1)
    for command in (["classify", "missing.so", "missing.jpg"], ["compare"], ["profile"], ["paper"]):
        assert f"--threads {many}: this process may use" in refused(*command, "--threads", many)
    assert "--threads 65: expected 1 to 64" in refused("classify", "missing.so", "missing.jpg", "--threads", "65")
    assert "the model is of one core" in refused("compare", "--estimate", "--rpc", "a:1", "--threads", "2")
    said = refused("evaluate", "missing.so", "--data", "missing", "--threads", "1", "--workers", "1025")
    assert "--workers 1025: expected" in said
