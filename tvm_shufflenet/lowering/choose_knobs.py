"""Which knobs each kernel is built with: the one place where a tuned record replaces a default."""

from __future__ import annotations

from ..records.store import Chooser
from ..schedules import Machine, tuning_space
from .program import Program, ScheduledKernel


def choose_knobs(program: Program, machine: Machine, records: Chooser | None = None) -> list[ScheduledKernel]:
    """The knobs of each workload: those of the best of `records`, else the defaults of `schedules`.

    Names are unique and stable within a program.
    """
    seen: dict[str, int] = {}
    kernels = []
    for workload in program.workloads():
        number = seen[workload.name] = seen.get(workload.name, 0) + 1
        space = tuning_space(workload, machine)
        record = records.best(workload, space) if records and len(space) > 1 else None
        knobs, kind = (record.knobs, record.kind) if record else (space[0], "")
        changed = knobs != space[0]
        kernels.append(ScheduledKernel(f"{workload.name}_{number}", workload, knobs, kind, len(space), changed))
    return kernels
