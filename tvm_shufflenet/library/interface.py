"""What a library takes and gives: the arrays of its caller, as the network has them and as a manifest says them.

    manifest = normalised(json.loads(text))  # of any format, in the words of the newest
    (picture,) = inputs(manifest)
    picture.shape, picture.layout, picture.size

Nothing but the standard library is needed here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..architectures import Network

ALIGNMENT = 64  # TSN_ALIGNMENT: bytes, of the workspace and of each output that is put behind it
LARGEST = 1 << 32  # bytes of an array, or of the workspace: a damaged manifest does not ask for more
BATCH = 64  # pictures of a call, at most
TEAM_BYTES = 320  # of a team of one thread; team.c holds both against its structures
REST_BYTES = 64  # of each further thread, in front of its scratch
LAYOUTS = {"NCHW": 4, "NHWC": 4, "NC": 2}  # and how many dimensions they have


@dataclass(frozen=True)
class Port:
    """An array that a library reads or writes; `layout` says what the dimensions of `shape` are."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str

    def __post_init__(self) -> None:
        """`ValueError` for what no library has."""
        if LAYOUTS.get(self.layout) != len(self.shape) or self.dtype != "float32" or not isinstance(self.name, str):
            raise ValueError(f"{self} is no array of a library")
        if not all(type(extent) is int and extent > 0 for extent in self.shape):
            raise ValueError(f"{self.shape}: expected positive integers")
        if self.bytes > LARGEST:
            raise ValueError(f"{self.shape}: it has more than {LARGEST} bytes")

    @property
    def bytes(self) -> int:
        return 4 * math.prod(self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, of a port whose layout has them."""
        axis = self.layout.index("H")
        return self.shape[axis], self.shape[axis + 1]


def ports(network: Network, pictures: int = 1) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The inputs and the outputs of a network's library, for so many pictures in a call."""
    shapes = network.shapes.of_pictures(pictures)
    results = [network.layers[index].name for index in network.outputs]
    outputs = tuple(
        Port(name, shape, "float32", "NCHW" if len(shape) == 4 else "NC")
        for name, shape in zip(results, shapes.outputs, strict=True)
    )
    return (Port(network.layers[0].name, shapes.input, "float32", network.layout),), outputs


def batch_of(manifest: dict) -> int:
    """The pictures of a call of the library."""
    return inputs(manifest)[0].shape[0]


def size_of(manifest: dict) -> tuple[int, int] | None:
    """Height and width of the input in pixels; None where it has none."""
    (taken,) = inputs(manifest)
    return taken.size if "H" in taken.layout else None


def sizes_of(manifest: dict) -> list[str]:
    """The sizes of the library in words: one, or those of "entries"."""
    sizes = [entry["size"] for entry in manifest["entries"]] if "entries" in manifest else [size_of(manifest) or ()]
    return ["x".join(map(str, size)) for size in sizes]


def check_one_picture(path: object, manifest: dict, what: str) -> None:
    """`UserError` for a library of several pictures a call, where `what` takes those of one."""
    if (batch := batch_of(manifest)) > 1:
        raise UserError(f"{path} takes {batch} pictures a call, {what} one: build it without --batch")


def inputs(manifest: dict) -> tuple[Port, ...]:
    """The arrays that the library reads: one so far."""
    return tuple(map(_port, manifest["inputs"]))


def outputs(manifest: dict) -> tuple[Port, ...]:
    """The arrays that the library writes; the first is the output of `tsn_run`."""
    return tuple(map(_port, manifest["outputs"]))


def classes_of(manifest: dict) -> int:
    """The classes of a network of the list: those of a detector's boxes, or a classifier's outputs."""
    return manifest["detector"]["classes"] if "detector" in manifest else outputs(manifest)[0].shape[1]


def room(results: Sequence[Port]) -> int:
    """Bytes behind the workspace, in which `tsn_run` leaves all outputs but the first."""
    return sum(round_up(result.bytes) for result in results[1:])


def round_up(size: int) -> int:
    """Bytes, up to where the next array may begin."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def team_bytes(manifest: dict, threads: int) -> int:
    """The bytes of memory that a team of so many threads needs, as tsn_team_bytes gives them."""
    first, further = manifest["team_bytes"]
    return first + (threads - 1) * further


def main_shapes(manifest: dict) -> list[tuple[int, ...]]:
    """Shapes of the arguments of TVM's function "main": the input, each output, the workspace; all float32."""
    arrays = (*inputs(manifest), *outputs(manifest))
    workspace = manifest["workspace_bytes"] - room(outputs(manifest))
    return [*(array.shape for array in arrays), (workspace // 4,)]


def normalised(manifest: dict) -> dict:
    """The manifest in the words of formats 2 and 3, whatever its own `format`, which stays.

    Raises `ValueError`, `LookupError` or `TypeError` for one that is malformed.
    """
    if manifest["format"] == 1:
        manifest = _from_format_1(manifest)
    if len(inputs(manifest)) != 1 or not outputs(manifest):
        raise ValueError("expected one input, and outputs")
    workspace = main_shapes(manifest)[-1][0]
    if type(manifest["workspace_bytes"]) is not int or not 0 < 4 * workspace <= LARGEST or workspace % 16:
        raise ValueError(f"workspace_bytes: expected a multiple of {ALIGNMENT}, with room for the outputs")
    return manifest


def _from_format_1(old: dict) -> dict:
    """Format 1 had classifiers only: pictures in, NCHW, and the logits out."""
    arrays = {
        "inputs": [{"name": "input", "shape": old["input_shape"], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [{"name": "output", "shape": old["output_shape"], "dtype": "float32", "layout": "NC"}],
    }
    rest = {key: value for key, value in old.items() if key not in ("input_shape", "output_shape", "input", "output")}
    return {"format": 1, **arrays, "probabilities": False, **rest}


def _port(described: dict) -> Port:
    fields = {field.name: described[field.name] for field in dataclasses.fields(Port)}
    return Port(**{**fields, "shape": tuple(fields["shape"])})
