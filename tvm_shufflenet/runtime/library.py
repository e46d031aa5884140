"""A compiled network as a Python function: numpy and ctypes, neither TVM nor anything else.

    network = load("model.so")
    logits = network(image)  # (1, 3, 224, 224) float32 -> (1, 1000) float32

Threads may call the same network at the same time: each has a workspace of its own.
"""

from __future__ import annotations

import ctypes
import json
import platform
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..library import FORMAT, FUNCTIONS, MANIFEST
from ..library.elf import Elf, read_elf
from ..library.manifest_checks import wrong

ALIGNMENT = 64  # TSN_ALIGNMENT: of the workspace


class Library:
    """A loaded network; `manifest` describes it."""

    def __init__(self, handle: ctypes.CDLL, path: Path):
        handle.tsn_describe.restype = ctypes.c_char_p
        handle.tsn_workspace_bytes.restype = ctypes.c_size_t
        handle.tsn_run.argtypes = [ctypes.c_void_p] * 3
        self.path = path
        self.manifest: dict = _manifest(handle.tsn_describe(), path)
        self.workspace_bytes: int = handle.tsn_workspace_bytes()
        self.input_shape = tuple(self.manifest["input_shape"])
        self.output_shape = tuple(self.manifest["output_shape"])
        self._run = handle.tsn_run
        self._thread = threading.local()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The logits for a preprocessed image, in NCHW order."""
        self._check(image)
        thread = self._thread
        if not hasattr(thread, "workspace"):
            thread.workspace = _aligned(self.workspace_bytes)
        image = np.require(image, requirements="CA")
        output = np.empty(self.output_shape, np.float32)
        status = self._run(image.ctypes.data, output.ctypes.data, thread.workspace.ctypes.data)
        if status:
            raise RuntimeError(f"{self.path}: tsn_run returned {status}, see tvm_shufflenet.h")
        return output

    def __repr__(self) -> str:
        return f"<Library {self.path}: {self.input_shape} -> {self.output_shape}>"

    def _check(self, image) -> None:
        expected = f"expected a numpy array, float32 of shape {self.input_shape}"
        if not isinstance(image, np.ndarray):
            raise UserError(f"{expected}, got {type(image).__name__}")
        if image.dtype != np.float32 or image.shape != self.input_shape:
            raise UserError(f"{expected}, got {image.dtype} of shape {image.shape}")


def load(path: str | Path) -> Library:
    """The network in the library at `path`; `UserError` where it cannot be used on this machine."""
    path = Path(path)
    elf = read_elf(path)
    _check_exports(elf)
    if (machine := _machine()) != elf.arch:
        raise UserError(f"{path} is for {elf.arch}, this machine is {machine}: compile with --target native")
    _manifest(elf.contents(elf.exported[MANIFEST]), path)  # of a format whose functions are known here
    # The loader would take a file of a path that it has seen for the same library, though it may
    # have been compiled anew since: so it gets a path that it has never seen.
    with tempfile.TemporaryDirectory() as folder:
        alias = Path(folder) / path.name
        alias.symlink_to(path.resolve())
        try:
            return Library(ctypes.CDLL(str(alias)), path)
        except OSError as error:
            raise UserError(f"cannot load {path}: {str(error).replace(str(alias), str(path))}") from None


def read_manifest(path: str | Path) -> dict:
    """What tsn_describe() would say, of a library for any architecture: it is not loaded."""
    elf = read_elf(path)
    _check_exports(elf)
    return _manifest(elf.contents(elf.exported[MANIFEST]), elf.path)


def _check_exports(elf: Elf) -> None:
    missing = [name for name in (*FUNCTIONS, MANIFEST) if name not in elf.exported]
    if missing or not elf.shared:
        why = f"it does not export {missing[0]}" if missing else "it is not shared"
        raise UserError(f"{elf.path} is not a library of tvm_shufflenet: {why}")


def _manifest(text: bytes, path: Path) -> dict:
    try:
        manifest = json.loads(text.rstrip(b"\0"))
        found = manifest["format"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: its manifest is malformed") from None
    if type(found) is not int or found != FORMAT:
        raise UserError(f"{path} has format {ascii(found)[:40]}, expected {FORMAT}: compile it with this version")
    if key := wrong(manifest):
        raise UserError(f"{path} is damaged: {key!r} of its manifest is missing or makes no sense")
    return manifest


def _machine() -> str:
    """The architecture of this process, which on a 64-bit system may have 32 bits."""
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if struct.calcsize("P") == 4 and machine == "aarch64" or machine.startswith("armv"):
        return "arm"
    return machine


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]
