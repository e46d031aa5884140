"""What a manifest must be before anything trusts it: it comes from a file that may be damaged or made up."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from . import plan
from .interface import BATCH
from .symbols import VALID

LARGEST = 1 << 31  # elements of a tensor; bytes of a workspace are four times as many at most
KERNELS = 100_000
ENTRIES = 64  # sizes of a library
TEXT = 100_000  # characters

Check = Callable[[Any], bool]  # of a value as JSON has it


def wrong(manifest: dict) -> str | None:
    """The first key of a manifest that is missing or has a value that makes no sense; None if all is well.

    The manifest is in the words of the newest format.  A manifest that describes the network does so completely; that
    of a bare library has what a run needs.
    """
    # A manifest of format 1 is given `probabilities`, so that key alone describes no network.
    described = manifest.keys() & (_DESCRIBED.keys() - {"probabilities"})
    required = [*_ALWAYS, *(_DESCRIBED if described else ())]
    for key in required:
        if key not in manifest:
            return key
    for key, check in {**_ALWAYS, **_DESCRIBED, **_OPTIONAL}.items():
        if key in manifest and not check(manifest[key]):
            return key
    return "inputs" if len({port["shape"][0] for port in (*manifest["inputs"], *manifest["outputs"])}) > 1 else None


def _text(value) -> bool:
    return isinstance(value, str) and len(value) <= TEXT and not any(0xD800 <= ord(c) < 0xE000 for c in value)


def _integer(value, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _number(value, least: float = -1e9, most: float = 1e9) -> bool:
    return type(value) in (int, float) and least <= value <= most  # NaN is not


def _list(check: Check, least: int = 0, most: int = 1 << 20) -> Check:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def _object(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(_text, value)) and all(map(check, value.values()))


def _fields(**checks: Check) -> Check:
    return lambda value: (
        isinstance(value, dict) and all(key in value and check(value[key]) for key, check in checks.items())
    )


def _shape(value) -> bool:
    return _list(lambda n: _integer(n, 1, LARGEST), 1, 8)(value) and math.prod(value) <= LARGEST


def _count(value) -> bool:
    return _integer(value, 0, KERNELS)


_names = _list(_text, most=KERNELS)
_port = _fields(name=_text, shape=lambda value: _shape(value) and value[0] <= BATCH,
                dtype=lambda value: value == "float32", layout=_text)  # fmt: skip
_ports = _list(_port, 1, 1 << 10)
_KERNELS = _fields(
    total=_count, tuned=_count, tuned_by=_object(_count), default_schedule=_names, nothing_to_tune=_names,
    records_ignored=_object(lambda value: _integer(value, 0, 1 << 40)),
)  # fmt: skip
_PREPARED = _fields(
    crop=_list(lambda n: _integer(n, 1, LARGEST), 2, 2), scale=_number,
    mean=_list(_number, 1), std=_list(lambda n: _number(n, 1e-9), 1),
)  # fmt: skip
_SCALES = _fields(
    pictures=lambda value: _integer(value, 0, 1 << 40), observer=_text,
    tensors=lambda value: _integer(value, 1, 1 << 20),
)  # fmt: skip
_ALWAYS = {
    "inputs": _ports,
    "outputs": _ports,
    "workspace_bytes": lambda value: _integer(value, 64, 4 * LARGEST) and value % 64 == 0,
}
_DESCRIBED = {
    "model": _text, "note": _text, "target": _text, "triple": _text, "cpu": _text, "features": _list(_text),
    "preprocessing": lambda value: _PREPARED(value) and (
        _text(value["resize"]) if "resize" in value else _number(value.get("resize_shorter_side_ratio"), 0.01, 100)
    ),
    "class_names": lambda value: value is None or _names(value),
    "weights": _fields(source=_text, sha256=lambda value: _text(value) and bool(re.fullmatch("[0-9a-f]{64}", value))),
    "multiply_adds": lambda value: _integer(value, 0, 1 << 60),
    "kernels": lambda value: _KERNELS(value) and _names(value.get("generic", [])),
    "versions": _object(_text), "probabilities": lambda value: isinstance(value, bool),
}  # fmt: skip
_OPTIONAL = {
    "batch": _fields(pictures=lambda value: _integer(value, 1, BATCH), head=_count),
    "prefix": lambda value: isinstance(value, str) and bool(VALID.fullmatch(value)),
    "threads": lambda value: _integer(value, 1, 1 << 10),
    "team_bytes": _list(lambda n: _integer(n, 0, LARGEST), 2, 2),
    "arch": _text,
    "needs": _list(_text),
    "precision": _text,
    "weights_precision": _text,
    "calibration": lambda value: _SCALES(value) and isinstance(value.get("parts", False), bool),
    "input": _text,
    "output": _text,
    "network": lambda value: isinstance(value, str),
    "entries": _list(
        _fields(
            size=_list(lambda n: _integer(n, 1, LARGEST), 2, 2),
            prefix=lambda value: isinstance(value, str) and bool(VALID.fullmatch(value)),
            weight_bytes=lambda value: _integer(value, 0, 1 << 40),
            shared_weight_bytes=lambda value: _integer(value, 0, 1 << 40),
        ), 2, ENTRIES,
    ),
    "plan": plan.sound,
    "detector": _fields(
        classes=lambda value: _integer(value, 1, 1 << 16), least=_number, overlap=_number,
        candidates=lambda value: _integer(value, 1, 1 << 14), best=lambda value: _integer(value, 1, 1 << 14),
    ),
}  # fmt: skip
