"""How much of a build is done, for whoever shows the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..targets import TargetSpec
from ..targets.generation import order_of
from ..targets.precision import FP16, Precision

Share = Callable[[float], None]  # is told what share of the work is done, 0 to 1, again and again

# What the phases of a build take beside each other: seconds of ShuffleNet v1 1x g=3 on one core of x86-64.
SECONDS = {"plan": 1.6, "emit": 1.0, "compile": 3.8, "compile team": 5.9, "write": 1.6, "write team": 1.8}
LINK = 0.5  # once, of all sizes
START = 4.5  # to import TVM, of the first build of a process
ORDERED = 19.0  # in the place of "write" and "write team" where loops are put in another order
RANGES = 11.0  # of fp16: the numbers of four pictures


def unheard(share: float) -> None:
    """The `Share` that nobody listens to."""


def part(done: Share, index: int, of: int) -> Share:
    """The `Share` of piece number `index`, from 0 on, of work in `of` equal pieces."""
    return lambda share: done((index + share) / of)


class Work:
    """The phases of one build, each of which says when it is done, of several sizes each once for a size."""

    def __init__(self, done: Share, target: TargetSpec, precision: Precision, sizes: int = 1, team: bool = False):
        ordered = order_of(target.tvm) is not None
        self.seconds = {
            phase: ORDERED if ordered and phase.startswith("write") else seconds
            for phase, seconds in SECONDS.items()
            if team or "team" not in phase
        }
        ranges = precision.activations == FP16.activations
        self.seconds |= {"ranges": RANGES} if ranges else {}
        self.start = 0 if "tvm" in sys.modules else START
        self.whole = self.start + sizes * sum(self.seconds.values()) + LINK
        self.before, self.tell = 0.0, done

    def started(self) -> None:
        """TVM is imported."""
        self.before = self.start
        if self.start:
            self.tell(self.before / self.whole)

    def __call__(self, phase: str, share: float = 1) -> None:
        """Says which `share` of a phase is done, of one size; 1 ends the phase."""
        seconds = self.seconds.get(phase, 0) * share
        self.tell(min(1.0, (self.before + seconds) / self.whole))
        if share == 1:
            self.before += seconds
