"""Tuning over TVM RPC: a real tracker, and real servers in emulated AArch64."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import pytest

from tvm_shufflenet.cli import doctor, tune
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.records import store
from tvm_shufflenet.records.store import Records, knob_key
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.tuning.trials import Link
from tvm_shufflenet.tuning.tuner import Tuner

from .. import emulator
from .test_tune import FAULTS, MODEL, Faulty
from .test_tune import small_task as native_task

pytestmark = pytest.mark.emulator
ARM = resolve("arm")


def small_task():
    import dataclasses

    from tvm_shufflenet.schedules import tuning_space

    task = native_task()
    workload = dataclasses.replace(task.workload, lanes=ARM.lanes)
    return dataclasses.replace(task, workload=workload, space=tuning_space(workload, ARM.machine))


@pytest.fixture(scope="module")
def tracker():
    """The address of a tracker with two boards of the key "arm"."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(emulator.tracker())
        for _ in range(2):
            stack.enter_context(emulator.rpc_server(address, key="arm"))
        yield "{}:{}".format(*address)


def test_doctor(tracker, capsys):
    doctor.main(["--rpc", tracker])
    lines = capsys.readouterr().out.splitlines()
    steps = ["connect", "compile", "upload", "run and compare", "time"]
    assert [line.partition(":")[0] for line in lines[:-1]] == steps
    assert "emulated" in lines[0] and lines[-1] == "all is well; 2 boards there, one of them checked"


@pytest.mark.parametrize("arguments, says", [
    (["--key", "rpi4"], r"no board with the key 'rpi4' at the tracker .*: its keys are arm"),
    (["--target", "armv7", "--key", "arm"], "connect: the board does not run code for arm; compile for the arch"),
    (["--target", "native", "--key", "arm"], "connect: the board does not run code for x86_64"),
])  # fmt: skip
def test_doctor_names_what_is_wrong(tracker, arguments, says):
    with pytest.raises(UserError, match=says):
        doctor.main(["--rpc", tracker, *arguments])


def test_emulated_boards_are_not_measured_unasked(tracker, tmp_path):
    with pytest.raises(UserError, match="wall time there says nothing, so nothing is tuned; use --estimate"):
        tune.main([MODEL, "--rpc", tracker, "--records", str(tmp_path)])


def test_two_boards_behind_a_tracker(tracker, tmp_path, capsys):
    """Both are used; the records are applied; the network's output on the board is still right."""
    logs, file = tmp_path / "logs", tmp_path / "figures.json"
    arguments = [MODEL, "--size", "64", "--rpc", tracker, "--op", "depthwise", "--trials", "4", "--emulated",
                 "--records", str(logs), "--json", str(file)]  # fmt: skip
    assert tune.main(arguments) == 0
    found, printed = json.loads(file.read_text()), capsys.readouterr().out
    each = [int(n) for n in printed.rpartition("turns of 2 boards: ")[2].splitlines()[0].split(", ")]
    assert len(each) == 2 and min(each) > 0
    assert found["kind"] == "emulated" and "emulated" in found["where"]
    records = store.read_file(logs / "arm" / store.FILE)
    assert {r.kind for r in records.all} == {"emulated"} and not any(r.failure for r in records.all)
    (whole,) = found["networks"]
    assert whole["kernels"]["tuned_by"] == {"emulated": len(found["tasks"])} and len(found["tasks"]) > 2
    assert whole["checked"] and whole["before"] is None  # compared with this machine, and not timed


@contextlib.contextmanager
def one_board(task, records, faults=(), **options):
    """A tracker, and a tuner of its one board; gives the function that starts a server for it."""
    with emulator.tracker() as address, contextlib.ExitStack() as stack:
        link = Link("{}:{}".format(*address), "arm", 60, 16)

        def serve():
            server = contextlib.ExitStack()
            server.enter_context(emulator.rpc_server(address, key="arm"))
            return stack.enter_context(server)

        server = serve()
        place = stack.enter_context(Faulty(ARM, [link], timeout=240, **options))
        place.target_of_zig, place.faults = "aarch64-linux-gnu", dict(faults)
        place.open()
        place.kind = "emulated"
        yield Tuner(place, records, len(task.space)), server, serve


@pytest.mark.slow
def test_candidates_that_hang_crash_or_are_wrong_on_a_board(tmp_path):
    task, records = small_task(), Records.read(tmp_path, ARM)
    task.space = task.space[:5]
    faults = {knob_key(knobs): body for knobs, (body, _) in zip(task.space[1:4], FAULTS.values())}
    with one_board(task, records, faults) as (tuner, _, _):
        (result,) = tuner.run([task])
    by_knobs = records.known(task.workload, "emulated", task.space)
    for knobs, (_, reason) in zip(task.space[1:4], FAULTS.values()):
        assert by_knobs[knob_key(knobs)].failure.startswith(reason)
    assert result.trials == 5 and len(result.failures) == 3 and result.best


def wait_for(condition, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_board_that_dies(tmp_path, comes_back):
    """It is waited for, and its candidate is tried again; one that stays away ends the run, which keeps all."""
    task, records = small_task(), Records.read(tmp_path, ARM)
    task.space = task.space[:8]
    ended = []
    with one_board(task, records, wait=60 if comes_back else 1) as (tuner, server, serve):

        def tune_it():
            try:
                ended.append(tuner.run([task]))
            except UserError as error:
                ended.append(error)

        thread = threading.Thread(target=tune_it)
        thread.start()
        wait_for(lambda: len(records.all) >= 2)
        server.close()
        if comes_back:
            time.sleep(1)
            serve()
        thread.join(600)
        assert not thread.is_alive()
    if comes_back:
        ((result,),) = ended
        assert result.trials == 8 and not result.failures and result.best
    else:
        (error,) = ended
        assert "is lost" in str(error) and "run again to go on" in str(error)
        assert 2 <= len(records.all) < 12 and not any(r.failure for r in records.all)
