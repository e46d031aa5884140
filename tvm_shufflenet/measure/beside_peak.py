"""Rounds in which functions and the peak kernel take turns: what was timed, and the ceiling for it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..building.work import Share, unheard
from ..targets import TargetSpec
from .peak import build_peak, load_peak
from .place import Place
from .rounds import calibrate, interleave, one_core, stop_on_interrupt


class Progress(Protocol):
    """Is told what happens while time passes."""

    def step(self, text: str, number: int = 1, of: int = 1) -> contextlib.AbstractContextManager[Share]:
        """A context: what is done now, as step `number` of `of` of the same kind, from which the time left follows.

        The context gives a function that may be told what share of the step is done.
        """

    def rounds(self, total: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """A context that gives a function to be called after each round."""


class Silent:
    """The `Progress` that shows nothing; commands show it on the terminal."""

    def step(self, text: str, number: int = 1, of: int = 1) -> contextlib.AbstractContextManager[Share]:
        return contextlib.nullcontext(unheard)

    def rounds(self, total: int) -> contextlib.AbstractContextManager[Callable[[], None]]:
        return contextlib.nullcontext(lambda: None)


@dataclass(frozen=True)
class Timed:
    """`peak_seconds` has the seconds of a call in each round, `turns` for each function what its turns gave."""

    core: int | None  # on which all was timed, if it could be chosen
    peak_seconds: list[float]
    turns: list[list]


def time_beside_peak(
    place: Place, target: TargetSpec, prepare: Callable[[], Sequence[Callable]], rounds: int, progress: Progress
) -> Timed:
    """The timers that `prepare` gives, and the peak kernel, in interleaved rounds.

    `prepare` is called on the core that was chosen.  Several threads of the place run the peak kernel at the same time,
    and no core is chosen.

    Ctrl-C ends it with the rounds so far; `KeyboardInterrupt` if there are none.
    """
    with (
        progress.step(f"loading the peak kernel on {place.name}"),
        tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder,
    ):
        library = Path(folder, "peak.so")
        build_peak(target, library, place.threads)
        peak = load_peak(place, target, library)
    core = None
    with contextlib.ExitStack() as stack:
        if not place.session and place.threads == 1:  # on a board, who starts the RPC server chooses the core
            core = stack.enter_context(one_core(peak.timer(1)))
        stop = stack.enter_context(stop_on_interrupt())
        advance = stack.enter_context(progress.rounds(rounds))
        timers = [calibrate(peak.timer), *prepare()]
        done = interleave(timers, rounds, stop, advance)
    if not done:
        raise KeyboardInterrupt
    peak_seconds, *turns = map(list, zip(*done))
    return Timed(core, peak_seconds, turns)
