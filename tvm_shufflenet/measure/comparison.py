"""Builds, checks and times networks side by side: what the command `compare` does, as a function."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .. import published
from ..boards.processor import Processor
from ..errors import UserError
from ..records.store import FOLDER
from ..targets import TargetSpec, resolve
from .beside_peak import Progress, Silent, time_beside_peak
from .entries import Entry, check_name, check_outputs, make_entry
from .peak import multiply_adds
from .place import open_place
from .rounds import calibrate

MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g3", "shufflenet-v1-2x-g3", "mobilenet-v1-1.0", "alexnet")


@dataclass(frozen=True)
class CompareOptions:
    """What to compare.  `names` are networks and libraries; `target` is `native`, or `arm` with `rpc`."""

    names: tuple[str, ...] = MODELS
    target: str | None = None
    size: tuple[int, int] = (224, 224)
    rpc: str | None = None
    key: str | None = None
    rounds: int = 30
    timeout: float = 10.0
    output: Path | None = None
    records: Path | None = FOLDER  # of tuning; None: default schedules


@dataclass
class Comparison:
    """Networks side by side.  Where `processor.measurable` is false nothing was timed."""

    place: str
    processor: Processor
    target: TargetSpec
    entries: list[Entry]
    checked: bool  # outputs, against this machine's
    rounds_asked: int
    core: int | None = None  # on which all was timed, if it could be chosen
    peak_seconds: list[float] = field(default_factory=list)  # per call, one for each round

    @property
    def rounds(self) -> int:
        return len(self.peak_seconds)

    @property
    def peak(self) -> float | None:
        """Multiply-adds per second of one core: the best of all rounds."""
        return multiply_adds(self.target.machine) / min(self.peak_seconds) if self.peak_seconds else None

    def rows(self) -> list[dict]:
        """The figures of each network; None stands for what there is not.  All rates are of the minimum."""
        return [self._row(entry) for entry in self.entries]

    def _row(self, entry: Entry) -> dict:
        row = {
            "network": entry.label,
            "model": entry.model,
            "size": list(entry.size),
            "multiply_adds": entry.multiply_adds,
            "output_difference": entry.difference,
            **dict.fromkeys(("minimum_ms", "median_ms", "multiply_adds_per_second", "share_of_peak")),
            **dict.fromkeys(("speedup", "theoretical_speedup")),
            "paper_ms": published.milliseconds(entry.model, entry.size),
            "paper_speedup": published.speedup(entry.model, entry.size),
        }
        if not entry.seconds:
            return row
        fastest = min(entry.seconds)
        rate = entry.multiply_adds / fastest
        row |= {
            "minimum_ms": 1e3 * fastest,
            "median_ms": 1e3 * statistics.median(entry.seconds),
            "multiply_adds_per_second": rate,
            "share_of_peak": rate / self.peak if self.peak else None,
        }
        alexnets = (other for other in self.entries if other.model == "alexnet" and other.size == entry.size)
        if alexnet := next(alexnets, None):
            row |= {
                "speedup": min(alexnet.seconds) / fastest,
                "theoretical_speedup": alexnet.multiply_adds / entry.multiply_adds,
            }
        return row


def measured_target(name: str | None, rpc: str | None) -> tuple[str, TargetSpec]:
    """The target of this name, `arm` with a board at `rpc` and else `native`; `UserError` if it is not of this machine.

    With the name, which may be JSON.
    """
    name = name or ("arm" if rpc else "native")
    target = resolve(name)
    if not rpc and target.arch != (here := resolve("native").arch):
        raise UserError(
            f"--target {name} is for {target.arch}, but this machine is {here}: expected a target for this "
            "machine, such as native, or --rpc HOST:PORT of a board"
        )
    return name, target


def compare(options: CompareOptions, progress: Progress = Silent()) -> Comparison:
    """Builds, checks (over RPC) and times.  Ctrl-C while timing ends it with the rounds so far."""
    target_name, target = measured_target(options.target, options.rpc)
    for name in options.names:
        check_name(name, options.size, target.arch, f"--target {target_name}" if options.rpc else "this machine")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm_shufflenet-")))
        with progress.step(f"connecting to {options.rpc}" if options.rpc else "looking at this machine"):
            place = stack.enter_context(open_place(target, options.rpc, options.key, options.timeout))
        entries = []
        for name in options.names:
            with progress.step(f"building {name} for {target.name}"):
                entries.append(make_entry(name, target_name, options.size, options.output or scratch,
                                          options.records))  # fmt: skip
        _tell_apart(entries)
        result = Comparison(place.name, place.processor, target, entries, bool(options.rpc), options.rounds)
        functions = []
        for entry in entries:
            with progress.step(f"loading {entry.label} on {place.name}"):
                functions.append(place.load(entry.path, "main", *entry.arguments))
            if result.checked:
                with progress.step(f"checking {entry.label} on {place.name}"):
                    entry.difference = check_outputs(
                        entry,
                        lambda i: functions[-1].run(result=1 + i),
                        place.name,  # noqa: B023
                    )
        if place.processor.measurable:
            timed = time_beside_peak(
                place, target, lambda: [calibrate(function.timer) for function in functions], options.rounds, progress
            )
            result.core, result.peak_seconds = timed.core, timed.peak_seconds
            for entry, seconds in zip(entries, timed.turns):
                entry.seconds = seconds
    return result


def _tell_apart(entries: list[Entry]) -> None:
    """Labels libraries of the same name by their paths."""
    labels = [entry.label for entry in entries]
    for entry in entries:
        if labels.count(entry.label) > 1:
            entry.label = str(entry.path) if entry.label == entry.path.stem else entry.label
