"""`--threads` of commands that run a library on pictures: what they say is what one thread says."""

from __future__ import annotations

import json

import pytest

from tvm_shufflenet.cli import classify, detect, evaluate
from tvm_shufflenet.library import teams
from tvm_shufflenet.library.processors import allowed_processors

from ..conftest import ROOT

PHOTOGRAPH = str(ROOT / "examples" / "pictures" / "parachute.jpg")
MODEL, SMALL = "shufflenet-v1-0.25x-g3", (64, 64)
pytestmark = pytest.mark.skipif(allowed_processors() < 2, reason="two threads need two processors")


@pytest.fixture
def runs(monkeypatch):
    """How often a team ran."""
    found = []
    monkeypatch.setattr(teams.Team, "run", lambda *args, run=teams.Team.run: found.append(1) or run(*args))
    return found


def with_threads(command, arguments, tmp_path) -> list[dict]:
    """What the command writes with one thread and with two."""
    results = []
    for threads in ("1", "2"):
        command.main([*arguments, "--threads", threads, "--json", str(tmp_path / "found.json")])
        results.append(json.loads((tmp_path / "found.json").read_text()))
    return results


def test_classify(build, runs, tmp_path):
    library = build(MODEL, classes=10, size=SMALL, team=True).path
    one, two = with_threads(classify, [str(library), PHOTOGRAPH], tmp_path)
    assert one == two and len(runs) == 1


def test_evaluate(build, runs, labelled_pictures, tmp_path):
    library = build(MODEL, classes=3, size=SMALL, team=True).path
    one, two = with_threads(evaluate, [str(library), "--data", str(labelled_pictures), "--workers", "0"], tmp_path)
    assert one == two and one["images"] == len(runs) == 9


@pytest.mark.slow
def test_detect(build, runs, tmp_path):
    """A library of several outputs."""
    library = build("ssdlite-shufflenet-v2-0.5x", size=(64, 64), team=True).path
    one, two = with_threads(detect, [str(library), PHOTOGRAPH, "--least", "0.01"], tmp_path)
    assert one == two and one["pictures"][0]["boxes"] and len(runs) == 1
