"""Tuning of halves and bytes: tasks of their own, legal knobs, records that builds of that precision use."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest

from tvm_shufflenet import pipeline
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import tune
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.lowering.choose_knobs import choose_knobs
from tvm_shufflenet.pipeline import with_scales
from tvm_shufflenet.records.store import Records
from tvm_shufflenet.schedules import Int8Pointwise, Plane, tuning_space
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.precision import INT8, precision_of
from tvm_shufflenet.training.calibration import calibrate, integer_network
from tvm_shufflenet.tuning import trials
from tvm_shufflenet.tuning.tasks import Task, tasks_of
from tvm_shufflenet.tuning.trials import Bench, WrongResult

from .. import fences
from ..conftest import picture
from ..estimation.test_estimate import _missing

MODEL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
NATIVE = resolve("native")
BYTES = pytest.mark.skipif(NATIVE.arch == "arm", reason="no precision but fp32 is for 32-bit processors")


def tasks(target: str, precision: str) -> list[Task]:
    spec = resolve(target)
    return tasks_of([network(MODEL, SIZE)], spec, precision=precision_of(precision, None, spec))


def test_records_of_different_precisions_never_match():
    """A record is found by the text of its task, which has the dtypes."""
    found = {name: {task.key: task for task in tasks("cortex-a76", name)} for name in ("fp32", "fp16", "int8")}
    names = list(found)
    for one in names:
        assert len(found[one]) > 10
        for other in names[names.index(one) + 1 :]:
            assert not found[one].keys() & found[other].keys()
    assert {json.loads(key).get("dtype") for key in found["fp16"]} == {"float16"}
    assert {json.loads(key).get("dtype") for key in found["int8"]} == {"int8"}
    sdot, smull = (
        {task.key for task in tasks(target, "int8") if "pointwise" in task.workload.name}
        for target in ("cortex-a76", "cortex-a72")
    )
    assert sdot and smull and not sdot & smull


def test_weights_of_halves_are_another_task():
    spec = resolve("cortex-a72")
    halves = tasks_of([network(MODEL, SIZE)], spec, precision=precision_of("fp32", "fp16", spec))
    kept = {task.key for task in tasks("cortex-a72", "fp32")}
    assert [task.workload.name for task in halves if task.key not in kept] == ["dense"]


@pytest.mark.parametrize("target", ["cortex-a72", "cortex-a76", "cortex-a53", "native"])
@BYTES
def test_the_kernels_of_bytes_have_a_choice(target):
    found = tasks(target, "int8")
    kinds = {task.workload.name for task in found}
    assert {"int8_stem", "int8_window", "int8_dense"} <= kinds and kinds & {"int8_pointwise", "int8_strewn"}
    machine = resolve(target).machine
    for task in found:
        assert task.default == task.workload.knobs(machine.at(task.workload.dtype))
        assert len({tuple(sorted(knobs.items())) for knobs in task.space}) == len(task.space) > 1


class AnyKnobs:
    """Legal ones for each kernel, by chance, in the place of records."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def best(self, workload, legal):
        return _Chosen(self.random.choice(list(legal)))


@dataclasses.dataclass
class _Chosen:
    knobs: dict
    kind: str = "measured"
    record: str = ""


@pytest.fixture
def scales():
    net = network(MODEL, SIZE, 10)
    parameters = random_parameters(net)
    return net, parameters, calibrate(net, parameters, [picture(SIZE, 1)], "minmax")


@BYTES
@pytest.mark.parametrize("target,seed", [
    ("native", 0), *(pytest.param("native", seed, marks=pytest.mark.slow) for seed in (1, 2)),
    *(pytest.param(target, seed, marks=[pytest.mark.emulator, pytest.mark.slow])
      for target in ("cortex-a72", "cortex-a76", "cortex-a53") for seed in (0, 1)),
])  # fmt: skip
def test_any_legal_knobs_give_the_same_bytes(tmp_path, monkeypatch, scales, target, seed):
    net, parameters, calibration = scales
    chosen = AnyKnobs(seed)
    monkeypatch.setattr(pipeline, "choose_knobs", lambda program, machine, _: choose_knobs(program, machine, chosen))
    built = build_library(
        BuildOptions(net.name, target, SIZE, 10, output=tmp_path, precision="int8", calibration=calibration)
    )
    assert built.manifest["kernels"]["changed"] > 10
    data = picture(SIZE, 2)
    expected = integer_network(net, parameters, calibration)(data)
    assert np.array_equal(fences.check(built.path, data)[0].ravel(), expected.ravel())


