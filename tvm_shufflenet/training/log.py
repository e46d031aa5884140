"""What a run shows and leaves to read: a progress bar or plain lines, a CSV and a plot."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_bytes
from ..plotting import encoded

if TYPE_CHECKING:
    import torch
    from rich.progress import TaskID

    from .trainer import Trainer

COLUMNS = ("epoch", "iteration", "crop", "learning_rate", "loss", "training_top1", "top1", "top5", "images", "seconds")
# What scores are called; the columns of a detector have them in the place of a classifier's.
CALLED = {"top1": "top-1", "top5": "top-5", "map": "mean average precision", "ap50": "at an overlap of 0.5"}
REFRESH_SECONDS = 0.5


class Silent:
    """The log of a process that says nothing: of every process of a run but the first."""

    def say(self, text: str) -> None: ...

    def watch(self, title: str, steps: Iterator[int], total: int) -> None:
        for _ in steps:
            pass

    def iteration(self, trainer: Trainer, rate: float, crop: int, loss: torch.Tensor) -> None: ...

    def epoch(self, trainer: Trainer, row: dict) -> None: ...

    def files(self, trainer: Trainer) -> None: ...


class Log(Silent):
    """Shows a run on stderr, and writes `out` with the suffixes .csv and .svg."""

    def __init__(self, out: Path):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.out = out
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(), TextColumn("{task.fields[about]}"),
            console=self.console, auto_refresh=False, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._shown = (time.monotonic(), 0)
        self._says_no_plot = True

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *_):
        self.bar.stop()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)

    def watch(self, title: str, steps: Iterator[int], total: int) -> None:
        task = self.bar.add_task(title, total=total, about="")
        for done in steps:
            if done % 100 == 0 or done == total:
                self.bar.update(task, completed=done, refresh=True)
        self.bar.remove_task(task)

    def iteration(self, trainer: Trainer, rate: float, crop: int, loss: torch.Tensor) -> None:
        now = time.monotonic()
        if self._task is None:
            self._task = self.bar.add_task("training", total=trainer.steps, about="")
            self._shown = (now, trainer.step - 1)
        since, step = self._shown
        if now - since < REFRESH_SECONDS or self.bar.disable:
            return
        speed = (trainer.step - step) * trainer.options.recipe.batch / (now - since)
        self._shown = (now, trainer.step)
        about = f"loss {loss.item():.3f}, rate {rate:.4f}, {crop}x{crop}, {speed:.0f} pictures/s"
        main = trainer.scores[0]
        if scored := [row for row in trainer.history if main in row]:
            about += f", {CALLED[main]} {100 * scored[-1][main]:.1f} % (epoch {scored[-1]['epoch']})"
        self.bar.update(self._task, completed=trainer.step, about=about, refresh=True)

    def epoch(self, trainer: Trainer, row: dict) -> None:
        text = (
            f"epoch {row['epoch']}, iteration {row['iteration']} of {trainer.steps}, {row['seconds']:.0f} s: "
            f"loss {row['loss']:.3f}"
            + (f", training top-1 {100 * row['training_top1']:.1f} %" if "training_top1" in row else "")
            + f" at {row['crop']}x{row['crop']}"
        )
        if trainer.scores[0] in row:
            text += "; validation " + ", ".join(f"{CALLED[key]} {100 * row[key]:.2f} %" for key in trainer.scores)
        self.say(text)

    def files(self, trainer: Trainer) -> None:
        """The CSV with a row for each epoch, and the plot."""
        if not trainer.history:
            return
        text = io.StringIO()
        row = trainer.history[-1]
        columns = [*COLUMNS[:5], *(key for key in COLUMNS[5:6] if key in row), *trainer.scores, *COLUMNS[8:]]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trainer.history)
        write_bytes(self.out.with_suffix(".csv"), text.getvalue().encode())
        if trainer.scores[0] not in row and trainer.step < trainer.steps:
            return
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            if self._says_no_plot:
                self.say("no plot: matplotlib is not installed (`pip install -e .[train]`)")
            self._says_no_plot = False
            return
        write_bytes(self.out.with_suffix(".svg"), plot(trainer.options.model, trainer.history, trainer.scores))


def plot(title: str, history: list[dict], scores: tuple[str, ...] = ("top1",)) -> bytes:
    """Loss, and accuracy in training and validation, by epoch: an SVG.  Of a detector, its scores in validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    loss.plot(epochs, [row["loss"] for row in history])
    loss.set(xlabel="epoch", ylabel="training loss", title=title)
    scored = [row for row in history if scores[0] in row]
    trained = [row for row in history if "training_top1" in row]
    if trained:
        scores = scores[:1]
        accuracy.plot(epochs, [100 * row["training_top1"] for row in trained], label="training, random crops")
    for key in scores:
        label = "validation" if trained else CALLED[key]
        accuracy.plot([r["epoch"] for r in scored], [100 * r[key] for r in scored], marker=".", label=label)
    accuracy.set(xlabel="epoch", ylabel="top-1, %" if trained else "validation, %")
    accuracy.legend()
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    return encoded(figure, "svg")
