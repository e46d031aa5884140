"""By what records are found again: the text of a kernel, and the version of the code that it becomes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
from tvm.script import tirx as T

from tvm_shufflenet import schedules
from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.cli import records as command
from tvm_shufflenet.records import store
from tvm_shufflenet.records.kernels import label, label_of, workload_of
from tvm_shufflenet.records.keys import task_of, version
from tvm_shufflenet.records.remembered import Remembered, remembered
from tvm_shufflenet.schedules import (
    LRN,
    RELU,
    SCRATCH,
    Activation,
    AdaptiveAvgPool,
    BatchedDense,
    Binary,
    BinPlanes,
    Conv2d,
    Copy,
    Dense,
    Depthwise,
    Detections,
    GenericConv,
    GenericLRN,
    GenericPool,
    GlobalAvgPool,
    GlobalPool,
    GroupedSoftmax,
    Int8AdaptiveAvgPool,
    Int8Add,
    Int8Attention,
    Int8BatchedDense,
    Int8Conv,
    Int8Dense,
    Int8Entry,
    Int8Exit,
    Int8GenericConv,
    Int8GenericPool,
    Int8GlobalAvgPool,
    Int8InnerDense,
    Int8LRN,
    Int8Matrix,
    Int8Pointwise,
    Int8Resize,
    Int8Stem,
    Int8Strewn,
    Int8StrewnMatrix,
    Int8StrewnWindow,
    Int8Table,
    Int8Window,
    LongConv,
    Pad,
    Plane,
    Pointwise,
    RegionDetections,
    RegionPixels,
    Regions,
    Reshuffled,
    Resize,
    Scale,
    Softmax,
    Strewn,
    StrewnDepthwise,
    Unary,
    ValidAvgPool,
    WindowPool,
    Winograd,
    Workload,
    tuning_space,
)
from tvm_shufflenet.targets import generation, resolve
from tvm_shufflenet.tuning.tasks import tasks_of

from ..conftest import ROOT

PLANE, SMALL = Plane.padded(14, 14, 4), Plane.padded(7, 7, 4)
WINDOW = (6, PLANE, SMALL, 3, 2, 1, 4)
CLIP = Activation("clip", -1.0, 6.0)
BYTES = Plane.padded(14, 14, 16)
BYTE_WINDOW = (6, BYTES, Plane.padded(7, 7, 16), 3, 2, 1, 16)
EACH = [
    LRN(12, 49, 4, 5, 1e-4, 2.0),
    LongConv(1, 6, 12, PLANE, PLANE, (15, 1), 1, (7, 0), (1, 1), 4),
    LongConv(1, 6, 12, PLANE, SMALL, (3, 5), 2, (1, 2), (1, 1), 4, RELU),
    AdaptiveAvgPool(8, PLANE, SMALL),
    BatchedDense(40, 100, 4, RELU, pictures=3, data_pitch=48, out_pitch=100),
    Binary("add", 8, PLANE, PLANE, PLANE),
    Binary("multiply", 8, PLANE, PLANE, PLANE, True, CLIP),
    Conv2d(1, 3, 12, PLANE, Plane.padded_rows(7, 7, 4), 3, 2, 1, 4),
    Copy((2, 3), (3, 1), (1, 2)),
    Dense(40, 100, 4, RELU),
    Depthwise(*WINDOW),
    Depthwise(*WINDOW, CLIP),
    Regions(33, PLANE, SMALL, "max", 16),
    Regions(5, PLANE, SMALL, "align", 16),
    BinPlanes(5, PLANE, SMALL, 16),
    RegionDetections(64, 96, 3, 20, 10, 16, 16, 64, 256, 0.05, 0.3, 10),
    RegionPixels(60, 64, Plane.padded(1, 20, 4)),
    Detections.of((64, 96), 3, (2, 6), [SMALL, PLANE], [SMALL, SMALL], 0.01, 0.5, 20, 10),
    GenericConv(1, 3, 8, PLANE, SMALL, (3, 5), (2, 2), (1, 2)),
    GenericLRN(8, PLANE, PLANE, 5, 2, 1e-4, 0.5, 1.0),
    GenericPool("avg", 8, PLANE, SMALL, (3, 3), (2, 2), (1, 1, 1, 1)),
    GenericPool("max", 8, PLANE, SMALL, (3, 3), (2, 2), (1, 1, 1, 1)),
    GlobalAvgPool(48, PLANE, 4),
    GlobalPool("max", 8, PLANE),
    GlobalPool("avg", 8, PLANE),
    GroupedSoftmax(6, 4, SMALL, SMALL),
    Pad(8, 8, SMALL, PLANE, (3, 3), mode="edge"),
    Pointwise(3, 20, 40, PLANE, 4),
    Pointwise(3, 20, 40, PLANE, 4, RELU, True, True),
    Reshuffled(3, 20, 40, PLANE, 4, shuffle_groups=40),
    Resize(8, SMALL, PLANE, "nearest"),
    Resize(8, SMALL, PLANE, "bilinear"),
    Scale(8, PLANE, PLANE),
    Softmax(8, PLANE, PLANE, True),
    Unary(8, PLANE, PLANE, CLIP),
    ValidAvgPool(*WINDOW),
    WindowPool(*WINDOW),
    WindowPool(*WINDOW, kind="avg"),
    Pointwise(3, 20, 40, PLANE, 4, RELU, scaled=True),
    Strewn(3, 20, 40, PLANE, 4, RELU, sources=60, targets=240),
    StrewnDepthwise(*WINDOW, sources=12),
    Depthwise(6, PLANE, PLANE, 3, 1, 2, 4, dilation=2),
    StrewnDepthwise(6, PLANE, PLANE, 3, 1, 2, 4, sources=12, dilation=2),
    Strewn(3, 20, 40, PLANE, 4, RELU, True, sources=60, targets=240, others=240),
    Winograd(1, 4, 24, PLANE, Winograd.plane(14, 14, 3, 4), 3, 1, 4),
    Copy((2, 3), (3, 1), (1, 2), out_dtype="float16"),
    Conv2d(1, 3, 12, PLANE, Plane.padded_rows(7, 7, 8), 3, 2, 1, 8, dtype="float16", data_dtype="float32"),
    Dense(40, 100, 4, RELU, weights="float16"),
    Pointwise(3, 20, 40, Plane.padded(14, 14, 8), 8, dtype="float16"),
    Int8Pointwise(3, 20, 40, BYTES, 16, "sdot", dtype="int8"),
    Int8Pointwise(3, 20, 40, BYTES, 16, "sdot", True, dtype="int8"),
    Int8Pointwise(3, 20, 40, BYTES, 16, "sdot", True, scaled=True, dtype="int8"),
    Int8Pointwise(3, 20, 40, BYTES, 16, "sdot", short=True, dtype="int8"),
    Int8Strewn(3, 20, 40, BYTES, 16, "sdot", sources=60, targets=240, dtype="int8"),
    Int8Matrix(3, 20, 40, BYTES, 16, "smmla", dtype="int8"),
    Int8StrewnMatrix(3, 20, 40, BYTES, 16, "smmla", sources=60, targets=240, dtype="int8"),
    Int8Window(*BYTE_WINDOW, "smull", dtype="int8"),
    Int8StrewnWindow(*BYTE_WINDOW, "smull", sources=12, dtype="int8"),
    Int8Stem(1, 1, 12, Plane.dense(14, 14), Plane.padded_rows(7, 7, 16), 3, 2, 1, 16, dot="vnni512", dtype="uint8"),
    Int8Stem(1, 3, 12, Plane.dense(14, 14), Plane.padded_rows(7, 7, 16), 3, 2, 1, 16, dot="smull", dtype="int8"),
    Int8GlobalAvgPool(48, BYTES, 16, dtype="int8"),
    Int8Dense(40, 100, 4, dot="sdot", dtype="int8"),
    Int8InnerDense(40, 100, 4, dot="sdot", dtype="int8"),
    Int8InnerDense(40, 100, 4, dot="sdot", entries=1024, dtype="int8"),
    Int8Attention(48, BYTES, BYTES, dtype="int8"),
    Int8Attention(48, BYTES, BYTES, True, dtype="int8"),
    Int8Table(48, BYTES, BYTES, dtype="int8"),
    Int8Table(48, BYTES, BYTES, "vbmi", dtype="uint8"),
    Int8Table(48, BYTES, BYTES, "avx2", dtype="int8"),
    Int8Add(48, BYTES, BYTES, BYTES, dtype="int8"),
    Int8Conv(2, 3, 12, BYTES, Plane.padded_rows(7, 7, 16), 3, 2, 1, 16, channels=10, dot="sdot", dtype="int8"),
    Int8GenericConv(2, 3, 8, BYTES, SMALL, (3, 5), (2, 2), (1, 2), dtype="int8"),
    Int8GenericPool("avg", 8, BYTES, SMALL, (3, 3), (2, 2), (1, 1, 1, 1), dtype="int8"),
    Int8AdaptiveAvgPool(8, BYTES, SMALL, dtype="int8"),
    Int8Resize(8, BYTES, SMALL, "nearest", dtype="int8"),
    Int8Resize(8, BYTES, SMALL, "bilinear", dtype="int8"),
    Int8LRN(8, BYTES, BYTES, 5, 2, dtype="int8"),
    Int8Entry(3, BYTES, BYTES, dtype="int8"),
    Int8Exit(3, BYTES, BYTES, dtype="int8"),
    Int8BatchedDense(40, 100, 4, dot="sdot", dtype="int8", pictures=3, data_pitch=64, out_pitch=100),
    WindowPool(*BYTE_WINDOW, kind="max", dtype="int8"),
]


def test_a_text_names_its_kernel():
    """The inverse for every kernel that there is; no two have the same text, or the same label."""
    kernels = {k for k in vars(schedules).values() if isinstance(k, type) and issubclass(k, Workload)}
    assert {type(workload) for workload in EACH} == kernels - {Workload}
    for workload in EACH:
        assert workload_of(task_of(workload)) == workload
        assert label_of(task_of(workload)) == label(workload)
    assert len({task_of(workload) for workload in EACH}) == len({label(workload) for workload in EACH}) == len(EACH)


def test_all_scratch_is_each_thread_s_own_or_none_is():
    """As `emit_team` gives a thread one piece of memory for all of a call's."""
    for workload in EACH:
        scratch = {operand.name for operand in workload.operands() if operand.role == SCRATCH}
        assert {*workload.own_scratch} in (set(), scratch), workload


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[]",
        "{}",
        '{"op":"dense"}',
        '{"op":"nothing"}',
        '{"op":[]}',
        '{"op":"copy","extents":7}',
        '{"op":"dense","inputs":null,"outputs":{},"lanes":4}',
        "Pointwise(groups=2",
    ],
)
def test_texts_that_name_no_kernel_are_their_own_label(text):
    assert label_of(text) == text


