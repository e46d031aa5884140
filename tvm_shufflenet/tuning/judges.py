"""Where candidates are tried: on this machine, on boards, or by the model of a core."""

from __future__ import annotations

import contextlib
import math
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..schedules import Knobs
from ..targets import TargetSpec
from ..targets.detect import usable_cores
from . import trials
from .tasks import Task
from .trials import Link, SessionLost, TookTooLong, WrongResult
from .workers import Crashed, TimedOut, Worker

BUILD_SECONDS = 120  # for the largest tiles, on a slow machine
RETRY_SECONDS = 1.0
SLOWEST_NETWORK = 2e6  # bytes per second


@dataclass(frozen=True)
class Outcome:
    """The result of a trial: seconds or cycles of the candidate and of the default, or why the trial failed."""

    knobs: Knobs
    value: float | None = None
    default: float | None = None
    failure: str = ""


class Lost(Exception):
    """A board did not come back."""


class Workers:
    """A pool: `call` uses whichever worker is free."""

    def __init__(self, count: int):
        self._all = [Worker() for _ in range(count)]
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)
        self.threads = ThreadPoolExecutor(count)

    def call(self, function: Callable, *arguments: object, timeout: float) -> Any:
        worker = self._free.get()
        try:
            return worker.call(function, *arguments, timeout=timeout)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.close()
        self.threads.shutdown(cancel_futures=True)


class Judge:
    """Tries candidates of tasks.  Use as a context: it ends its processes.

    `kind` is that of the records; `where` names the processor or the model; `stop`, once set, lets no
    further trial start.
    """

    kind: str
    where: str

    def __init__(self, target: TargetSpec, timeout: float = 10.0):
        self.target, self.timeout = target, timeout
        self.stop = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="tvm_shufflenet-")
        self.folder = Path(self._folder.name)
        self.builders = Workers(usable_cores())
        self._files = 0
        self._defaults: dict[str, object] = {}
        self._lock = threading.Lock()

    def run(self, task: Task, candidates: list[Knobs], rounds: int) -> Iterator[Outcome]:
        """The outcome of each, in any order; fewer where `stop` was set.  The first one ever is the default."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.builders.close()
        self._folder.cleanup()

    def new_file(self) -> Path:
        with self._lock:
            self._files += 1
            return self.folder / f"{self._files}.so"

    def default(self, task: Task, make: Callable[[], Any]) -> Any:
        """The result of `make()` for the task's default knobs; None where `stop` was set, `UserError` if they fail."""
        if task.key not in self._defaults:
            made = make()
            if isinstance(made, Outcome):
                raise UserError(f"{task.label}: its default schedule fails: {made.failure}")
            if made is None:
                return None
            self._defaults[task.key] = made
        return self._defaults[task.key]

    def build(self, function: Callable, task: Task, knobs: Knobs, path: Path) -> Any:
        """The result of a builder, or the `Outcome` of its failure."""
        try:
            return self.builders.call(function, task, knobs, self.target, path, timeout=BUILD_SECONDS)
        except TimedOut as error:
            return Outcome(knobs, failure=f"timed out while compiling: {error}")
        except Crashed as error:
            return Outcome(knobs, failure=f"crashed the compiler: {error}")
        except Exception as error:
            return Outcome(knobs, failure=f"compile error: {error}")


class Estimated(Judge):
    """The models of the cores that judge the target: cycles with what misses cost, the same every time."""

    kind = "estimated"

    def __init__(self, target: TargetSpec, timeout: float = 10.0):
        from ..estimation import tools
        from ..estimation.pricing import model_note
        from ..targets.cores import cores_of

        tools.qemu(), tools.llvm(), tools.plugin(), tools.runner()  # before the workers race for them
        notes = {each.name: model_note(each) for each in cores_of(target.name)}
        told = [note if len(notes) == 1 else f"{name}: {note}" for name, note in notes.items()]
        self.where = "; ".join(told)
        super().__init__(target, timeout)

    def run(self, task: Task, candidates: list[Knobs], rounds: int) -> Iterator[Outcome]:
        def cycles(knobs: Knobs) -> float | Outcome | None:
            if self.stop.is_set():
                return None
            path = self.new_file()
            try:
                return self.build(trials.price, task, knobs, path)
            finally:
                path.unlink(missing_ok=True)

        if (default := self.default(task, lambda: cycles(task.default))) is None:
            return
        futures = {self.builders.threads.submit(cycles, k): k for k in candidates if k != task.default}
        if task.default in candidates:
            yield Outcome(task.default, default, default)
        for future in as_completed(futures):
            found = future.result()
            if found is not None:
                yield found if isinstance(found, Outcome) else Outcome(futures[future], found, default)


