"""By what a record is found again: the kernel that it is of, and the code that this kernel became."""

from __future__ import annotations

import functools
import hashlib
import json

import tvm_ffi
from tvm import s_tir

from schedules import Workload, describe


@functools.lru_cache(maxsize=1 << 16)
def task_of(workload: Workload) -> str:
    """A kernel as canonical JSON: fields at their defaults are left out, so that new ones orphan no record."""
    return json.dumps(describe(workload), sort_keys=True, separators=(",", ":"))


@functools.lru_cache(maxsize=1 << 16)
def _structure(workload: Workload, knobs: tuple) -> int:
    """A hash of the scheduled kernel that names and comments do not change."""
    schedule = s_tir.Schedule(workload.definition())
    workload.schedule(schedule, dict(knobs))
    return tvm_ffi.structural_hash(schedule.mod["main"])


def version(workload: Workload, knobs: dict[str, int], options: str) -> str:
    """Of the machine code of a kernel with these knobs: of its scheduled TIR and the code generator's options."""
    text = f"{_structure(workload, tuple(sorted(knobs.items())))} {options}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
