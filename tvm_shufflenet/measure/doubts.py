"""What makes figures doubtful: a busy machine, a clock that changes, kernels that do not add up to the whole."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..building.manifest import WINOGRAD
from ..words import counted

if TYPE_CHECKING:
    from .comparison import Comparison
    from .profiling import Profile

SCATTER = 0.10  # of the median: half of the rounds are within 3 % of each other on a quiet machine
CERTAINTY = 0.95  # of the bounds of a gain
GAP = 0.10  # between the sum of the kernels and the whole, of the whole
ADVICE = "other work on the machine or a changing clock: measure again on a quiet one"


def scatter(values: Sequence[float]) -> float:
    """The distance of the quartiles by the median, which single outliers do not change; 0 of fewer than 4 values."""
    if len(values) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


@dataclass(frozen=True)
class Gain:
    """How many times as fast a network became: the median of all rounds, and the bounds of that median.

    The median of endless rounds lies between the bounds with 95 % certainty, whatever the distribution of the noise, if
    the rounds are independent.
    """

    rounds: int
    median: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        return self.low <= 1 <= self.high


def gain(before: Sequence[float], after: Sequence[float]) -> Gain | None:
    """The gain by before / after, round by round, so that noise falls on both; None of too few rounds.

    The bounds are the k-th ratio from below and from above.  The median is outside with the chance of fewer than k
    heads in as many throws of a coin as there are rounds, and of fewer than k tails.
    """
    ratios = sorted(one / other for one, other in zip(before, after, strict=True))
    rounds, outside, k = len(ratios), 0.0, 0
    while (outside := outside + 2 * math.comb(rounds, k) / 2**rounds) <= 1 - CERTAINTY:
        k += 1
    if not k:
        return None
    return Gain(rounds, statistics.median(ratios), ratios[k - 1], ratios[-k])


def scattered(named: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    """A line for each (label, seconds of each round) whose rounds scatter."""
    return [
        f"the rounds of {label} scatter by {100 * wide:.0f} % (quartiles, of the median)"
        for label, values in named if (wide := scatter(values)) > SCATTER
    ]  # fmt: skip


def doubts_of_comparison(result: Comparison) -> list[str]:
    """What is doubtful of a comparison, line by line; nothing where nothing was timed."""
    if result.peak is None:
        return []
    found = scattered([*((e.label, e.seconds) for e in result.entries), ("the peak", result.peak_seconds)])
    for entry, row in zip(result.entries, result.rows()):
        share = row["share_of_peak"]
        if share is not None and share > 1 and WINOGRAD not in entry.manifest["note"]:
            found.append(f"{entry.label} passes the peak: {100 * share:.0f} %")
    return found


def doubts_of_profile(result: Profile) -> list[str]:
    """What is doubtful of a profile, line by line."""
    whole = min(result.library_seconds)
    found = scattered([("the library", result.library_seconds), ("the peak", result.peak_seconds)])
    if abs(result.sum / whole - 1) > GAP:
        found.append(f"the kernels together take {100 * result.sum / whole:.0f} % of the whole")
    # Winograd's method needs fewer multiply-adds than are counted.
    shares = {r["kernel"]: r["share_of_peak"] for r in result.kernels() if not r["kernel"].startswith("winograd")}
    if passing := sorted((name for name, share in shares.items() if share > 1), key=lambda name: -shares[name]):
        most = f"{100 * shares[passing[0]]:.0f} %"
        others = f" and {counted(len(passing) - 1, 'other kernel')} pass the peak: up to {most}"
        found.append(passing[0] + (others if len(passing) > 1 else f" passes the peak: {most}"))
    return found


def warnings(doubts: Sequence[str]) -> list[str]:
    """The lines for the user, with the reason behind the last line."""
    return [*(f"warning: {doubt}" for doubt in doubts), *([f"warning: {ADVICE}"] if doubts else [])]
