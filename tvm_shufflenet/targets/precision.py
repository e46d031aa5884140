"""How a library keeps and computes its numbers between the caller's float32 arrays: the one place for it.

    precision = precision_of("fp16", None, resolve("cortex-a76"))
    precision.activations, precision.dense_weights

What else there may be is an entry of `PRECISIONS` and a dtype of workloads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..errors import UserError
from . import TargetSpec
from .calibration import Calibration


@dataclass(frozen=True)
class Precision:
    """`activations` is the dtype of tensors, of the weights beside them and of the arithmetic of kernels that have it.

    `dense_weights` is that of fully connected layers' weights, whose sums are float32.  `features` are those that
    LLVM must know of a processor, by architecture; one that is not among them cannot have this precision.
    Of int8 `dot` is the instruction that multiplies bytes, `lookup` what finds them in tables, and `calibration` the
    scales of tensors.
    """

    name: str
    activations: str
    dense_weights: str
    features: dict[str, str] | None = field(default=None, hash=False)
    tolerance: float = 1e-4  # of outputs from those of exact arithmetic, relative to the largest
    dot: str = ""
    lookup: str = ""
    calibration: Calibration | None = field(default=None, hash=False)

    @property
    def weights(self) -> str:
        """The name of the precision of fully connected layers' weights."""
        return next((name for name, dtype in WEIGHTS.items() if dtype == self.dense_weights), self.name)

    def __str__(self) -> str:
        return self.name if self.weights == self.name else f"{self.name}, fully connected weights {self.weights}"

    @property
    def largest(self) -> float:
        """The largest number of the activations' dtype."""
        return 65504.0 if self.activations == "float16" else 3.4e38


FP32 = Precision("fp32", "float32", "float32")
FP16 = Precision("fp16", "float16", "float16", {"aarch64": "fullfp16", "x86_64": "f16c"}, 2e-2)
# A fused multiply-add rounds (`schedules/requantise.py`).
INT8 = Precision("int8", "int8", "int8", {"aarch64": "neon", "x86_64": "fma"}, 0.25)
HALVES_LOAD = {"aarch64": "neon", "x86_64": "f16c"}  # what widens halves to floats
PRECISIONS = {precision.name: precision for precision in (FP32, FP16, INT8)}
WEIGHTS = {"fp32": "float32", "fp16": "float16"}  # of --weights-precision


def precision_of(name: str, weights: str | None, target: TargetSpec) -> Precision:
    """The precision called `name`, with `weights` that of the fully connected layers' weights, if it is given.

    `UserError` for names that there are not, and where the processor of the target lacks the instructions.
    """
    if name not in PRECISIONS:
        raise UserError(f"precision {name!r}: expected {' or '.join(PRECISIONS)}")
    if weights is not None and weights not in WEIGHTS:
        raise UserError(f"weights precision {weights!r}: expected {' or '.join(WEIGHTS)}")
    found = PRECISIONS[name]
    _require(target, found.features, f"--precision {name}")
    if found is INT8:
        found = _with_dot(found, target)
    if weights is None or WEIGHTS[weights] == found.dense_weights:
        return found
    if found != FP32:
        raise UserError(f"--weights-precision {weights}: with --precision {name} all weights are {name}")
    _require(target, HALVES_LOAD, f"--weights-precision {weights}")
    return _with_weights(found, weights)


def precision_in(manifest: dict) -> Precision:
    """The precision of a library; fp32 for a library that does not say its precision."""
    name = manifest.get("precision", FP32.name)
    weights = manifest.get("weights_precision", name)
    if name not in PRECISIONS or weights not in (*WEIGHTS, name):
        raise UserError(f"a library of precision {name:.40} is from a newer version: use that, or build it anew")
    found = PRECISIONS[name]
    return found if weights == found.weights else _with_weights(found, weights)


def _with_dot(precision: Precision, target: TargetSpec) -> Precision:
    """The precision with the best instructions of the target's processor; see `schedules/dot4.py` and `lookup.py`."""
    from .detect import features_of

    features = features_of(target.tvm)
    if target.arch == "aarch64":
        kinds = {"smmla": {"i8mm", "dotprod"}, "sdot": {"dotprod"}, "smull": set()}
        return replace(precision, dot=next(kind for kind, needs in kinds.items() if needs <= features), lookup="tbl")
    lookups = {"vbmi": "avx512vbmi", "avx2": "avx2"}
    found = next((kind for kind, needs in lookups.items() if needs in features), "plain")
    precision = replace(precision, lookup=found)
    if {"avx512vnni", "avx512vl"} <= features:
        return replace(precision, activations="uint8", dot="vnni512")
    if "avxvnni" in features:
        return replace(precision, activations="uint8", dot="vnni256")
    return replace(precision, dot="maddwd" if "avx2" in features else "plain")


def _with_weights(precision: Precision, weights: str) -> Precision:
    return replace(precision, dense_weights=WEIGHTS[weights], tolerance=5e-3)


def _require(target: TargetSpec, features: dict[str, str] | None, option: str) -> None:
    """`UserError` unless the target's processor has the feature of its architecture."""
    if features is None:
        return
    from .detect import features_of

    feature = features.get(target.arch)
    if feature is None or feature not in features_of(target.tvm):
        why = f"lacks {feature}" if feature else f"is {target.arch}"
        every = features in (HALVES_LOAD, INT8.features)
        fits = "cortex-a72" if every else "cortex-a76 (Cortex-A55, A75 and newer have it)"
        raise UserError(f"{option}: target {target.name} {why}: expected such as --target {fits}")
