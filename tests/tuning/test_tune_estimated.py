"""Tuning without a board: candidates are priced by the model of a core."""

from __future__ import annotations

import json
import re

import pytest

from tvm_shufflenet.cli import tune
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.estimates import figures, inference, miss_cycles
from tvm_shufflenet.estimation.pricing import price
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.records.store import Records, knob_key
from tvm_shufflenet.schedules import RELU, Conv2d, Plane, Pointwise, tuning_space
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.cores import core, cores_of, mean_cycles
from tvm_shufflenet.tuning import candidates, trials
from tvm_shufflenet.tuning.judges import Estimated
from tvm_shufflenet.tuning.tasks import Task
from tvm_shufflenet.tuning.tuner import Tuner

from ..estimation.test_estimate import _missing

MODEL = "shufflenet-v1-0.25x-g3"


@pytest.mark.parametrize("make", ["timed_module", "counted_module"])
def test_a_candidate_knows_as_in_the_network_that_its_buffers_are_separate(make):
    """Else LLVM keeps loads behind stores, and other knobs would be best."""
    target = resolve("cortex-a72")
    workload = Pointwise(2, 12, 24, Plane.dense(4, 8), target.lanes, activation=RELU)
    module = getattr(candidates, make)(
        workload, workload.knobs(target.machine), candidates.arguments_of(workload, [576, 48])
    )
    source = compile_module(module[0] if isinstance(module, tuple) else module, target.tvm).inspect_source()
    pointers = re.search(r"^define .*@kernel\((.*)\)", source, re.M)[1].split("%")[:-1]
    assert len(pointers) == 4 and all("noalias" in pointer for pointer in pointers)


@pytest.fixture
def a72(tmp_path):
    """A place that prices candidates for Cortex-A72, records for it, and a task."""
    target = resolve("cortex-a72")
    workload = Pointwise(2, 12, 24, Plane.dense(4, 8), target.lanes, activation=RELU)
    task = Task(workload, [(48, 12, 1, 1), (48,)], tuning_space(workload, target.machine)[:6])
    with Estimated(target) as place:
        yield place, Records.read(tmp_path, target), task


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_a_kernel_that_calls_memset_is_priced(a72):
    """AlexNet's stem, whose scratch is filled with zeros: a candidate brings what it calls."""
    place, records, _ = a72
    before, after = Plane(224, 224, 224, 224 * 224), Plane(55, 55, 56, 3088)
    workload = Conv2d(1, 3, 96, before, after, kernel=11, stride=4, pad=2, lanes=place.target.lanes, activation=RELU)
    task = Task(workload, [(96, 3, 11, 11), (96,)], tuning_space(workload, place.target.machine)[:1], ["net"], 1)
    (found,) = place.run(task, task.space, 1)
    assert found.value > workload.multiply_adds / core("cortex-a72").lanes


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_tiles_that_read_their_pixels_again_and_again_are_dear(a72):
    """Without misses these of MobileNet's 14x14 layers look better than the default; in the network they took 1.66
    times as long."""
    place, _, _ = a72
    plane, target = Plane.dense(14, 14), place.target
    workload = Pointwise(1, 512, 512, plane, target.lanes, activation=RELU)
    thin = {"rows": 25, "vectors": 1, "unroll": 2, "weight_vectors": 0, "panel": 0, "block": 21, "strip": 1,
            "rest_tiles": 3, "prefetch": 0}  # fmt: skip
    task = Task(workload, [(512, 512, 1, 1), (512,)], [workload.knobs(target.machine), thin])
    default, found = sorted(place.run(task, task.space, 1), key=lambda outcome: outcome.knobs == thin)
    assert found.value > 1.3 * default.value


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_estimates_of_a_candidate_are_always_the_same(a72):
    place, _, task = a72
    first, again = ({knob_key(o.knobs): o for o in place.run(task, task.space, 1)} for _ in range(2))
    assert first == again and len(first) == len(task.space)
    assert not any(outcome.failure for outcome in first.values())
    assert len({outcome.value for outcome in first.values()}) > 3  # and not all the same
    # No fewer cycles than the multiply-adds take, no more than if each were alone.
    bound = task.multiply_adds / core("cortex-a72").lanes
    assert all(bound < outcome.value < 20 * bound for outcome in first.values())