@dataclass(frozen=True)
class Adds(Workload):
    name = "adds"

    def definition(self):
        @T.prim_func(private=True, s_tir=True)
        def adds(data: T.Buffer((64,), "float32"), out: T.Buffer((64,), "float32")):
            for i in range(64):
                with T.sblock("out"):
                    vi = T.axis.spatial(64, i)
                    out[vi] = data[vi] + T.float32(1)

        return adds

    def schedule(self, sch, knobs):
        (loop,) = sch.get_loops(sch.get_sblock("out"))
        sch.split(loop, [None, knobs["pixels"]])


@dataclass(frozen=True)
class Renamed(Adds):
    def definition(self):
        @T.prim_func(private=True, s_tir=True)
        def sums(numbers: T.Buffer((64,), "float32"), result: T.Buffer((64,), "float32")):
            for position in range(64):
                with T.sblock("out"):  # a comment
                    where = T.axis.spatial(64, position)
                    result[where] = numbers[where] + T.float32(1)

        return sums


@dataclass(frozen=True)
class Vectors(Adds):
    def schedule(self, sch, knobs):
        super().schedule(sch, knobs)
        sch.vectorize(sch.get_loops(sch.get_sblock("out"))[-1])


@dataclass(frozen=True)
class Grown(Adds):
    new: int = 0


