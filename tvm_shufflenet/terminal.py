"""What the commands show while they work, and where their tables go."""

from __future__ import annotations

import contextlib

WIDTH = 100  # characters, where no terminal says how many there are


def open_console():
    """Stdout, for `rich`."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


class Terminal:
    """Shows on stderr what is done, so that stdout holds the table alone; see `beside_peak.Silent`."""

    def __init__(self):
        from rich.console import Console

        self.console = Console(stderr=True)

    def step(self, text: str):
        return self.console.status(text)

    @contextlib.contextmanager
    def rounds(self, total: int):
        from rich.progress import Progress

        # No refresh but after each round: a thread that draws would disturb what is timed.
        with Progress(
            console=self.console, auto_refresh=False, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task("timing, round by round", total=total)
            bar.refresh()

            def advance():
                bar.advance(task)
                bar.refresh()

            yield advance
