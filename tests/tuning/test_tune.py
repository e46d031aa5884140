"""Tuning on this machine: records, the search, workers that fail, and what builds make of it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import records as records_command
from tvm_shufflenet.cli import tune
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.loading import load
from tvm_shufflenet.measure.beside_peak import Silent
from tvm_shufflenet.measure.clocked import seconds_of
from tvm_shufflenet.measure.place import Place
from tvm_shufflenet.records import keys, store
from tvm_shufflenet.records.kernels import label, label_of
from tvm_shufflenet.records.store import Record, Records, knob_key
from tvm_shufflenet.schedules import (
    IDENTITY,
    LRN,
    RELU,
    Conv2d,
    Dense,
    Depthwise,
    GlobalAvgPool,
    LongConv,
    Plane,
    Pointwise,
    WindowPool,
    Winograd,
    tuning_space,
)  # fmt: skip
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.generation import digest_of_options
from tvm_shufflenet.tuning import in_place, trials
from tvm_shufflenet.tuning.hints import add_hints
from tvm_shufflenet.tuning.judges import Outcome, Timed
from tvm_shufflenet.tuning.search import Search, cost_model
from tvm_shufflenet.tuning.tasks import Task, tasks_of
from tvm_shufflenet.tuning.tuner import FINAL_ROUNDS, FINALISTS, ROUNDS, Tuner
from tvm_shufflenet.tuning.workers import Crashed, TimedOut, Worker

from ..conftest import ROOT, picture, relative_error
from ..kernel_runs import run_kernel
from ..schedules.test_kernels import MACHINES, conv_reference, from_plane, into_plane

NATIVE = resolve("native")
OPTIONS = digest_of_options(**store._describe(NATIVE))
MODEL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)


def task_of(workload, *shapes) -> Task:
    return Task(workload, list(shapes), tuning_space(workload, NATIVE.machine), ["net"], 1)


def small_task() -> Task:
    return task_of(Pointwise(2, 12, 24, Plane.dense(8, 16), NATIVE.lanes, RELU), (48, 12, 1, 1), (48,))


def record(task: Task, knobs: dict, relative: float = 1.0, **fields) -> Record:
    options = {"kind": "measured", "rounds": ROUNDS, "target": store.digest(NATIVE)} | fields
    version = options.pop("version", None) or keys.version(task.workload, knobs, OPTIONS)
    return Record(task.key, version, options.pop("tvm", store.tvm_version()), knobs=knobs,
                  value=None if options.get("failure") else 1e-6 * relative, default=1e-6, **options)  # fmt: skip


@pytest.fixture
def records(tmp_path) -> Records:
    return Records.read(tmp_path / "logs", NATIVE)


# -------------------------------------------------------------------------------------- records


def test_a_torn_line_is_dropped_with_a_notice(records):
    task = small_task()
    for knobs in task.space[:3]:
        records.append(record(task, knobs))
    with records.path.open("ab") as file:
        file.write(b'{"task":"Pointwise(groups=2')  # killed in the middle
    found = store.read_file(records.path)
    assert len(found.all) == 3 and "last line is incomplete" in found.notices[0]
    found.append(record(task, task.space[3]))
    again = store.read_file(records.path)
    assert [r.knobs for r in again.all] == task.space[:4] and not again.notices


def test_lines_that_are_no_records_are_counted(records):
    records.append(record(small_task(), {"rows": 1}, version="0" * 12))
    with records.path.open("a") as file:
        file.write(
            'nonsense\n[]\n{"task":"x"}\n' + json.dumps({**store.to_line(records.all[0]), "kind": "guessed"}) + "\n"
        )
    found = store.read_file(records.path)
    assert len(found.all) == 1 and "4 lines are no records" in found.notices[0]


def test_a_full_disk_leaves_whole_lines(records):
    """A limit on the size of files stands in for the disk: the write ends in the middle of a line."""
    task = small_task()
    records.append(record(task, task.space[0]))
    whole = records.path.read_bytes()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, len(whole) + 20))
            records.append(record(task, task.space[1]))
        except UserError as error:
            status = 0 if "the records before are safe" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert records.path.read_bytes() == whole


def test_a_measured_record_wins_over_a_faster_estimate(records):
    task = small_task()
    a, b, c = task.space[1:4]
    records.all = [record(task, a, 0.5, kind="estimated", rounds=1), record(task, b, 0.9)]
    assert records.best(task.workload, task.space).knobs == b
    assert records.best(task.workload, [a]).kind == "estimated"
    records.all.append(record(task, c, failure="wrong result"))
    assert records.best(task.workload, [c]) is None


def test_many_turns_are_trusted_more_than_a_lucky_few(records):
    task = small_task()
    lucky, good = task.space[1:3]
    records.all = [record(task, lucky, 0.5), record(task, good, 0.8)]
    assert records.best(task.workload, task.space).knobs == lucky
    records.all += [record(task, lucky, 0.95, rounds=FINAL_ROUNDS), record(task, good, 0.81, rounds=FINAL_ROUNDS)]
    assert records.best(task.workload, task.space).knobs == good


@pytest.mark.parametrize("field, value, reason", [
    ("version", "0" * 12, "another version"), ("tvm", "0.1", "another version"),
    ("target", "0" * 12, "another processor"),
])  # fmt: skip
def test_records_that_do_not_fit_are_ignored_and_counted(records, field, value, reason):
    task = small_task()
    records.all = [record(task, task.space[1], 0.5, **{field: value})]
    assert records.best(task.workload, task.space) is None
    ((why, count),) = records.ignored([task.workload]).items()
    assert reason in why and count == 1


def test_knobs_that_are_not_legal_any_more_are_ignored(records):
    task = small_task()
    version = record(task, task.default).version
    illegal = {**task.default, "rows": 999}, {"rows": 1}
    records.all = [record(task, knobs, 0.5, version=version) for knobs in illegal]
    assert records.best(task.workload, task.space) is None


# ---------------------------------------------------------------------------------------- tasks


def planes(height, width):
    return Plane.padded(height, width, NATIVE.lanes)


def kernels(lanes: int) -> dict:
    """One of each for machines of so many lanes: channels and plane that it reads and writes, shapes of weights."""

    def plane(height, width):
        return Plane.padded(height, width, lanes)

    def window(cls, height, width, stride, pad, *shapes, **fields):
        before, after = plane(height, width), plane(*((n + 2 * pad - 3) // stride + 1 for n in (height, width)))
        return cls(6, before, after, 3, stride, pad, lanes, **fields), (6, before), (6, after), *shapes

    small, wide, tall, even = plane(7, 7), plane(5, 5), plane(13, 13), plane(16, 16)
    tiles, image = Winograd.plane(13, 13, 3, lanes), Plane.dense(33, 35)
    stem, large = Plane.padded_rows(17, 18, lanes), plane(93, 89)
    filters = (6, 1, 3, 3), (6,)
    return {
        "grouped": (Pointwise(3, 20, 40, small, lanes, RELU, True, True), (60, small), (120, small),
                    (120, 20, 1, 1), (120,)),
        "wide": (Pointwise(1, 300, 64, wide, lanes), (300, wide), (64, wide), (64, 300, 1, 1), (64,)),
        "strips": (Pointwise(1, 8, 12, large, lanes), (8, large), (12, large), (12, 8, 1, 1), (12,)),
        "stem": (Conv2d(1, 3, 12, image, stem, 3, 2, 1, lanes), (3, image), (12, stem), (12, 3, 3, 3), (12,)),
        "long": (LongConv(1, 40, 13, tall, tall, (1, 9), 1, (0, 4), (1, 1), lanes), (40, tall), (13, tall),
                 (13, 40, 1, 9), (13,)),
        "winograd": (Winograd(1, 4, 24, tall, tiles, 3, 1, lanes), (4, tall), (24, tiles), (24, 4, 3, 3), (24,)),
        "dense": (Dense(40, 100, lanes), (40, None), (100, None), (100, 40), (100,)),
        "depthwise": window(Depthwise, 14, 28, 1, 1, *filters),
        "stride 2": window(Depthwise, 28, 28, 2, 1, *filters),
        "max": window(WindowPool, 55, 55, 2, 0),
        "avg": window(WindowPool, 28, 28, 2, 1, kind="avg"),
        "mean": (GlobalAvgPool(48, small, lanes), (48, small), (48, None)),
        "lrn": (LRN(12, even.size // lanes, lanes, 5, 1e-4, 2.0), (12, even), (12, even)),
    }  # fmt: skip


def reference(workload, x, parameters, residual) -> np.ndarray:
    """What a kernel computes, by torch and numpy."""
    import torch
    from torch.nn import functional

    match workload:
        case Pointwise(groups=groups):
            found = conv_reference(x, *parameters, groups, 1, 0)
        case Depthwise(channels=groups) | Conv2d(groups=groups) | Winograd(groups=groups) | LongConv(groups=groups):
            found = conv_reference(x, *parameters, groups, workload.stride, workload.pad)
        case WindowPool(kind=kind):
            pool = {"max": functional.max_pool2d, "avg": functional.avg_pool2d}[kind]
            found = pool(torch.from_numpy(x), workload.kernel, workload.stride, workload.pad).numpy()
        case LRN(size=size, alpha=alpha, k=k):
            found = functional.local_response_norm(torch.from_numpy(x[None]), size, alpha, 0.75, k)[0].numpy()
        case GlobalAvgPool():
            return x.mean((1, 2))
        case Dense():
            return parameters[0] @ x + parameters[1]
    if getattr(workload, "shuffle", False):  # of what the convolution gives; the residual is shuffled already
        found = found.reshape(groups, -1, *found.shape[1:]).swapaxes(0, 1).reshape(found.shape)
    if residual is not None:
        found = found + residual
    return np.maximum(found, 0) if getattr(workload, "activation", IDENTITY) == RELU else found


@pytest.mark.parametrize("name", kernels(4))
@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("count", [1, pytest.param(8, marks=pytest.mark.slow)], ids=["one", "eight"])
def test_every_candidate_is_a_sound_schedule(machine, name, count):
    """Some of each space, seeded, against numpy; `test_kernels` does the same with the defaults."""
    workload, before, after, *shapes = kernels(machine.lanes)[name]
    space = tuning_space(workload, machine)
    assert space[0] == workload.knobs(machine) and 2 <= len(space) <= 4000
    rng = np.random.default_rng(0)
    channels, pixels = before
    shape = (channels, pixels.height, pixels.width) if pixels else (channels,)
    parameters = workload.examples(shapes, rng)
    x = rng.standard_normal(shape, "float32")
    outputs, out_pixels = after
    residual = getattr(workload, "residual", False)
    other = rng.standard_normal((outputs, out_pixels.height, out_pixels.width), "float32") if residual else None
    expected = reference(workload, x, parameters, other)
    for index in rng.choice(np.arange(1, len(space)), min(count, len(space) - 1), replace=False):
        found = run_kernel(
            workload, machine, into_plane(x, pixels) if pixels else x, *parameters,
            residual=None if other is None else into_plane(other, out_pixels), knobs=space[index],
        )  # fmt: skip
        found = from_plane(found, outputs, out_pixels) if out_pixels else found
        assert relative_error(found, expected) < 1e-5, space[index]


@pytest.fixture
def bench_of_its_own():
    """What is open in this process, where a test times as the child of `tune` does, is closed before and after."""
    trials._forget()
    yield
    trials._forget()


@pytest.mark.parametrize("name", ["grouped", "winograd", "stride 2", "mean"])
def test_candidates_are_compared_with_the_default(name, tmp_path, bench_of_its_own):
    """Where planes have padding, which kernels leave as they please, too."""
    workload, _, _, *shapes = kernels(NATIVE.lanes)[name]
    task = task_of(workload, *shapes)
    for index in (0, -1):
        trials.build(task, task.space[index], NATIVE, tmp_path / f"{index}.so")
    bench = trials.open_bench(None, task, NATIVE, tmp_path / "0.so")
    bench.check(bench.load(tmp_path / "-1.so", task.space[-1]))  # raises where it differs


def test_equal_kernels_are_one_task():
    from tvm_shufflenet.architectures import network

    networks = [network("shufflenet-v1-1x-g3"), network("shufflenet-v1-1x-g3-noshuffle")]
    one, both = (tasks_of(nets, NATIVE) for nets in (networks[:1], networks))
    assert len({task.key for task in both}) == len(both) < 2 * len(one)
    assert any(len(task.networks) == 2 for task in both)
    assert {task.workload.name for task in tasks_of(networks, NATIVE, "depthwise")} == {"depthwise"}
    assert all(task.workload.groups > 1 for task in tasks_of(networks, NATIVE, "grouped"))
    assert [label_of(task.key) for task in both] == [label(task.workload) for task in both]
    assert len({task.label for task in both}) == len(both)


# --------------------------------------------------------------------------------------- search


def test_search_finds_what_is_fast_and_proposes_only_legal_knobs():
    task = task_of(Pointwise(3, 40, 80, planes(14, 14), NATIVE.lanes), (240, 40, 1, 1), (240,))
    legal = set(map(knob_key, task.space))

    def apart(knobs, others):
        return abs(knobs["rows"] - others["rows"]) + abs(knobs["vectors"] - others["vectors"])

    best = max(task.space, key=lambda knobs: apart(knobs, task.default))

    def cost(knobs):
        return 1 + apart(knobs, best)

    search, tried = Search(task, NATIVE, 32, cost_model(), seed=1), {}
    search.remember([(task.default, cost(task.default))])
    for _ in range(2):
        proposed = search.propose()
        assert proposed and set(map(knob_key, proposed)) <= legal
        new = {knob_key(k): float(cost(k)) for k in proposed}
        assert not new.keys() & tried.keys()
        tried |= new
        search.learn({key: None if key == next(iter(new)) else value for key, value in new.items()})
    assert min(tried.values()) < cost(task.default)
    again = Search(task, NATIVE, 32, cost_model(), seed=1)
    again.remember([(task.default, cost(task.default))])
    assert again.propose()


@pytest.mark.parametrize("name", kernels(4))
def test_every_kernel_can_be_searched(name):
    """All that the search proposes could be scheduled, and has features for the cost model."""
    workload, _, _, *shapes = kernels(NATIVE.lanes)[name]
    task, model = task_of(workload, *shapes), cost_model()
    search = Search(task, NATIVE, 16, model)
    search.remember([(task.default, 1.0)])
    proposed = search.propose()
    assert len(proposed) >= min(8, len(task.space) // 2)
    search.learn({knob_key(knobs): 1.0 for knobs in proposed})


# -------------------------------------------------------------------------------------- workers


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_worker_survives_what_it_runs(worker):
    assert worker.call(abs, -3, timeout=300) == 3
    with pytest.raises(Crashed, match="SIGSEGV"):
        worker.call(signal.raise_signal, signal.SIGSEGV, timeout=300)
    with pytest.raises(TimedOut, match=r"within 0\.2 s"):
        worker.call(time.sleep, 60, timeout=0.2)
    with pytest.raises(UserError, match="ZeroDivisionError"):
        worker.call(divmod, 1, 0, timeout=300)
    assert worker.call(abs, -3, timeout=300) == 3


FAULTS = {
    "hang": ("while (1) __asm__ volatile(\"\");", "timed out"),
    "crash": ("__builtin_trap();", "crashed"),
    "nothing": ("", "wrong result"),
}  # fmt: skip


def faulty(body: str, path: Path, target: str = "x86_64-linux-gnu") -> None:
    """A library whose `main` does something else than it should."""
    source = path.with_suffix(".c")
    source.write_text(f"int __tvm_ffi_main(void *s, const void *a, int n, void *r) {{ {body} return 0; }}\n")
    argv = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        target,
        "-shared",
        "-nostdlib",
        "-O1",
        "-fno-sanitize=all",
    ]
    subprocess.run([*argv, str(source), "-o", str(path)], check=True)


class Faulty(Timed):
    """Puts faulty libraries in the place of some candidates.

    Those that hang are not waited for long, and on a board have a session of their own, which ends soon; all others
    have as long as it takes on a busy machine.
    """

    faults: dict = {}
    target_of_zig = "x86_64-linux-gnu"

    def _measure(self, task, default, library, knobs, rounds):
        usual = self.timeout
        if self.faults.get(knob_key(knobs)) == FAULTS["hang"][0]:
            (board,) = self.boards
            if board.link:
                board.worker.close()
            self.timeout = 1 - (board.limit - usual)
        try:
            return super()._measure(task, default, library, knobs, rounds)
        finally:
            self.timeout = usual

    def library(self, task, knobs):
        path = super().library(task, knobs)
        if isinstance(path, Path) and knob_key(knobs) in self.faults:
            faulty(self.faults[knob_key(knobs)], path, self.target_of_zig)
        return path


@pytest.mark.skipif(NATIVE.arch != "x86_64", reason="the faulty libraries are for x86-64")
def test_candidates_that_hang_crash_or_are_wrong(records):
    task = small_task()
    task.space = task.space[:6]
    with Faulty(NATIVE, [None], timeout=120) as place:
        place.open()
        place.faults = {knob_key(k): body for k, (body, _) in zip(task.space[1:4], FAULTS.values())}
        (result,) = Tuner(place, records, 6).run([task])
    by_knobs = records.known(task.workload, "measured", task.space)
    for knobs, (_, reason) in zip(task.space[1:4], FAULTS.values()):
        assert by_knobs[knob_key(knobs)].failure.startswith(reason)
    assert result.trials == 6 and len(result.failures) == 3 and result.timed_out == 1
    assert result.best and not result.best.failure and result.best.rounds == FINAL_ROUNDS
    assert records.all[0].knobs == task.default  # before all others

    class Untouchable:
        kind, where, target = "measured", "", NATIVE
        stop = place.stop

        def run(self, *_):
            raise AssertionError("what is known was tried again")

    (again,) = Tuner(Untouchable(), Records.read(records.path.parents[1], NATIVE), 6).run([task])
    assert again.new == 0 and again.best == result.best and len(again.failures) == 3


class Scripted:
    """A place where every candidate takes as long as the default; `meanwhile` is called behind each batch."""

    kind, where, target = "measured", "", NATIVE

    def __init__(self, meanwhile=lambda: None):
        self.stop, self.tried, self.meanwhile = threading.Event(), [], meanwhile

    def run(self, task, candidates, rounds):
        self.tried += candidates if rounds == ROUNDS else []
        for knobs in candidates:
            yield Outcome(knobs, 1e-6, 1e-6)
        self.meanwhile()


@pytest.mark.parametrize("trials", [1000, 40], ids=["all", "searched"])
def test_two_runs_share_what_each_has_tried(records, trials):
    """Behind each batch of the one the other does a batch, with the same file: nothing is tried twice."""
    task, folder = small_task(), records.path.parents[1]
    task.space = task.space[:70]
    there = Scripted()
    other = Tuner(there, Records.read(folder, NATIVE), trials, seed=1)

    def step():
        there.stop.clear()
        there.meanwhile = there.stop.set
        other.run([task])

    here = Scripted(step)
    (result,) = Tuner(here, records, trials).run([task])
    tried = [knob_key(knobs) for knobs in here.tried + there.tried]
    assert len(tried) == len(set(tried)) and here.tried and there.tried
    assert result.trials >= min(trials, len(task.space)) and result.new == len(here.tried)
    assert len(store.read_file(records.path).all) >= len(tried)


def test_what_is_good_elsewhere_is_tried_behind_the_default(tmp_path):
    """For `arm` what the cores that stand for it would have, then the best of other targets; never what is illegal."""
    arm, a72 = resolve("arm"), resolve("cortex-a72")
    workload = Pointwise(2, 12, 24, Plane.dense(8, 16), arm.lanes, activation=RELU)
    task = Task(workload, [(48, 12, 1, 1), (48,)], tuning_space(workload, arm.machine), ["net"], 1)
    usual = workload.knobs(a72.machine)
    best, worse = [knobs for knobs in task.space if knobs not in (task.default, usual)][:2]
    elsewhere = Records.read(tmp_path, a72)
    found = ((best, 0.5), (worse, 0.9), ({**best, "rows": 999}, 0.1))
    for knobs, relative in found[:2]:
        elsewhere.append(record(task, knobs, relative, target=elsewhere.target, kind="estimated", version="old"))
    Records.read(tmp_path, resolve("cortex-a76")).append(record(task, *found[2], target="another", version="old"))
    Records.read(tmp_path, arm).append(record(task, worse, 0.1, target=store.digest(arm)))
    add_hints([task], tmp_path, arm)
    assert usual != task.default and task.hints == [usual, best]

    place = Scripted()
    Tuner(place, Records.read(tmp_path / "new", arm), 3).run([task])
    assert place.tried == [task.default, usual, best]
    add_hints([task], tmp_path / "none", a72)
    assert task.hints == []


def test_compile_errors_are_failures(records):
    task = small_task()
    task.space = [task.default, {**task.default, "rows": -1}]
    with Timed(NATIVE, [None]) as place:
        place.open()
        found = list(place.run(task, task.space[1:], ROUNDS))
    assert [outcome.failure.split(":")[0] for outcome in found] == ["compile error"]


# ------------------------------------------------------------------------------------- in place


def test_what_is_timed_in_place(records):
    task = small_task()
    assert in_place.finalists_of(task, records) == []
    default, lucky, *others = (record(task, knobs, rounds=FINAL_ROUNDS) for knobs in task.space[:7])
    records.all = [default, record(task, lucky.knobs, 0.1), record(task, task.space[8], failure="crashed")]
    assert in_place.finalists_of(task, records) == []  # nothing but the default was timed in enough turns
    records.all += [dataclasses.replace(r, value=r.default * (0.9 + 0.01 * n)) for n, r in enumerate(others)]
    found = in_place.finalists_of(task, records)
    assert found[0] == default and [r.knobs for r in found[1:]] == [r.knobs for r in others[:FINALISTS]]


def test_places_in_the_network_decide(records, monkeypatch):
    """Knobs that looked fast alone, by records that are made up here, take twice the default's time in the network."""
    net = network(MODEL, SIZE)
    tasks = tasks_of([net], NATIVE, "depthwise")[:2]
    others = [task.space[-1] for task in tasks]
    for task, knobs in zip(tasks, others):
        records.append(record(task, task.default, rounds=FINAL_ROUNDS))
        records.append(record(task, knobs, 0.5, rounds=FINAL_ROUNDS))
        assert records.best(task.workload, task.space).knobs == knobs
    read = []

    def seconds(turns, calls):
        assert np.isfinite(seconds_of(turns, calls)[0]).all()
        read.append(len(read) + 1)  # the default's clocked copy is the first
        return np.full((len(turns), calls), 1e-6 * read[-1]), None, None

    monkeypatch.setattr(in_place, "seconds_of", seconds)
    known = len(records.all)
    kept = in_place.compete(net, tasks, NATIVE, records, Place(NATIVE.arch), Silent())
    assert read == [1, 2] and kept == 2 and len(records.all) == known + 4
    for task, knobs in zip(tasks, others):
        best = records.best(task.workload, task.space)
        assert best.knobs == task.default and best.rounds == in_place.ROUNDS and f", in {MODEL}" in best.where
        assert best.value == pytest.approx(1e-6)  # of one call
        assert records.known(task.workload, "measured", task.space)[knob_key(knobs)].relative == pytest.approx(2)
    again = Records.read(records.path.parents[1], NATIVE)
    assert in_place.compete(net, tasks, NATIVE, again, Place(NATIVE.arch), Silent()) is None


