"""`compare` and `profile` on several threads: what they time, and beside which peak."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tvm_shufflenet.library.processors import allowed_processors

from ..conftest import ROOT

pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(allowed_processors() < 2, reason="two threads need two processors"),
]  # fmt: skip


@pytest.mark.parametrize("command", ["compare", "profile"])
def test_two_threads(command, build, tmp_path):
    """In a process of its own: TVM makes its threads once."""
    library, found = build("shufflenet-v1-0.25x-g3", classes=10, size=(64, 64), team=True).path, tmp_path / "found.json"
    argv = [sys.executable, "-m", f"tvm_shufflenet.{command}", str(library), "--threads", "2", "--rounds", "2"]
    done = subprocess.run([*argv, "--json", str(found)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "FMA peak of 2 threads at once" in done.stdout and "; threads 2, batch 1" in done.stdout
    data = json.loads(found.read_text())
    assert data["threads"] == 2 and data["core"] is None and data["peak_multiply_adds_per_second"] > 0


def test_paper_takes_threads(tmp_path):
    """What `paper --threads` measures with: a team for every network."""
    code = f"""
from pathlib import Path
from tvm_shufflenet.architectures import network
from tvm_shufflenet.measure.beside_peak import Silent
from tvm_shufflenet.papers.speeds import How, open_meter
net = network("shufflenet-v1-0.25x-g3", (64, 64), 10)
speeds = open_meter(How(rounds=1, threads=2), Path({str(tmp_path)!r}), Silent())([net])
print(speeds.comparison.threads, speeds.of(net).amount > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout == "2 True\n", done.stderr


def test_a_library_without_teams(build, tmp_path):
    library = build("shufflenet-v1-0.25x-g3", classes=10, size=(64, 64)).path
    argv = [sys.executable, "-m", "tvm_shufflenet.compare", str(library), "--threads", "2"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "is not made for --threads 2: build it anew" in done.stderr
