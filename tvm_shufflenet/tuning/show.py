"""How a run is shown: a live view on a terminal, else a line for each task and for each minute."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from ..records.store import UNITS
from .tasks import Task
from .tuner import Progress as Listener
from .tuner import Result

if TYPE_CHECKING:
    from rich.console import Console

    from .judges import Outcome

LOG_SECONDS = 60


class Display(Listener):
    """Tasks, trials, the best against the default and the time left.  Use as a context."""

    def __init__(self, console: Console, tasks: list[Task], trials: int):
        self.console = console
        self.limits = [min(trials, len(task.space)) for task in tasks]
        self.live = console.is_terminal
        # Drawn after each trial, never beside one: a thread that draws would disturb what is timed.
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"), console=console, auto_refresh=False, disable=not self.live,
        )  # fmt: skip
        self.started = self.told = time.monotonic()
        self.tried = self.failed = self.index = 0
        self.left = sum(self.limits)

    def __enter__(self) -> Display:
        self.bars.start()
        self.all = self.bars.add_task("all kernels", total=len(self.limits), note="")
        return self

    def __exit__(self, *_) -> None:
        self.bars.stop()

    def start(self, task: Task, index: int, count: int, limit: int, known: int) -> None:
        self.index, self.limit = index, limit
        self.left -= min(known, limit)
        self.bar = self.bars.add_task(task.label, total=limit, completed=min(known, limit), note="")
        self.bars.refresh()

    def trial(self, task: Task, outcome: Outcome, result: Result) -> None:
        self.tried += 1
        self.left = max(0, self.left - (result.trials <= self.limit))
        self.failed += bool(outcome.failure)
        note = f"best {_gain(result)}, {len(result.failures)} failed"
        self.bars.update(self.bar, completed=min(result.trials, self.limit), note=note)
        whole = f"{self.tried - self.failed} ok, {self.failed} failed, {self._left()} left"
        self.bars.update(self.all, completed=self.index, note=whole)
        self.bars.refresh()
        if not self.live and time.monotonic() - self.told > LOG_SECONDS:
            self.told = time.monotonic()
            self.console.print(f"  {task.label}: {result.trials} of {self.limit}, {note}; {whole}", soft_wrap=True)

    def done(self, result: Result) -> None:
        self.told = time.monotonic()
        if self.live:
            self.bars.remove_task(self.bar)
            self.bars.update(self.all, completed=self.index + 1)
        counts = f"{result.trials} trials ({result.new} new), {len(result.failures)} failed"
        gain = f"{result.gain:.3f}x" if result.gain else "no good measurement"
        self.console.print(
            f"{self.index + 1}/{len(self.limits)} {result.task.label}: {gain}; {counts}; {result.seconds:.0f} s, "
            f"{self._left()} left", markup=False, soft_wrap=True,
        )  # fmt: skip

    def _left(self) -> str:
        if not self.tried:
            return "?"
        seconds = self.left * (time.monotonic() - self.started) / self.tried
        return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _gain(result: Result) -> str:
    best = result.curve[-1] if result.curve else 0
    return f"{1 / best:.3f}x" if best else "-"


def summary(console: Console, results: list[Result], kind: str, seconds: float) -> None:
    """A line for each task, and the sums."""
    if not results:
        return
    scale, unit = (1e6, "us") if UNITS[kind] == "seconds" else (1e-3, "k cycles")
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("kernel", overflow="fold")
    for heading in (f"default,\n{unit}", f"best,\n{unit}", "gain", "calls", "trials", "failed", "timed\nout"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        task, best = result.task, result.best
        figures = [""] * 3
        if best:
            after, before = best.figures
            figures = [f"{scale * before:.4g}", f"{scale * after:.4g}", f"{result.gain:.3f}x"]
        failed = len(result.failures) - result.timed_out
        table.add_row(task.label, *figures, str(task.calls), str(result.trials), str(failed), str(result.timed_out))
    console.print(table)
    good = [(result, *result.best.figures) for result in results if result.best]
    new = sum(result.new for result in results)
    failed, late = sum(len(r.failures) for r in results), sum(r.timed_out for r in results)
    line = f"{sum(r.trials for r in results)} trials, {new} of them new in {seconds / 60:.1f} min"
    line += f" ({60 * new / seconds:.0f} a minute)" * bool(new) + f"; {failed - late} failed, {late} timed out"
    console.print(line, soft_wrap=True)
    if good:
        before = sum(r.task.calls * default for r, _, default in good)
        after = sum(r.task.calls * value for r, value, _ in good)
        console.print(f"all calls together: {scale * before:.5g} -> {scale * after:.5g} {unit}", soft_wrap=True)
        # Both by the trials alone: what is timed again at the end may look slower than it did.
        half, whole = (sum(default * _after(r, share) for r, _, default in good) for share in (0.5, 1.0))
        if whole < before:
            share = (before - half) / (before - whole)
            console.print(f"the first half of the trials brought {share:.0%} of what all of them did", soft_wrap=True)


def _after(result: Result, share: float) -> float:
    """What all calls take with the best of that share of a task's trials, of the default's time of one call."""
    tried = max(1, math.ceil(share * len(result.curve)))
    return result.task.calls * min(1, result.curve[tried - 1])