# --------------------------------------------------------------------------- builds and commands


@pytest.fixture(scope="module")
def tuned_folder(tmp_path_factory):
    """Records of other knobs than the defaults for every kernel of a small network."""
    folder = tmp_path_factory.mktemp("logs")
    records = Records.read(folder, NATIVE)
    records.describe_target(NATIVE)
    for number, task in enumerate(tasks_of([network(MODEL, SIZE, 10)], NATIVE)):
        kind = "estimated" if number == 0 else "measured"
        records.append(record(task, task.space[-1], 0.9, kind=kind))
        records.append(record(task, task.space[-1], 0.1, version="0" * 12))
    return folder


def built(folder, records) -> tuple:
    found = build_library(BuildOptions(MODEL, "native", SIZE, 10, output=folder, records=records))
    return found, load(found.path)(picture(SIZE))


def test_builds_use_records_and_say_so(tuned_folder, tmp_path):
    from tvm_shufflenet.cli.build import report

    default, expected = built(tmp_path / "default", None)
    tuned, found = built(tmp_path / "tuned", tuned_folder)
    kernels = tuned.manifest["kernels"]
    assert default.manifest["kernels"]["tuned"] == 0
    assert kernels["tuned"] == kernels["total"] - len(kernels["nothing_to_tune"]) > 5
    assert kernels["tuned_by"] == {"estimated": 1, "measured": kernels["tuned"] - 1}
    assert default.path.read_bytes() != tuned.path.read_bytes()
    assert relative_error(found, expected) < 1e-5
    text = report(tuned)
    assert f"{kernels['tuned']} of {kernels['total']} kernels tuned (1 by estimate, " in text
    assert f"{kernels['tuned']} tuning records ignored: by another version" in text


