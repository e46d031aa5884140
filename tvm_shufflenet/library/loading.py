"""A compiled network as a Python function: numpy and ctypes, neither TVM nor anything else.

    network = load("model.so")
    logits = network(image)  # (1, 3, 224, 224) float32 -> (1, 1000) float32

`network.inputs` and `network.outputs` say what it takes and gives.  Libraries of every format can be loaded.
Threads may call the same network at the same time: each has a workspace of its own.
"""

from __future__ import annotations

import ctypes
import json
import platform
import struct
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import FORMAT, FUNCTIONS_OF, MANIFEST
from .elf import Elf, read_elf
from .interface import ALIGNMENT, inputs, normalised, outputs
from .manifest_checks import wrong


class Library:
    """A loaded network; `manifest` describes it, in the words of the newest format."""

    def __init__(self, handle: ctypes.CDLL, path: Path):
        handle.tsn_describe.restype = ctypes.c_char_p
        handle.tsn_workspace_bytes.restype = ctypes.c_size_t
        self.path = path
        self.manifest: dict = _manifest(handle.tsn_describe(), path)
        self.workspace_bytes: int = handle.tsn_workspace_bytes()
        self.inputs, self.outputs = inputs(self.manifest), outputs(self.manifest)
        # Format 1 has this function only, and one output.
        self._run = handle.tsn_run if len(self.outputs) == 1 else handle.tsn_run_outputs
        self._run.argtypes = [ctypes.c_void_p] * 3
        self._thread = threading.local()

    def __call__(self, image: np.ndarray, *, check: bool = True) -> np.ndarray | tuple[np.ndarray, ...]:
        """The output for a preprocessed image; of several outputs a tuple; see `run`."""
        results = self.run(image, check=check)
        return results[0] if len(results) == 1 else results

    def run(self, image: np.ndarray, *, check: bool = True) -> tuple[np.ndarray, ...]:
        """All outputs for a preprocessed image, in the order of `outputs`.

        The image is float32, of the shape and in the layout of `inputs[0]`.  `UserError` where it is not, or
        holds NaN or infinity: the network may make ordinary numbers of them.  Looking for those takes a pass
        over the image, which `check=False` leaves out.
        """
        self._check(image)
        if check and not np.isfinite(image).all():
            raise UserError(f"the image holds {_first_not_finite(image)}, expected finite numbers")
        thread = self._thread
        if not hasattr(thread, "workspace"):
            thread.workspace = _aligned(self.workspace_bytes)
        image = np.require(image, requirements=["C", "A"])
        results = tuple(np.empty(output.shape, np.float32) for output in self.outputs)
        pointers = [result.ctypes.data for result in results]
        target = pointers[0] if len(results) == 1 else (ctypes.c_void_p * len(results))(*pointers)
        status = self._run(image.ctypes.data, target, thread.workspace.ctypes.data)
        if status:
            raise RuntimeError(f"{self.path}: tsn_run returned {status}, see tvm_shufflenet.h")
        return results

    def __repr__(self) -> str:
        shapes = ", ".join(str(output.shape) for output in self.outputs)
        return f"<Library {self.path}: {self.inputs[0].shape} -> {shapes}>"

    def _check(self, image) -> None:
        (wanted,) = self.inputs
        expected = f"expected a numpy array, float32 of shape {wanted.shape} ({wanted.layout})"
        if not isinstance(image, np.ndarray):
            raise UserError(f"{expected}, got {type(image).__name__}")
        if image.dtype != np.float32 or image.shape != wanted.shape:
            raise UserError(f"{expected}, got {image.dtype} of shape {image.shape}")


def load(path: str | Path) -> Library:
    """The network in the library at `path`; `UserError` where it cannot be used on this machine."""
    path = Path(path)
    elf = read_elf(path)
    _read(elf)
    if (machine := _machine()) != elf.arch:
        raise UserError(f"{path} is for {elf.arch}, this machine is {machine}: compile with --target native")
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
    """What tsn_describe() would say, of a library for any architecture: it is not loaded.

    The manifest of an older format comes in the words of the newest.
    """
    return _read(read_elf(path))


def _read(elf: Elf) -> dict:
    """The manifest of a library that has what its format promises."""
    _check_exports(elf, (*FUNCTIONS_OF[1], MANIFEST))
    manifest = _manifest(elf.contents(elf.exported[MANIFEST]), elf.path)
    _check_exports(elf, FUNCTIONS_OF[manifest["format"]])
    return manifest


def _check_exports(elf: Elf, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in elf.exported]
    if missing or not elf.shared:
        why = f"it does not export {missing[0]}" if missing else "it is not shared"
        raise UserError(f"{elf.path} is not a library of tvm_shufflenet: {why}")


def _manifest(text: bytes, path: Path) -> dict:
    try:
        manifest = json.loads(text.rstrip(b"\0"))
        found = manifest["format"]
        if type(found) is not int:
            raise ValueError(f"its format is {found!r}")
        if found in FUNCTIONS_OF:
            manifest = normalised(manifest)
            if key := wrong(manifest):
                raise UserError(f"{path} is damaged: {key!r} of its manifest is missing or makes no sense")
            return manifest
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: its manifest is malformed") from None
    raise UserError(f"{path} has format {str(found)[:40]}, expected {FORMAT} or less: compile it with this version")


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


def _first_not_finite(image: np.ndarray) -> str:
    index = tuple(map(int, np.argwhere(~np.isfinite(image))[0]))
    return f"{image[index]} at {index}"
