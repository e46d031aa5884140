"""Rivals compute our networks, on this machine and in the emulator; the benchmarks refuse in one line."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.rivals import RIVALS, folded, install, ncnn
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters

from . import emulator
from .conftest import ROOT, relative_error, twin_logits

needs_rivals = pytest.mark.skipif(
    not (install.installed("host") and install.installed("aarch64")),
    reason="no rivals: python -m benchmarks.rivals.install",
)
needs_emulator = [
    pytest.mark.emulator,
    pytest.mark.skipif(not emulator.installed(), reason="no emulated AArch64: python -m tests.emulator install"),
]
NAMES = ("shufflenet-v1-0.25x-g3", "mobilenet-v1-0.25", "alexnet")


def small(name: str = "shufflenet-v1-0.25x-g3"):
    return network(name, (224, 224) if name == "alexnet" else (64, 64), 10)


def call(command: str, *arguments) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", f"benchmarks.{command}", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_folding_leaves_what_has_to_be_computed(name):
    net = small(name)
    steps = folded.fold(net, random_parameters(net))
    kinds = [step.op for step in steps]
    assert not {"batch_norm", "dropout"} & set(kinds)
    for index, step in enumerate(steps):
        assert all(source < index for source in step.inputs)
        if step.op == "relu":  # its input is read elsewhere, too, or is no layer with weights
            assert steps[step.inputs[0]].op in ("add", "concat")
    relus = sum(layer.op == "relu" for layer in net.layers)
    assert kinds.count("relu") + sum(step.relu for step in steps) == relus


@pytest.mark.parametrize("name", NAMES)
def test_ncnn_files_are_consistent(tmp_path, name):
    """Each blob is written once and read once, and the weights are all there."""
    net = small(name)
    ncnn.export(net, random_parameters(net), tmp_path)
    magic, counts, *lines = (tmp_path / "network.param").read_text().splitlines()
    written, read = [], []
    for line in lines:
        _, _, inputs, outputs, *names = line.split()
        read += names[: int(inputs)]
        written += names[int(inputs) :][: int(outputs)]
    assert magic == "7767517" and counts.split() == [str(len(lines)), str(len(written))]
    assert len(set(written)) == len(written) and sorted(read) == sorted(set(written) - {"output"})
    weighted = [step for step in folded.fold(net, random_parameters(net)) if step.weight is not None]
    floats = sum(1 + step.weight.size + step.bias.size for step in weighted)
    assert (tmp_path / "network.bin").stat().st_size == 4 * floats


@needs_rivals
def test_rivals_agree_with_pytorch():
    from benchmarks.rivals.counted import Exported

    net = small()
    with Exported(net) as exported:
        for rival in RIVALS:
            found = exported.run_here(rival, exported.of(rival))
            image = np.fromfile(exported.folder / "input.raw", np.float32).reshape(net.layers[0].shape)
            expected = twin_logits(net, random_parameters(net), image).ravel()
            assert relative_error(found, expected) < 1e-4, rival


@needs_rivals
def test_a_rival_with_other_logits_is_refused():
    from benchmarks.rivals.counted import Exported
    from tvm_shufflenet.errors import UserError

    with Exported(small()) as exported:
        wrong = exported.expected.ravel() * 1.001
        with pytest.raises(UserError, match="ncnn here, .*differ from ours by 1.0e-03"):
            exported.check("ncnn", "here", wrong)


@needs_rivals
class TestInTheEmulator:
    pytestmark = needs_emulator

    def test_programs_see_the_board(self):
        from benchmarks.rivals.board import board
        from tvm_shufflenet.targets.cores import core

        place = board(core("cortex-a53"))
        files = ["/proc/cpuinfo", "/sys/devices/system/cpu/cpu3/cache/index2/size"]
        code = f"print([open(name).read() for name in {files}])"
        argv = ["qemu-aarch64", "-cpu", place.cpu, *place.options, str(place.python), "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, env=place.environment, timeout=60)
        assert "0xd03" in done.stdout and "512K" in done.stdout, done

    def test_counts_are_the_same_each_time(self, tmp_path, monkeypatch):
        """And are kept: the second time nothing runs.  Most of it is convolutions."""
        from benchmarks.rivals import counted
        from tvm_shufflenet.estimation.estimates import figures
        from tvm_shufflenet.targets.cores import core

        results = []
        with counted.Exported(small()) as exported:
            for attempt in range(2):
                path = tmp_path / f"{attempt}.gz"
                monkeypatch.setattr(counted, "_path", lambda *_, path=path: path)
                results.append(counted.inference("ncnn", exported, core("cortex-a72")))
            monkeypatch.setattr(counted, "count", None)
            assert counted.inference("ncnn", exported, core("cortex-a72")) == results[1]
        native = [[block for block in blocks if "/ncnn" in block.module] for blocks in results]
        first, second = (figures("", blocks, [_Free()] * len(blocks)) for blocks in native)
        assert dataclasses.replace(first, misses=[]) == dataclasses.replace(second, misses=[])
        assert first.multiply_adds >= 0.9 * small().multiply_adds()


class _Free:
    cycles = refused = 0


@pytest.mark.parametrize(
    "command,arguments,said",
    [
        ("arm_rivals", ["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3'"),
        ("arm_rivals", ["--rivals", "ncnn,tengine"], "unknown rival 'tengine'"),
        ("arm_rivals", ["--core", "cortex-z99"], "cortex-z99"),
        ("arm_rivals", ["--core", "armv7"], "only AArch64 cores"),
        ("arm_rivals", ["--json", "missing/folder/file.json"], "there is no such folder"),
        ("model_trust", ["--json", "missing/folder/file.json"], "there is no such folder"),
    ],
)
def test_refused_in_one_line(command, arguments, said):
    done = call(command, *arguments)
    assert done.returncode == 2 and not done.stdout, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and said in line


@pytest.mark.parametrize("command", ["arm_rivals", "model_trust", "rivals.install"])
def test_help_has_an_example(command):
    done = call(command, "--help")
    assert done.returncode == 0 and f"benchmarks.{command}" in done.stdout.partition("example")[2]