def test_records_command(tuned_folder, tmp_path, capsys):
    folder = tmp_path / "merged"
    records_command.main(["merge", "--records", str(folder), str(tuned_folder)])
    records_command.main(["merge", "--records", str(folder), str(tuned_folder)])
    lines = capsys.readouterr().out.splitlines()
    count = len(store.read_file(tuned_folder / "native" / store.FILE).all)
    assert f"{count} new records" in lines[0] and " 0 new records" in lines[1]
    records_command.main(["prune", "--records", str(folder)])
    assert f"{count // 2} of {count} records kept" in capsys.readouterr().out
    assert store.read_file(folder / "native" / store.FILE).targets  # what the digest stands for is kept
    records_command.main(["show", "--records", str(folder), "--json", str(tmp_path / "shown.json")])
    shown = json.loads((tmp_path / "shown.json").read_text())
    assert len(shown) == count // 2 and all(row["gain"] == pytest.approx(1 / 0.9) for row in shown)
    assert "depthwise" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, says", [
    (["--trials", "0"], "--trials 0: expected 1 or more"),
    (["--estimate", "--rpc", "board:1"], "--estimate needs no board"),
    (["--estimate", "--target", "armv7"], "only AArch64 cores are modelled"),
    (["--target", "cortex-a72"], "expected --rpc HOST:PORT of a board, or --estimate"),
    (["--key", "k"], "give its address with --rpc"),
    (["--emulated"], "name a folder of their own with --records"),
    (["--json", "/no/such/folder/f.json"], "there is no such folder"),
    (["no-such-net"], "no-such-net"),
    (["--rpc", "127.0.0.1:9", "--timeout", "30"], "nothing listens at 127.0.0.1:9"),
])  # fmt: skip
def test_bad_options_of_tune(arguments, says):
    with pytest.raises(UserError, match=re.escape(says)):
        tune.main(arguments)


