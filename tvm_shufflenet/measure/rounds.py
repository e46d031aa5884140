"""Timing several functions so that noise falls on all alike: turn by turn, in interleaved rounds.

On a machine with other work, or one that changes its clock, whatever is timed first and whatever is
timed last meet different conditions.  Here all take a short turn in each round, so a slow second
hits all of them, and the minimum over the rounds finds a good moment of each.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

TURN_SECONDS = 0.010  # long enough for any clock, short enough that a round sees one condition
CALIBRATION_RUNS = 3

Timer = Callable[[], float]  # one turn: seconds per call


def calibrate(prepare: Callable[[int], Timer], turn_seconds: float = TURN_SECONDS) -> Timer:
    """Warms up, and gives the timer whose turns last `turn_seconds`, or one call if that is longer.

    `prepare(number)` makes a timer with `number` calls in a turn.
    """
    once = prepare(1)
    seconds = min(once() for _ in range(CALIBRATION_RUNS))  # the first ones are slow: a cold cache
    return prepare(max(1, math.ceil(turn_seconds / seconds)))


def interleave(
    timers: Sequence[Timer],
    rounds: int,
    stop: threading.Event | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """What each timer gave, in the order of `timers`, for each complete round.

    Once `stop` is set no further turn starts.
    """
    results: list[list[float]] = []
    for index in range(rounds):
        row = {}
        for turn in turns(len(timers), index):
            if stop and stop.is_set():
                return results
            row[turn] = timers[turn]()
        results.append([row[turn] for turn in range(len(timers))])
        on_round()
    return results


def turns(count: int, index: int) -> list[int]:
    """The order of a round: each starts with another one, and every other round runs backwards.

    Otherwise one network would always come right behind AlexNet, which empties the caches.
    """
    order = [(index + turn) % count for turn in range(count)]
    return order[::-1] if index % 2 else order


@contextlib.contextmanager
def one_core(probe: Timer) -> Iterator[int | None]:
    """Keeps this thread on one core, because a move costs it its caches; gives the core's number.

    That is the core on which `probe` is fastest now: a big one where cores differ, and none that others keep busy.
     None where the system cannot do that.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return

    def seconds(core):
        os.sched_setaffinity(0, {core})
        return min(probe() for _ in range(3))

    before = os.sched_getaffinity(0)
    try:
        core = min(sorted(before), key=seconds)
        os.sched_setaffinity(0, {core})
        yield core
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that the turn which runs can end; a second Ctrl-C is as usual.

    An exception in the middle of a call would leave a session with a board unusable.
    """
    stop = threading.Event()

    def handler(*_):
        print("\nending after this turn; Ctrl-C again gives up", file=sys.stderr)
        stop.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():  # others can't have handlers
        yield stop
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
