"""The programs that counting and pricing call: QEMU and LLVM of the distribution, and two of our own.

`plugin` and `runner` are compiled on first use with Zig, which comes with this package, and kept in
the user's cache folder until their source changes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

FOLDER = Path(__file__).parent
BARE = ["-target", "aarch64-linux-musl", "-static", "-nostdlib", "-fno-stack-protector"]  # without a C library


@dataclass(frozen=True)
class Llvm:
    """The programs of one version of LLVM."""

    mca: str
    mc: str
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def cache_folder() -> Path:
    """Where compiled programs and prices are kept."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvm_shufflenet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {folder}: {error.strerror}") from None
    return folder


def qemu() -> str:
    """The emulator of AArch64 programs."""
    if found := shutil.which("qemu-aarch64"):
        return found
    raise UserError("qemu-aarch64 is missing, which runs AArch64 programs: apt-get install qemu-user")


def llvm() -> Llvm:
    """The newest LLVM on the PATH whose llvm-mca and llvm-mc are both there."""
    return _llvm(os.environ.get("PATH", ""))


@functools.cache
def _llvm(path: str) -> Llvm:
    found: dict[int, Llvm] = {}
    for folder in filter(None, path.split(os.pathsep)):
        for mca in Path(folder).glob("llvm-mca*"):
            mc = mca.with_name(mca.name.replace("mca", "mc"))
            if re.fullmatch(r"llvm-mca(-\d+)?", mca.name) and mc.exists():
                version = re.search(r"version (\d+)([.\d]*)", _output([str(mca), "--version"]))
                if version:
                    found.setdefault(int(version[1]), Llvm(str(mca), str(mc), version[1] + version[2]))
    found = {major: tools for major, tools in found.items() if major >= 14}
    if not found:
        raise UserError("llvm-mca (14 or newer) is missing, which models the cores: apt-get install llvm")
    return found[max(found)]


def plugin() -> Path:
    """Our plugin of the emulator, compiled for this machine and the emulator's version."""
    version = re.search(r"version (\d+)\.(\d+)", _output([qemu(), "--version"]))
    emulator = (int(version[1]), int(version[2])) if version else (7, 0)
    api = 1 if emulator < (9, 0) else 2 if emulator < (9, 1) else 3
    return _compiled("plugin", ".so", ["-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-DPLUGIN_API={api}"])


def runner() -> Path:
    """The AArch64 program that runs a library a number of times."""
    return _compiled("runner", "", ["-O2", "-ffreestanding", *BARE])


def compile_c(source: Path, output: Path, options: list[str]) -> None:
    """Compiles with Zig; `UserError` where that fails."""
    argv = [sys.executable, "-m", "ziglang", "cc", *options, str(source), "-o", str(output)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        telling = [line for line in lines if "error" in line or "No module" in line]
        raise UserError(f"compiling {source.name} failed: {(telling or lines[-1:])[0]}")


def _compiled(name: str, suffix: str, options: list[str]) -> Path:
    source = FOLDER / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + " ".join(options).encode()).hexdigest()[:16]
    path = cache_folder() / f"{name}-{key}{suffix}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            compile_c(source, Path(folder, "output"), options)
            os.replace(Path(folder, "output"), path)
    return path


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    except OSError:
        return ""
