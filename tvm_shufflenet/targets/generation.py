"""How LLVM is asked to generate code for a target: the options beside triple, processor and features."""

from __future__ import annotations

import hashlib
import json

from . import IN_ORDER, LOADS_APART
from .inorder import MODELS, Model

ORDER = 3  # of the loops that `lowering/reorder.py` writes: raise it where other code comes out


def with_options(target: dict) -> dict:
    """TVM's target with the options of the code generator.

    Each kernel stays a function of its own name, which profilers and `estimate` go by: LLVM would copy some into their
    callers, up to seven times.  The sign of a maximum of two zeros, and what becomes of NaN, is left open: a maximum
    then is one instruction instead of two.
    """
    options, features = _ordering(target)
    options = [*target.get("cl-opt", ()), "-inline-instr-cost:int=100000", *options]
    features = [*target.get("mattr", ()), *features]
    target = {**target, "cl-opt": options, "fast-math-nnan": True, "fast-math-nsz": True}
    if features:
        target["mattr"] = features
    return target


def digest_of_options(triple: str, cpu: str, features: list[str]) -> str:
    """A hash of all that decides which machine code a kernel becomes, but for the kernel."""
    target = {"mtriple": triple, "mcpu": cpu, "mattr": sorted(features)}
    options = with_options(target) | ({"order": ORDER} if order_of(target) else {})
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]


def order_of(target: dict) -> Model | None:
    """The model of the core in order whose hot loops are written in another order than LLVM's; None for others."""
    return MODELS.get(target.get("mcpu", "")) if target.get("mtriple", "").startswith("aarch64") else None


def _ordering(target: dict) -> tuple[list[str], list[str]]:
    """Options and features that keep LLVM from putting a kernel's instructions into a worse order.

    Register tiles fit the registers as they are written.  Out of order that order is good; LLVM's care
    for registers in use would take long unrolled tiles apart, and spill.  Where loads are to come
    together it must not spread them to hide their latency either, before or after it assigns registers,
    nor unroll the loops that the schedules left.
    """
    core, arm = target.get("mcpu", "generic"), target.get("mtriple", "").startswith(("aarch64", "arm"))
    as_written = ["-misched-regpressure:bool=false"]
    if core in LOADS_APART:
        options = [*as_written, "-schedmodel:bool=false", "-unroll-threshold-aggressive:uint=150"]
        return options, ["-use-postra-scheduler"]
    return as_written if arm and core not in IN_ORDER else [], []
