"""Instructions that libraries are made of and not every processor has: the one table of them.

    lacking(["avx2", "fma"])                       # of this machine's processor
    macros("aarch64", ["asimddp"])                 # what cpu.c is compiled with

Names are those of /proc/cpuinfo; `llvm` is LLVM's name of the same.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cpuid:
    """A bit of x86-64: in register eax, ebx, ecx, edx (0 to 3) of a leaf; Intel's manual, volume 2A, CPUID."""

    llvm: str
    leaf: int
    subleaf: int
    register: int
    bit: int


@dataclass(frozen=True)
class Hwcap:
    """A bit of Linux's auxiliary vector: `entry` is AT_HWCAP or AT_HWCAP2 (uapi/linux/auxvec.h, uapi/asm/hwcap.h)."""

    llvm: str
    entry: int
    bit: int


_HWCAP, _HWCAP2 = 16, 26
EXTENDED = 0x80000001
X86 = {
    "pni": Cpuid("sse3", 1, 0, 2, 0), "ssse3": Cpuid("ssse3", 1, 0, 2, 9), "fma": Cpuid("fma", 1, 0, 2, 12),
    "sse4_1": Cpuid("sse4.1", 1, 0, 2, 19), "sse4_2": Cpuid("sse4.2", 1, 0, 2, 20),
    "movbe": Cpuid("movbe", 1, 0, 2, 22), "popcnt": Cpuid("popcnt", 1, 0, 2, 23), "avx": Cpuid("avx", 1, 0, 2, 28),
    "f16c": Cpuid("f16c", 1, 0, 2, 29), "bmi1": Cpuid("bmi", 7, 0, 1, 3), "avx2": Cpuid("avx2", 7, 0, 1, 5),
    "bmi2": Cpuid("bmi2", 7, 0, 1, 8), "avx512f": Cpuid("avx512f", 7, 0, 1, 16),
    "avx512dq": Cpuid("avx512dq", 7, 0, 1, 17), "avx512ifma": Cpuid("avx512ifma", 7, 0, 1, 21),
    "avx512cd": Cpuid("avx512cd", 7, 0, 1, 28), "avx512bw": Cpuid("avx512bw", 7, 0, 1, 30),
    "avx512vl": Cpuid("avx512vl", 7, 0, 1, 31), "avx512vbmi": Cpuid("avx512vbmi", 7, 0, 2, 1),
    "avx512_vbmi2": Cpuid("avx512vbmi2", 7, 0, 2, 6), "gfni": Cpuid("gfni", 7, 0, 2, 8),
    "avx512_vnni": Cpuid("avx512vnni", 7, 0, 2, 11), "avx512_bitalg": Cpuid("avx512bitalg", 7, 0, 2, 12),
    "avx512_vpopcntdq": Cpuid("avx512vpopcntdq", 7, 0, 2, 14), "avx512_fp16": Cpuid("avx512fp16", 7, 0, 3, 23),
    "avx_vnni": Cpuid("avxvnni", 7, 1, 0, 4), "abm": Cpuid("lzcnt", EXTENDED, 0, 2, 5),
}  # fmt: skip
ARM: dict[str, dict[str, Hwcap]] = {
    "aarch64": {
        "asimdhp": Hwcap("fullfp16", _HWCAP, 10), "asimddp": Hwcap("dotprod", _HWCAP, 20),
        "i8mm": Hwcap("i8mm", _HWCAP2, 13),
    },
    "arm": {"neon": Hwcap("neon", _HWCAP, 12), "vfpv4": Hwcap("vfp4", _HWCAP, 16)},
}  # fmt: skip
_WIDE, _WIDEST = 0x06, 0xE6  # bits of XCR0: the system keeps the registers of AVX, of AVX-512


def known(arch: str) -> dict[str, str]:
    """Linux's names of an architecture's instructions, and LLVM's."""
    return {name: row.llvm for name, row in (X86 if arch == "x86_64" else ARM[arch]).items()}


def macros(arch: str, needs: Sequence[str]) -> list[str]:
    """Options with which cpu.c asks for these; none for none, `ValueError` for a name that is not in the table."""
    if unknown := [name for name in needs if name not in known(arch)]:
        raise ValueError(f"{unknown[0]!r} is no instruction of {arch} that is known")
    if not needs:
        return []
    if arch != "x86_64":
        found = ",".join(f'{{"{name}",{ARM[arch][name].entry},{ARM[arch][name].bit}}}' for name in needs)
        return [f"-DTSN_NEEDS={found}"]
    rows = [X86[name] for name in needs]
    found = ",".join(f"{{{row.leaf:#x},{row.subleaf},{row.register},{row.bit}}}" for row in rows)
    widest = any(name.startswith("avx512") for name in needs)
    kept = _WIDEST if widest else _WIDE if {"avx", "fma", "f16c"} & {*needs} else 0
    return [f"-DTSN_NEEDS={found}", f"-DTSN_STATES={kept:#x}"]


def lacking(features: Iterable[str]) -> list[str]:
    """Those of the features that this machine's processor lacks; none where the system does not describe it."""
    there = _features()
    return [feature for feature in features if there and feature not in there]


def _features() -> set[str]:
    machine = platform.machine().lower()
    arch = "aarch64" if machine in ("aarch64", "arm64") else "arm" if machine.startswith("arm") else None
    if arch:
        try:
            ask = ctypes.CDLL(None).getauxval
        except (OSError, AttributeError):
            return set()
        ask.restype = ctypes.c_ulong
        masks = {entry: ask(ctypes.c_ulong(entry)) for entry in (_HWCAP, _HWCAP2)}
        return {"simd", *(name for name, row in ARM[arch].items() if masks[row.entry] >> row.bit & 1)}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except (OSError, ValueError):
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
