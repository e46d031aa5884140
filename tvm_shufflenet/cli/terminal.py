"""What the commands show while they work, and where their tables go."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_SECONDS = 5  # without a line, where stderr is no terminal
SOONEST = 0.05  # share of a step from which on its end is foreseen
WIDTH = 100  # characters, where no terminal says how many there are


def open_console() -> Console:
    """A console of `rich` on stdout, 100 columns wide where stdout is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


class Terminal:
    """Shows on stderr what is done, so that stdout holds the table alone; see `beside_peak.Silent`."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.taken: list[float] = []  # seconds of each step of the kind that is under way

    @contextlib.contextmanager
    def step(self, text: str, number: int = 1, of: int = 1) -> Iterator[Callable[[float], None]]:
        """Shows what is done, and how long all steps of the kind will still take.

        Gives a function that is told what share of the step, 0 to 1, is done.  The steps before tell how long the
        others will take: most networks are built in about the same time.
        """
        if of > 1:
            text = f"{text}, {number} of {of}"
            if number == 1:
                self.taken = []
        left = sum(self.taken) / len(self.taken) * (of - number + 1) if of > 1 and self.taken else None
        started = time.monotonic()
        shown = self._spinning if self.console.is_terminal else self._logged
        with shown(text, Countdown(left, of - number, self.taken)) as done:
            yield done
        if of > 1:
            self.taken.append(time.monotonic() - started)

    @contextlib.contextmanager
    def _spinning(self, text: str, countdown: Countdown) -> Iterator[Callable[[float], None]]:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = [SpinnerColumn(), TextColumn("{task.description}{task.fields[left]}", markup=False),
                   TimeElapsedColumn()]  # fmt: skip
        with Progress(*columns, console=self.console, transient=True, get_time=time.monotonic) as shown:
            shown.add_task(text, total=None, left=countdown)
            yield countdown.done

    @contextlib.contextmanager
    def _logged(self, text: str, countdown: Countdown) -> Iterator[Callable[[float], None]]:
        """Says what is done once it has taken a while, so that what is over at once leaves no line."""
        alarm = threading.Timer(LOG_SECONDS, lambda: self._say(f"{text}{countdown} ..."))
        alarm.daemon = True
        alarm.start()
        try:
            yield countdown.done
        finally:
            alarm.cancel()

    def _say(self, text: str) -> None:
        """A line of a log, for whoever reads stderr from a file or a pipe."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def rounds(self, total: int) -> Iterator[Callable[[], None]]:
        from rich.progress import Progress

        if not self.console.is_terminal:
            yield self._log(total)
            return
        # No refresh but after each round: a thread that draws would disturb what is timed.
        with Progress(console=self.console, auto_refresh=False, transient=True) as bar:
            task = bar.add_task("timing, round by round", total=total)
            bar.refresh()

            def advance() -> None:
                bar.advance(task)
                bar.refresh()

            yield advance

    def _log(self, total: int) -> Callable[[], None]:
        """Says every `LOG_SECONDS` how many rounds are done, and the time that the others will take."""
        started = told = time.monotonic()
        done = 0

        def advance() -> None:
            nonlocal told, done
            done, now = done + 1, time.monotonic()
            if now - told > LOG_SECONDS and done < total:
                told = now
                left = (now - started) / done * (total - done)
                self._say(f"{done} of {total} rounds, {left:.0f} s left")

        return advance


class Countdown:
    """The seconds that a step and those behind it will take, from what the step has taken for the share that is done.

    As text, for a line that is drawn again and again: ", about 12 s left", or nothing where nothing is known and where
    it takes longer than that.
    """

    def __init__(self, left: float | None, behind: int = 0, taken: Sequence[float] = ()):
        self.started = time.monotonic()
        self.behind, self.taken = behind, list(taken)
        self.end = None if left is None else self.started + left

    def done(self, share: float) -> None:
        if share >= SOONEST:
            now = time.monotonic()
            whole = (now - self.started) / share
            each = [*self.taken, whole]
            self.end = self.started + whole + self.behind * sum(each) / len(each)

    def __str__(self) -> str:
        left = -1 if self.end is None else self.end - time.monotonic()
        return "" if left < 0 else f", about {left:.0f} s left"
