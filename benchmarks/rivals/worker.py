"""An engine in a process of its own: several in one bring OpenMP libraries and thread settings that collide.

`python -m benchmarks.rivals.worker export ENGINE FOLDER PRECISION MODEL HEIGHT WIDTH CLASSES` writes the engine's
files of a network, `... serve ENGINE FOLDER PRECISION VARIANT` loads them and waits: for each line with a number
it makes one inference that is not counted and that number of timed ones, and answers the seconds of one.
Answers are JSON, one a line; what engines print themselves goes to stderr.  The process inherits the
core it may use; while it waits it sleeps, and of several threads stands still, as threads that wait for the next
inference would take the processors of the engine that is timed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network, network
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.detection import joined_outputs
from tvm_shufflenet.measure.rounds import Timer

from . import FP32, NO_DETECTORS, PROJECT, RIVALS
from . import THREADS as COUNT
from .passing import parameters_for

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# One thread does not spin while another engine is timed.  Several wait for each other as their engine likes best: the
# process stands still between its turns.
WAITING = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"} if COUNT == 1 else {}
ENVIRONMENT = {**dict.fromkeys(THREADS, str(COUNT)), **WAITING}
SHAPE, INPUT, OUTPUT = "shape.json", "input.raw", "output.raw"
FIRST = 3  # inferences before the logits are taken: an engine that spoils its own input shows it


class Failed(UserError):
    """An engine that cannot run a network: the message says why."""


class Worker:
    """An engine that has loaded a network; `logits` is what it computed from the picture.

    Raises `Failed` where the engine raises an exception or crashes.
    """

    def __init__(self, engine: str, folder: Path, variant: str = "", precision: str = FP32):
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            _argv("serve", engine, folder, precision, variant), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            bufsize=0, **_surroundings(folder, self._stderr),
        )  # fmt: skip
        try:
            self._answer()
        except Failed:
            self.close()
            raise
        self.logits = np.fromfile(folder / OUTPUT, np.float32)
        self._stand_still()

    @property
    def pid(self) -> int:
        return self._process.pid

    def timer(self, number: int) -> Timer:
        """A turn of `number` inferences, behind one that is not counted."""

        def turn() -> float:
            self._signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):  # it crashed: there is no answer then
                self._process.stdin.write(b"%d\n" % number)
            seconds = self._answer()["seconds"]
            self._stand_still()
            return seconds

        return turn

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            stream.close()

    def _stand_still(self) -> None:
        """Returns when each of several threads has stopped: the signal alone arrives some time later."""
        if COUNT > 1:
            self._signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # `Popen` learns of an end itself

    def _signal(self, what: signal.Signals) -> None:
        """To an engine of several threads and its children; one that has crashed is found out by its answer."""
        if COUNT > 1:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, what)

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if line:
            return _accept(line)
        raise Failed(_ending(self._process.wait(), self._stderr))


def export(engine: str, net: Network, folder: Path, precision: str = FP32) -> None:
    """Writes the engine's files and the picture into the folder; `Failed` where the engine cannot."""
    if engine in RIVALS and (why := RIVALS[engine].lacks.get(precision)):
        raise Failed(why)
    if engine in RIVALS and net.detector and not RIVALS[engine].detectors:
        raise Failed(NO_DETECTORS)
    with tempfile.TemporaryFile() as stderr:
        argv = _argv("export", engine, folder, precision, net.name, *net.size, net.classes)
        done = subprocess.run(argv, stdout=subprocess.PIPE, **_surroundings(folder, stderr))
        if not done.stdout:
            raise Failed(_ending(done.returncode, stderr))
    _accept(done.stdout)


def picture(shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers in place of a preprocessed picture: float32."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _argv(*arguments) -> list[str]:
    return [sys.executable, "-m", __name__, *map(str, arguments)]


def _surroundings(folder: Path, stderr) -> dict:
    # A session of its own: Ctrl-C ends the rounds in an orderly way, see `stop_on_interrupt`.
    environment = {**os.environ, **ENVIRONMENT, "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    return {"stderr": stderr, "env": environment, "cwd": PROJECT, "start_new_session": True}


def _accept(line: bytes) -> dict:
    answer = json.loads(line)
    if "error" in answer:
        raise Failed(answer["error"])
    return answer


def _ending(status: int, stderr) -> str:
    """How a process ended that gave no answer."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return ": ".join([f"it crashed, {how}", *lines[-1:]])


def _precise(precision: str) -> dict[str, str]:
    """What modules of engines are told of a precision; those that have no other than fp32 ask for nothing."""
    return {} if precision == FP32 else {"precision": precision}


def _serve(answer, engine: str, folder: str, precision: str, variant: str) -> None:
    shape = json.loads(Path(folder, SHAPE).read_text())
    image = np.fromfile(Path(folder, INPUT), np.float32).reshape(shape)
    load = importlib.import_module(f"{__package__}.{engine}").load
    run = load(Path(folder), image, *filter(None, [variant]), **_precise(precision))
    for _ in range(FIRST):
        logits = run()
    logits = joined_outputs(logits) if isinstance(logits, list | tuple) else logits  # a detector's four arrays
    np.asarray(logits, np.float32).tofile(Path(folder, OUTPUT))
    answer({"ready": True})
    gc.disable()
    for line in sys.stdin:
        turns = range(int(line))
        run()
        start = time.perf_counter()
        for _ in turns:
            run()
        answer({"seconds": (time.perf_counter() - start) / len(turns)})


def _export(
    answer, engine: str, folder: str, precision: str, name: str, height: str, width: str, classes: str
) -> None:  # fmt: skip
    net = network(name, (int(height), int(width)), int(classes))
    shape = net.layers[0].shape
    Path(folder).mkdir(parents=True, exist_ok=True)
    image = picture(shape)
    image.tofile(Path(folder, INPUT))
    Path(folder, SHAPE).write_text(json.dumps(shape))
    importlib.import_module(f"{__package__}.{engine}").export(
        net, parameters_for(net, image), Path(folder), **_precise(precision)
    )
    answer({"exported": True})


def main(argv: list[str]) -> None:
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what: dict) -> None:
        channel.write(json.dumps(what) + "\n")
        channel.flush()

    try:
        {"serve": _serve, "export": _export}[argv[0]](answer, *argv[1:])
    except Exception as error:
        lines = str(error).strip().splitlines()
        answer(
            {"error": lines[-1] if isinstance(error, UserError) else f"{type(error).__name__}: {(lines or [''])[0]}"}
        )
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