def test_cores_that_stand_for_a_target():
    assert [core.name for core in cores_of("arm")] == ["cortex-a72", "cortex-a76"]
    assert cores_of("cortex-a53") == (core("cortex-a53"),)
    assert mean_cycles([4.0, 9.0]) == pytest.approx(6)
    with pytest.raises(UserError, match="^target armv7 is arm: only AArch64 cores are modelled"):
        cores_of("armv7")


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_arm_is_priced_by_the_cores_that_stand_for_it(a72, tmp_path):
    """As one figure; each core's own is that of the same code."""
    _, _, task = a72
    arm = resolve("arm")
    knobs, path = task.space[0], tmp_path / "candidate.so"
    both = trials.price(task, knobs, arm, path)
    _, workspace = candidates.counted_module(task.workload, knobs, trials._arguments(task, knobs))
    each = []
    for judge in (core("cortex-a72"), core("cortex-a76")):
        blocks = inference(path, read_elf(path), (64, 64, workspace), judge, caches=True)
        found = figures("", blocks, price(blocks, judge))
        each.append(found.cycles + miss_cycles(found.misses, judge))
    assert both == pytest.approx((each[0] * each[1]) ** 0.5)
    with Estimated(arm) as place:
        assert place.where.startswith("cortex-a72: ") and "; cortex-a76: " in place.where


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_tuning_by_the_model_of_a_core(a72, capsys):
    place, records, task = a72
    task.space = task.space[:6]
    (result,) = Tuner(place, records, 6).run([task])
    assert result.trials == 6 and result.best.kind == "estimated" and result.gain >= 1
    assert records.best(task.workload, task.space) == result.best
    (again,) = Tuner(place, records, 6).run([task])
    assert again.new == 0 and again.best == result.best


@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_interrupted_while_the_networks_are_compared(tmp_path, capsys, monkeypatch):
    """What was found before is told and kept."""
    monkeypatch.setattr(tune, "_whole", interrupted)
    file = tmp_path / "f.json"
    arguments = [MODEL, "--size", "64", "--target", "cortex-a72", "--estimate", "--op", "depthwise", "--trials", "1",
                 "--records", str(tmp_path / "logs"), "--json", str(file)]  # fmt: skip
    assert tune.main(arguments) == 130
    found = json.loads(file.read_text())
    assert found["tasks"] and not found["networks"]
    assert "run it again to go on" in capsys.readouterr().err


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_estimated_records_are_used_and_named(tmp_path, capsys):
    logs, file = tmp_path / "logs", tmp_path / "f.json"
    arguments = [MODEL, "--size", "64", "--target", "cortex-a72", "--estimate", "--op", "depthwise", "--trials", "4",
                 "--records", str(logs), "--json", str(file)]  # fmt: skip
    assert tune.main(arguments) == 0
    found = json.loads(file.read_text())
    (whole,) = found["networks"]
    count = len(found["tasks"])
    # A candidate is the code that the network gets: what kernels gain by themselves, they gain there.
    gained = sum(task["calls"] * (task["default"] - task["value"]) for task in found["tasks"])
    assert whole["unit"] == "M cycles" and whole["after"] <= whole["before"]
    assert 1e6 * (whole["before"] - whole["after"]) == pytest.approx(gained, rel=0.05, abs=100)
    assert whole["kernels"]["tuned_by"] == {"estimated": count}
    assert f"{count} of {whole['kernels']['total']} kernels tuned" in capsys.readouterr().out
    assert all(task["gain"] >= 1 for task in found["tasks"])  # the default is among the candidates
