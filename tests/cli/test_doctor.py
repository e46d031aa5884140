"""The check of the round trip to a board, step by step, with TVM's RPC server of this machine as the board."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.schedules import IDENTITY
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.tuning import links, trials
from tvm_shufflenet.tuning.trials import Link

from ..boards.test_rpc import daemon_process, wait_for

NATIVE = resolve("native")
STEPS = ["connect", "compile", "upload", "run and compare", "time"]


@pytest.fixture
def board():
    """(process group, address) of a server of its own."""
    with daemon_process("tvm.exec.rpc_server", "--key", "native") as (process, port):
        yield process.pid, wait_for(port)


@pytest.fixture
def link(board):
    trials._forget()  # what other tests left in this process, where the steps are called here
    yield Link(board[1], "native", 10.0)
    trials._forget()


def test_all_is_well(board):
    steps = list(links.round_trip(board[1], None, NATIVE, 10))
    assert [step.what for step in steps] == STEPS
    assert steps[3].found.startswith("differs from numpy by ")


def test_a_library_that_the_board_rejects(link, tmp_path):
    garbage = tmp_path / "kernel.so"
    garbage.write_bytes(b"no library at all" * 100)
    with pytest.raises(UserError, match=r"kernel\.so is not an ELF library|cannot load|no ELF"):
        links._upload(link, NATIVE, garbage)


def test_a_board_that_computes_something_else(link, tmp_path):
    task = links._task(NATIVE)
    other = dataclasses.replace(task, workload=dataclasses.replace(task.workload, activation=IDENTITY))
    trials.build(other, task.default, NATIVE, tmp_path / "kernel.so")
    with pytest.raises(UserError, match="the board computes something else than this machine, by"):
        links._run(link, NATIVE, tmp_path / "kernel.so")


@pytest.mark.parametrize("sent, says", [
    (signal.SIGSTOP, "upload: the board at .* gave no answer within 12 s: it hangs, or the network is very slow"),
    (signal.SIGKILL, "upload: .*"),
])  # fmt: skip
def test_a_board_that_ends_on_the_way(board, sent, says):
    steps = links.round_trip(board[1], None, NATIVE, 3)
    assert [next(steps).what, next(steps).what] == STEPS[:2]
    os.killpg(board[0], sent)
    with pytest.raises(UserError, match=says):
        next(steps)
