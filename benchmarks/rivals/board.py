"""The board that a rival sees in the emulator: its core, its caches, and a python with the rivals.

QEMU's user mode emulation shows a program the host's /proc and /sys, in which engines look up the
processor to choose their kernels and tiles by: ONNX Runtime crashes on what it finds there, the
others would choose for another machine.  Files in the folder given to `-L` come before the host's,
so that folder gets the /proc/cpuinfo and /sys/devices/system/cpu of a board with four such cores.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests import emulator
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.targets.cores import Core

from . import PROJECT, install

CORES = 4
FP16_DOT = "fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Identity:
    """How a core presents itself; `cpu` is QEMU's name of it, or of the nearest that QEMU knows."""

    cpu: str
    implementer: int
    part: int
    features: str = ""


IDENTITIES = {
    "cortex-a53": Identity("cortex-a53", 0x41, 0xD03),
    "cortex-a55": Identity("cortex-a76", 0x41, 0xD05, FP16_DOT),
    "cortex-a57": Identity("cortex-a57", 0x41, 0xD07),
    "cortex-a72": Identity("cortex-a72", 0x41, 0xD08),
    "cortex-a73": Identity("cortex-a72", 0x41, 0xD09),
    "cortex-a76": Identity("cortex-a76", 0x41, 0xD0B, FP16_DOT),
    "snapdragon-820": Identity("cortex-a72", 0x51, 0x205),
}


@dataclass(frozen=True)
class Board:
    """What `count` is told; `python` is the emulated one."""

    cpu: str
    options: list[str]
    environment: dict[str, str]
    python: Path


def identity(core: Core) -> Identity:
    if core.name not in IDENTITIES:
        raise UserError(f"rivals cannot be shown a {core.name}: expected {', '.join(IDENTITIES)}")
    return IDENTITIES[core.name]


def board(core: Core) -> Board:
    """A board with this core, made on first use; `UserError` where emulator or rivals are missing."""
    shown = identity(core)
    if not emulator.installed():
        raise UserError("the emulated AArch64 is not installed; run: python -m tests.emulator install")
    if not install.installed():
        raise UserError(f"the rivals are not installed for the emulated AArch64; run: {install.HOW}")
    root = install.ROOT / "boards" / core.name
    if not root.exists():
        root.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
            _write(Path(scratch, "new"), core, shown)
            Path(scratch, "new").rename(root)
    usr = emulator.ROOT / "aarch64" / "usr"
    version = re.search(r"python3\.\d+", (emulator.ROOT / "python").read_text())[0]
    packages = (PROJECT, install.AARCH64, emulator.ROOT / "wheels")
    environment = {
        "PYTHONHOME": str(usr), "PYTHONPATH": ":".join(map(str, packages)),
        "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1", "LD_BIND_NOW": "1", "HOME": "/nowhere", "LC_ALL": "C",
    }  # fmt: skip
    return Board(shown.cpu, ["-L", str(root)], environment, usr / "bin" / version)


def remove() -> None:
    """Removes all boards, so that they are made anew."""
    shutil.rmtree(install.ROOT / "boards", ignore_errors=True)


def _write(root: Path, core: Core, shown: Identity) -> None:
    root.mkdir()
    for name in ("usr", "lib", "etc"):
        (root / name).symlink_to(emulator.ROOT / "aarch64" / name)
    (root / "proc").mkdir()
    features = f"fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid {shown.features}".strip()
    (root / "proc/cpuinfo").write_text("".join(
        f"processor\t: {index}\nBogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: {shown.implementer:#x}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {shown.part:#x}\nCPU revision\t: 0\n\n"
        for index in range(CORES)
    ))  # fmt: skip
    cpus = root / "sys/devices/system/cpu"
    midr = shown.implementer << 24 | 1 << 20 | 0xF << 16 | shown.part << 4
    everyone = {"list": f"0-{CORES - 1}", "map": f"{(1 << CORES) - 1:x}"}
    _files(cpus, {name: everyone["list"] for name in ("possible", "present", "online")})
    levels = [(1, "Data", core.caches[0].kilobytes), (1, "Instruction", core.caches[0].kilobytes)]
    levels += [(number, "Unified", level.kilobytes) for number, level in enumerate(core.caches[1:], 2)]
    for index in range(CORES):
        cpu = cpus / f"cpu{index}"
        _files(cpu / "regs/identification", {"midr_el1": f"{midr:#018x}"})
        hertz = int(core.clocks[0][0] * 1e6)
        _files(cpu / "cpufreq", {"cpuinfo_max_freq": hertz, "cpuinfo_min_freq": 600000, "scaling_max_freq": hertz})
        _files(cpu / "topology", {
            "physical_package_id": 0, "core_id": index, "core_siblings": everyone["map"],
            "core_siblings_list": everyone["list"], "thread_siblings": f"{1 << index:x}", "thread_siblings_list": index,
        })  # fmt: skip
        for number, (level, kind, kilobytes) in enumerate(levels):
            shared = {"shared_cpu_list": everyone["list"], "shared_cpu_map": everyone["map"]}
            if level == 1:
                shared = {"shared_cpu_list": index, "shared_cpu_map": f"{1 << index:x}"}
            _files(cpu / f"cache/index{number}", {
                "level": level, "type": kind, "size": f"{kilobytes}K", "coherency_line_size": 64, **shared,
            })  # fmt: skip


def _files(folder: Path, contents: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(f"{text}\n")
