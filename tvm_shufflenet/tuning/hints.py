"""Knobs that are known to be good for a kernel elsewhere: they are tried before the search proposes any."""

from __future__ import annotations

from pathlib import Path

from ..records.store import FILE, Record, fastest, knob_key, read_file, settle
from ..schedules import Knobs
from ..targets import TargetSpec, resolve
from ..targets.cores import STAND_INS
from .tasks import Task


def add_hints(tasks: list[Task], folder: Path, target: TargetSpec) -> None:
    """Sets the `hints` of the tasks, legal knobs without the default.

    First come the defaults of the cores that stand for the target, then the best records of other targets below
    `folder`.  Kernels of processors with other vectors are other kernels, so these give none.
    """
    elsewhere = _best_elsewhere(folder, target)
    machines = [resolve(name).machine for name in STAND_INS.get(target.name, ())]
    for task in tasks:
        legal = set(map(knob_key, task.space))
        known: list[Knobs] = [
            task.workload.knobs(machine.at(task.workload.dtype)) for machine in machines
        ] + elsewhere.get(task.key, [])
        found = {key: knobs for knobs in known if (key := knob_key(knobs)) in legal}
        found.pop(knob_key(task.default), None)
        task.hints = list(found.values())


def _best_elsewhere(folder: Path, target: TargetSpec) -> dict[str, list[Knobs]]:
    """By task, the best knobs on each other target, those that gained most first."""
    best: list[Record] = []
    for path in sorted(folder.glob(f"*/{FILE}")):
        if path.parent.name != target.name:
            groups: dict[tuple, list[Record]] = {}
            for record in read_file(path).all:
                groups.setdefault(record.kernel, []).append(record)
            best += filter(None, (fastest(settle(group).values()) for group in groups.values()))
    found: dict[str, list[Knobs]] = {}
    for record in sorted(best, key=lambda record: record.relative):
        found.setdefault(record.task, []).append(record.knobs)
    return found
