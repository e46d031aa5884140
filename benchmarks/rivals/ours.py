"""Our own library, called as any Python program calls it: the same road into it as into every rival."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.bridge import save_checkpoint
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.library import loading

from . import FP32, THREADS
from .calibration import pictures


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Builds `net` for this machine into the folder; but for a detector `parameters` are those of the default seed."""
    scales, weights = None, None
    if net.detector:
        weights = folder / "weights.safetensors"
        save_checkpoint(weights, parameters, {"model": net.name})
    if precision == "int8":
        from tvm_shufflenet.training.calibration import calibrate

        scales = calibrate(net, parameters, pictures(net), "minmax")
    build_library(
        BuildOptions(
            net.name, "native", net.size, net.classes, output=folder, team=THREADS > 1, precision=precision,
            calibration=scales, weights=weights,
        )
    )  # fmt: skip


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits.

    The picture is not searched for NaN and infinity: no rival does that.
    """
    (path,) = folder.glob("*.so")
    network = loading.load(path, THREADS)
    return lambda: network(image, check=False)  # of a detector four arrays
