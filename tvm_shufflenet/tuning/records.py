"""What tuning found out: lines of JSON in `FOLDER/TARGET/records.jsonl`, one for each candidate tried.

    records = Records.read(FOLDER, resolve("cortex-a72"))
    best = records.best(workload, machine)      # a `Record`, or None

A line says which kernel was tried (`task` and the `version` of its schedule), by which TVM, for which
processor (`target` is a digest of triple, CPU and features, which a line of their own spells out), with
which knobs, and what came of it: a figure beside that of the default knobs in the same unit, or why it
failed.  Only their ratio is compared: noise, and a slower board, fall on both alike.

`record_lines` says what a line may be, `record_file` how processes share the file.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import io
import json
import math
import sys
import tokenize
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..targets import TargetSpec
from .record_file import locked, read_lines
from .record_lines import KINDS, LINE, BadLine, parse, printable

FOLDER = Path(__file__).resolve().parents[2] / "tuning_logs"
FILE = "records.jsonl"
UNITS = {"measured": "seconds", "estimated": "cycles", "emulated": "seconds"}


@dataclass(frozen=True)
class Record:
    """One trial.  `value` and `default` are seconds or cycles of a call; None if it failed, see `failure`."""

    task: str  # the workload, as its repr
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

    @property
    def relative(self) -> float:
        """Of the default's time; infinite if it failed."""
        return math.inf if self.failure else self.value / self.default

    @property
    def knob_key(self) -> tuple:
        return knob_key(self.knobs)

    @property
    def candidate(self) -> tuple:
        """What was tried: the same for repeated trials of the same candidate."""
        return self.task, self.version, self.tvm, self.target, self.kind, self.knob_key


def knob_key(knobs: dict[str, int]) -> tuple:
    return tuple(sorted(knobs.items()))


def tvm_version() -> str:
    return importlib.metadata.version("apache-tvm")


def digest(target: TargetSpec) -> str:
    """Of all that decides which machine code comes out."""
    return hashlib.sha256(json.dumps(_describe(target), sort_keys=True).encode()).hexdigest()[:12]


def _describe(target: TargetSpec) -> dict:
    tvm = target.tvm
    return {"triple": tvm["mtriple"], "cpu": tvm.get("mcpu", "generic"), "features": sorted(tvm.get("mattr", []))}


RULES = ("knobs", "space", "tile_knobs", "prefetch_knob")  # methods that choose knobs, and do nothing else


@functools.cache
def version(kernel: type) -> str:
    """Of a kernel's schedule: changes with its code and with all that this takes from the package `schedules`.

    Comments, docstrings and the rules of default knobs and spaces may change without.
    """
    texts = (_text(node, source) for _, node, source in used_code(kernel))
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:12]


def used_code(kernel: type) -> list[tuple[str, ast.stmt, str]]:
    """What a kernel's code consists of: (module, top-level statement, source of the module), in a fixed order."""
    found, wanted = {}, [(kernel.__module__, kernel.__name__)]
    while wanted:
        module, name = wanted.pop()
        source, tree = _parsed(module)
        for index, node in enumerate(tree.body):
            if isinstance(node, ast.ImportFrom) and node.level and name in (alias.name for alias in node.names):
                wanted.append((f"{module.rpartition('.')[0]}.{node.module}", name))
            elif (module, index) not in found and (_defines(node, name) or _registers(node)):
                found[module, index] = (module, node, source)
                wanted += [(module, used) for used in _names(node)]
    return [found[key] for key in sorted(found)]


