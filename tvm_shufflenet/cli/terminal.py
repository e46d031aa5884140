"""What the commands show while they work, and where their tables go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100  # characters, where no terminal says how many there are


def open_console() -> Console:
    """Stdout, for `rich`."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


class Terminal:
    """Shows on stderr what is done, so that stdout holds the table alone; see `beside_peak.Silent`."""

    def __init__(self):
        from rich.console import Console

        self.console = Console(stderr=True)

    def step(self, text: str) -> contextlib.AbstractContextManager:
        return self.console.status(text)

    @contextlib.contextmanager
    def rounds(self, total: int) -> Iterator[Callable[[], None]]:
        from rich.progress import Progress

        # No refresh but after each round: a thread that draws would disturb what is timed.
        with Progress(
            console=self.console, auto_refresh=False, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task("timing, round by round", total=total)
            bar.refresh()

            def advance() -> None:
                bar.advance(task)
                bar.refresh()

            yield advance
