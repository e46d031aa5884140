"""Ctrl-C and SIGTERM: the exit status, no traceback, and nothing that is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tvm_shufflenet.cli.command import run
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.signals import Interruptible, Terminated

from ..boards.test_rpc import free_port, listener
from ..conftest import ROOT
from .test_commands import without_progress

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SMALL = ["shufflenet-v1-0.25x-g3", "--size", "64"]
# Raises the signal when a module is imported or a function called: the same moment, however busy the machine is.
AT = """
import builtins, os, runpy, signal, sys
import tvm_shufflenet
number, where, command, *arguments = sys.argv[1:]
module, _, name = where.partition(":")

def strike(*_):
    sys.settrace(None)
    os.kill(os.getpid(), int(number))

def trace(frame, event, argument):
    code = frame.f_code
    if code.co_name == (name or "<module>") and module in code.co_filename:
        strike()

sys.settrace(trace)
sys.argv[0] = "-m"
del sys.modules["tvm_shufflenet"]
import tvm_shufflenet
sys.argv = [command, *arguments]
runpy.run_module(f"tvm_shufflenet.{command}", run_name="__main__", alter_sys=True)
"""


def end_at(where: str, number: int, command: str, *arguments, folder: Path) -> subprocess.CompletedProcess:
    """A command that gets a signal at "MODULE" (its import) or "MODULE:FUNCTION", with temporary files in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", AT, str(int(number)), where, command, *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


IMPORTS = ["tvm_shufflenet/cli/build", "numpy/__init__", "tvm/relax/expr"]
WORK = ["tvm_shufflenet/cli/build:main", "pipeline:compile_sizes", "link:_call", "files:write_bytes"]
QUICK = ["numpy/__init__", "pipeline:compile_sizes"]


@pytest.mark.parametrize("where, number, status", [
    pytest.param(where, *SIGNALS[second], marks=() if where in QUICK and not second else pytest.mark.slow)
    for second, places in enumerate((IMPORTS + WORK, IMPORTS[1:2] + WORK[1:3])) for where in places
])  # fmt: skip
def test_build_ends_at_any_moment(tmp_path, where, number, status):
    scratch, output = tmp_path / "scratch", tmp_path / "output"
    scratch.mkdir()
    done = end_at(where, number, "build", *SMALL, "--target", "native", "-o", output, folder=scratch)
    assert done.returncode == status and not without_progress(done.stderr), done
    assert not list(scratch.iterdir()) and {path.suffix for path in output.glob("**/*")} <= {".so", ".h", ".json"}


@pytest.fixture
def started(tmp_path):
    """Starts a command with temporary files in a folder; what it leaves there and its children must end with it."""
    (tmp_path / "scratch").mkdir()
    processes = []

    def start(command, *arguments, ready):
        process = subprocess.Popen(
            [sys.executable, "-m", f"tvm_shufflenet.{command}", *map(str, arguments)], cwd=ROOT, text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "scratch")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        ready(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ends(process, number, status, scratch, children=()):
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == status and "Traceback" not in told, told
    _, alive = psutil.wait_procs(children, 60)
    assert not alive and not list(scratch.iterdir())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("number, status", SIGNALS)
def test_tune_ends_with_its_workers(tmp_path, started, number, status):
    """While kernels are compiled and timed: the first kernel's name is printed before."""
    told = []
    process = started(
        "tune", *SMALL, "--records", tmp_path / "logs", "--op", "depthwise", "--no-network",
        ready=lambda process: told.append(process.stdout.readline()),
    )  # fmt: skip
    assert "kernels of" in told[0]
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    ends(process, number, status, tmp_path / "scratch", children)


# The signal comes when the worker exists and has done nothing yet.
WHILE_A_WORKER_STARTS = """
import os, subprocess, sys
from tvm_shufflenet.cli.command import run
from tvm_shufflenet.tuning.workers import Worker

class Struck(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print(self.pid, flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))

subprocess.Popen = Struck
sys.exit(run(lambda: Worker().call(os.getpid, timeout=60)))
"""


@pytest.mark.parametrize("number, status", SIGNALS)
def test_a_signal_while_a_worker_starts(number, status):
    done = subprocess.run(
        [sys.executable, "-c", WHILE_A_WORKER_STARTS, str(int(number))], cwd=ROOT, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == status and done.stderr == ""
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)], 60
    )
    assert not alive


@pytest.mark.parametrize("number, status, command", [
    pytest.param(*pair, command, marks=() if (command, pair) == ("doctor", SIGNALS[1]) else pytest.mark.slow)
    for pair in SIGNALS for command in ("doctor", "compare", "profile")
])  # fmt: skip
def test_who_waits_for_a_board_that_says_nothing(tmp_path, started, command, number, status):
    accepted = threading.Event()

    def answer(connection):
        accepted.set()
        while connection.recv(100):
            pass

    with listener(answer) as address:
        process = started(command, "--rpc", address, "--target", "arm", "--timeout", 600,
                          ready=lambda process: accepted.wait(120))  # fmt: skip
        assert ends(process, number, status, tmp_path / "scratch") == ""


def test_a_signal_that_a_library_swallows_comes_again(capfd):
    """An exception in a destructor is dropped by the interpreter."""

    class Careless:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def main():
        Careless()
        threading.Event().wait(60)
        return 0

    assert run(main) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number, status", SIGNALS)
@pytest.mark.parametrize("error", [UserError, RuntimeError, OSError])
def test_other_exceptions_that_libraries_make_of_it(number, status, error, capfd):
    def main():
        try:
            signal.raise_signal(number)
        except BaseException as caught:
            raise error(type(caught).__name__) from None

    assert run(main) == status
    assert capfd.readouterr().err == ""


def test_handlers_are_as_before(monkeypatch):
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    assert run(lambda: None) == 0
    with pytest.raises(Terminated), Interruptible() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert signals.status == 143 and [signal.getsignal(number) for number, _ in SIGNALS] == before


def test_ignored_signals_stay_ignored():
    """As `nohup` and shells in the background start programs."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + (
        "from tvm_shufflenet.cli.command import run\nprint(run(lambda: signal.raise_signal(signal.SIGINT)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "0"


def test_a_child_that_was_forked_ends_at_once():
    """As the processes that share the pictures of `evaluate`."""

    def main():
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run(main) == 143


def test_nothing_listens_is_told_in_a_line(capfd):
    from tvm_shufflenet.cli import doctor

    assert run(lambda: doctor.main(["--rpc", f"127.0.0.1:{free_port()}"])) == 2
    assert capfd.readouterr().err.count("\n") == 1
