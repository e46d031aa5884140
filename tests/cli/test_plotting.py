"""--plot: the files that commands draw hold what was measured, and refusals come before the work."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest

from tvm_shufflenet import plotting
from tvm_shufflenet.cli import compare, guidelines, paper, tune
from tvm_shufflenet.errors import UserError

SMALL = "shufflenet-v1-0.25x-g3"
needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="no matplotlib here: pip install -e .[train]"
)
COMMANDS = {"compare": compare, "guidelines": guidelines, "paper": paper, "tune": tune}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_refusals(command, monkeypatch, tmp_path):
    for path, said in (("plot.jpg", "ends in .svg or .png"), ("no/plot.svg", "there is no such folder")):
        with pytest.raises(UserError, match=said):
            command.main(["--plot", path])
    find = importlib.util.find_spec
    monkeypatch.setattr(plotting.importlib.util, "find_spec", lambda name: name != "matplotlib" and find(name) or None)
    with pytest.raises(UserError, match=r"extra train: run `pip install -e .\[train\]`"):
        command.main(["--plot", str(tmp_path / "plot.svg")])


@needs_matplotlib
def test_compare(tmp_path):
    plot, figures = tmp_path / "plot.svg", tmp_path / "figures.json"
    arguments = [SMALL, "--size", "64", "--rounds", "1", "--plot", str(plot), "--json", str(figures)]
    assert compare.main(arguments) == 0
    assert b"</svg>" in plot.read_bytes()[-100:]
    rows = json.loads(figures.read_text())["networks"]
    times, shares = plotting.compared(rows, "title").axes
    assert [bar.get_width() for bar in times.patches] == [row["minimum_ms"] for row in rows]
    assert [bar.get_width() for bar in shares.patches] == pytest.approx([100 * row["share_of_peak"] for row in rows])


@needs_matplotlib
def test_paper_and_guidelines(tmp_path):
    plot = tmp_path / "plot.png"
    assert paper.main(["v1-8", "--no-measure", "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    plot.unlink()
    assert guidelines.main(["G1", "--no-measure", "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = [{"network": "a", "cells": {"speedup": 2.0, "published_speedup": {"missing": "not published"}}},
            {"network": "b", "cells": {"speedup": 1.0, "published_speedup": 1.5}}]  # fmt: skip
    (axes,) = plotting.tables([{"table": "t", "rows": rows}]).axes
    assert [bar.get_width() for bar in axes.patches] == [2.0, 1.0, 0, 1.5]
    with pytest.raises(UserError, match="no speeds"):
        plotting.tables([{"table": "claims", "claims": []}])


@needs_matplotlib
def test_tune():
    document = {
        "target": {"name": "native"}, "kind": "measured", "where": "here", "tasks": [
            {"task": "x", "label": "kernel x", "gain": 2.0, "best_after_each_trial": [math.inf, 1.0, 0.5]},
            {"task": "y", "label": "kernel y", "gain": None, "best_after_each_trial": []},
        ],
    }  # fmt: skip
    (axes,) = plotting.tuned(document).axes
    (line,) = axes.lines
    assert line.get_label() == "kernel x" and list(line.get_ydata()) == [0, 1, 2]
    with pytest.raises(UserError, match="no kernel has a trial"):
        plotting.tuned({**document, "tasks": []})
