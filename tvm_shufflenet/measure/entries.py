"""Networks of a comparison: built now, or libraries that are there already."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..architectures import SIZE, model_names, network, own_name
from ..architectures.described import from_description
from ..bridge.shipped import shipped
from ..building.build_library import BuildOptions, build_library
from ..building.work import Share, unheard
from ..errors import UserError
from ..library.detection import Detected, joined_outputs, unlike
from ..library.elf import read_elf
from ..library.interface import Port, batch_of, classes_of, inputs, main_shapes, outputs
from ..library.loading import load, read_manifest
from ..records.store import FOLDER
from ..targets.precision import precision_in

DIFFERING = 0.1  # of a detector's boxes, at most, on a board that computes the same


@dataclass
class Entry:
    """A network: its library, and what was found out about it."""

    label: str
    path: Path
    manifest: dict
    difference: float | None = None  # of its outputs on a board from those here, relative
    seconds: list[float] = field(default_factory=list)  # per call, one for each round
    notices: tuple[str, ...] = ()  # about the tuning records that it was built with

    @property
    def model(self) -> str:
        return self.manifest["model"]

    @property
    def weights(self) -> str:
        """Where the weights are from, in words."""
        return self.manifest["weights"]["source"]

    @property
    def multiply_adds(self) -> int:
        return self.manifest["multiply_adds"]

    @property
    def batch(self) -> int:
        """The pictures of a call."""
        return batch_of(self.manifest)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return inputs(self.manifest)[0].size

    @property
    def outputs(self) -> tuple[Port, ...]:
        return outputs(self.manifest)

    @property
    def arguments(self) -> tuple:
        """Arguments of TVM's function "main" for `Place.load`: the picture, and the shapes of outputs and workspace."""
        picture, *others = main_shapes(self.manifest)
        return standard_picture(picture), *others


def standard_picture(shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers in place of a preprocessed picture."""
    return np.random.default_rng(0).standard_normal(shape, "float32")


def usual_of(name: str, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The size to measure a network or library in where `size` is None: `SIZE` for networks, a library's first size."""
    return size or (SIZE if _is_model(name) else None)


def check_name(name: str, size: tuple[int, int] | None, arch: str, where: str) -> None:
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
    if size:
        read_manifest(path, size)


def make_entry(
    name: str, target: str, size: tuple[int, int] | None, folder: Path, records: Path | None = FOLDER,
    threads: int = 1, done: Share = unheard,
) -> Entry:  # fmt: skip
    """Opens the library called `name`, or builds the network of that name, for `threads`, into `folder`.

    `done` is told what share of building is done.

    Of a library of several sizes `size` is one of them; None is its first.
    """
    if _is_model(name):
        options = BuildOptions(name, target, size, output=folder, records=records, team=threads > 1)
        built = build_library(options, done)
        return Entry(name, built.path, read_manifest(built.path), notices=built.notices)
    return Entry(Path(name).stem, Path(name), read_manifest(name, size))


def check_outputs(entry: Entry, run: Callable[[], Sequence[np.ndarray]], where: str) -> float | None:
    """How far what `run()` gives, the outputs of a board for the standard picture, is from what this machine computes.

    Relative to the largest number of an output; of a detector the share of boxes that are not the same.  None if the
    weights cannot be had again.  `UserError` if the board computes something else.
    """
    expected = expected_outputs(entry)
    if expected is None:
        return None
    found, tolerance = run(), precision_in(entry.manifest).tolerance
    if "detector" in entry.manifest:
        difference, tolerance = _boxes_that_differ(entry, found, expected, tolerance), DIFFERING
    else:
        differences = [np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True)]
        difference = float(np.max(differences))  # not a number if one of them is not
    if not difference < tolerance:  # also where it is not a number
        raise UserError(
            f"{entry.label}: its outputs on {where} differ from those on this machine by {difference:.1e} "
            f"(relative), expected less than {tolerance:.0e}: the library is wrong for the board, or the board faulty"
        )
    return difference


def _boxes_that_differ(
    entry: Entry, found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float
) -> float:
    """The largest share of a picture's boxes; not a number where an output holds what is none.

    Rounding decides which of two boxes of nearly equal scores comes first, and which of them stays.
    """
    if not all(np.isfinite(output).all() for output in found):
        return float("nan")

    def boxes(outputs: Sequence[np.ndarray]) -> list[Detected]:
        return [Detected.of(row, entry.size) for row in joined_outputs(outputs)]

    return max(unlike(*pair, tolerance=tolerance) for pair in zip(boxes(found), boxes(expected), strict=True))


def expected_outputs(entry: Entry, data: np.ndarray | None = None) -> tuple[np.ndarray, ...] | None:
    """The outputs that this machine computes with the same network and weights from `data`, or its standard picture.

    None where the network cannot be built again: its weights are neither random nor held by the project, or nothing
    describes its layers.
    """
    random, held = re.fullmatch(r"random, seed (\d{1,9})", entry.weights), shipped(entry.model)
    listed, description = entry.model in model_names(), entry.manifest.get("network", "")
    if not (random and (listed or description) or listed and held and held.name == entry.weights):
        return None
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        options = BuildOptions(
            entry.model, "native", entry.size, classes_of(entry.manifest), None if random else held,
            int(random[1]) if random else 0, Path(folder),
            network=None if listed else from_description(description, source=entry.label),
            batch=entry.batch,
        )  # fmt: skip
        built = build_library(options)
        if read_manifest(built.path)["weights"] != entry.manifest["weights"]:
            return None  # another version made them
        found = load(built.path)(entry.arguments[0] if data is None else data)
        return found if isinstance(found, tuple) else (found,)


def _is_model(name: str) -> bool:
    return own_name(name) is not None
