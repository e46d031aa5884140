"""What other engines take for a network, from files of `python -m benchmarks.latency --json`, and the papers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .. import published
from ..architectures import SIZE
from ..errors import UserError
from .subjects import Subject

DATA = Path(__file__).resolve().parents[2] / "docs" / "data"


@dataclass(frozen=True)
class Standing:
    """Engines by their milliseconds for one network, ours first, as one file has them."""

    source: str
    conditions: str
    milliseconds: dict[str, float]


def read(path: Path) -> dict:
    """The document in a file of `latency --json`; `UserError` for any other file."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        document = None
    if not is_contest(document):
        raise UserError(f"{path} holds no rivals: expected a file of `python -m benchmarks.latency --json FILE`")
    return document


def at_hand() -> dict[str, dict]:
    """The files in docs/data that hold rivals, by their names."""
    found = {}
    for path in sorted(DATA.glob("*.json")):
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # other data of the documentation
        if is_contest(document):
            found[path.name] = document
    return found


def is_contest(document: object) -> bool:
    """Whether JSON is what `latency --json` writes."""
    try:
        return bool(document["networks"]) and all(  # type: ignore[index]
            isinstance(net["network"], str) and len(net["size"]) == 2
            and all(isinstance(e["engine"], str) and e["minimum_ms"] > 0 for e in net["engines"])
            for net in document["networks"]  # type: ignore[index]
        )  # fmt: skip
    except (KeyError, TypeError):
        return False


def standings(subject: Subject, documents: dict[str, dict]) -> list[Standing]:
    """The least time of each engine's variants, for each file that has the network at its size."""
    found = []
    for source, document in documents.items():
        for net in document["networks"]:
            if net["network"] == subject.net.name and tuple(net["size"]) == subject.net.size:
                least: dict[str, float] = {}
                for each in net["engines"]:
                    least[each["engine"]] = min(each["minimum_ms"], least.get(each["engine"], each["minimum_ms"]))
                processor = document.get("processor", {}).get("name", "processor not said")
                versions = ", ".join(f"{name} {version}" for name, version in document.get("versions", {}).items())
                conditions = f"{processor}, one thread, batch 1, least of {net.get('rounds', '?')} rounds; {versions}"
                found.append(Standing(source, conditions, least))
    return found


def paper(subject: Subject) -> list[tuple[str, str]]:
    """What the papers print of the network, as pairs of a name and a figure."""
    name, found = subject.net.name, []
    if subject.net.size == SIZE and name in published.MULTIPLY_ADDS:
        found.append(("multiply-adds, millions", f"{published.MULTIPLY_ADDS[name]:g}"))
    if subject.net.size == SIZE and name in published.ERRORS:
        found.append(("top-1 error on ImageNet, %", f"{published.ERRORS[name]:g}"))
    if milliseconds := published.milliseconds(name, subject.net.size):
        found.append((f"milliseconds on a {published.PROCESSOR}, one thread (Table 8)", f"{milliseconds:g}"))
    return found
