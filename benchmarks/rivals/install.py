"""Installs the rivals for the emulated AArch64, as `pip install -e .[rivals]` does for this machine.

They live in the folder `.rivals/aarch64` (`.rivals` is another one if the variable TSN_RIVALS names
it), in the versions that `pyproject.toml` pins for this machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tvm_shufflenet.cli.command import run
from tvm_shufflenet.errors import UserError

from . import COUNTED, INSTALL, PROJECT, RIVALS

ROOT = Path(os.environ.get("TSN_RIVALS") or PROJECT / ".rivals").absolute()
AARCH64 = ROOT / "aarch64"
HOW = "python -m benchmarks.rivals.install"

PINS = dict(re.findall(r'"([\w.-]+)==([\w.]+)[";]', (PROJECT / "pyproject.toml").read_text()))
PINNED = {RIVALS[name].package: PINS[RIVALS[name].package] for name in COUNTED}
# What they import; not their other dependencies, which are large and not needed.
NEEDED = ["flatbuffers", "protobuf", "packaging", "tqdm", "typing_extensions", "backports.strenum"]


def require(rivals=COUNTED) -> None:
    """`UserError` unless these rivals are installed, for this machine and for the emulated AArch64."""
    for name in rivals:
        if not RIVALS[name].version:
            raise UserError(f"{RIVALS[name].title} is not installed for this machine; run: {INSTALL}")
    if not installed():
        raise UserError(f"the rivals are not installed for the emulated AArch64; run: {HOW}")


def installed() -> bool:
    """Whether the rivals for the emulated AArch64 are there, in the pinned versions."""
    return all(_version(name) == version for name, version in PINNED.items())


def _version(name: str) -> str | None:
    found = importlib.metadata.distributions(name=name, path=[str(AARCH64)])
    return next((distribution.version for distribution in found), None)


def install() -> None:
    from tests import emulator

    text = (emulator.ROOT / "python").read_text() if emulator.installed() else ""
    if not (version := re.search(r"/python3\.(\d+)\"", text)):
        raise UserError("the emulated AArch64 is not installed; run: python -m tests.emulator install")
    options = ["--implementation=cp", f"--python-version=3.{version[1]}"]
    options += [f"--abi={abi}" for abi in (f"cp3{version[1]}", "abi3", "none")]
    options += [f"--platform={name}_aarch64" for name in emulator.PLATFORMS]
    part = AARCH64.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary=:all:", "--target", str(part), *options,
            *(f"{name}=={version}" for name, version in PINNED.items()), *NEEDED]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot install the rivals for the emulated AArch64: {(errors or ['it failed'])[-1]}")
    shutil.rmtree(AARCH64, ignore_errors=True)
    part.rename(AARCH64)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=HOW,
        description=f"Installs {', '.join(PINNED)} for the emulated AArch64 into .rivals.",
        epilog=f"example: {INSTALL} && python -m tests.emulator install && {HOW}",
    )
    parser.parse_args(argv)
    if not installed():
        print("installing the rivals for the emulated AArch64")
        install()
    print(f"the rivals are installed: {AARCH64}")


if __name__ == "__main__":
    sys.exit(run(main))
