"""How extras.c, pictures of a camera in and classes out, is compiled for a processor, and told of a network."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..targets import TargetSpec
from .interface import Port

EXTRAS = Path(__file__).with_name("extras.c")
# Vectors that camera.h has a width for, of x86-64; Arm processors here all have Neon.
VECTORS = ("ssse3", "sse4.1", "avx", "avx2", "avx512f", "avx512bw", "avx512vl")


def takes_pictures(manifest: dict, taken: Port) -> bool:
    """Whether tsn_run_image works: the manifest has a "preprocessing" that crops, and the input three channels.

    A detector's pictures are stretched, which extras.c does not do: a detector refuses them.
    """
    how = manifest.get("preprocessing") or {}
    return "resize_shorter_side_ratio" in how and taken.shape[taken.layout.index("C")] == 3


def variant(manifest: dict, taken: Port) -> list[str]:
    """The macros of extras.c, of which there are a few kinds for a processor."""
    pictures = takes_pictures(manifest, taken)
    several = ["-DTSN_SEVERAL"] if pictures and taken.shape[0] > 1 else []
    return [f"-DTSN_PICTURES={int(pictures)}", f"-DTSN_NHWC={int(pictures and taken.layout == 'NHWC')}", *several]


def network_of(manifest: dict, taken: Port, given: Port) -> str:
    """The initialiser of extras.h's `Network`, from a manifest, the input and the first output."""
    found: dict[str, object] = {}
    if takes_pictures(manifest, taken):
        how = manifest["preprocessing"]
        found = {
            "crop": _braces(taken.size), "blue_first": int(how["channels"] == "BGR"),
            "margin": float(how["resize_shorter_side_ratio"]), "scale": float(how["scale"]),
            "mean": _braces(map(float, how["mean"])), "deviation": _braces(map(float, how["std"])),
        }  # fmt: skip
    is_classifier = list(given.shape[2:]) in ([], [1, 1])
    found |= {
        "classes": given.shape[1] if is_classifier else 0,
        "probabilities": int(bool(manifest.get("probabilities"))),
        "labels": len(manifest.get("class_names") or ()),
    }
    return "{" + ",".join(f".{name}={value}" for name, value in found.items()) + "}"


def labels(manifest: dict) -> bytes:
    """The names of the classes in UTF-8, each with a zero behind it; `UserError` for one that has a zero within."""
    names = manifest.get("class_names") or []
    for index, name in enumerate(names):
        if "\0" in name:
            raise UserError(f"the name of class {index} is {name!r:.60}: expected one without a zero character")
    return b"".join(name.encode() + b"\0" for name in names)


def vector_options(spec: TargetSpec) -> list[str]:
    """Options of Zig's compiler for the vectors of a processor; it has another list of processors than LLVM."""
    if spec.arch == "aarch64":
        return []  # all have Neon
    if spec.arch == "arm":
        features = [feature for feature in spec.tvm.get("mattr", []) if feature == "+neon"]
    else:
        from ..targets.detect import features_of

        has = features_of(spec.tvm)
        features = [f"+{name}" for name in VECTORS if name in has]
    return [word for feature in features for word in ("-Xclang", "-target-feature", "-Xclang", feature)]


def _braces(values) -> str:
    return "{" + ",".join(map(repr, values)) + "}"