class Timed(Judge):
    """Timed beside the default schedule, here or on boards, with an output that equals the default's.

    `links` are one for each board; None is this machine, where nothing is compiled while a candidate is
    timed.  A board that is lost is waited for `wait` seconds; the others go on.
    """

    def __init__(self, target: TargetSpec, links: list[Link | None], timeout: float = 10.0, wait: float = 60.0):
        super().__init__(target, timeout)
        self.wait, self.local = wait, links == [None]
        self.boards = [_Board(link, self) for link in links]
        self.free: queue.Queue[_Board] = queue.Queue()
        self.threads = ThreadPoolExecutor(len(links))
        self.lost: list[str] = []
        self.kind, self.where = "measured", "not asked yet"

    def open(self) -> bool:
        """Connects to every board; whether a time there is a latency.  `UserError` if it can't."""
        known = [board.describe() for board in self.boards]
        for board in self.boards:
            self.free.put(board)
        self.where = ", ".join(dict.fromkeys(name for name, _, _ in known))
        return all(measurable for _, measurable, _ in known)

    def __exit__(self, *_) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for board in self.boards:
            board.worker.close()
        super().__exit__()

    def library(self, task: Task, knobs: Knobs) -> Path | Outcome | None:
        if self.stop.is_set():
            return None
        path = self.new_file()
        return self.build(trials.build, task, knobs, path) or path

    def run(self, task: Task, candidates: list[Knobs], rounds: int) -> Iterator[Outcome]:
        if (default := self.default(task, lambda: self.library(task, task.default))) is None:
            return
        built = [
            (k, self.builders.threads.submit(self.library, task, k) if k != task.default else None) for k in candidates
        ]
        if self.local:
            for _, future in built:
                if future:
                    future.result()

        def trial(knobs: Knobs, future) -> Outcome | None:
            library = future.result() if future else default
            if not isinstance(library, Path) or self.stop.is_set():
                return library if isinstance(library, Outcome) else None
            try:
                return self._measure(task, default, library, knobs, rounds)
            finally:
                if library != default:
                    library.unlink(missing_ok=True)

        for done in as_completed([self.threads.submit(trial, *pair) for pair in built]):
            if (outcome := done.result()) is not None:
                yield outcome

    def _measure(self, task: Task, default: Path, library: Path, knobs: Knobs, rounds: int) -> Outcome | None:
        """On whichever board is free; one that is lost passes its candidate on to the others."""
        while True:
            with self._lock:
                if len(self.lost) == len(self.boards):
                    raise UserError("; ".join(self.lost) + "; the records so far are kept, run again to go on")
            try:
                board = self.free.get(timeout=RETRY_SECONDS)
            except queue.Empty:
                continue
            try:
                outcome = board.measure(task, default, library, knobs, rounds)
            except Lost as error:
                with self._lock:
                    self.lost.append(str(error))
                continue
            self.free.put(board)
            return outcome


class _Board:
    """A board, or this machine, and the process that talks to it."""

    def __init__(self, link: Link | None, judge: Timed):
        self.link, self.judge = link, judge
        self.worker = Worker()
        self.trials = 0

    @property
    def limit(self) -> float:
        """Seconds a trial may take: the default beside it, transfers and a session's start included."""
        return self.judge.timeout + (0 if self.link is None else self.link.timeout)

    def transfer(self, task: Task) -> float:
        """Seconds that the weights of a candidate may take to the board."""
        return 0 if self.link is None else 4 * sum(map(math.prod, task.shapes)) / SLOWEST_NETWORK

    def describe(self) -> tuple[str, bool, bool]:
        limit = 60 if self.link is None else 60 + self.link.timeout
        try:
            return self.worker.call(trials.describe, self.link, self.judge.target.arch, timeout=limit)
        except (Crashed, TimedOut) as error:
            raise UserError(f"{self._name} does not answer: {error}") from None

    @property
    def _name(self) -> str:
        return "this machine" if self.link is None else f"the board at {self.link.address}"

    def measure(self, task: Task, default: Path, path: Path, knobs: Knobs, rounds: int) -> Outcome | None:
        """Raises `Lost`.  A lost session gets a second chance: it may not have been the candidate's fault."""
        failure = ""
        for _ in range(2):
            try:
                limit = self.limit + self.transfer(task)
                arguments = self.link, task, self.judge.target, default, path, knobs, rounds, limit
                self.trials += 1
                late = 0 if self.link is None else 10
                value, beside = self.worker.call(trials.measure, *arguments, timeout=limit + late)
                return Outcome(knobs, value, beside)
            except WrongResult as error:
                return Outcome(knobs, failure=f"wrong result: {error}")
            except (TimedOut, TookTooLong) as error:
                if self.link and isinstance(error, TookTooLong):
                    with contextlib.suppress(Crashed, TimedOut):
                        self.worker.call(trials.wait_for_end, timeout=self.link.session_seconds(limit) + 10)
                    self.worker.close()
                self._recover()
                return Outcome(knobs, failure=f"timed out: {error}")
            except Crashed as error:
                if self.link is None:
                    return Outcome(knobs, failure=f"crashed: {error}")
                failure = str(error)
            except SessionLost as error:
                failure = str(error)
            self.worker.close()
            self._recover()
            if self.judge.stop.is_set():
                return None
        return Outcome(knobs, failure=f"crashed: {failure}")

    def _recover(self) -> None:
        """Waits until the board answers; a candidate that hangs there ends with its session's lifetime."""
        if self.link is None:
            return
        deadline = time.monotonic() + max(self.judge.wait, self.link.lifetime + RETRY_SECONDS)
        while True:
            try:
                self.describe()
                return
            except UserError as error:
                if time.monotonic() > deadline or self.judge.stop.is_set():
                    raise Lost(f"{self._name} is lost: {error}") from None
            time.sleep(RETRY_SECONDS)
