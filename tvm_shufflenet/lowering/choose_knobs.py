"""Which knobs each kernel is built with: the one place where a tuned record could replace a default."""

from __future__ import annotations

from schedules import Machine

from .program import Program, ScheduledKernel


def choose_knobs(program: Program, machine: Machine) -> list[ScheduledKernel]:
    """The defaults of `schedules` for `machine`; names are unique and stable within a program."""
    seen: dict[str, int] = {}
    kernels = []
    for workload in program.workloads():
        number = seen[workload.name] = seen.get(workload.name, 0) + 1
        kernels.append(ScheduledKernel(f"{workload.name}_{number}", workload, workload.knobs(machine), tuned=False))
    return kernels
