"""Which processor runs behind a session, or here: emulated and unknown ones get no latency.

What the kernel tells (identify.c asks it on a board) is trusted as far as it fits together.
User-mode QEMU shows its guest either the host's /proc/cpuinfo or one made up after the model that
it emulates, but always the host's /sys, whose `modalias` names the host's kind of processor.  A
whole emulated machine shows QEMU's timer, whose frequency the kernel prints as BogoMIPS.
"""

from __future__ import annotations

import platform
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..zig import call, zig
from .rpc import upload

if TYPE_CHECKING:
    from .rpc import Session

TARGETS = {"aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "x86_64": "x86_64-linux-gnu"}
# No C library, and no unwinding tables, which name functions of one.
FLAGS = (
    "-O2 -shared -nostdlib -ffreestanding -fomit-frame-pointer -fno-stack-protector -fno-sanitize=all "
    "-fno-unwind-tables -fno-asynchronous-unwind-tables -fvisibility=hidden"
).split()
REPORT_BYTES = 1 << 16
# What only QEMU says (and a translator of x86): its made-up "max" processor has implementer 0, the
# timer of its Arm machines runs at 62.5 MHz, which the kernel prints as twice as many BogoMIPS.
QEMU = re.compile(r"^(CPU implementer\s*: 0x0+|BogoMIPS\s*: 125\.00|model name\s*: (QEMU|VirtualApple).*)$", re.M)

# "CPU implementer" -> "CPU part" -> name, as registered with Arm (MIDR_EL1).
ARM_PARTS = {
    0x41: {
        0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9",
        0xC0D: "Cortex-A12", 0xC0E: "Cortex-A17", 0xC0F: "Cortex-A15", 0xD01: "Cortex-A32",
        0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55",
        0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE",
        0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2",
        0xD49: "Neoverse-N2", 0xD4A: "Neoverse-E1", 0xD4B: "Cortex-A78C", 0xD4C: "Cortex-X1C",
        0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3", 0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520",
        0xD81: "Cortex-A720", 0xD82: "Cortex-X4", 0xD84: "Neoverse-V3", 0xD85: "Cortex-X925",
        0xD87: "Cortex-A725", 0xD8E: "Neoverse-N3",
    },
    0x43: {0x0A1: "Cavium ThunderX", 0x0AF: "Cavium ThunderX2"},
    0x46: {0x001: "Fujitsu A64FX"},
    0x48: {0xD01: "HiSilicon TaiShan v110", 0xD40: "HiSilicon Cortex-A76"},
    0x4E: {0x003: "NVIDIA Denver 2", 0x004: "NVIDIA Carmel"},
    0x51: {
        0x06F: "Krait", 0x201: "Kryo", 0x205: "Kryo", 0x211: "Kryo",
        0x800: "Kryo 2xx Gold (Cortex-A73)", 0x801: "Kryo 2xx Silver (Cortex-A53)",
        0x802: "Kryo 3xx Gold (Cortex-A75)", 0x803: "Kryo 3xx Silver (Cortex-A55)",
        0x804: "Kryo 4xx Gold (Cortex-A76)", 0x805: "Kryo 4xx Silver (Cortex-A55)",
        0xC00: "Falkor",
    },
    0x53: {0x001: "Samsung M1", 0x002: "Samsung M3", 0x003: "Samsung M4", 0x004: "Samsung M5"},
    0xC0: {0xAC3: "Ampere-1", 0xAC4: "Ampere-1A"},
}  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """A processor; `known` and `emulated` are never both true."""

    name: str
    known: bool
    emulated: bool

    @property
    def measurable(self) -> bool:
        """Whether a time that is measured on the processor is a latency."""
        return self.known and not self.emulated

    @property
    def why_no_latency(self) -> str:
        """Why the processor is not `measurable`, in words; empty if it is measurable."""
        if self.measurable:
            return ""
        return "wall time there says nothing" if self.emulated else "not recognised, so no latency is given"


def describe_processor(session: Session | None = None, arch: str | None = None) -> Processor:
    """The processor behind an RPC `session`, or this machine's.

    A board loads only libraries for its own architecture, so `arch` says which one to ask with:
    "aarch64", "arm" or "x86_64".
    """
    if session is not None:
        if arch not in TARGETS:
            raise UserError(f"unknown architecture {arch!r}: expected {', '.join(TARGETS)}")
        return recognise(arch, *_ask_board(session, arch))
    machine, cpuinfo = platform.machine(), _read("/proc/cpuinfo")
    if not cpuinfo:  # not Linux
        return Processor(platform.processor() or f"unknown {machine} processor", False, False)
    return recognise(machine, machine, _read("/sys/devices/system/cpu/modalias"), cpuinfo)


def recognise(arch: str, machine: str, modalias: str, cpuinfo: str) -> Processor:
    """The processor that runs programs for `arch`, and of which the kernel says the rest.

    `machine` is uname's, `modalias` and `cpuinfo` the files; what could not be read is empty.
    """
    ours = _family(arch)
    described, names, known = _names(cpuinfo)
    kernel = re.match(r"cpu:type:(\w+)", modalias)
    told = {described, _family(machine), _family(kernel[1] if kernel else "")}
    foreign = (told & {"arm", "x86"}) - {ours}
    missing = ours == "arm" and cpuinfo and described != "arm"
    if foreign or missing or QEMU.search(cpuinfo):
        cores = names if described == ours else []
        host = names if described in foreign else sorted(foreign)
        details = ", ".join(cores + [f"host: {name}" for name in host])
        return Processor(f"emulated {arch}" + (f" ({details})" if details else ""), False, True)
    details = " + ".join(names)
    if known and described == ours:
        return Processor(details, True, False)
    return Processor(f"unknown {arch} processor" + (f" ({details})" if details else ""), False, False)


def _family(arch: str) -> str:
    """x86 and Arm run 32-bit and 64-bit programs alike, so the family is what must agree."""
    if re.match(r"arm|aarch64", arch):
        return "arm"
    return "x86" if re.fullmatch(r"x86.*|i.86|AMD64", arch) else arch


def _names(cpuinfo: str) -> tuple[str, list[str], bool]:
    """The family of the processor that /proc/cpuinfo describes, its kinds of cores, all known?"""
    line = r"^CPU implementer\s*:\s*(\w+)$(?:.*\n)*?^CPU part\s*:\s*(\w+)$"
    cores = [(int(vendor, 0), int(part, 0)) for vendor, part in re.findall(line, cpuinfo, re.M)]
    if cores:  # first, as 32-bit Arm has a "model name", too: "ARMv7 Processor rev 3 (v7l)"
        cores = list(dict.fromkeys(cores))  # as they come: on most boards the small ones first
        known = [ARM_PARTS.get(vendor, {}).get(part) for vendor, part in cores]
        other = [f"implementer {vendor:#04x} part {part:#05x}" for vendor, part in cores]
        names = list(dict.fromkeys(name or number for name, number in zip(known, other)))
        return "arm", names, all(known)
    model = re.search(r"^model name\s*: *(.*\S)", cpuinfo, re.M)
    vendor = re.search(r"^vendor_id\s*:", cpuinfo, re.M)
    return ("x86" if vendor else ""), ([model[1]] if model else []), bool(model and vendor)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _ask_board(session, arch: str) -> tuple[str, str, str]:
    import tvm

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "identify.so"
        source = Path(__file__).with_name("identify.c")
        argv = [zig(), "cc", "-target", TARGETS[arch], *FLAGS]
        call(f"compiling {source.name}", [*argv, str(source), "-o", str(library)])
        try:
            identify = upload(session, library)["identify"]
        except UserError as error:
            raise UserError(
                f"the board does not run code for {arch}; compile for the architecture of the board"
            ) from error
    report = tvm.runtime.empty((REPORT_BYTES,), "uint8", session.cpu())
    size = identify(report)
    if size < 0:
        raise RuntimeError(f"identify.c failed on the board: error {-size}")
    machine, modalias, cpuinfo = report.numpy()[:size].tobytes().split(b"\0", 2)
    return machine.decode(), modalias.decode(errors="replace"), cpuinfo.decode(errors="replace")
