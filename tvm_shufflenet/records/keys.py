"""By what a record is found again: the kernel that it is of, and the code that this kernel became."""

from __future__ import annotations

import functools
import hashlib
import json

import tvm_ffi

from ..schedules import Workload, describe, scheduled


@functools.lru_cache(maxsize=1 << 16)
def task_of(workload: Workload) -> str:
    """A kernel as canonical JSON: fields at their defaults are left out, so that new ones orphan no record."""
    return json.dumps(describe(workload), sort_keys=True, separators=(",", ":"))


def version(workload: Workload, knobs: dict[str, int], options: str) -> str:
    """A hash of scheduled TIR and the code generator's options: what the machine code of a kernel depends on.

    Names and comments do not change it.
    """
    text = f"{tvm_ffi.structural_hash(scheduled(workload, knobs))} {options}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