@functools.cache
def _parsed(module: str) -> tuple[str, ast.Module]:
    source = inspect.getsource(sys.modules[module])
    return source, ast.parse(source)


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.Assign):
        return name in {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name


def _registers(node: ast.stmt) -> bool:
    """Whether a module does something when it is imported, as registering an intrinsic."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)


def _names(tree: ast.AST) -> set[str]:
    """Names that are used outside of rules."""
    if isinstance(tree, ast.FunctionDef) and tree.name in RULES:
        return set()
    own = {tree.id} if isinstance(tree, ast.Name) else set()
    return own.union(*map(_names, ast.iter_child_nodes(tree)))


@functools.cache
def _tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


def _text(node, source: str) -> str:
    """The source of a function or class without what does not change what it does."""
    skipped = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef) and part.name in RULES:
            skipped.update(range(part.lineno, part.end_lineno + 1))
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(part) is not None:
            skipped.update(range(part.body[0].lineno, part.body[0].end_lineno + 1))
    kept = (
        token.string for token in _tokens(source)
        if node.lineno <= token.start[0] <= node.end_lineno and token.start[0] not in skipped
        and token.type not in (tokenize.COMMENT, tokenize.NL)
    )  # fmt: skip
    return "".join("".join(text.split()) for text in kept)


@dataclass
class Records:
    """Records of one target.  `target` is its digest; `notices` are what the user should hear of the file."""

    path: Path
    target: str
    all: list[Record] = field(default_factory=list)
    targets: dict[str, dict] = field(default_factory=dict)  # digest -> triple, CPU and features
    notices: list[str] = field(default_factory=list)

    @staticmethod
    def read(folder: Path, target: TargetSpec) -> Records:
        """The records of a target below `folder`; none if there is no file."""
        records = read_file(folder / target.name / FILE)
        records.target = digest(target)
        return records

    def fits(self, record: Record, workload) -> bool:
        """Whether a record is of this kernel as it is now, on this target, by this TVM."""
        return (record.task, record.version, record.tvm, record.target) == (
            repr(workload), version(type(workload)), tvm_version(), self.target,
        )  # fmt: skip

    def known(self, workload, kind: str) -> dict[tuple, Record]:
        """By their knobs, the most trusted records of a kernel."""
        return settle(r for r in self.all if r.kind == kind and self.fits(r, workload))

    def best(self, workload, legal: Iterable[dict]) -> Record | None:
        """The fastest of the most trusted kind, with knobs that are `legal`; None if there is none."""
        allowed = set(map(knob_key, legal))
        for kind in KINDS:
            if record := fastest(r for key, r in self.known(workload, kind).items() if key in allowed):
                return record
        return None

    def ignored(self, workloads: Iterable) -> dict[str, int]:
        """How many records of these kernels do not apply, by reason."""
        tasks = {repr(workload): workload for workload in workloads}
        reasons: dict[str, int] = {}
        for record in self.all:
            if record.task in tasks and not self.fits(record, tasks[record.task]):
                other = record.target != self.target
                reason = "for another processor" if other else "by another version of the kernel or of TVM"
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
    """Of repeated trials of the same knobs the one with the most turns, of equal ones the last."""
    settled: dict[tuple, Record] = {}
    for record in records:
        if record.knob_key not in settled or record.rounds >= settled[record.knob_key].rounds:
            settled[record.knob_key] = record
    return settled


def fastest(records: Iterable[Record]) -> Record | None:
    """Among those with the most turns, since a trial of few turns may be fast by chance."""
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
        records.notices.append(f"{path}: {bad} lines are no records and are ignored ({first})")
    return records


def to_line(record: Record) -> dict:
    """The fields that say something."""
    fields = dataclasses.asdict(record) | {"failure": printable(record.failure), "where": printable(record.where)}
    return {key: value for key, value in fields.items() if value not in (None, "", 0)}


def prune(path: Path, choose: Callable[[list[Record]], list[Record]]) -> tuple[Records, list[Record]]:
    """Keeps of a file the records that `choose` gives, and what their targets are; the file before, and what is kept."""
    with locked(path) as file:
        records = read_file(path)
        kept = choose(records.all)
        used = {record.target for record in kept}
        targets = [{"target": key, **about} for key, about in records.targets.items() if key in used]
        file.replace([*targets, *map(to_line, kept)])
    return records, kept


def merge(path: Path, theirs: Records) -> list[Record]:
    """Adds to a file the records of another one that it has not; gives the new ones."""
    with locked(path) as file:
        ours = read_file(path)
        had = {repr(record) for record in ours.all}
        new = [record for record in theirs.all if repr(record) not in had]
        targets = [{"target": key, **about} for key, about in theirs.targets.items() if key not in ours.targets]
        file.append([*targets, *map(to_line, new)])
    return new
