"""What a line of a file of records must be: each field's type and range, so that nothing else trusts a file blindly.

    kind, fields = parse(b'{"task": ...}')

Files come from boards and other people, and a line may be torn, edited or made up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

# From the most to the least trusted.  Emulated: wall time in an emulator, which only exercises the machinery.
KINDS = ("measured", "estimated", "emulated")
LINE = 1 << 16  # bytes of a line: the longest that is written is a tenth of that
TASK, TEXT, NAME = 4000, 2000, 100  # characters
FEATURES, KNOBS = 400, 32
LARGEST_KNOB, ROUNDS = 1 << 24, 1 << 20
FIGURES = 1e-12, 1e15  # seconds or cycles of a call


class BadLine(ValueError):
    """Says what is wrong with a line."""


def parse(line: bytes) -> tuple[str, dict]:
    """("record", the fields of a `Record`), or ("target", a digest and what it stands for); raises `BadLine`."""
    if len(line) > LINE:
        raise BadLine(f"it is longer than {LINE} bytes")
    try:
        entry = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadLine("it is no JSON") from None
    if not isinstance(entry, dict):
        raise BadLine("it is no JSON object")
    if "task" in entry:
        return "record", _record(entry)
    return "target", _fields(entry, _TARGET, required=_TARGET)


def printable(text: str) -> str:
    """A text as a field may hold it: in one line, not too long."""
    return "".join(c if c.isprintable() else " " for c in text)[:TEXT]


def _record(entry: dict) -> dict:
    fields = _fields(entry, _RECORD, required=("task", "version", "tvm", "target", "kind", "knobs"))
    if not fields.get("failure"):
        for name in ("value", "default"):
            if fields.get(name) is None:
                raise BadLine(f"it has neither a failure nor a {name}")
    return fields


def _fields(entry: dict, checks: dict[str, Callable], required) -> dict:
    if missing := [name for name in required if name not in entry]:
        raise BadLine(f"it has no {missing[0]}")
    for name, value in entry.items():
        if name not in checks:
            raise BadLine("it has a field that records do not have")
        if not checks[name](value):
            shown = ascii(value)
            raise BadLine(f"its {name} is {shown if len(shown) <= 40 else shown[:37] + '...'}")
    return entry


def _no_number(text: str):
    raise ValueError(text)


def _text(longest: int, shortest: int = 1) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and shortest <= len(value) <= longest and value.isprintable()


def _integer(largest: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and 0 <= value <= largest


def _figure(value) -> bool:
    return value is None or (type(value) in (int, float) and FIGURES[0] <= value <= FIGURES[1] and math.isfinite(value))


def _knobs(value) -> bool:
    name, number = _text(NAME), _integer(LARGEST_KNOB)
    return isinstance(value, dict) and len(value) <= KNOBS and all(name(k) and number(v) for k, v in value.items())


def _features(value) -> bool:
    return isinstance(value, list) and len(value) <= FEATURES and all(map(_text(NAME), value))


_RECORD = {
    "task": _text(TASK), "version": _text(NAME), "tvm": _text(NAME), "target": _text(NAME),
    "kind": lambda value: isinstance(value, str) and value in KINDS, "knobs": _knobs,
    "value": _figure, "default": _figure, "failure": _text(TEXT, 0), "rounds": _integer(ROUNDS),
    "where": _text(TEXT, 0), "options": _text(NAME, 0), "model": _text(NAME, 0),
}  # fmt: skip
_TARGET = {"target": _text(NAME), "triple": _text(NAME), "cpu": _text(NAME), "features": _features}
