"""Targets in TVM's own words: JSON, a tag, or the options that TVM took before 0.27.

    custom('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": "+neon,+dotprod"}')
    custom("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72")
    custom("raspberry-pi/4b-aarch64")

What decides the code is checked and kept; what only names a target is dropped; what would change results, or need
other libraries on the board, is refused.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex

from ..errors import UserError
from . import TargetSpec
from .detect import architecture, features_of, known_features, vectors

LONGEST = 10_000  # characters of a target
CORES = 1024
# Options that TVM knows and that do not decide the code: names, and what it derives itself.
NAMES = {"tag", "keys", "device", "model"}
KEPT = ("kind", "mtriple", "mcpu", "mattr", "num-cores", "mfloat-abi")
REFUSED = {
    "libs": "the library needs no others", "jit": "the library is compiled for a board", "mabi": "the triple says it",
    "cl-opt": "options of LLVM hold for the whole process", "fast-math": "results would not be those of the network",
    "opt-level": "it is always 3", "vector-width": "the kernels choose it",
}  # fmt: skip


def custom(text: str) -> TargetSpec:
    """The target that `text` describes; `UserError`, in one line, for one that networks cannot be compiled for."""
    if len(text) > LONGEST:
        raise UserError(f"target: it has {len(text)} characters, expected at most {LONGEST}")
    given = _config(text)
    named = "mcpu" in given
    triple, cpu = _text(given, "mtriple", ""), _text(given, "mcpu", "generic")
    arch = architecture(triple, "target: mtriple")  # before LLVM sees it, which crashes on an unknown one
    tvm: dict = {"kind": "llvm", "mtriple": triple, "mcpu": cpu, "mattr": _attributes(given.get("mattr", []))}
    tvm["num-cores"] = _cores(given.get("num-cores", 4))  # MetaSchedule fails without
    if arch == "arm":
        tvm["mfloat-abi"] = "hard"
    if given.get("mfloat-abi", "hard") != "hard":
        raise UserError(f"target: mfloat-abi is {_shown(given['mfloat-abi'])}, expected hard or none")

    from tvm.target import Target, codegen

    if not codegen.llvm_is_valid_cpu(cpu, triple):
        cpus = map(str, codegen.llvm_get_cpu_archlist(Target({"kind": "llvm", "mtriple": triple})))
        near = difflib.get_close_matches(cpu, cpus) or ["generic"]
        raise UserError(f"target: LLVM knows no mcpu {_shown(cpu)} for {triple}: expected such as {' or '.join(near)}")
    known = known_features(tvm)
    for feature in tvm["mattr"]:
        if feature[1:] not in known:
            raise UserError(f"target: LLVM knows no feature {feature!r} of {triple}: expected such as +neon or -sve")
    name = f"custom-{cpu}" if named else "custom"
    return TargetSpec(name, tvm, arch, *vectors(arch, features_of(tvm), cpu), f"{cpu}, {triple}")


def _config(text: str) -> dict:
    """The options of a target by their names, of TVM's `llvm`; others are gone or refused."""
    text = text.strip()
    if text.startswith(("{", '"')):
        try:
            given = json.loads(text)
        except ValueError as error:
            raise UserError(f"target {_shown(text)}: malformed JSON: {error}") from None
        except RecursionError:
            raise UserError(f"target {_shown(text)}: malformed JSON: it is nested too deeply") from None
    else:
        given = text
    if isinstance(given, str):
        given = _options(given) if given.split()[:1] == ["llvm"] else {"tag": given}
    if isinstance(given, dict) and "kind" not in given and "tag" in given:
        given = _tagged(given["tag"]) | given
    if not isinstance(given, dict) or given.get("kind") != "llvm":
        raise UserError(f'target {_shown(text)}: expected {{"kind": "llvm", "mtriple": ..., "mcpu": ...}}')
    if "host" in given:
        _check_host(given)
    for key in given:
        if reason := REFUSED.get("fast-math" if key.startswith("fast-math") else key):
            raise UserError(f"target: {key} is not supported: {reason}")
        if key not in KEPT and key not in NAMES and key != "host" and not key.startswith("feature."):
            raise UserError(f"target: unknown option {_shown(key)}, expected {', '.join(KEPT)}")
    return {key: given[key] for key in KEPT if key in given}


def _options(text: str) -> dict:
    """The options in a text of the form `llvm -mtriple=... -mcpu ...`."""
    try:
        _, *words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"target {_shown(text)}: {error}") from None
    found: dict = {"kind": "llvm"}
    while words:
        match = re.fullmatch(r"-+([a-z][\w.-]*)(?:=(.*))?", words.pop(0), re.S)
        value = None
        if match:
            value = match[2] if match[2] is not None else words.pop(0) if words else None
        if match is None or value is None:
            raise UserError(
                f"target {_shown(text)}: expected options such as -mtriple=aarch64-linux-gnu -mcpu=cortex-a72"
            )
        found[match[1]] = value
    return found


def _tagged(tag) -> dict:
    """The options that TVM knows under this tag."""
    from tvm.target import Target, list_tags

    if not isinstance(tag, str) or tag not in list_tags():
        near = difflib.get_close_matches(tag, list_tags()) if isinstance(tag, str) else []
        hint = f"did you mean {' or '.join(near)}?" if near else "expected such as raspberry-pi/4b-aarch64"
        raise UserError(f"target: TVM knows no tag {_shown(tag)}: {hint}")
    return json.loads(str(Target(tag)))


def _check_host(given: dict) -> None:
    """The host of a processor is that processor."""
    host = given["host"]
    if isinstance(host, str):
        host = _options(host) if host.split()[:1] == ["llvm"] else {"kind": host}
    if (
        not isinstance(host, dict)
        or host.get("kind") != "llvm"
        or host.get("mtriple", given.get("mtriple")) != given.get("mtriple")
    ):
        raise UserError("target: its host is another processor: leave it out, networks run on one processor")


def _text(given: dict, key: str, default: str) -> str:
    value = given.get(key, default)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+-]{0,100}", value, re.ASCII):
        raise UserError(f"target: {key} is {_shown(value)}, expected a name such as aarch64-linux-gnu or cortex-a72")
    return value


def _attributes(value) -> list[str]:
    """Features as a list, or as a text with commas between them."""
    found = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(found, list):
        raise UserError(
            f'target: mattr is {_shown(value)}, expected a list such as ["+neon"] or a text such as "+neon,-sve"'
        )
    for feature in found:
        if not isinstance(feature, str) or not re.fullmatch(r"[+-][\w.-]{1,100}", feature, re.ASCII):
            raise UserError(f"target: mattr has {_shown(feature)}, expected features such as +neon or -sve")
    return found


def _cores(value) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value):
        value = int(value)
    if type(value) is not int or not 1 <= value <= CORES:
        raise UserError(f"target: num-cores is {_shown(value)}, expected 1 to {CORES}")
    return value


def _shown(value) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
