"""Installs the rivals for this machine and for the emulated AArch64: `python -m benchmarks.rivals.install`.

They live in the folder `.rivals` (or in the one that the variable TSN_RIVALS names), beside the
virtual environment and not in it: `host` for this python, `aarch64` for the emulated one.
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

from tvm_shufflenet.commands import run
from tvm_shufflenet.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("TSN_RIVALS") or PROJECT / ".rivals").absolute()
HOW = "run: python -m benchmarks.rivals.install"

# The rivals and what they import; not their other dependencies, which are large and not needed.
PINNED = {"ncnn": "1.0.20261020", "MNN": "3.6.1", "onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0"}
NEEDED = ["flatbuffers", "protobuf", "packaging", "tqdm", "typing_extensions", "backports.strenum"]
FOR_EXPORT = ["onnx==1.23.2", "ml_dtypes"]


def path(where: str) -> Path:
    """The folder with the rivals for "host" or "aarch64"; `UserError` where they are not installed."""
    if not installed(where):
        raise UserError(f"the rivals are not installed; {HOW}")
    return ROOT / where


def installed(where: str) -> bool:
    return all(_version(where, name) == version for name, version in PINNED.items())


def use() -> None:
    """Makes the rivals for this machine importable, behind all that is importable already."""
    if (folder := str(path("host"))) not in sys.path:
        sys.path.append(folder)


def _version(where: str, name: str) -> str | None:
    found = importlib.metadata.distributions(name=name, path=[str(ROOT / where)])
    return next((distribution.version for distribution in found), None)


def install(where: str) -> None:
    options = []
    packages = [f"{name}=={version}" for name, version in PINNED.items()] + NEEDED
    if where == "aarch64":
        from tests import emulator

        text = (emulator.ROOT / "python").read_text() if emulator.installed() else ""
        if not (version := re.search(r"/python3\.(\d+)\"", text)):
            raise UserError("the emulated AArch64 is not installed; run: python -m tests.emulator install")
        options = ["--implementation=cp", f"--python-version=3.{version[1]}"]
        options += [f"--abi={abi}" for abi in (f"cp3{version[1]}", "abi3", "none")]
        options += [f"--platform={name}_aarch64" for name in emulator.PLATFORMS]
    else:
        packages += FOR_EXPORT
    part = ROOT / f"{where}.part"
    shutil.rmtree(part, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary=:all:", "--target", str(part), *options, *packages]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot install the rivals for {where}: {(errors or ['it failed'])[-1]}")
    shutil.rmtree(ROOT / where, ignore_errors=True)
    part.rename(ROOT / where)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals.install",
        description=f"Installs {', '.join(PINNED)} for this machine and for the emulated AArch64 into .rivals.",
        epilog="example: python -m tests.emulator install && python -m benchmarks.rivals.install",
    )
    parser.parse_args(argv)
    for where in ("host", "aarch64"):
        if not installed(where):
            print(f"installing the rivals for {where}")
            install(where)
    print(f"the rivals are installed: {ROOT}")


if __name__ == "__main__":
    sys.exit(run(main))