@pytest.mark.slow
def test_any_legal_knobs_compile_for_vnni(tmp_path, monkeypatch, scales):
    """Which this machine need not have: nothing is run."""
    net, _, calibration = scales
    chosen = AnyKnobs(0)
    monkeypatch.setattr(pipeline, "choose_knobs", lambda program, machine, _: choose_knobs(program, machine, chosen))
    target = json.dumps({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "cascadelake"})
    built = build_library(
        BuildOptions(net.name, target, SIZE, 10, output=tmp_path, precision="int8", calibration=calibration)
    )
    assert built.manifest["kernels"]["changed"] > 10
    assert {"avx512_vnni", "avx512vl", "bmi2", "movbe"} <= {*built.manifest["needs"]}


@BYTES
def test_a_candidate_with_one_other_byte_is_wrong(tmp_path):
    precision = precision_of("int8", None, NATIVE)
    workload = Int8Pointwise(2, 12, 8, Plane.dense(4, 16), 16, precision.dot, dtype=precision.activations)
    shapes = [(16, 12, 1, 1), (16,), (16,), (4,)]
    task = Task(workload, shapes, tuning_space(workload, NATIVE.machine))
    default, other = tmp_path / "default.so", tmp_path / "other.so"
    trials.build(task, task.default, NATIVE, default)
    trials.build(task, task.space[-1], NATIVE, other)
    bench = Bench(trials._place(None, NATIVE.arch), task, default)
    assert len(set(bench.expected.ravel().tolist())) > 1 and len(set(bench.data.tolist())) > 100
    bench.check(bench.load(other, task.space[-1]))
    bench.__dict__["expected"] = bench.expected.copy()
    bench.expected.flat[3] += 1
    with pytest.raises(WrongResult, match="differs from the default schedule by"):
        bench.check(bench.load(other, task.space[-1]))


def tuned(folder, *arguments: str) -> dict:
    """What the command writes of a run with records of their own."""
    report = folder / "tuned.json"
    argv = [MODEL, "--size", "64", "--records", str(folder / "records"), "--json", str(report), *arguments]
    assert tune.main(argv) == 0
    return json.loads(report.read_text())


def kernels_of(folder, target: str, precision: str) -> dict:
    """Of a build that finds the records in the folder."""
    net, spec = network(MODEL, SIZE), resolve(target)
    scales = with_scales(precision_of(precision, None, spec), net, random_parameters(net)).calibration
    options = BuildOptions(
        net.name, target, SIZE, output=folder, records=folder / "records", precision=precision, calibration=scales
    )
    return build_library(options).manifest["kernels"]


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.skipif(bool(_missing()), reason=_missing())
@pytest.mark.parametrize("target,precision", [
    ("cortex-a72", "int8"), pytest.param("cortex-a55", "fp16", marks=pytest.mark.full)
])  # fmt: skip
def test_tuning_by_the_model(tmp_path, target, precision):
    """The records are found by builds of that precision alone, and the network takes no more cycles."""
    found = tuned(
        tmp_path, "--target", target, "--estimate", "--precision", precision, "--op", "depthwise", "--trials", "3"
    )
    assert found["precision"] == precision and len(found["tasks"]) > 3
    (whole,) = found["networks"]
    assert whole["after"] <= whole["before"] and whole["kernels"]["tuned_by"] == {"estimated": len(found["tasks"])}
    assert kernels_of(tmp_path, target, precision)["tuned"] == len(found["tasks"])
    assert kernels_of(tmp_path, target, "fp32")["tuned"] == 0


@BYTES
@pytest.mark.slow
def test_tuning_here(tmp_path):
    found = tuned(tmp_path, "--target", "native", "--precision", "int8", "--op", "depthwise", "--trials", "2")
    assert found["kind"] == "measured" and not any(task["failures"] for task in found["tasks"])
    assert found["networks"][0]["kernels"]["tuned_by"] == {"measured": len(found["tasks"])}
    assert kernels_of(tmp_path, "native", "int8")["tuned"] == len(found["tasks"]) > 3
    assert kernels_of(tmp_path, "native", "fp32")["tuned"] == 0
    records = Records.read(tmp_path / "records", NATIVE)
    activations = precision_of(INT8.name, None, NATIVE).activations
    assert {json.loads(record.task)["dtype"] for record in records.all} == {activations}


def test_a_precision_that_the_target_lacks_is_refused(tmp_path):
    argv = ["--target", "cortex-a72", "--estimate", "--precision", "fp16", "--records", str(tmp_path / "records")]
    with pytest.raises(UserError, match="--precision fp16: target cortex-a72 lacks fullfp16"):
        tune.main(argv)
    assert not (tmp_path / "records").exists()
