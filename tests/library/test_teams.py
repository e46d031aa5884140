"""Several threads, one picture: the bits of one thread, whatever the threads do; and what goes wrong is told."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT, TEAM_FUNCTIONS_OF, loading, processors
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.library.processors import allowed_processors
from tvm_shufflenet.library.teams import aligned

from ..conftest import ROOT

LIBRARY = ROOT / "tvm_shufflenet" / "library"
SMALL = {"classes": 10, "size": (64, 64)}
# One of each family, with what only they have: tables, Winograd's kernels, several branches, attention.
FAMILIES = [
    "shufflenet-v1-1x-g3", "shufflenet-v1-0.25x-g3-se", "shufflenet-v2-0.5x", "shufflenet-v2-0.5x-residual",
    "mobilenet-v1-0.25", "mobilenet-v2-0.35", "alexnet", "squeezenet-1.1", "googlenet", "condensenet-74-g8",
]  # fmt: skip
SAMPLED = {"shufflenet-v1-1x-g3", "shufflenet-v2-0.5x-residual", "alexnet", "condensenet-74-g8"}
TEAM_ERROR, NULL_ERROR, ALIGNMENT_ERROR = -8, -1, -2


@pytest.fixture(scope="module")
def small(build):
    return build("shufflenet-v1-0.25x-g3", team=True, **SMALL).path


def standard_picture(path):
    shape = read_manifest(path)["inputs"][0]["shape"]
    return np.random.default_rng(0).standard_normal(shape, "float32")


def assert_equal_for(path, counts, runs=1):
    data = standard_picture(path)
    (expected,) = tvm_shufflenet.load(path).run(data)
    for threads in counts:
        library = tvm_shufflenet.load(path, threads, oversubscribe=True)
        for _ in range(runs):
            assert np.array_equal(library.run(data)[0].view("uint32"), expected.view("uint32")), threads


def test_equal_to_the_bit(small):
    assert_equal_for(small, range(1, 17))


def test_camera_pictures_run_through_the_team(small, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (80, 70, 3), "uint8")
    team = tvm_shufflenet.load(small, 3, oversubscribe=True)
    runs = []
    monkeypatch.setattr(team, "run", lambda *args, run=team.run, **options: runs.append(1) or run(*args, **options))
    assert np.array_equal(team.run_image(picture), tvm_shufflenet.load(small).run_image(picture))
    assert runs


def test_equal_to_the_bit_in_half_precision(build):
    assert_equal_for(build("shufflenet-v1-0.25x-g3", team=True, precision="fp16", **SMALL).path, (2, 3, 5))


@pytest.mark.slow
@pytest.mark.parametrize("model", [
    model if model in SAMPLED else pytest.param(model, marks=pytest.mark.full) for model in FAMILIES
])  # fmt: skip
def test_equal_to_the_bit_for_every_family(build, model):
    assert_equal_for(
        build(model, size=(96, 96) if model != "alexnet" else (224, 224), team=True).path, (2, 3, 4, 7, 16), 3
    )


def test_what_the_library_says(small, build):
    assert read_manifest(small)["threads"] == 64
    assert set(TEAM_FUNCTIONS_OF[FORMAT]) <= set(read_elf(small).exported)
    without = build("shufflenet-v1-0.25x-g3", **SMALL).path
    assert "threads" not in read_manifest(without)
    assert not set(TEAM_FUNCTIONS_OF[FORMAT]) & set(read_elf(without).exported)
    assert np.array_equal(*(tvm_shufflenet.load(path)(standard_picture(path)) for path in (small, without)))
    with pytest.raises(UserError, match="is not made for threads=2: build it anew"):
        tvm_shufflenet.load(without, 2, oversubscribe=True)


def test_bad_numbers_of_threads(small):
    for threads in (0, -1, 65, 2.0, "2", True):
        with pytest.raises(UserError, match="expected 1 to 64"):
            tvm_shufflenet.load(small, threads)
    many = allowed_processors() + 1
    with pytest.raises(UserError, match=f"threads={many}: this process may use {many - 1} processor"):
        tvm_shufflenet.load(small, many)


def test_taskset_counts(small):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allowed_processors() == 1
        with pytest.raises(UserError, match="may use 1 processor, and"):
            tvm_shufflenet.load(small, 2)
    finally:
        os.sched_setaffinity(0, before)


def test_control_groups_count(tmp_path):
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "a/b").mkdir(parents=True)
    (root / "cpu/c").mkdir(parents=True)
    own.write_text("0::/a/b\n3:cpu,cpuacct:/c\n5:memory:/c\nnonsense\n")
    assert processors._quotas(own, root) == []
    (root / "a/cpu.max").write_text("250000 100000\n")
    (root / "a/b/cpu.max").write_text("max 100000\n")
    (root / "cpu/c/cpu.cfs_quota_us").write_text("-1\n")
    (root / "cpu/c/cpu.cfs_period_us").write_text("100000\n")
    assert processors._quotas(own, root) == [2.5]
    (root / "cpu/c/cpu.cfs_quota_us").write_text("150000\n")
    assert sorted(processors._quotas(own, root)) == [1.5, 2.5]
    assert processors._quotas(tmp_path / "missing", root) == []


def test_callers_come_one_after_the_other(small):
    library, data, failures = tvm_shufflenet.load(small, 2, oversubscribe=True), standard_picture(small), []
    pictures = [data, 2 * data]
    expected = [tvm_shufflenet.load(small)(picture) for picture in pictures]

    def work(which):
        for _ in range(20):
            if not np.array_equal(library(pictures[which]), expected[which]):
                failures.append(which)

    callers = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


def test_signals_do_not_end_a_crowded_team(small):
    """Its threads sleep while they wait, which a signal would end: the handler runs all the same, after the run."""
    data, expected, seen = standard_picture(small), tvm_shufflenet.load(small)(standard_picture(small)), []
    crowded = tvm_shufflenet.load(small, allowed_processors() + 2, oversubscribe=True)
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        assert all(np.array_equal(crowded(data), expected) for _ in range(50))
        while not seen:
            time.sleep(0.001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_forked_process_has_threads_of_its_own(small):
    library, data = tvm_shufflenet.load(small, 2, oversubscribe=True), standard_picture(small)
    expected = library(data)
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    process = fork.Process(target=lambda: answers.put(library(data)))
    process.start()
    process.join(60)
    assert process.exitcode == 0 and np.array_equal(answers.get(), expected)


# ------------------------------------------------------------------------------------------ from C


class Functions:
    """The functions of a library, as C calls them."""

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        pointer = ctypes.c_void_p
        for name in ("tsn_team_bytes", "tsn_workspace_bytes"):
            getattr(self.library, name).restype = ctypes.c_size_t
        self.library.tsn_run_team.argtypes = [*[pointer] * 4, ctypes.c_int]
        self.library.tsn_team_init.argtypes = self.library.tsn_team_parts.argtypes = [pointer, ctypes.c_int]
        self.library.tsn_team_wait.argtypes = [pointer, pointer, pointer]
        self.library.tsn_team_begin.argtypes = [pointer] * 5
        self.library.tsn_team_work.argtypes = [pointer, ctypes.c_int, ctypes.c_int]
        self.library.tsn_run_team_outputs.argtypes = self.library.tsn_run_team.argtypes
        self.data = standard_picture(path)
        self.workspace = aligned(self.library.tsn_workspace_bytes())
        self.output = np.full(10, np.nan, "float32")

    def team(self, threads):
        memory = aligned(self.library.tsn_team_bytes(threads))
        memory[:] = 255  # what it held does not matter
        assert self.library.tsn_team_init(memory.ctypes.data, threads) == 0
        return memory

    def run(self, team, thread):
        arrays = (self.data, self.output, self.workspace, team)
        return self.library.tsn_run_team(*(array.ctypes.data for array in arrays), thread)

    def run_all(self, team, threads):
        statuses = [None] * threads

        def work(thread):
            statuses[thread] = self.run(team, thread)

        others = [threading.Thread(target=work, args=(thread,)) for thread in range(1, threads)]
        for other in others:
            other.start()
        work(0)
        for other in others:
            other.join()
        return statuses


def test_parts_from_a_counter(small):
    functions = Functions(small)
    expected = tvm_shufflenet.load(small)(functions.data)[0]
    team = functions.team(3)
    give_way = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p)
    functions.library.tsn_team_wait(team.ctypes.data, give_way, None)
    for parts in (1, 4, 64, 2):
        assert functions.library.tsn_team_parts(team.ctypes.data, parts) == 0
        functions.output[:] = np.nan
        assert functions.run_all(team, 3) == [0, 0, 0]
        assert np.array_equal(functions.output, expected)
    for parts in (0, -1, 65):
        assert functions.library.tsn_team_parts(team.ctypes.data, parts) == TEAM_ERROR


def test_threads_stay_between_pictures(small):
    """Who looks for the next picture is not woken for it; who has looked as often as was asked is."""
    functions = Functions(small)
    library, team, statuses = functions.library, functions.team(2), []
    outputs, asleep = (ctypes.c_void_p * 1)(functions.output.ctypes.data), (ctypes.c_int32 * 1)()
    job = functions.data.ctypes.data, outputs, functions.workspace.ctypes.data, team.ctypes.data
    expected = tvm_shufflenet.load(small)(functions.data)[0]

    def start(looks):
        work = threading.Thread(target=lambda: statuses.append(library.tsn_team_work(team.ctypes.data, 1, looks)))
        work.start()
        return work

    def run():
        functions.output[:] = np.nan
        assert library.tsn_run_team_outputs(*job, 0) == 0 and np.array_equal(functions.output, expected)

    assert library.tsn_team_begin(*job, asleep) == 1 and asleep[0] == 1
    other = start(looks=1 << 30)
    run()
    for _ in range(20):
        assert library.tsn_team_begin(*job, asleep) == 0
        run()
    give_up = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda context: 1)
    library.tsn_team_wait(team.ctypes.data, ctypes.cast(give_up, ctypes.c_void_p), None)
    assert library.tsn_team_begin(*job, asleep) == 0  # and nobody runs as the first thread
    other.join()
    assert statuses.pop() == TEAM_ERROR and library.tsn_team_begin(*job, asleep) == TEAM_ERROR

    assert library.tsn_team_init(team.ctypes.data, 2) == 0
    assert library.tsn_team_begin(*job, asleep) == 1
    other = start(looks=0)
    run()
    other.join()
    assert statuses.pop() == 0 and library.tsn_team_begin(*job, asleep) == 1
    for thread, looks in ((0, 0), (2, 0), (1, -1)):
        assert library.tsn_team_work(team.ctypes.data, thread, looks) == TEAM_ERROR
    assert library.tsn_team_begin(*job, None) == NULL_ERROR


def test_libraries_whose_threads_cannot_stay(small, monkeypatch):
    """As those of number 5: each picture wakes all threads."""
    monkeypatch.setitem(loading.TEAM_FUNCTIONS_OF, FORMAT, TEAM_FUNCTIONS_OF[FORMAT - 1])
    assert_equal_for(small, [3], runs=5)


def test_a_thread_that_never_arrives(small):
    """The others give up as the wait function says; who comes late is sent away, until the team is made anew."""
    functions = Functions(small)
    team, asked = functions.team(3), []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    def wait(context):
        asked.append(context)
        return len(asked) >= 50

    functions.library.tsn_team_wait(team.ctypes.data, ctypes.cast(wait, ctypes.c_void_p), 4711)
    assert functions.run_all(team, 2) == [TEAM_ERROR, TEAM_ERROR]
    assert len(asked) >= 50 and set(asked) == {4711}
    assert functions.run(team, 2) == TEAM_ERROR
    assert functions.library.tsn_team_init(team.ctypes.data, 3) == 0
    give_way = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p)
    functions.library.tsn_team_wait(team.ctypes.data, give_way, None)
    assert functions.run_all(team, 3) == [0, 0, 0]
    assert np.array_equal(functions.output, tvm_shufflenet.load(small)(functions.data)[0])


def test_what_is_no_team(small):
    functions = Functions(small)
    library, team = functions.library, functions.team(2)
    assert [library.tsn_team_bytes(threads) for threads in (0, -1, 65)] == [0, 0, 0]
    one, two, three = (library.tsn_team_bytes(threads) for threads in (1, 2, 3))
    assert one < two and three - two == two - one and not (one % 64 or two % 64)
    assert library.tsn_team_init(None, 2) == NULL_ERROR
    assert library.tsn_team_init(team.ctypes.data + 4, 2) == ALIGNMENT_ERROR
    assert [library.tsn_team_init(team.ctypes.data, threads) for threads in (0, 65)] == [TEAM_ERROR, TEAM_ERROR]
    assert [functions.run(team, thread) for thread in (-1, 2)] == [TEAM_ERROR, TEAM_ERROR]
    never_made = aligned(two)
    never_made[:] = 0
    assert functions.run(never_made, 0) == TEAM_ERROR
    assert library.tsn_team_wait(never_made.ctypes.data, None, None) == TEAM_ERROR
    addresses = [array.ctypes.data for array in (functions.data, functions.output, functions.workspace, team)]
    for i in range(3):
        assert library.tsn_run_team(*addresses[:i], None, *addresses[i + 1 :], 0) == NULL_ERROR
    assert library.tsn_run_team(*addresses[:2], addresses[2] + 16, addresses[3], 0) == ALIGNMENT_ERROR


def test_a_team_of_tvms_threads(small):
    """In a process of its own: TVM makes its threads once."""
    code = f"""
