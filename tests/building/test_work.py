"""How much of a build is done, as whoever shows the time left is told."""

from __future__ import annotations

import sys

import pytest
import tvm

from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.building.work import LINK, ORDERED, RANGES, SECONDS, START, Work, part
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.precision import FP32, precision_of


def shares(folder, target: str, **options) -> list[float]:
    """What is told of the build of a small network, in a process that has imported TVM."""
    assert tvm
    net = NetworkBuilder((16, 16))
    x = net.conv("conv", 0, 8, 3, pad=1)
    network = net.network("toy", outputs=[net.dense("fc", net.global_avg_pool("pool", x), 7)])
    told: list[float] = []
    build_library(BuildOptions(target=target, network=network, output=folder, records=None, **options), told.append)
    assert told == sorted(told) and told[0] > 0 and told[-1] == 1
    return told


@pytest.mark.parametrize("team, phases", [(False, 5), (True, 7)])
def test_every_phase_is_told(tmp_path, team, phases):
    """Once each, so that what takes long is foreseen."""
    found = shares(tmp_path, "cortex-a72", team=team)
    assert len(found) == len(set(found)) == phases


def test_loops_in_another_order_are_told_one_by_one(tmp_path):
    """The longest phase of a build for a core in order: no step is half of it."""
    found = shares(tmp_path, "cortex-a53")
    assert len(found) > 10 and max(after - before for before, after in zip(found, found[1:])) < 0.35


def test_what_a_build_is_made_of(monkeypatch):
    plain = sum(seconds for phase, seconds in SECONDS.items() if "team" not in phase) + LINK
    a72, a55 = resolve("cortex-a72"), resolve("cortex-a55")
    assert Work(print, a72, FP32).whole == pytest.approx(plain)
    assert Work(print, a72, FP32, team=True).whole == pytest.approx(sum(SECONDS.values()) + LINK)
    assert Work(print, a55, FP32, sizes=2).whole == pytest.approx(2 * (plain - SECONDS["write"] + ORDERED) - LINK)
    halves = Work(print, a55, precision_of("fp16", None, a55))
    assert halves.whole == pytest.approx(plain - SECONDS["write"] + ORDERED + RANGES)
    monkeypatch.delitem(sys.modules, "tvm")
    told: list[float] = []
    first = Work(told.append, a72, FP32)
    first.started()
    assert first.whole == pytest.approx(plain + START) and told == [pytest.approx(START / first.whole)]


def test_parts_of_equal_size():
    told: list[float] = []
    part(told.append, 1, 4)(0.5)
    assert told == [0.375]
