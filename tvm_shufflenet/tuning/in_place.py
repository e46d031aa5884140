"""The last choice among a kernel's best candidates: in its place in the network.

Timed alone, a kernel finds its input and its weights in the caches, where its last call left them; in a
network it does not, and other tiles may be the faster ones there.  So the finalists of all kernels compete
in clocked copies of the network (see `measure/profiling.py`): copy number i has finalist number i of each kernel,
all copies take turns, and the clock between the kernels tells which finalist was the fastest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import Network
from ..measure.beside_peak import Progress, time_beside_peak
from ..measure.clocked import Clocked, seconds_of
from ..measure.place import Place
from ..records.keys import task_of
from ..records.store import Record, Records
from ..targets import TargetSpec
from ..targets.precision import FP32, Precision
from .tasks import Task
from .tuner import FINAL_ROUNDS, FINALISTS

if TYPE_CHECKING:
    from ..schedules.workload import Workload

ROUNDS = FINAL_ROUNDS + 20  # more turns than any trial alone had: what they say is trusted more


@dataclass
class Entrants:
    """The `Chooser` with which copy number `index` is compiled; kernels that don't compete have defaults."""

    finalists: dict[str, list[Record]]  # by task, the default first
    index: int

    def best(self, workload: Workload, legal: Iterable[dict]) -> Record | None:
        finalists = self.finalists.get(task_of(workload))
        return finalists[self.index % len(finalists)] if finalists else None

    def ignored(self, workloads: Iterable) -> dict[str, int]:
        return {}


def finalists_of(task: Task, records: Records) -> list[Record]:
    """The default and the best of those that were timed in many turns; none if there is only the default."""
    known = records.known(task.workload, "measured", task.space).values()
    timed = [r for r in known if not r.failure and r.rounds >= FINAL_ROUNDS]
    default = [record for record in timed if record.knobs == task.default]
    others = sorted((r for r in timed if r.knobs != task.default), key=lambda record: record.relative)
    return default + others[:FINALISTS] if default and others else []


def compete(
    net: Network, tasks: list[Task], target: TargetSpec, records: Records, place: Place, progress: Progress,
    precision: Precision = FP32,
) -> int | None:  # fmt: skip
    """Times the finalists of these tasks in the network and appends to `records`; how many defaults won.

    None where all of them have competed before.  Ctrl-C before the end leaves no records.
    """
    finalists = {task.key: finalists_of(task, records) for task in tasks if net.name in task.networks}
    finalists = {key: found for key, found in finalists.items() if found}
    if all(record.rounds >= ROUNDS for found in finalists.values() for record in found):
        return None
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        copies, count = [], max(map(len, finalists.values()))
        for index in range(count):
            with progress.step(f"building {net.name} with finalists", index + 1, count) as done:
                path, entrants = Path(folder, f"clocked{index}.so"), Entrants(finalists, index)
                copies.append(Clocked(net, target, path, entrants, precision=precision, done=done))
        turns = [clocked.load(place) for clocked in copies]
        timed = time_beside_peak(place, target, lambda: turns, ROUNDS, progress)
    if len(timed.peak_seconds) < ROUNDS:
        raise KeyboardInterrupt
    # For each copy the seconds that each kernel takes, over its calls.
    times = [_by_kernel(clocked, rounds) for clocked, rounds in zip(copies, timed.turns)]
    kept = 0
    for task in tasks:
        found = finalists.get(task.key, [])
        calls = sum(task_of(call.workload) == task.key for call in copies[0].compiled.program.calls)
        values = [
            min(times[index][task.key] for index in range(place_of, len(copies), len(found))) / calls
            for place_of in range(len(found))
        ]
        for record, value in zip(found, values):
            records.append(
                replace(
                    record, value=value, default=values[0], rounds=ROUNDS, where=f"{_processor(record)}, in {net.name}"
                )
            )
        kept += bool(found) and min(values) == values[0]
    return kept


def _by_kernel(clocked: Clocked, turns: list) -> dict[str, float]:
    seconds, _, _ = seconds_of(turns, clocked.steps)
    times: dict[str, float] = {}
    for call, least in zip(clocked.compiled.program.calls, seconds.min(axis=0)):
        times[task_of(call.workload)] = times.get(task_of(call.workload), 0.0) + float(least)
    return times


def _processor(record: Record) -> str:
    return record.where.partition(", in ")[0]
