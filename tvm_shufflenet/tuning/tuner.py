"""Tunes tasks one by one: default and hints first, then what the search proposes, then the best ones once more."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from ..records.store import Record, Records, fastest, knob_key, settle, tvm_version
from ..schedules import Knobs
from .judges import Judge, Outcome
from .search import BATCH, Search, cost_model
from .tasks import Task

ROUNDS = 5  # turns of each trial
FINALISTS = 4  # that are timed again, in
FINAL_ROUNDS = 40  # turns: among many trials the fastest is a lucky one


@dataclass
class Result:
    """What became of a task; figures are seconds or cycles of one call."""

    task: Task
    trials: int = 0  # with those of earlier runs
    new: int = 0
    failures: list[str] = field(default_factory=list)
    best: Record | None = None
    curve: list[float] = field(default_factory=list)  # the best relative time after each trial
    seconds: float = 0.0  # spent on it now

    @property
    def timed_out(self) -> int:
        return sum(reason.startswith("timed out") for reason in self.failures)

    @property
    def gain(self) -> float | None:
        return 1 / self.best.relative if self.best else None


class Progress:
    """What a run reports while it works; the command shows the reports."""

    def start(self, task: Task, index: int, count: int, limit: int, known: int) -> None: ...

    def trial(self, task: Task, outcome: Outcome, result: Result) -> None: ...

    def done(self, result: Result) -> None: ...


class Tuner:
    """`run()` tunes every task with up to `trials` trials each, what `records` know included."""

    def __init__(self, judge: Judge, records: Records, trials: int, seed: int = 0, progress: Progress | None = None):
        self.judge, self.records, self.trials, self.seed = judge, records, trials, seed
        self.progress = progress or Progress()
        self._model = None

    def run(self, tasks: list[Task]) -> list[Result]:
        """Tunes the tasks in their order; after Ctrl-C the results of the tasks so far."""
        results = []
        for index, task in enumerate(tasks):
            if self.judge.stop.is_set():
                break
            result = self._tune(task, index, len(tasks))
            self.progress.done(result)
            results.append(result)
        return results

    def _tune(self, task: Task, index: int, count: int) -> Result:
        self.records.refresh()
        known = self._known(task)
        limit = min(self.trials, len(task.space))
        result, start = Result(task, len(known)), time.monotonic()
        for record in known.values():
            self._count(result, record)
        self.progress.start(task, index, count, limit, len(known))
        if len(known) < limit or not known:
            if knob_key(task.default) not in known:
                self._try(task, [task.default], ROUNDS, known, result)
            hints = [knobs for knobs in task.hints if knob_key(knobs) not in known]
            if hints and not self.judge.stop.is_set():
                self._try(task, hints[: limit - len(known)], ROUNDS, known, result)
            every = len(task.space) <= self.trials
            batches = [] if len(known) >= limit else _chunks(task.space) if every else self._searched(task, known)
            for batch in batches:
                self._take_in(task, known, result)
                if self.judge.stop.is_set() or len(known) >= limit:
                    break
                if new := [knobs for knobs in batch if knob_key(knobs) not in known]:
                    self._try(task, new[: limit - len(known)], ROUNDS, known, result)
        if self.judge.kind != "estimated" and not self.judge.stop.is_set():
            self._confirm(task, known, result)
        result.best, result.seconds = fastest(known.values()), time.monotonic() - start
        return result

    def _known(self, task: Task) -> dict[tuple, Record]:
        """What the records know of candidates of the task, by their knobs."""
        space = set(map(knob_key, task.space))
        known = self.records.known(task.workload, self.judge.kind, task.space)
        return {key: record for key, record in known.items() if key in space}

    def _take_in(self, task: Task, known: dict[tuple, Record], result: Result) -> None:
        """Adds to `known` what others have tried meanwhile with the same records."""
        self.records.refresh()
        for key, record in self._known(task).items():
            if key not in known:
                result.trials += 1
                self._count(result, record)
            known[key] = record

    def _searched(self, task: Task, known: dict[tuple, Record]):
        """What the search proposes, without what is known.  Between two batches it learns the first."""
        self._model = self._model or cost_model()
        search = Search(task, self.judge.target, self.trials, self._model, self.seed)
        search.remember((r.knobs, None if r.failure else r.relative) for r in known.values())
        while proposed := search.propose():
            yield proposed
            relative = {key: None if r.failure else r.relative for key, r in known.items()}
            search.learn({key: relative[key] for key in map(knob_key, proposed) if key in relative})

    def _confirm(self, task: Task, known: dict[tuple, Record], result: Result) -> None:
        """Times the best candidates, and the default, in many turns, unless that was done."""
        good = sorted((r for r in known.values() if not r.failure), key=lambda r: r.relative)
        chosen = [r.knobs for r in good[:FINALISTS]]
        done = sum(r.rounds >= FINAL_ROUNDS for r in good) >= min(FINALISTS, len(good))
        if any(r.rounds < FINAL_ROUNDS for r in good[:FINALISTS]) and (result.new or not done):
            wanted = [task.default] + [knobs for knobs in chosen if knobs != task.default]
            self._try(task, wanted, FINAL_ROUNDS, known, result)

    def _try(self, task: Task, batch: list[Knobs], rounds: int, known: dict[tuple, Record], result: Result) -> None:
        for outcome in self.judge.run(task, batch, rounds):
            record = Record(
                task.key, self.records.version(task.workload, outcome.knobs), tvm_version(),
                self.records.target, self.judge.kind,
                outcome.knobs, outcome.value, outcome.default, outcome.failure,
                0 if outcome.failure else 1 if self.judge.kind == "estimated" else rounds, self.judge.where,
                self.records.options, self.records.model if self.judge.kind == "estimated" else "",
            )  # fmt: skip
            self.records.append(record)
            if record.knob_key not in known:
                result.trials += 1
                result.new += 1
                self._count(result, record)
            known.update(settle(r for r in (known.get(record.knob_key), record) if r))
            self.progress.trial(task, outcome, result)

    def _count(self, result: Result, record: Record) -> None:
        if record.failure:
            result.failures.append(record.failure)
        before = result.curve[-1] if result.curve else record.relative
        result.curve.append(min(before, record.relative))


def _chunks(candidates: list[Knobs]):
    """All of them, from a random judge on: of two runs with the same records each then does its part."""
    first = random.randrange(len(candidates))
    candidates = candidates[first:] + candidates[:first]
    for start in range(0, len(candidates), BATCH):
        yield candidates[start : start + BATCH]