import numpy as np, tvm, tvm_shufflenet
from tvm_shufflenet.library.interface import main_shapes
library = tvm_shufflenet.load({str(small)!r})
data = np.random.default_rng(0).standard_normal(library.inputs[0].shape, "float32")
module = tvm.runtime.load_module({str(small)!r})
arrays = [tvm.runtime.tensor(data), *(tvm.runtime.empty(s, "float32") for s in main_shapes(library.manifest)[1:])]
team = tvm.runtime.empty((1 << 20,), "float32")
for threads in (1, 2, 1, 2):
    module["team"](*arrays, team, threads)
    assert np.array_equal(arrays[1].numpy(), library(data)), threads
for wrong in ((*arrays, team, 64), (*arrays, team, 0), (*arrays, team, 65), arrays, (*arrays, arrays[1], 2)):
    try:
        module["team"](*wrong)
    except Exception as error:
        print(str(error).splitlines()[-1])
"""
    environment = {**os.environ, "TVM_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 5, done.stderr
    for line, said in zip(lines, ("fewer threads", "1 to 64", "1 to 64", "other arguments", "expected float32 arrays")):
        assert said in line


def test_a_team_of_one(small):
    functions = Functions(small)
    assert functions.run(functions.team(1), 0) == 0
    assert np.array_equal(functions.output, tvm_shufflenet.load(small)(functions.data)[0])


@pytest.fixture(scope="module")
def stress(tmp_path_factory):
    """The program of team_stress.c, with a thread sanitizer."""
    program, compiler = tmp_path_factory.mktemp("stress") / "team_stress", shutil.which("cc")
    source = Path(__file__).with_name("team_stress.c")
    options = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=thread", f"-I{LIBRARY}"]
    if not compiler or subprocess.run([compiler, *options, source, "-o", program, "-lpthread"]).returncode:
        pytest.skip("there is no C compiler with a thread sanitizer")
    return program


@pytest.mark.parametrize("threads, parts, runs, spins", [
    (2, 1, 100, None), (3, 4, 100, None), (2, 1, 100, 50), (3, 4, 100, 0),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in [
        (4, 5, 1000, None), (16, 2, 500, None), (4, 5, 300, 50), (16, 2, 100, 0),
    ]),
    *(pytest.param(*each, marks=pytest.mark.full) for each in [
        (4, 1, 10_000, None), (4, 5, 10_000, None), (4, 1, 10_000, 50), (4, 5, 10_000, 0),
    ]),
])  # fmt: skip
def test_no_race_under_stress(stress, threads, parts, runs, spins):
    """With random pauses: the sanitizer finds no race, and all numbers are those of one thread.

    With `spins` the threads stay in the library from run to run, and sleep when they have looked for one so often.
    """
    arguments = [threads, parts, runs, 1, *([] if spins is None else [spins])]
    done = subprocess.run([stress, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0 and "equal" in done.stdout and not done.stderr, done.stdout + done.stderr[:2000]


POOL = r"""
#include <pool.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  int threads = atoi(argv[2]), cores[TSN_THREADS_MAX], pinned = argc > 3;
  for (int i = 0; i < threads - 1; ++i) cores[i] = pinned ? atoi(argv[3 + i % (argc - 3)]) : 0;
  void *library = dlopen(argv[1], RTLD_NOW);
  size_t (*bytes)(void) = dlsym(library, "tsn_workspace_bytes");
  int (*run)(const float *, float *, void *) = dlsym(library, "tsn_run");
  void *workspace = aligned_alloc(TSN_ALIGNMENT, bytes());
  float *input = calloc(3 * 64 * 64, sizeof(float)), expected[10], found[10];
  Pool *pool = pool_start(library, threads, pinned ? cores : 0);
  if (!pool) return 2;
  for (int picture = 0; picture < 20; ++picture) {
    input[picture] = (float)picture;
    if (run(input, expected, workspace) || pool_run(pool, input, (float *[]){found}, workspace)) return 3;
    if (memcmp(expected, found, sizeof found)) return 4;
  }
  pool_stop(pool);
  return puts("equal") < 0;
}
"""


@pytest.mark.parametrize("more,pinned", [(0, False), (0, True), (3, False), (3, True)])
def test_the_pool_in_c(small, tmp_path, more, pinned):
    """Of as many threads as there are processors and of more, which sleep; pinned to processors and not."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler")
    (tmp_path / "main.c").write_text(POOL)
    options = ["-Wall", "-Wextra", "-Werror", "-I", LIBRARY, "-I", ROOT / "examples" / "c"]
    subprocess.run([compiler, *options, tmp_path / "main.c", "-o", tmp_path / "main", "-ldl", "-lpthread"], check=True)
    threads, cores = max(2, allowed_processors()) + more, sorted(os.sched_getaffinity(0)) if pinned else []
    argv = [tmp_path / "main", small, *map(str, (threads, *cores))]
    assert subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout == "equal\n"
