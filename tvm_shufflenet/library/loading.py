"""A compiled network as a Python function: numpy and ctypes, neither TVM nor anything else.

    network = load("model.so")
    logits = network(image)  # (1, 3, 224, 224) float32 -> (1, 1000) float32

`network.inputs` and `network.outputs` say what it takes and gives.  Libraries of every format can be loaded.
`load("model.so", threads=4)` runs each picture on four threads.  Threads may call the same network at the same time:
each has a workspace of its own; a team of several threads takes their pictures one after the other.
"""

from __future__ import annotations

import ctypes
import json
import platform
import struct
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import FORMAT, FUNCTIONS_OF, MANIFEST, TEAM_FUNCTIONS_OF
from .camera import Image, Pixels
from .elf import Elf, read_elf
from .instructions import lacking
from .interface import batch_of, check_one_picture, inputs, normalised, outputs, size_of, sizes_of
from .manifest_checks import wrong
from .symbols import PREFIX, Functions, prefix_in, renamed
from .teams import Team, aligned, check_threads

NO_PICTURES = -6  # TSN_ERROR_PICTURES


class Library:
    """A loaded network; `manifest` describes it, in the words of the newest format.  `threads` run each picture.

    A call takes exactly `batch` pictures.
    """

    def __init__(self, handle: Functions, path: Path, threads: int = 1):
        handle.tsn_describe.restype = ctypes.c_char_p
        handle.tsn_workspace_bytes.restype = ctypes.c_size_t
        self.path = path
        self.manifest: dict = _manifest(handle.tsn_describe(), path)
        self.workspace_bytes: int = handle.tsn_workspace_bytes()
        self.inputs, self.outputs = inputs(self.manifest), outputs(self.manifest)
        self.batch = batch_of(self.manifest)
        # Format 1 has this function only, and one output.
        self._run = handle.tsn_run if len(self.outputs) == 1 else handle.tsn_run_outputs
        self._run.argtypes = [ctypes.c_void_p] * 3
        self._thread = threading.local()
        self.functions = handle  # of tvm_shufflenet.h, for ctypes
        if self.manifest["format"] >= 3:
            handle.tsn_image_workspace_bytes.restype = ctypes.c_size_t
            handle.tsn_prepare_image.argtypes = handle.tsn_run_image.argtypes = [ctypes.c_void_p] * 3
        self.threads = threads
        self._team = self._make_team() if threads > 1 else None

    def _make_team(self) -> Team:
        stay = "tsn_team_begin" in TEAM_FUNCTIONS_OF[self.manifest["format"]]
        return Team(self.functions, self.path, self.threads, stay)

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
        workspace = self._workspace(self.workspace_bytes).ctypes.data
        image = np.require(image, requirements=["C", "A"])
        results = tuple(np.empty(output.shape, np.float32) for output in self.outputs)
        pointers = [result.ctypes.data for result in results]
        array = (ctypes.c_void_p * len(results))(*pointers)
        if self._team:
            if not self._team.is_here:
                self._team = self._make_team()
            status = self._team.run(image.ctypes.data, ctypes.addressof(array), workspace)
        else:
            target = pointers[0] if len(results) == 1 else array
            status = self._run(image.ctypes.data, target, workspace)
        if status:
            raise RuntimeError(f"{self.path}: tsn_run returned {status}, see tvm_shufflenet.h")
        return results

    def run_image(
        self, pixels: Pixels, format: str = "RGB", *, rotation: int = 0, colours: str = "bt601"
    ) -> np.ndarray:
        """The first output for a picture as a camera gives it; the library prepares it, without Pillow.

        `format` is RGB, BGR, RGBA, BGRA, NV12, NV21 or GREY; `camera.Image.of` has the shapes of `pixels`, uint8.
        `rotation` is clockwise, in degrees, what brings the picture upright: 0, 90, 180 or 270.  `colours` of NV12 and
        NV21 are bt601, bt601-full, bt709 or bt709-full.  `UserError` for anything else, and for a network that takes
        no pictures.
        """
        check_one_picture(self.path, self.manifest, "run_image")
        if self._team:  # of the interface only tsn_run_team runs on several threads
            image = self.prepare_image(pixels, format, rotation=rotation, colours=colours)
            return self.run(image, check=False)[0]
        result = np.empty(self.outputs[0].shape, np.float32)
        self._image("tsn_run_image", Image.of(pixels, format, rotation, colours), result)
        return result

    def prepare_image(
        self, pixels: Pixels, format: str = "RGB", *, rotation: int = 0, colours: str = "bt601"
    ) -> np.ndarray:
        """The input that `run` takes, of such a picture: float32, of the shape of `inputs[0]` for one picture."""
        result = np.empty((1, *self.inputs[0].shape[1:]), np.float32)
        self._image("tsn_prepare_image", Image.of(pixels, format, rotation, colours), result)
        return result

    def _image(self, function: str, image: Image, result: np.ndarray) -> None:
        if self.manifest["format"] < 3:
            raise UserError(f"{self.path} has format {self.manifest['format']}, and no {function}: compile it anew")
        workspace = self.workspace_for(image)
        status = getattr(self.functions, function)(ctypes.byref(image), result.ctypes.data, workspace.ctypes.data)
        if status == NO_PICTURES:
            raise UserError(f"{self.path} takes {self.inputs[0].shape} and no pictures of three colours")
        if status:
            raise RuntimeError(f"{self.path}: {function} returned {status}, see tvm_shufflenet.h")

    def workspace_for(self, image: Image) -> np.ndarray:
        """The calling thread's workspace, large enough for the network and such a picture: uint8, aligned."""
        size = self.functions.tsn_image_workspace_bytes(ctypes.byref(image))
        return self._workspace(max(size, self.workspace_bytes))

    def _workspace(self, size: int) -> np.ndarray:
        """The calling thread's own, of that many bytes or more."""
        thread = self._thread
        if not hasattr(thread, "workspace") or len(thread.workspace) < size:
            thread.workspace = aligned(size)
        return thread.workspace

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


def load(
    path: str | Path, threads: int = 1, *, oversubscribe: bool = False, size: tuple[int, int] | None = None
) -> Library:  # fmt: skip
    """The network in the library at `path`; `UserError` where it cannot be used on this machine.

    Of a library of several sizes it is that for `size` = (height, width), which the library must have, or the first.

    Several `threads`, 1 to 64, share the work of each picture; the results are the same to the bit.  More than this
    process may use processors (`taskset` and control groups count) are refused without `oversubscribe`.
    """
    path = Path(path)
    check_threads(threads, oversubscribe)
    elf = read_elf(path)
    manifest = _read(elf, size)
    if threads > 1 and "threads" not in manifest:
        raise UserError(f"{path} is not made for threads={threads}: build it anew, without --one-thread")
    if sys.platform in ("darwin", "win32"):
        raise UserError(f"{path} is a library for Linux and Android, which {platform.system()} cannot load")
    if (here := machine()) != elf.arch:
        raise UserError(f"{path} is for {elf.arch}, this machine is {here}: compile with --target native")
    check_processor(path, manifest)
    # The loader would take a file of a path that it has seen for the same library, though it may
    # have been compiled anew since: so it gets a path that it has never seen.
    with tempfile.TemporaryDirectory() as folder:
        alias = Path(folder) / path.name
        alias.symlink_to(path.resolve())
        try:
            return Library(Functions(ctypes.CDLL(str(alias)), prefix_in(manifest)), path, threads)
        except OSError as error:
            raise UserError(f"cannot load {path}: {str(error).replace(str(alias), str(path))}") from None


def check_processor(path: str | Path, manifest: dict) -> None:
    """`UserError` where this machine's processor lacks instructions of the library, which would end in SIGILL."""
    if missing := lacking(manifest.get("needs", ())):
        raise UserError(
            f"{path} is for {manifest['cpu']} and needs a processor with {', '.join(missing)}, which this machine's "
            "lacks: compile with --target native"
        )


def read_manifest(path: str | Path, size: tuple[int, int] | None = None) -> dict:
    """The manifest that tsn_describe() would give, of a library for any architecture: the library is not loaded.

    The manifest of an older format comes in the words of the newest.  Of a library of several sizes it is that of
    `size` = (height, width), or of the first; `UserError` where there is none of that size.
    """
    return _read(read_elf(path), size)


def _read(elf: Elf, size: tuple[int, int] | None = None) -> dict:
    """The manifest, for a size if one is given, of a library that has what its format promises."""
    ending = MANIFEST.removeprefix(PREFIX)
    found = sorted((name.removesuffix(ending) for name in elf.exported if name.endswith(ending)), key=len)
    prefix = found[0] if found else PREFIX  # the first size's begins the others
    manifest = _manifest_of(elf, prefix)
    entries = [entry["prefix"] for entry in manifest.get("entries", ())]
    if sorted(found) != sorted(entries or [prefix]):
        raise UserError(f"{elf.path} holds {len(found)} networks ({', '.join(found)}): expected a library of one")
    if size is None or size_of(manifest) == tuple(size):
        return manifest
    for entry in manifest.get("entries", ()):
        if tuple(entry["size"]) == tuple(size):
            manifest = _manifest_of(elf, entry["prefix"])
            if size_of(manifest) != tuple(size):
                raise UserError(
                    f"{elf.path} is damaged: {entry['prefix']}_run is of another size than its manifest says"
                )
            return manifest
    shown = "x".join(map(str, size))
    raise UserError(
        f"{elf.path} is built for {' and '.join(sizes_of(manifest))}, not {shown}: `build --size` says sizes"
    )


def _manifest_of(elf: Elf, prefix: str) -> dict:
    """The manifest of the functions of that prefix."""
    _check_exports(elf, (*FUNCTIONS_OF[1], MANIFEST), prefix)
    manifest = _manifest(elf.contents(elf.exported[renamed(MANIFEST, prefix)]), elf.path)
    if prefix_in(manifest) != prefix:
        raise UserError(f"{elf.path} is damaged: its functions are called {prefix}_, its manifest says otherwise")
    number = manifest["format"]
    names = (*FUNCTIONS_OF[number], *(TEAM_FUNCTIONS_OF[number] if "threads" in manifest else ()))
    _check_exports(elf, names, prefix)
    return manifest


def _check_exports(elf: Elf, names: Sequence[str], prefix: str) -> None:
    missing = [name for name in (renamed(name, prefix) for name in names) if name not in elf.exported]
    if missing or not elf.shared:
        why = f"it does not export {missing[0]}" if elf.shared else "it is not shared"
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


def machine() -> str:
    """The architecture of this process, which on a 64-bit system may have 32 bits."""
    name = platform.machine().lower()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)
    if struct.calcsize("P") == 4 and name == "aarch64" or name.startswith("armv"):
        return "arm"
    return name


def _first_not_finite(image: np.ndarray) -> str:
    index = tuple(map(int, np.argwhere(~np.isfinite(image))[0]))
    return f"{image[index]} at {index}"
