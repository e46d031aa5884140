"""What worker processes do: build a candidate; check and time it beside the default; or price it."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..boards.crashes import survive_crashes
from ..boards.rpc import connect
from ..measure.place import Function, Place
from ..measure.rounds import calibrate, interleave, one_core
from ..schedules import INPUTS, OUTPUT, WEIGHT, Knobs
from ..targets import TargetSpec
from . import candidates
from .tasks import Task, example_arrays

# By dtype, relative to the largest output: sums of fp32 in another order differ by 1e-6 or so, of integers by nothing.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "int8": 0.0, "uint8": 0.0}
TURN_SECONDS = 0.004


class WrongResult(Exception):
    """A candidate computes something else than the default schedule."""


class TookTooLong(Exception):
    """A candidate did not end in time on a board.  The session is still held: see `wait_for_end`."""


class SessionLost(Exception):
    """A board no longer answers, or its server ended the session: the candidate may have crashed it."""


@dataclass(frozen=True)
class Link:
    """How to reach a board: an RPC server, or a tracker and a key.

    The board ends a session after `lifetime` seconds, and with it a candidate that hangs.
    """

    address: str
    key: str | None
    timeout: float
    lifetime: float = 60.0

    def session_seconds(self, trial: float) -> float:
        """The lifetime of a session for trials of up to `trial` seconds; used up to its half."""
        return max(self.lifetime, 2 * trial)


def build(task: Task, knobs: Knobs, target: TargetSpec, path: Path) -> None:
    """Writes the library of a candidate that is to be timed."""
    arguments = _arguments(task, knobs)
    candidates.write_library(candidates.timed_module(task.workload, knobs, arguments), target, path)


def price(task: Task, knobs: Knobs, target: TargetSpec, path: Path) -> float:
    """Builds a candidate at `path`; its cycles on the cores that judge the target, with what misses cost.

    A call finds in the caches what the call before it left there.
    """
    from ..estimation.estimates import figures, inference, miss_cycles
    from ..estimation.instructions import disassemble, words_of
    from ..estimation.pricing import price
    from ..library.elf import read_elf
    from ..targets.cores import cores_of, mean_cycles

    module, workspace = candidates.counted_module(task.workload, knobs, _arguments(task, knobs))
    candidates.write_library(module, target, path)
    elf, cycles = read_elf(path), []
    for core in cores_of(target.name):
        blocks = inference(path, elf, (64, 64, workspace), core, caches=True)
        disassemble({word for block in blocks for word in words_of(block.code)})
        found = figures("", blocks, price(blocks, core))
        cycles.append(found.cycles + miss_cycles(found.misses, core))
    return mean_cycles(cycles)


def _arguments(task: Task, knobs: Knobs) -> list[candidates.Argument]:
    zeros = [np.zeros(shape, "float32") for shape in task.shapes]
    packed = candidates.pack(task.workload, knobs, zeros)
    return candidates.arguments_of(task.workload, [array.size for array in packed])


# ------------------------------------------------------------------- in the process that times


def describe(link: Link | None, arch: str) -> tuple[str, bool, bool]:
    """Name of the processor that is timed; whether a time there is a latency; whether it is emulated."""
    processor = _place(link, arch).processor
    return processor.name, processor.measurable, processor.emulated


def measure(
    link: Link | None, task: Task, target: TargetSpec, default: Path, path: Path, knobs: Knobs, rounds: int,
    seconds: float = 0,
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a call of the candidate at `path`, and of the default at `default`, in turns.

    Each is the best of its turns.  Raises `WrongResult`, and on a board `SessionLost`, or `TookTooLong`
    after `seconds`; here a candidate that hangs keeps this process, which can be killed.
    """
    work = functools.partial(_measure, link, task, target, default, path, knobs, rounds)
    if link is None:
        return work()
    with _session_errors(link):
        _place(link, target.arch, seconds)
    _Open.thread = thread = _Thread(work)
    thread.join(seconds)
    if thread.is_alive():
        raise TookTooLong(f"no end within {seconds:g} s")
    if thread.error:
        raise thread.error
    return thread.result


def wait_for_end() -> None:
    """Returns once the board has ended a session in which a candidate hangs.

    Closing it from this side would end TVM's RPC server as well.
    """
    if _Open.thread:
        _Open.thread.join()


class _Thread(threading.Thread):
    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.result, self.error = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:
            self.error = error


def _measure(link, task, target, default, path, knobs, rounds) -> tuple[float, float]:
    with _session_errors(link):
        bench = open_bench(link, task, target, default)
        if knobs == task.default:
            function = bench.default
        else:
            function = bench.load(path, knobs)
            bench.check(function)
        timers = [calibrate(f.timer, TURN_SECONDS) for f in (bench.default, function)]
        here, there = zip(*interleave(timers, rounds))
        if function is bench.default:
            here = there = here + there  # the default is as fast as itself
        return min(there), min(here)


@contextlib.contextmanager
def _session_errors(link: Link | None):
    try:
        yield
    except WrongResult:
        raise
    except Exception as error:
        if link is None:
            raise
        _forget()
        raise SessionLost(str(error).strip().splitlines()[-1]) from None


class Bench:
    """A task on a place: its data, and the default's output."""

    def __init__(self, place: Place, task: Task, default: Path):
        self.place, self.task = place, task
        self.parameters = example_arrays(task)
        self._mask = _mask(task)
        self.default = self.load(default, task.default)

    @property
    def data(self) -> np.ndarray:
        """The data that the kernel reads beside its parameters: flat, standard normal, or any bytes."""
        return self._arrays[0][self._taken[0].inside]

    @functools.cached_property
    def expected(self) -> np.ndarray:
        return self.output()

    def load(self, path: Path, knobs: Knobs) -> Function:
        """A candidate with its arguments: weights in its own order, the same data, outputs full of NaN."""
        packed = candidates.pack(self.task.workload, knobs, self.parameters)
        self._taken = candidates.arguments_of(self.task.workload, [array.size for array in packed])
        self._index = [argument.role for argument in self._taken].index(OUTPUT)
        rng, weights = np.random.default_rng(1), iter(packed)
        self._arrays = [
            np.full(argument.size, np.nan if argument.dtype.startswith("float") else 0, argument.dtype)
            for argument in self._taken
        ]
        for argument, array in zip(self._taken, self._arrays):
            if argument.role == WEIGHT:
                array[argument.inside] = next(weights)
            elif argument.role in INPUTS:
                array[:] = _numbers(array.size, argument.dtype, rng)
        return self.place.load(path, "main", *self._arrays)

    def check(self, function: Function) -> None:
        expected, found = self.expected, self.output(function)
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not difference <= TOLERANCES[self.task.workload.dtype]:  # also where it is not a number
            raise WrongResult(f"differs from the default schedule by {difference:.1e}, relative")

    def output(self, function: Function | None = None) -> np.ndarray:
        """The pixels that a call of a candidate, or of the default, writes."""
        flat = (function or self.default).run(self._index)[self._taken[self._index].inside].astype("float32")
        if self._mask is None:
            return flat
        planes = flat.reshape(-1, self._mask.size)[self.task.workload.written(*self.parameters)]
        return planes[:, self._mask]


def _numbers(size: int, dtype: str, rng: np.random.Generator) -> np.ndarray:
    if dtype.startswith("float"):
        return rng.standard_normal(size, "float32")
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size, dtype, endpoint=True)


def _mask(task: Task) -> np.ndarray | None:
    """Which floats of a plane of the output are pixels; None where all are."""
    plane = getattr(task.workload, "after", getattr(task.workload, "plane", None))
    if plane is None:
        return None
    mask = np.zeros(plane.size, bool)
    mask[: plane.height * plane.pitch].reshape(plane.height, plane.pitch)[:, : plane.width] = True
    return mask


class _Open:
    """What a worker process keeps open between calls: the board or machine, the kernel under test, its core."""

    place: Place | None = None
    ends = 0.0  # of the session
    bench: Bench | None = None
    default: Path | None = None
    core = contextlib.ExitStack()
    thread: _Thread | None = None


def _forget() -> None:
    """Also gives back the processors that timing left."""
    _Open.core.close()
    _Open.place = _Open.bench = None


def _place(link: Link | None, arch: str, trial: float = 0) -> Place:
    """The place, with a session that does not end within a `trial` of so many seconds."""
    if link is None:
        _Open.place = _Open.place or Place(arch)
    elif _Open.place is None or _Open.ends - time.monotonic() < max(trial, link.lifetime / 2):
        if _Open.place and _Open.place.session:
            with contextlib.suppress(Exception):
                _Open.place.session.close()
        _forget()
        lifetime = link.session_seconds(trial)
        # A candidate that hangs ends with the session: the board closes it, this side does not.
        session = connect(link.address, link.key, link.timeout, lifetime, patience=lifetime + link.timeout)
        _Open.place, _Open.ends = Place(arch, session, link.address), time.monotonic() + lifetime
        survive_crashes(session, arch)
    return _Open.place


def open_bench(link: Link | None, task: Task, target: TargetSpec, default: Path) -> Bench:
    """The task with its default at `default`, on the place; the one of the call before if it is the same."""
    place = _Open.place or _place(link, target.arch)
    if _Open.bench is None or _Open.default != default:
        _Open.bench = None  # its tensors are freed before others are made
        bench = Bench(place, task, default)
        if link is None:  # on the core that is least busy now
            _Open.core.close()
            _Open.core.enter_context(one_core(bench.default.timer(1)))
        _Open.bench, _Open.default = bench, default
    return _Open.bench
