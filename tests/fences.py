"""Does a library keep to its arrays, and is what it computes the same whatever its workspace holds?

    outputs = fences.check("model.so", image)

It is run by `fences.c` with every array between inaccessible pages, on this machine or, where it is for
another, in the emulator.
"""

from __future__ import annotations

import functools
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.interface import inputs, main_shapes, outputs
from tvm_shufflenet.library.link import ZIG_TARGETS
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.library.symbols import prefix_in
from tvm_shufflenet.targets import resolve

from . import emulator

SOURCE = Path(__file__).with_name("fences.c")
HEADER = Path(__file__).resolve().parent.parent / "tvm_shufflenet" / "library"
SIZES = [(224, 224), (97, 131), (64, 64), (128, 160)]  # of the pictures that every network is tried with
EMULATED = {"aarch64": "aarch64", "arm": "armhf"}  # names of the emulator
_folder = tempfile.TemporaryDirectory(prefix="tvm_shufflenet-fences-")  # removed at the end of the process


def check(
    library: str | Path, image: np.ndarray | None = None, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """What the library gives for an image, by default one of random numbers; of several sizes, one of that size.

    `AssertionError`, which says in one line what happened, unless it passes on all counts.  Raises
    `emulator.EmulatorUnavailable` where it is for another machine and there is no emulator.
    """
    library = Path(library).resolve()
    arch, manifest = read_elf(library).arch, read_manifest(library, size)
    (taken,), given, (*_, (workspace,)) = inputs(manifest), outputs(manifest), main_shapes(manifest)
    sizes = [4 * workspace, taken.bytes, *(array.bytes for array in given)]
    if image is None:
        image = np.random.default_rng(0).uniform(-1, 1, taken.shape).astype(np.float32)
    assert image.shape == taken.shape and image.dtype == np.float32
    argv = list(map(str, [program(arch), library, prefix_in(manifest), *sizes]))
    if arch != resolve("native").arch:
        argv = emulator.command(*argv, arch=EMULATED[arch])
    done = subprocess.run(argv, input=image.tobytes(), capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
    assert done.returncode == 0, f"{library.name}: {said}"
    ends = np.cumsum([math.prod(array.shape) for array in given])
    parts = np.split(np.frombuffer(done.stdout, np.float32), ends[:-1])
    return tuple(part.reshape(array.shape) for part, array in zip(parts, given))


@functools.cache
def program(arch: str) -> Path:
    """The compiled harness for an architecture, made once in a process."""
    path = Path(_folder.name, f"fences-{arch}")
    options = ["-target", ZIG_TARGETS[arch], "-O2", "-Wall", "-Werror", "-fno-sanitize=all", f"-I{HEADER}"]
    argv = [sys.executable, "-m", "ziglang", "cc", *options, str(SOURCE), "-o", str(path), "-ldl"]
    subprocess.run(argv, check=True)
    return path


def main(chosen: list[str]) -> int:
    """The networks of these names, by default all, at every size, on this machine; 1 if any fails.

    Of an unknown name nothing is run.
    """
    from rich.progress import track

    from tvm_shufflenet.architectures import model_names, network
    from tvm_shufflenet.building.build_library import BuildOptions, build_library
    from tvm_shufflenet.errors import UserError

    if unknown := set(chosen) - set(model_names()):
        print(f"no networks of the list: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    failed, names = 0, chosen or model_names()
    for name, size in track([(name, size) for name in names for size in SIZES], "libraries"):
        try:
            network(name, size)
        except UserError:  # too small for this one
            continue
        with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
            built = build_library(BuildOptions(name, "native", size, 10, output=Path(folder)))
            try:
                check(built.path)
            except AssertionError as error:
                failed += 1
                print(error, flush=True)
    print(f"{failed} libraries touch what is not theirs, or depend on it")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
