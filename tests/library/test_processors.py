"""A library for another processor is refused in one line, and does not end in SIGILL."""

from __future__ import annotations

import os
import subprocess

import pytest

import tvm_shufflenet
from tvm_shufflenet.building.needs import needed
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import instructions
from tvm_shufflenet.measure.comparison import CompareOptions, compare
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.precision import precision_of

from .. import emulator
from ..conftest import ROOT

SMALL = {"classes": 10, "size": (64, 64)}


def test_what_is_compiled_here_runs_here(build):
    manifest = build("shufflenet-v1-0.25x-g3", **SMALL).manifest
    assert bool(manifest["needs"]) == (resolve("native").arch != "aarch64")
    assert not instructions.lacking(manifest["needs"])


@pytest.mark.skipif(resolve("native").arch != "x86_64", reason="what x86-64 needs depends on the target alone")
def test_another_processor_is_refused(build, monkeypatch):
    path = build("shufflenet-v1-0.25x-g3", **SMALL).path
    monkeypatch.setattr(instructions, "_features", lambda: {"sse2", "avx"})
    with pytest.raises(UserError, match=r"needs a processor with .*fma.*, which this machine's lacks: compile with"):
        tvm_shufflenet.load(path)
    with pytest.raises(UserError, match=r"needs a processor with .*fma"):
        compare(CompareOptions((str(path),), rounds=1))
    monkeypatch.setattr(instructions, "_features", set)  # of which nothing is known
    tvm_shufflenet.load(path)


@pytest.mark.parametrize("precision,target,expected", [
    ("fp32", "cortex-a76", []), ("fp16", "cortex-a76", ["asimdhp"]), ("int8", "cortex-a76", ["asimddp"]),
    ("int8", "cortex-a710", ["asimddp", "i8mm"]), ("fp16", "cortex-a510", ["asimdhp"]),
    ("int8", "cortex-a510", ["asimddp", "i8mm"]), ("fp32", "cortex-a510", []),
    ("int8", "cortex-a72", []), ("fp32", "armv7", ["neon"]),
])  # fmt: skip
def test_what_arm_needs(precision, target, expected):
    spec = resolve(target)
    assert needed(spec, precision_of(precision, None, spec)) == expected


@pytest.mark.emulator
@pytest.mark.parametrize("processor,expected", [("max", "[]"), ("cortex-a72", "['asimdhp', 'asimddp']")])
def test_emulated_processors(processor, expected):
    source = ROOT / "tvm_shufflenet" / "library" / "instructions.py"
    program = f"import runpy; print(runpy.run_path({str(source)!r})['lacking'](['asimdhp', 'asimddp']))"
    environment = {**os.environ, "QEMU_CPU": processor}
    done = subprocess.run([emulator.python(), "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr
