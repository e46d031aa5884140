"""What a program of `bench` printed on its machine, as a comparison."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from ..boards.processor import recognise
from ..errors import UserError
from ..library.interface import normalised
from ..library.manifest_checks import wrong
from ..targets import TargetSpec
from .comparison import Comparison
from .entries import Entry

WHAT, FORMAT = "tvm_shufflenet.bench", 1  # of bench.c
MOST = 100_000  # rounds


def is_results(path: Path) -> bool:
    """Whether the file says that a program of `bench` printed it; False for one that cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("what") == WHAT


def read_results(path: Path) -> Comparison:
    """The comparison in a file of a program's figures.

    `UserError` where the file is something else or damaged, and where no latency can be given, as of an emulated or
    unknown processor.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is not JSON: expected what a program of `python -m tvm_shufflenet.bench` printed"
        ) from None
    if not isinstance(found, dict) or found.get("what") != WHAT:
        raise UserError(f"{path}: expected what a program of `python -m tvm_shufflenet.bench` printed")
    if found.get("format") != FORMAT:
        raise UserError(f"{path} has format {found.get('format')!s:.20}, expected {FORMAT}: bench it with this version")
    try:
        result = _comparison(path, found)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError):
        raise UserError(
            f"{path} is damaged: it lacks figures of a program of `python -m tvm_shufflenet.bench`"
        ) from None
    if found["emulated"] or result.processor.emulated:
        name = result.processor.name if result.processor.emulated else "emulated"
        raise UserError(f"{path}: its processor is {name}, where times say nothing: run the program on a board")
    if not result.processor.measurable:
        raise UserError(f"{path}: {result.processor.name}: {result.processor.why_no_latency}")
    return result


def _comparison(path: Path, found: dict[str, Any]) -> Comparison:
    target = TargetSpec(**found["target"])
    if not (isinstance(target.tvm, dict) and target.lanes > 0 and target.registers > 0):
        raise ValueError("no target")
    processor = recognise(target.arch, found["machine"], found["modalias"], found["cpuinfo"])
    rounds, counts = found["rounds"], (found["rounds"], found["rounds_asked"], found["core"])
    if not all(type(count) is int and count >= 0 for count in counts) or type(found["emulated"]) is not bool:
        raise ValueError("no counts")
    day = datetime.datetime.fromtimestamp(found["seconds_since_1970"], datetime.timezone.utc).date()
    entries = []
    for row in found["networks"]:
        manifest = normalised(row["manifest"])
        if key := wrong(manifest):
            raise ValueError(key)
        difference = row["output_difference"]
        entries.append(Entry(row["label"], path, manifest, None if difference is None else float(difference),
                             _seconds(row, rounds)))  # fmt: skip
    if not entries:
        raise ValueError("no networks")
    return Comparison(f"the machine of {path.name}", processor, target, entries, True, found["rounds_asked"],
                      found["core"], _seconds(found["peak"], rounds), date=day.isoformat())  # fmt: skip


def _seconds(timed: dict[str, Any], rounds: int) -> list[float]:
    """One for each round."""
    values = [float(value) for value in timed["seconds_of_rounds"]]
    if len(values) != rounds or not 0 < rounds <= MOST or not all(0 < value < 1e6 for value in values):
        raise ValueError("no times")
    return values
