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
from .entries import Entry, check_name, check_outputs, make_entry, usual_of
from .peak import multiply_adds
from .place import open_place
from .rounds import calibrate

MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g3", "shufflenet-v1-2x-g3", "mobilenet-v1-1.0", "alexnet")


@dataclass(frozen=True)
class CompareOptions:
    """What to compare.  `names` are networks and libraries; `target` is `native`, or `arm` with `rpc`."""

    names: tuple[str, ...] = MODELS
    target: str | None = None
    size: tuple[int, int] | None = None
    rpc: str | None = None
    key: str | None = None
    rounds: int = 30
    timeout: float = 10.0
    output: Path | None = None
    records: Path | None = FOLDER  # of tuning; None: default schedules
    threads: int = 1


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
    threads: int = 1
    date: str = ""  # of figures from a file, as 2026-01-31

    @property
    def rounds(self) -> int:
        return len(self.peak_seconds)

    @property
    def batches(self) -> list[int]:
        """The numbers of pictures of a call that there are, each once."""
        return sorted({entry.batch for entry in self.entries})

    @property
    def batch(self) -> int | list[int]:
        """The pictures of a call: one number where it is the same of all."""
        return self.batches[0] if len(self.batches) == 1 else self.batches

    @property
    def peak(self) -> float | None:
        """Multiply-adds per second of one core, or of as many as `threads` together: the best of all rounds."""
        return multiply_adds(self.target.machine, self.threads) / min(self.peak_seconds) if self.peak_seconds else None

    def rows(self) -> list[dict]:
        """The figures of each network; None stands for what there is not.  All rates are of the minimum."""
        return [self._row(entry) for entry in self.entries]

    def _row(self, entry: Entry) -> dict:
        row = {
            "network": entry.label,
            "model": entry.model,
            "size": list(entry.size),
            "batch": entry.batch,
            "multiply_adds": entry.multiply_adds,
            "output_difference": entry.difference,
            **dict.fromkeys(("minimum_ms", "median_ms", "pictures_per_second", "multiply_adds_per_second")),
            **dict.fromkeys(("share_of_peak", "speedup", "theoretical_speedup")),
            "paper_ms": published.milliseconds(entry.model, entry.size),
            "paper_speedup": published.speedup(entry.model, entry.size),
        }
        if not entry.seconds:
            return row
        fastest = min(entry.seconds)
        rate = entry.batch * entry.multiply_adds / fastest
        row |= {
            "minimum_ms": 1e3 * fastest,
            "median_ms": 1e3 * statistics.median(entry.seconds),
            "pictures_per_second": entry.batch / fastest,
            "multiply_adds_per_second": rate,
            "share_of_peak": rate / self.peak if self.peak else None,
        }
        alexnets = (other for other in self.entries if other.model == "alexnet" and other.size == entry.size)
        if alexnet := next(alexnets, None):
            row |= {
                "speedup": min(alexnet.seconds) / alexnet.batch / (fastest / entry.batch),
                "theoretical_speedup": alexnet.multiply_adds / entry.multiply_adds,
            }
        return row


def measured_target(name: str | None, rpc: str | None) -> tuple[str, TargetSpec]:
    """The target and its name, which may be JSON; without a name `arm` with a board at `rpc`, else `native`.

    `UserError` for a target of another architecture than this machine's, where no board is at `rpc`.
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
        size = usual_of(name, options.size)
        check_name(name, size, target.arch, f"--target {target_name}" if options.rpc else "this machine")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm_shufflenet-")))
        with progress.step(f"connecting to {options.rpc}" if options.rpc else "looking at this machine"):
            place = stack.enter_context(open_place(target, options.rpc, options.key, options.timeout, options.threads))
        entries = []
        for number, name in enumerate(options.names, 1):
            with progress.step(f"building {name} for {target.name}", number, len(options.names)) as done:
                entries.append(make_entry(name, target_name, usual_of(name, options.size), options.output or scratch,
                                          options.records, options.threads, done))  # fmt: skip
        _tell_apart(entries)
        result = Comparison(place.name, place.processor, target, entries, bool(options.rpc), options.rounds,
                            threads=options.threads)  # fmt: skip
        functions = []
        for entry in entries:
            with progress.step(f"loading {entry.label} on {place.name}"):
                functions.append(place.load_network(entry.path, entry.manifest, *entry.arguments))
            if result.checked:
                with progress.step(f"checking {entry.label} on {place.name}"):
                    entry.difference = check_outputs(
                        entry,
                        lambda: functions[-1].run_all(range(1, 1 + len(entry.outputs))),  # noqa: B023
                        place.name,
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
    """Labels libraries of the same name by the ends of their paths, as short as tells them apart."""
    labels = [entry.label for entry in entries]
    same = [e for e in entries if labels.count(e.label) > 1 and e.label == e.path.stem]
    paths = {entry.path.resolve() for entry in same}
    for entry in same:
        parts = entry.path.resolve().parts
        ends = (parts[-count:] for count in range(2, len(parts) + 1))
        entry.label = next(
            (str(Path(*end)) for end in ends if sum(path.parts[-len(end) :] == end for path in paths) == 1),
            str(entry.path),
        )
