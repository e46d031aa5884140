"""The manifest of a library: what `tsn_describe()` returns and the .json beside the library holds."""

from __future__ import annotations

import importlib.metadata
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .. import __version__
from ..architectures import Network, model_names
from ..architectures.described import describe
from ..bridge.parameters import digest
from ..library.preprocess import preprocessing
from ..pipeline import Compiled
from .needs import needed
from .origin import Origin
from .plan import plan_of

WINOGRAD = "rates and bounds count direct convolution, of which Winograd's kernels do a half to a quarter"


def plain_name(about: dict) -> str:
    """The name of a manifest's network for a comment of a source, which no character of the name ends."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", about["model"])


def manifest(
    compiled: Compiled, parameters: dict[str, np.ndarray], origin: Origin, class_names: list[str] | None,
    prepared: dict | None = None,
) -> dict:  # fmt: skip
    """What a program needs to know of the network.

    `prepared` is the preprocessing that the weights want, where it is not the usual one.

    A network that is not in the list is described by "network".  `link` puts the inputs, the outputs, the workspace
    and the architecture in front.
    """
    network, target, program = compiled.network, compiled.target, compiled.program
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
        "needs": needed(target, compiled.precision),
        "precision": compiled.precision.name,
        "weights_precision": compiled.precision.weights,
        **({"calibration": calibration.about} if (calibration := compiled.precision.calibration) else {}),
        "probabilities": network.gives_probabilities,
        "preprocessing": preprocessing(network.size, prepared, whole=bool(network.detector)),
        **({"detector": _detector(network)} if network.detector else {}),
        "class_names": class_names,
        "weights": {"source": origin.source, "notes": list(origin.notes), "sha256": digest(parameters)},
        "multiply_adds": network.multiply_adds(),
        "kernels": {
            "total": len(compiled.kernels),
            "tuned": tuned.total(),
            "tuned_by": tuned,
            "changed": sum(kernel.changed for kernel in compiled.kernels),
            "default_schedule": [kernel.name for kernel in compiled.kernels if not kernel.record],
            "nothing_to_tune": [kernel.name for kernel in compiled.kernels if kernel.choices == 1],
            "records_ignored": compiled.ignored,
            "generic": compiled.program.generic(),
        },
        **({"batch": {"pictures": program.pictures, "head": program.head}} if program.pictures > 1 else {}),
        "plan": plan_of(compiled.program, compiled.plan, compiled.kernels),
        "versions": {
            "tvm_shufflenet": __version__,
            "apache-tvm": importlib.metadata.version("apache-tvm"),
            "apache-tvm-ffi": importlib.metadata.version("apache-tvm-ffi"),
        },
    }


def entries(compiled: Sequence[Compiled], prefixes: Sequence[str]) -> list[dict]:
    """The sizes of a library of several sizes, and the prefixes of their functions; the first is `tsn_run`'s.

    `shared_weight_bytes` counts those of the `weight_bytes` that an earlier size reads, too.
    """
    return [
        {"size": list(each.network.size), "prefix": prefix, "weight_bytes": each.weight_bytes,
         "shared_weight_bytes": each.shared_weight_bytes}
        for each, prefix in zip(compiled, prefixes, strict=True)
    ]  # fmt: skip


def _detector(network: Network) -> dict:
    """The options that decide which boxes a detector gives; see `NetworkBuilder.detections`."""
    layer = network.layers[network.detector]
    candidates = layer.attrs.get("candidates") or network.layers[layer.inputs[1]].shape[0]  # all regions
    return {
        "classes": network.classes, "candidates": candidates,
        **{key: layer.attrs[key] for key in ("least", "overlap", "best")},
    }  # fmt: skip