def test_names_and_comments_change_no_version():
    assert version(Renamed(), {"pixels": 8}, "x") == version(Adds(), {"pixels": 8}, "x")


def test_schedules_knobs_and_options_change_the_version():
    different = [(Adds(), 8, "x"), (Vectors(), 8, "x"), (Adds(), 4, "x"), (Adds(), 8, "y")]
    assert len({version(workload, {"pixels": pixels}, options) for workload, pixels, options in different}) == 4


def test_new_fields_change_no_text_at_their_defaults():
    assert task_of(Grown()) == task_of(Adds()) != task_of(Grown(1))


def test_an_option_of_llvm_changes_the_digest(monkeypatch):
    spec = {"triple": "aarch64-linux-gnu", "cpu": "cortex-a72", "features": ["+neon"]}
    before = generation.digest_of_options(**spec)
    assert generation.digest_of_options(**{**spec, "features": ["+dotprod", "+neon"]}) != before
    usual = generation.with_options
    monkeypatch.setattr(generation, "with_options", lambda target: {**usual(target), "opt-level": 1})
    assert generation.digest_of_options(**spec) != before


def test_versions_are_the_same_in_another_process():
    code = "for w in EACH: print(version(w, w.knobs(resolve('cortex-a72').machine), 'x'))"
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.records.test_keys import *\n{code}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    machine = resolve("cortex-a72").machine
    assert done.stdout.split() == [version(workload, workload.knobs(machine), "x") for workload in EACH]
    assert len(set(done.stdout.split())) == len(EACH)


