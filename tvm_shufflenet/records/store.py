"""What tuning found out: lines of JSON in `FOLDER/TARGET/records.jsonl`, one for each candidate tried.

    records = Records.read(FOLDER, resolve("cortex-a72"))
    best = records.best(workload, machine)      # a `Record`, or None

A line says which kernel was tried (`task`, and the `version` of the code that it became), by which TVM, for which
processor (`target` is a digest of triple, CPU and features, which a line of their own spells out), with
which knobs, and what came of it: a figure beside that of the default knobs in the same unit, or why it
failed.  Only their ratio is compared: noise, and a slower board, fall on both alike.

`record_lines` says what a line may be, `record_file` how processes share the file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..files import held
from ..targets import TargetSpec
from ..targets.cores import CORES, STAND_INS
from ..targets.generation import digest_of_options
from .file import locked, read_lines
from .lines import KINDS, LINE, BadLine, parse, printable

if TYPE_CHECKING:
    from ..schedules import Workload

FOLDER = held("tuning_logs")
FILE = "records.jsonl"
UNITS = {"measured": "seconds", "estimated": "cycles", "emulated": "seconds"}


@dataclass(frozen=True)
class Record:
    """One trial.  `value` and `default` are seconds or cycles of a call; None if it failed, see `failure`."""

    task: str  # the workload, as `record_keys.task_of` has it
    version: str
    tvm: str
    target: str
    kind: str
    knobs: dict[str, int]
    value: float | None = None
    default: float | None = None
    failure: str = ""
    rounds: int = 0  # turns that were timed, 1 for a model: more are trusted more
    where: str = ""  # the processor, or the model
    options: str = ""  # digest of the code generator's, which `version` covers; unsaid in older records
    model: str = ""  # that priced it, if it is estimated: `Core.priced_by`; unsaid where no miss was in the price

    @property
    def relative(self) -> float:
        """The time as a multiple of the default's; infinite if the trial failed."""
        if self.failure:
            return math.inf
        value, default = self.figures
        return value / default

    @property
    def figures(self) -> tuple[float, float]:
        """`value` and `default` of a trial that did not fail."""
        assert self.value is not None and self.default is not None  # as `lines.parse` demands
        return self.value, self.default

    @property
    def knob_key(self) -> tuple:
        return knob_key(self.knobs)

    @property
    def candidate(self) -> tuple:
        """The candidate that was tried; repeated trials have the same."""
        return *self.kernel, self.version, self.knob_key

    @property
    def kernel(self) -> tuple:
        """The kernel, the processor and the kind of judgement that a trial is of."""
        return self.task, self.tvm, self.target, self.kind


def knob_key(knobs: dict[str, int]) -> tuple:
    return tuple(sorted(knobs.items()))


@functools.cache
def tvm_version() -> str:
    return importlib.metadata.version("apache-tvm")


def digest(target: TargetSpec) -> str:
    """A hash of all that a target says of the machine code: triple, processor and features."""
    return hashlib.sha256(json.dumps(_describe(target), sort_keys=True).encode()).hexdigest()[:12]


def _describe(target: TargetSpec) -> dict:
    tvm = target.tvm
    return {"triple": tvm["mtriple"], "cpu": tvm.get("mcpu", "generic"), "features": sorted(tvm.get("mattr", []))}


def priced_by(name: str) -> str:
    """What prices kernels for the target of this name, as records name it; "" where nothing does."""
    return "; ".join(dict.fromkeys(CORES[each].priced_by for each in STAND_INS.get(name, (name,)) if each in CORES))


def same_model(record: Record, model: str) -> bool:
    """Whether a record is no estimate, or one by this model: cycles of two models are not compared."""
    return record.kind != "estimated" or record.model == model


class Chooser(Protocol):
    """Says which knobs a network's kernels are built with: `Records`, or what stands in for them."""

    def best(self, workload: Workload, legal: Iterable[dict]) -> Record | None:
        """The knobs of a kernel, some of the `legal` ones; None: its defaults."""

    def ignored(self, workloads: Iterable[Workload]) -> dict[str, int]:
        """How many records of these kernels do not apply, by reason; call it behind `best`."""


