"""The scales of a network's tensors, and where they are from: what `quantize` writes beside weights, and int8 needs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ..errors import UserError

KEY = "int8"  # in a checkpoint's metadata


@dataclass(frozen=True)
class Calibration:
    """`tensors`: scale and zero point, a byte, by the name of a layer that gives the tensor.

    `pictures` is the number of those that were looked at, `observer` what chose the ranges, `weights` the digest of the
    parameters that they are of.  With `parts` each part of channel attention has a scale, so that none is folded.
    """

    tensors: dict[str, tuple[float, int]] = field(hash=False)
    pictures: int
    observer: str
    weights: str
    parts: bool = False

    def to_metadata(self) -> dict[str, str]:
        return {KEY: json.dumps(asdict(self))}

    @property
    def about(self) -> dict:
        """What manifests say of the calibration: all but the scales."""
        parts = {"parts": True} if self.parts else {}
        return {"pictures": self.pictures, "observer": self.observer, "tensors": len(self.tensors), **parts}


def calibration_in(metadata: Mapping[str, str], weights: str, source: str) -> Calibration:
    """The calibration in a checkpoint's metadata; `UserError` where it is missing, damaged, or of other weights."""
    run = f"run `python -m tvm_shufflenet.quantize {source} --data DIR|TAR -o FILE` and build FILE"
    if KEY not in metadata:
        raise UserError(f"{source}: int8 needs the scales of its tensors, which these weights lack: {run}")
    try:
        found = json.loads(metadata[KEY])
        tensors = {str(name): (float(scale), int(zero)) for name, (scale, zero) in found["tensors"].items()}
        parts = found.get("parts", False) is True
        made = Calibration(tensors, int(found["pictures"]), str(found["observer"]), str(found["weights"]), parts)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{source}: the scales in its metadata are damaged: {run}") from None
    if not all(math.isfinite(scale) and 1e-30 < scale < 1e30 and 0 <= zero <= 255 for scale, zero in tensors.values()):
        raise UserError(f"{source}: the scales in its metadata are damaged: {run}")
    if made.weights != weights:
        raise UserError(f"{source}: the scales in its metadata are of other weights: {run}")
    return made