@pytest.mark.parametrize(
    "name",
    [
        "cortex-a72",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("cortex-a76", "snapdragon-820")),
    ],
)
def test_the_shipped_records_apply(name):
    """All of them, on the target that they are of."""
    target = resolve(name)
    records = store.Records.read(store.FOLDER, target)
    assert records.all and not records.notices
    assert all(records.fits(record, workload_of(record.task)) for record in records.all)
    for workload in map(workload_of, {record.task for record in records.all}):
        assert records.best(workload, tuning_space(workload, target.machine)) is not None
    assert not records.stale


def test_cycles_of_another_model_do_not_match(tmp_path):
    """A record says which model priced it; measured ones apply whatever the model is."""
    workload, target = Scale(4, SMALL, SMALL), resolve("cortex-a53")
    records = store.Records.read(tmp_path, target)
    models = {name: store.Records.read(tmp_path, resolve(name)).model for name in ("cortex-a72", "arm", "armv7")}
    assert records.model == "cortex-a53 1, misses 1"
    assert models == {"cortex-a72": "llvm, misses 1", "arm": "llvm, misses 1", "armv7": ""}
    knobs = workload.knobs(target.machine)
    version = records.version(workload, knobs)
    old = store.Record(task_of(workload), version, store.tvm_version(), records.target, "estimated", knobs, 1.0, 2.0)
    records.all = [old]
    assert records.best(workload, [knobs]) is None and not records.known(workload, "estimated", [knobs])
    assert records.ignored([workload]) == {"by another model of the core": 1}
    for applies in (dataclasses.replace(old, model=records.model), dataclasses.replace(old, kind="measured")):
        records.all = [old, applies]
        assert records.best(workload, [knobs]) == applies
    (line,) = [store.to_line(dataclasses.replace(old, model=records.model))]
    assert line["model"] == records.model and "model" not in store.to_line(old)


def test_the_shipped_records_of_this_machine_s_kind_are_of_the_present_code():
    """`native` is another processor elsewhere; the records say of which they are."""
    records = store.read_file(store.FOLDER / "native" / store.FILE)
    assert records.all and all(row["applies"] for row in command.rows_of("native", records, Remembered()))


def test_tables_of_integers_are_nothing_to_tune():
    """A network of many operators: kernels whose weights are no floats have no choice of knobs."""
    net = NetworkBuilder((16, 16))
    x = net.resize("resize", net.relu("relu", net.conv("conv", 0, 8, 3, 1, 1)), (24, 20), mode="nearest")
    x = net.softmax("softmax", net.add("add", x, net.sigmoid("sigmoid", x)))
    net.flatten("flat", net.conv("last", x, 8))
    tasks = tasks_of([net.network("many")], resolve("cortex-a72"))
    assert tasks and "resize" not in {task.workload.name for task in tasks}
    assert all(operand.dtype == "float32" for task in tasks for operand in task.workload.operands())


def test_versions_are_remembered_as_long_as_the_code_stays(tmp_path, monkeypatch):
    from tvm_shufflenet.records import remembered as module

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    workload, machine = Scale(4, SMALL, SMALL), resolve("cortex-a72").machine
    task, knobs = task_of(workload), tuning_space(workload, machine)[0]

    def asks() -> int:
        with remembered() as kernels:
            assert kernels.version(task, knobs, "options") == version(workload, knobs, "options")
            assert kernels.version("no kernel", {}, "options") == ""
            assert kernels.label(task) == label(workload)
        return kernels.asked

    assert [asks(), asks()] == [3, 0]
    monkeypatch.setattr(module, "_digest_of_code", lambda: "of other code")
    assert [asks(), asks()] == [3, 0]
    (file,) = (tmp_path / "tvm_shufflenet").iterdir()
    for damaged in (b"", b"[]", b'{"code": "of other code", "labels": [], "versions": {}}', file.read_bytes()[:-9]):
        file.write_bytes(damaged)
        assert [asks(), asks()] == [3, 0]
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder: nothing is kept, and nothing fails
    assert [asks(), asks()] == [3, 3]
