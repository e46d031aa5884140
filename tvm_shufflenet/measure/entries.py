"""Networks of a comparison: built now, or libraries that are there already."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..architectures import model_names, network, own_name
from ..architectures.described import from_description
from ..bridge.shipped import shipped
from ..building.build_library import BuildOptions, build_library
from ..errors import UserError
from ..library.elf import read_elf
from ..library.interface import Port, inputs, main_shapes, outputs
from ..library.loading import load, read_manifest
from ..records.store import FOLDER

TOLERANCE = 1e-4  # of outputs, relative to the largest: fp32 sums in another order differ by 1e-6 or so


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
    def weights(self) -> str:
        """Where they are from."""
        return self.manifest["weights"]["source"]

    @property
    def multiply_adds(self) -> int:
        return self.manifest["multiply_adds"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return inputs(self.manifest)[0].size

    @property
    def outputs(self) -> tuple[Port, ...]:
        return outputs(self.manifest)

    @property
    def arguments(self) -> tuple:
        """Of TVM's function "main", as `Place.load` takes them: the picture, shapes of outputs and the workspace."""
        picture, *others = main_shapes(self.manifest)
        return standard_picture(picture), *others


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


def check_outputs(entry: Entry, run: Callable[[int], np.ndarray], where: str) -> float | None:
    """How far what `run(i)` gives, output i of a board for the standard picture, is from what this machine computes.

    Relative to the largest number of that output.  None if the weights cannot be had again.  `UserError` if the board
    computes something else.
    """
    expected = expected_outputs(entry)
    if expected is None:
        return None
    differences = [np.abs(run(i) - output).max() / np.abs(output).max() for i, output in enumerate(expected)]
    difference = float(np.max(differences))  # not a number if one of them is not
    if not difference < TOLERANCE:  # also where it is not a number
        raise UserError(
            f"{entry.label}: its outputs on {where} differ from those on this machine by {difference:.1e} "
            f"(relative), expected less than {TOLERANCE:.0e}: the library is wrong for the board, or the board faulty"
        )
    return difference


def expected_outputs(entry: Entry) -> tuple[np.ndarray, ...] | None:
    """What the same network with the same weights computes on this machine from its standard picture.

    None if its weights are neither random ones nor those that the project holds, or nothing describes it: then it
    cannot be had again.
    """
    random, held = re.fullmatch(r"random, seed (\d{1,9})", entry.weights), shipped(entry.model)
    listed, description = entry.model in model_names(), entry.manifest.get("network", "")
    if not (random and (listed or description) or listed and held and held.name == entry.weights):
        return None
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        options = BuildOptions(
            entry.model, "native", entry.size, entry.outputs[0].shape[1], None if random else held,
            int(random[1]) if random else 0, Path(folder),
            network=None if listed else from_description(description, source=entry.label),
        )  # fmt: skip
        built = build_library(options)
        if read_manifest(built.path)["weights"] != entry.manifest["weights"]:
            return None  # another version made them
        found = load(built.path)(entry.arguments[0])
        return found if isinstance(found, tuple) else (found,)


def _is_model(name: str) -> bool:
    return own_name(name) is not None