@pytest.mark.parametrize("arguments, says", [
    (["show", "--records", "/no/such"], "no folder of tuning records"),
    (["merge", "--records", "{logs}", "{logs}"], "merged into"),
    (["show", "--records", "{logs}", "--target", "cortex-a72"], "it has those of native"),
])  # fmt: skip
def test_bad_options_of_records(tuned_folder, arguments, says):
    with pytest.raises(UserError, match=says):
        records_command.main([argument.format(logs=tuned_folder) for argument in arguments])


@pytest.mark.slow
def test_a_killed_run_is_resumed(tmp_path):
    """SIGKILL in the middle: no worker stays, all records are whole, and none of them is tried again."""
    argv = [sys.executable, "-m", "tvm_shufflenet.tune", MODEL, "--size", "64", "--trials", "3", "--op", "depthwise",
            "--records", str(tmp_path / "logs")]  # fmt: skip
    path = tmp_path / "logs" / "native" / store.FILE
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not path.exists() or len(store.read_file(path).all) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    import psutil

    workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, 10)
    assert workers and not alive
    before = store.read_file(path).all
    done = subprocess.run([*argv, "--json", str(tmp_path / "f.json")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = store.read_file(path)
    assert after.all[: len(before)] == before and not after.notices
    found = json.loads((tmp_path / "f.json").read_text())
    first = [r.candidate for r in after.all if r.rounds == ROUNDS]
    assert len(first) == len(set(first))  # nothing twice
    assert found["networks"][0]["kernels"]["tuned"] == len(found["tasks"])
    assert sum(t["trials"] - t["new_trials"] for t in found["tasks"]) == len({r.candidate for r in before})


@pytest.mark.slow
def test_interrupt_keeps_all(tmp_path):
    argv = [sys.executable, "-m", "tvm_shufflenet.tune", MODEL, "--size", "64", "--records", str(tmp_path / "logs")]
    path = tmp_path / "logs" / "native" / store.FILE
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 600
    while not path.exists() or len(store.read_file(path).all) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130 and "run it again to go on" in told and "Traceback" not in told
    assert not store.read_file(path).notices