@dataclass
class Records:
    """Records of one target.  `target` is its digest; `notices` are what the user should hear of the file."""

    path: Path
    target: str
    options: str = ""  # digest of the code generator's
    model: str = ""  # that prices kernels for the target now, as in records
    all: list[Record] = field(default_factory=list)
    targets: dict[str, dict] = field(default_factory=dict)  # digest -> triple, CPU and features
    notices: list[str] = field(default_factory=list)
    stale: list[Record] = field(default_factory=list)  # those that `best` found to be of other code

    @staticmethod
    def read(folder: Path, target: TargetSpec) -> Records:
        """The records of a target below `folder`; none if there is no file."""
        records = read_file(folder / target.name / FILE)
        records.target, records.options = digest(target), digest_of_options(**_describe(target))
        records.model = priced_by(target.name)
        return records

    def version(self, workload: Workload, knobs: dict[str, int]) -> str:
        """The version of the code that a kernel with these knobs becomes now."""
        from .keys import version  # which needs TVM, unlike all else here

        return version(workload, knobs, self.options)

    def fits(self, record: Record, workload: Workload) -> bool:
        """Whether a record is of this kernel as it is now, on this target, by this TVM."""
        return self._names(record, workload) and record.version == self.version(workload, record.knobs)

    def _names(self, record: Record, workload: Workload) -> bool:
        from .keys import task_of

        named = record.task, record.tvm, record.target
        return named == (task_of(workload), tvm_version(), self.target) and same_model(record, self.model)

    def known(self, workload: Workload, kind: str, legal: Iterable[dict]) -> dict[tuple, Record]:
        """The most trusted records of a kernel by their knobs, of those that are `legal`."""
        allowed = set(map(knob_key, legal))
        named = (r for r in self.all if r.kind == kind and self._names(r, workload) and r.knob_key in allowed)
        return settle(record for record in named if self.fits(record, workload))

    def best(self, workload: Workload, legal: Iterable[dict]) -> Record | None:
        """The fastest of the most trusted kind, with knobs that are `legal`; None if there is none."""
        allowed = set(map(knob_key, legal))
        for kind in KINDS:
            named = [r for r in self.all if r.kind == kind and self._names(r, workload) and r.knob_key in allowed]
            versions = dict.fromkeys(record.version for record in named)
            left = [r for v in versions for r in settle(r for r in named if r.version == v).values()]
            while record := fastest(left):
                if self.fits(record, workload):  # which takes a schedule: asked only of what would be chosen
                    return record
                self.stale.append(record)
                left.remove(record)
        return None

    def ignored(self, workloads: Iterable[Workload]) -> dict[str, int]:
        """How many records of these kernels do not apply, by reason; call it behind `best`."""
        from .keys import task_of

        tasks = set(map(task_of, workloads))
        reasons: dict[str, int] = {}
        for record in self.all:
            if record.task in tasks:
                other = record.target != self.target
                priced = same_model(record, self.model)
                reason = "for another processor" if other else "by another version of the kernel or of TVM"
                reason = reason if other or priced else "by another model of the core"
                if other or not priced or record.tvm != tvm_version() or record in self.stale:
                    reasons[reason] = reasons.get(reason, 0) + 1
        return reasons

    def append(self, record: Record) -> None:
        """Remembers a record, in the file as well."""
        with locked(self.path) as file:
            file.append([to_line(record)])
        self.all.append(record)

    def refresh(self) -> None:
        """Takes in what other processes have added to the file since."""
        with locked(self.path):
            found = read_file(self.path)
        self.all, self.targets = found.all, found.targets

    def describe_target(self, target: TargetSpec) -> None:
        """Writes once to the file what the digest stands for."""
        with locked(self.path) as file:
            self.targets = read_file(self.path).targets
            if self.target not in self.targets:
                self.targets[self.target] = _describe(target)
                file.append([{"target": self.target, **_describe(target)}])


def settle(records: Iterable[Record]) -> dict[tuple, Record]:
    """The trial with the most turns of each candidate; of equally many the last."""
    settled: dict[tuple, Record] = {}
    for record in records:
        if record.knob_key not in settled or record.rounds >= settled[record.knob_key].rounds:
            settled[record.knob_key] = record
    return settled


def fastest(records: Iterable[Record]) -> Record | None:
    """The fastest of the trials with the most turns, since one of few turns may be fast by chance."""
    good = [record for record in records if not record.failure]
    most = max((record.rounds for record in good), default=0)
    return min((r for r in good if r.rounds == most), key=lambda r: r.relative, default=None)


def read_file(path: Path) -> Records:
    """All records of a file, of whatever target; lines that are none are counted in a notice."""
    records = Records(path, "")
    bad, first = 0, ""
    for number, line in enumerate(read_lines(path, LINE), 1):
        if not line.endswith(b"\n"):
            records.notices.append(f"{path}: the last line is incomplete (a run was killed) and is dropped")
            break
        try:
            what, fields = parse(line[:-1])
        except BadLine as error:
            bad += 1
            first = first or f"line {number}: {error}"
        else:
            if what == "record":
                records.all.append(Record(**fields))
            else:
                records.targets[fields.pop("target")] = fields
    if bad:
        told = "1 line is no record and is" if bad == 1 else f"{bad} lines are no records and are"
        records.notices.append(f"{path}: {told} ignored ({first})")
    return records


def to_line(record: Record) -> dict:
    """The line of a record: empty fields are left out."""
    fields = dataclasses.asdict(record) | {"failure": printable(record.failure), "where": printable(record.where)}
    return {key: value for key, value in fields.items() if value not in (None, "", 0)}


def prune(path: Path, choose: Callable[[Records], list[Record]]) -> tuple[Records, list[Record]]:
    """Keeps of a file the records that `choose` gives, and their targets; gives the file before, and what is kept."""
    with locked(path) as file:
        records = read_file(path)
        kept = choose(records)
        used = {record.target for record in kept}
        targets = [{"target": key, **about} for key, about in records.targets.items() if key in used]
        file.replace([*targets, *map(to_line, kept)])
    return records, kept


def merge(path: Path, theirs: Records) -> list[Record]:
    """Adds to a file those records of another file that it lacks; gives the new ones."""
    with locked(path) as file:
        ours = read_file(path)
        had = {repr(record) for record in ours.all}
        new = [record for record in theirs.all if repr(record) not in had]
        targets = [{"target": key, **about} for key, about in theirs.targets.items() if key not in ours.targets]
        file.append([*targets, *map(to_line, new)])
    return new
