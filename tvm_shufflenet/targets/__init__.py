"""The processors that networks are compiled for: one table of names, this machine, or TVM's JSON.

    spec = resolve("cortex-a72")
    tvm.target.Target(spec.tvm), spec.machine

Nothing here imports TVM until a target that only LLVM knows (`native`, JSON) is asked for.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..schedules import Machine


# LLVM's names.  LLVM schedules for "generic" Arm cores as for cores that run instructions in order.
LOADS_APART = {"cortex-a53", "cortex-a55"}
IN_ORDER = {"generic", "cortex-a35", "cortex-a510", "cortex-a520", *LOADS_APART}


@dataclass(frozen=True)
class TargetSpec:
    """A processor: what TVM is told about it, and what register tiles depend on.

    `name` fits into file names.  `arch` is "aarch64", "arm" (32 bits) or "x86_64".
    """

    name: str
    tvm: dict = field(hash=False)  # for tvm.target.Target; not to be changed
    arch: str
    lanes: int
    registers: int
    description: str

    @property
    def system(self) -> str:
        """The system of the files: "macos" or "ios", whose files are Mach-O, else "linux", Android included."""
        return APPLE_SYSTEMS.get(self.tvm["mtriple"], "linux")

    @property
    def machine(self) -> Machine:
        from ..schedules import Machine  # which imports TVM
        from .cores import CORES

        core = self.tvm.get("mcpu", "generic")
        memory = {}
        if core in LOADS_APART:  # the last cache, of which other planes and weights take a half, and memory behind it
            last = CORES[core].caches[-1]
            memory = {"caches": last.kilobytes * 1024 // 2, "fetch": last.latency}
        return Machine(
            self.lanes, self.registers, by_element=self.arch != "x86_64",
            in_order=core in IN_ORDER, loads_apart=core in LOADS_APART, **memory,
        )  # fmt: skip


NEON = ("+neon",)
# Early Cortex-A53s, alone or beside bigger cores, get a multiplication wrong right after a memory
# access.  LLVM then puts a nop between the two, as the compilers of most distributions do.
NEON_A53 = ("+neon", "+fix-cortex-a53-835769")
# Cortex-A510, A710 and X3 have SVE, but the kernels of these phones leave it switched off.
NEON_NO_SVE = ("+neon", "-sve", "-sve2")

# name: (LLVM's name of the core, features, cores, description)
AARCH64 = {
    "arm": ("generic", NEON_A53, 4, "any 64-bit Arm (Armv8-A)"),
    "cortex-a53": ("cortex-a53", NEON_A53, 4, "in order: Raspberry Pi 3, Zero 2"),
    "cortex-a55": ("cortex-a55", NEON, 4, "in order: RK3566, little core since 2017"),
    "cortex-a510": ("cortex-a510", NEON_NO_SVE, 4, "in order: little core of Dimensity 9000"),
    "cortex-a57": ("cortex-a57", NEON_A53, 4, "Jetson Nano, TX1, TX2"),
    "cortex-a72": ("cortex-a72", NEON_A53, 4, "Raspberry Pi 4, RK3399"),
    "cortex-a73": ("cortex-a73", NEON_A53, 4, "Amlogic S922X, Kirin 960"),
    "cortex-a76": ("cortex-a76", NEON, 4, "Raspberry Pi 5, RK3588"),
    "cortex-a78": ("cortex-a78", NEON, 8, "Dimensity 1200, 8100"),
    "cortex-a710": ("cortex-a710", NEON_NO_SVE, 8, "Dimensity 9000, Snapdragon 8 Gen 1"),
    "snapdragon-820": ("kryo", NEON, 4, "Kryo: the paper's processor"),
    "snapdragon-835": ("cortex-a73", NEON_A53, 8, "Kryo 280, a Cortex-A73"),
    "snapdragon-845": ("cortex-a75", NEON, 8, "Kryo 385, a Cortex-A75"),
    "snapdragon-855": ("cortex-a76", NEON, 8, "Kryo 485, a Cortex-A76"),
    "snapdragon-888": ("cortex-x1", NEON, 8, "Kryo 680, a Cortex-X1"),
    "snapdragon-8gen2": ("cortex-x3", NEON_NO_SVE, 8, "a Cortex-X3"),
}


def _aarch64(name: str) -> TargetSpec:
    cpu, features, cores, description = AARCH64[name]
    tvm = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": cpu, "mattr": [*features], "num-cores": cores}
    return TargetSpec(name, tvm, "aarch64", 4, 32, description)


# VFPv3 has no fused multiply-add, and every ARMv7 processor with NEON has VFPv3.
ARMV7 = {
    "kind": "llvm", "mtriple": "armv7l-linux-gnueabihf", "mcpu": "generic",
    "mattr": ["+neon", "+vfp3"], "mfloat-abi": "hard", "num-cores": 4,
}  # fmt: skip
TARGETS = {name: _aarch64(name) for name in AARCH64}
TARGETS["armv7"] = TargetSpec("armv7", ARMV7, "arm", 4, 16, "any 32-bit Arm with NEON, hard float")

# The least version of each of Apple's systems.  Arm came with macOS 11; 32-bit programs had gone before iOS 13.
APPLE_LEAST = {"macos": "11.0", "ios": "13.0"}
APPLE_SYSTEMS = {f"arm64-apple-{system}{least}": system for system, least in APPLE_LEAST.items()}
# name: (system, LLVM's name of the oldest core that this system's least version runs on, cores, description).
# So a library needs nothing that a processor could lack, and tsn_supported() has nothing to ask.
APPLE = {
    "apple-macos": ("macos", "apple-m1", 8, "any Mac of Apple's: M1 and newer"),
    "apple-ios": ("ios", "apple-a9", 2, "iPhone and iPad: A9 and newer"),
}


def _apple(name: str) -> TargetSpec:
    system, cpu, cores, description = APPLE[name]
    triple = f"arm64-apple-{system}{APPLE_LEAST[system]}"
    tvm = {"kind": "llvm", "mtriple": triple, "mcpu": cpu, "mattr": [*NEON], "num-cores": cores}
    return TargetSpec(name, tvm, "aarch64", 4, 32, description)


TARGETS |= {name: _apple(name) for name in APPLE}

DEFAULT_TARGET = "arm"  # of every command that makes code


def target_names() -> list[str]:
    """Every name that `resolve` knows."""
    return ["native", *TARGETS]


def resolve(name: str) -> TargetSpec:
    """The target called `name`: one of `target_names()`, or a TVM target in its own words; else `UserError`."""
    name = name.strip()
    if name.startswith(("{", '"', "llvm ")) or "/" in name or name == "llvm":
        from .given import custom

        return custom(name)
    if name == "native":
        from .detect import native

        return native()
    if name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(name[:80].lower(), target_names(), n=3)
    known = f"did you mean {' or '.join(near)}?" if near else f"expected {', '.join(target_names())}"
    shown = ascii(name if len(name) <= 80 else f"{name[:77]}...")
    raise UserError(f'unknown target {shown}: {known} (or a TVM target such as {{"kind": "llvm", ...}})')
