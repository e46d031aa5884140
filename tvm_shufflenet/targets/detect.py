"""Targets that LLVM has to be asked about: this machine, and those given as JSON."""

from __future__ import annotations

import difflib
import json
import os
import re

from ..errors import UserError
from . import NEON_A53, TargetSpec

ARCHITECTURES = {"aarch64": r"aarch64|arm64", "arm": r"arm(v[78]\w*)?", "x86_64": r"x86_64|amd64"}


def native() -> TargetSpec:
    """This machine, with exactly the features that its system lets programs use."""
    from tvm.target import codegen

    triple, cpu = str(codegen.llvm_get_system_triple()), str(codegen.llvm_get_system_cpu())
    arch = _arch(triple, "target native: this machine")
    system = "gnueabihf" if arch == "arm" else "gnu"
    processor = "armv7l" if arch == "arm" else arch
    tvm = {"kind": "llvm", "mtriple": f"{processor}-linux-{system}", "mcpu": cpu}
    # The name alone may promise too much (a virtual machine hides features) or too little.
    promised = _features(tvm)
    mattr = []
    for feature, there in _host_features().items():
        if there != (feature in promised):
            mattr.append(f"{'+' if there else '-'}{feature}")
    if arch == "aarch64" and cpu in ("generic", "cortex-a53"):
        mattr += NEON_A53
    tvm |= {"mattr": sorted(set(mattr)), "num-cores": len(os.sched_getaffinity(0))}
    if arch == "arm":
        tvm["mfloat-abi"] = "hard"
    return TargetSpec("native", tvm, arch, *_vectors(arch, _features(tvm), cpu), f"this machine ({cpu})")


def custom(text: str) -> TargetSpec:
    """The TVM target that the JSON `text` describes."""
    try:
        tvm = json.loads(text)
    except ValueError as error:
        raise UserError(f"target {text}: malformed JSON: {error}") from None
    if not isinstance(tvm, dict) or tvm.get("kind") != "llvm":
        raise UserError(f'target {text}: expected {{"kind": "llvm", "mtriple": ..., "mcpu": ...}}')
    triple, cpu = tvm.get("mtriple", ""), tvm.get("mcpu", "generic")
    if not isinstance(triple, str) or not isinstance(cpu, str):
        raise UserError(f"target {text}: mtriple and mcpu must be texts")
    arch = _arch(triple, "target: mtriple")  # before LLVM sees it, which crashes on an unknown one

    from tvm.target import Target, codegen

    if not codegen.llvm_is_valid_cpu(cpu, triple):
        known = map(str, codegen.llvm_get_cpu_archlist(Target({"kind": "llvm", "mtriple": triple})))
        near = difflib.get_close_matches(cpu, known) or ["generic"]
        raise UserError(f"target: LLVM knows no mcpu {cpu!r} for {triple}: expected such as {' or '.join(near)}")
    tvm.setdefault("num-cores", 4)  # MetaSchedule fails without
    features = _features(tvm)
    for feature in tvm.get("mattr", []):
        if feature[:1] not in ("+", "-") or (feature[0] == "+" and feature[1:] not in features):
            raise UserError(f"target: LLVM knows no feature {feature!r} of {triple}: expected such as +neon or -sve")
    name = f"custom-{cpu}" if "mcpu" in tvm else "custom"
    return TargetSpec(name, tvm, arch, *_vectors(arch, features, cpu), f"{cpu}, {triple}")


def _arch(triple: str, what: str) -> str:
    processor, *system = triple.split("-")
    for arch, pattern in ARCHITECTURES.items():
        if re.fullmatch(pattern, processor) and "linux" in system:
            return arch
    expected = "expected Linux on AArch64, Armv7 or x86-64, such as aarch64-linux-gnu"
    raise UserError(f"{what} is {triple!r}: {expected}")


def _features(tvm: dict) -> set[str]:
    """What LLVM takes the processor to have."""
    from tvm.target import Target, codegen

    try:
        return {str(name) for name in codegen.llvm_get_cpu_features(Target(tvm))}
    except (ValueError, TypeError) as error:
        reason = str(error).partition(" Target creation")[0].strip().splitlines()[-1]
        raise UserError(f"target: TVM rejects it: {reason}") from None


def _host_features() -> dict[str, bool]:
    import tvm_ffi

    found = tvm_ffi.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    return {str(name): bool(there) for name, there in found.items()}


def _vectors(arch: str, features: set[str], cpu: str) -> tuple[int, int]:
    """fp32 lanes of a vector, and how many vector registers."""
    if arch == "x86_64":
        if "avx512f" in features:
            return 16, 32
        return (8, 16) if "avx" in features else (4, 16)
    if "neon" not in features:
        raise UserError(f"target: {cpu} without NEON is not supported: add +neon to mattr if the processor has it")
    return (4, 32) if arch == "aarch64" else (4, 16)
