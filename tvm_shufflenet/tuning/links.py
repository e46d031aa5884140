"""The boards at an address, and the check that all between here and there works."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..boards.rpc import count_boards
from ..errors import UserError
from ..schedules import RELU, Plane, Pointwise
from ..targets import TargetSpec
from . import trials
from .tasks import Task, example_arrays
from .trials import Link
from .workers import Crashed, TimedOut, Worker

COMPILE_SECONDS = 120
TOLERANCE = 1e-5


def links_to(address: str, key: str | None, target: TargetSpec, timeout: float) -> list[Link]:
    """One for each board: one of an RPC server, all with the key (default: the target's name) of a tracker."""
    link = _link(address, key, target, timeout)
    return [link] * count_boards(address, link.key, timeout)


def _link(address: str, key: str | None, target: TargetSpec, timeout: float) -> Link:
    return Link(address, key or target.name, timeout)


@dataclass(frozen=True)
class Step:
    """A step of the round trip: what was done, what was found, and how many seconds that took."""

    what: str
    found: str
    seconds: float


def round_trip(address: str, key: str | None, target: TargetSpec, timeout: float) -> Iterator[Step]:
    """Compiles a kernel, uploads and runs it, compares and times it; a `Step` as each is done.

    Raises `UserError` with what is wrong at the first step that fails; none takes longer than `timeout`
    seconds, but for the compilation.
    """
    link, worker = _link(address, key, target, timeout), Worker()
    board = f"the board at {address}"
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        library = Path(folder, "kernel.so")
        steps = (
            ("connect", _connect, timeout),
            ("compile", _compile, COMPILE_SECONDS),
            ("upload", _upload, timeout),
            ("run and compare", _run, timeout),
            ("time", _time, timeout),
        )
        try:
            for what, function, limit in steps:
                start = time.monotonic()
                try:
                    # A session takes several steps, each with the time-out.
                    found = worker.call(function, link, target, library, timeout=4 * limit)
                except TimedOut:
                    raise UserError(
                        f"{what}: {board} gave no answer within {4 * limit:g} s: it hangs, or the network is very slow"
                    ) from None
                except Crashed as error:
                    raise UserError(f"{what}: this side of the check ended: {error}") from None
                except UserError as error:
                    raise UserError(f"{what}: {error}") from None
                yield Step(what, found, time.monotonic() - start)
        finally:
            worker.close()


# Each is called in the same worker, one after the other.


def _task(target: TargetSpec) -> Task:
    workload = Pointwise(2, inputs=12, outputs=8, plane=Plane.dense(4, 16), lanes=target.lanes, activation=RELU)
    return Task(workload, [(16, 12, 1, 1), (16,)], [workload.knobs(target.machine)])


def _connect(link: Link, target: TargetSpec, library: Path) -> str:
    name, measurable, emulated = trials.describe(link, target.arch)
    return name + ("" if measurable else ": emulated, so times mean nothing" if emulated else ": not recognised")


def _compile(link: Link, target: TargetSpec, library: Path) -> str:
    task = _task(target)
    trials.build(task, task.default, target, library)
    return f"{library.stat().st_size} bytes for {target.tvm['mcpu']}, {target.arch}"


def _upload(link: Link, target: TargetSpec, library: Path) -> str:
    trials.open_bench(link, _task(target), target, library)
    return "the board has loaded it"


def _run(link: Link, target: TargetSpec, library: Path) -> str:
    task = _task(target)
    bench = trials.open_bench(link, task, target, library)
    try:
        found = bench.output()
    except UserError as error:
        raise UserError(
            f"{error}.  If its server ended, the processor may lack features of {target.name}: "
            f"{' '.join(target.tvm.get('mattr', [])) or target.tvm['mcpu']}"
        ) from None
    weight, bias = example_arrays(task)
    data = bench.data.reshape(2, 12, -1)
    expected = np.einsum("gok,gkp->gop", weight.reshape(2, 8, 12), data) + bias.reshape(2, 8, 1)
    difference = float(np.abs(found.ravel() - np.maximum(expected, 0).ravel()).max() / np.abs(expected).max())
    if not difference < TOLERANCE:
        raise UserError(
            f"the board computes something else than this machine, by {difference:.1e} of the largest value: it is "
            f"faulty, or does not follow its architecture as {target.name} has it"
        )
    return f"differs from numpy by {difference:.0e}, relative"


def _time(link: Link, target: TargetSpec, library: Path) -> str:
    seconds = trials.open_bench(link, _task(target), target, library).default.timer(100)()
    return f"{1e6 * seconds:.3g} us a call"
