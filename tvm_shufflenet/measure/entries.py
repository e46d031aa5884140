"""Networks of a comparison: built now, or libraries that are there already."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..architectures import model_names, network
from ..errors import UserError
from ..library.build_library import BuildOptions, build_library
from ..library.elf import read_elf
from ..runtime.library import load, read_manifest
from ..tuning.records import FOLDER


@dataclass
class Entry:
    """A network: its library, and what was found out about it."""

    label: str
    path: Path
    manifest: dict
    difference: float | None = None  # of its outputs on a board from those here, relative
    seconds: list[float] = field(default_factory=list)  # per inference, one for each round

    @property
    def model(self) -> str:
        return self.manifest["model"]

    @property
    def multiply_adds(self) -> int:
        return self.manifest["multiply_adds"]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.manifest["input_shape"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        height, width = self.input_shape[2:]
        return height, width

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(self.manifest["output_shape"])

    @property
    def workspace_shape(self) -> tuple[int]:
        return (self.manifest["workspace_bytes"] // 4,)

    def picture(self) -> np.ndarray:
        return standard_picture(self.input_shape)


def standard_picture(shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers in place of a preprocessed picture."""
    return np.random.default_rng(0).standard_normal(shape, "float32")


def check_name(name: str, size: tuple[int, int], arch: str, where: str) -> None:
    """`UserError`, before anything slow, unless `name` is a network or a library for `arch`.

    `where` says in the message what has that architecture.
    """
    path = Path(name)
    if _is_model(name) or (path.suffix != ".so" and not path.is_file()):
        network(name, size)  # words what is wrong with the name or the size
        return
    if not path.is_file():
        raise UserError(f"no such library: {name}; `python -m tvm_shufflenet.build` makes libraries")
    if (built_for := read_elf(path).arch) != arch:
        raise UserError(
            f"{name} is built for {built_for}, but {where} is {arch}: measure it with --rpc on a board of its "
            "architecture, which --target names"
        )


def make_entry(
    name: str, target: str, size: tuple[int, int], folder: Path, records: Path | None = FOLDER
) -> Entry:  # fmt: skip
    """Opens the library called `name`, or builds the network of that name into `folder`."""
    if _is_model(name):
        path = build_library(BuildOptions(name, target, size, output=folder, records=records)).path
        return Entry(name, path, read_manifest(path))
    return Entry(Path(name).stem, Path(name), read_manifest(name))


def expected_output(entry: Entry) -> np.ndarray | None:
    """What the same network with the same weights computes on this machine from `entry.picture()`.

    None if its weights are not random ones: then they cannot be had again.
    """
    source = re.fullmatch(r"random, seed (\d+)", entry.manifest["weights"]["source"])
    if not source:
        return None
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        options = BuildOptions(
            entry.model, "native", entry.size, entry.output_shape[1], seed=int(source[1]), output=Path(folder)
        )
        built = build_library(options)
        if read_manifest(built.path)["weights"] != entry.manifest["weights"]:
            return None  # another version made them
        return load(built.path)(entry.picture())


def _is_model(name: str) -> bool:
    return name in model_names()
