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

if TYPE_CHECKING:
    from ..architectures import Network

ALIGNMENT = 64  # TSN_ALIGNMENT: bytes, of the workspace and of each output that is put behind it
LARGEST = 1 << 32  # bytes of an array, or of the workspace: a damaged manifest does not ask for more
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
        """Height and width in pixels, of a port that has such."""
        axis = self.layout.index("H")
        return self.shape[axis], self.shape[axis + 1]


def ports(network: Network) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The inputs and the outputs of a network's library."""
    picture = network.layers[0]
    layout = picture.attrs["layout"]
    _, channels, height, width = picture.shape
    shape = (1, height, width, channels) if layout == "NHWC" else picture.shape
    results = (network.layers[index] for index in network.outputs)
    outputs = tuple(Port(r.name, r.shape, "float32", "NCHW" if len(r.shape) == 4 else "NC") for r in results)
    return (Port(picture.name, shape, "float32", layout),), outputs


def inputs(manifest: dict) -> tuple[Port, ...]:
    """What the library reads: one array so far."""
    return tuple(map(_port, manifest["inputs"]))


def outputs(manifest: dict) -> tuple[Port, ...]:
    """What the library writes; the first is that of `tsn_run`."""
    return tuple(map(_port, manifest["outputs"]))


def room(results: Sequence[Port]) -> int:
    """Bytes behind the workspace, in which `tsn_run` leaves all outputs but the first."""
    return sum(-(-result.bytes // ALIGNMENT) * ALIGNMENT for result in results[1:])


def main_shapes(manifest: dict) -> list[tuple[int, ...]]:
    """Shapes of the arguments of TVM's function "main": the input, each output, the workspace; all float32."""
    arrays = (*inputs(manifest), *outputs(manifest))
    workspace = manifest["workspace_bytes"] - room(outputs(manifest))
    return [*(array.shape for array in arrays), (workspace // 4,)]


def normalised(manifest: dict) -> dict:
    """The manifest in the words of format 2, whatever its own `format`, which stays.

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
