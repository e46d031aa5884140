"""What LLVM has to be asked about: this machine, and the features of processors."""

from __future__ import annotations

import contextlib
import os
import re

from ..errors import UserError
from . import NEON_A53, TargetSpec

ARCHITECTURES = {"aarch64": r"aarch64|arm64", "arm": r"arm(v[78]\w*)?", "x86_64": r"x86_64|amd64"}
SYSTEMS = r"linux|(gnu|musl|android)(eabi(hf)?)?[0-9]*"


def native() -> TargetSpec:
    """This machine, with exactly the features that its system lets programs use."""
    from tvm.target import codegen

    triple, cpu = str(codegen.llvm_get_system_triple()), str(codegen.llvm_get_system_cpu())
    arch = architecture(triple, "target native: this machine")
    system = "gnueabihf" if arch == "arm" else "gnu"
    processor = "armv7l" if arch == "arm" else arch
    tvm: dict = {"kind": "llvm", "mtriple": f"{processor}-linux-{system}", "mcpu": cpu}
    # The name alone may promise too much (a virtual machine hides features) or too little.
    promised = features_of(tvm)
    mattr = []
    for feature, there in _host_features().items():
        if there != (feature in promised):
            mattr.append(f"{'+' if there else '-'}{feature}")
    if arch == "aarch64" and cpu in ("generic", "cortex-a53"):
        mattr += NEON_A53
    tvm |= {"mattr": sorted(set(mattr)), "num-cores": usable_cores()}
    if arch == "arm":
        tvm["mfloat-abi"] = "hard"
    return TargetSpec("native", tvm, arch, *vectors(arch, features_of(tvm), cpu), f"this machine ({cpu})")


def usable_cores() -> int:
    """Cores that this process may run on; all of the machine where the system (macOS, Windows) does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def architecture(triple: str, what: str) -> str:
    """The architecture of a triple, of Linux with pointers as wide as the processor's registers; else `UserError`."""
    processor, *system = triple.split("-")
    for arch, pattern in ARCHITECTURES.items():
        if re.fullmatch(pattern, processor) and "linux" in system and re.fullmatch(SYSTEMS, system[-1]):
            return arch
    expected = "expected Linux on AArch64, Armv7 or x86-64, such as aarch64-linux-gnu"
    raise UserError(f"{what} is {triple!r}: {expected}")


def features_of(tvm: dict) -> set[str]:
    """The features that LLVM takes the processor to have."""
    from tvm.target import Target, codegen

    try:
        return {str(name) for name in codegen.llvm_get_cpu_features(Target(tvm))}
    except (ValueError, TypeError) as error:
        reason = str(error).partition(" Target creation")[0].strip().splitlines()[-1]
        raise UserError(f"target: TVM rejects it: {reason}") from None


def known_features(tvm: dict) -> set[str]:
    """The features in the target's `mattr` that LLVM knows, be they switched on or off there."""
    asked = {**tvm, "mattr": sorted({f"+{feature[1:]}" for feature in tvm["mattr"]})}
    with _silence():
        return features_of(asked)


@contextlib.contextmanager
def _silence():
    """LLVM writes to stderr itself what it does not know."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _host_features() -> dict[str, bool]:
    import tvm_ffi

    found = tvm_ffi.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    return {str(name): bool(there) for name, there in found.items()}


def vectors(arch: str, features: set[str], cpu: str) -> tuple[int, int]:
    """fp32 lanes of a vector, and how many vector registers."""
    if arch == "x86_64":
        if "avx512f" in features:
            return 16, 32
        return (8, 16) if "avx" in features else (4, 16)
    if "neon" not in features:
        raise UserError(f"target: {cpu} without NEON is not supported: add +neon to mattr if the processor has it")
    return (4, 32) if arch == "aarch64" else (4, 16)
