"""The manifest of a library: what `tsn_describe()` returns and the .json beside the library holds."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter

import numpy as np

from .. import __version__
from ..architectures import model_names
from ..architectures.described import describe
from ..library.preprocess import preprocessing
from ..pipeline import Compiled

WINOGRAD = "rates and bounds count direct convolution, of which Winograd's kernels do a half to a quarter"


def manifest(
    compiled: Compiled, parameters: dict[str, np.ndarray], source: str, class_names: list[str] | None,
    prepared: dict | None = None,
) -> dict:  # fmt: skip
    """What a program needs to know of the network.  `source` says where the weights are from.

    `prepared` is the preprocessing that the weights want, where it is not the usual one.

    A network that is not in the list is described by "network".  `link` puts the inputs, the outputs, the workspace
    and the architecture in front.
    """
    network, target = compiled.network, compiled.target
    tuned = Counter(kernel.record for kernel in compiled.kernels if kernel.record)
    fewer = any(kernel.workload.name == "winograd" for kernel in compiled.kernels)
    return {
        "model": network.name,
        **({} if network.name in model_names() else {"network": describe(network)}),
        "note": "; ".join(filter(None, [network.note, WINOGRAD if fewer else ""])),
        "target": target.name,
        "triple": target.tvm["mtriple"],
        "cpu": target.tvm["mcpu"],
        "features": target.tvm.get("mattr", []),
        "probabilities": network.gives_probabilities,
        "preprocessing": preprocessing(network.size, prepared),
        "class_names": class_names,
        "weights": {"source": source, "sha256": _digest(parameters)},
        "multiply_adds": network.multiply_adds(),
        "kernels": {
            "total": len(compiled.kernels),
            "tuned": tuned.total(),
            "tuned_by": tuned,
            "default_schedule": [kernel.name for kernel in compiled.kernels if not kernel.record],
            "nothing_to_tune": [kernel.name for kernel in compiled.kernels if kernel.choices == 1],
            "records_ignored": compiled.ignored,
            "generic": compiled.program.generic(),
        },
        "versions": {
            "tvm_shufflenet": __version__,
            "apache-tvm": importlib.metadata.version("apache-tvm"),
            "apache-tvm-ffi": importlib.metadata.version("apache-tvm-ffi"),
        },
    }


def _digest(parameters: dict[str, np.ndarray]) -> str:
    """Hash of names, shapes and values of the parameters: the same for every target."""
    digest = hashlib.sha256()
    for name, array in parameters.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()
