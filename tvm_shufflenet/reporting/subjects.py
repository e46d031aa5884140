"""What a report is about: networks with their plans, and with their times where there are some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..architectures import Network, network, own_name
from ..architectures.described import from_description
from ..bridge import random_parameters
from ..errors import UserError
from ..library.interface import classes_of, inputs
from ..library.loading import read_manifest
from ..library.manifest_checks import wrong
from ..library.plan import COLUMNS, unpacked
from ..records.store import FILE, FOLDER, Record, Records, fastest, settle
from ..targets import TargetSpec, resolve

TRIALS = 3  # of a kernel, from which on there is a curve to draw


@dataclass(frozen=True)
class Tuned:
    """A kernel of a network and what tuning has found: `best` so far after each trial, of the default's time."""

    kernel: str
    what: str
    kind: str
    gain: float
    tried: int
    best: list[float]


@dataclass(frozen=True)
class Subject:
    """A network, what the compiler made of it, and, where it was timed, its profile as `profile --json` has it."""

    label: str
    net: Network
    target: str
    workspace: int  # bytes
    calls: list[dict]
    memory: list[dict]
    kernels: list[dict]
    profile: dict | None
    tuned: list[Tuned]

    @property
    def starts(self) -> list[float]:
        """When each call begins, and the end of the last: milliseconds, or numbers of calls where nothing was timed."""
        found = [0.0]
        for index in range(len(self.calls)):
            found.append(found[-1] + (self.profile["calls"][index]["ms"] if self.profile else 1.0))
        return found


def from_profile(profile: object, source: str) -> Subject:
    """The subject of a profile as `profile --json` writes it; `UserError`, which says `source`, for anything else."""
    try:
        if not isinstance(profile, dict) or not isinstance(manifest := profile.get("manifest"), dict):
            raise ValueError("it has no manifest")
        if (key := wrong(manifest)) or "plan" not in manifest:
            raise ValueError(f"{key or 'plan'} of its manifest is missing or makes no sense")
        calls = unpacked(manifest, "calls") or []
        if len(calls) != len(profile["calls"]) or not calls:
            raise ValueError("it has not the calls of its plan")
        _check_profile(profile, {call["kernel"] for call in calls})
        return _subject(profile["network"], manifest, profile)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{source} is no profile that this version can show ({error}): expected a file of "
            "`python -m tvm_shufflenet.profile --json FILE`"
        ) from None


def _check_profile(profile: dict, kernels: set[str]) -> None:
    """One of several errors for a profile that lacks what is shown of it."""
    for row in (*profile["calls"], *profile["kernels"], profile["library"]):
        if not all(type(row[key]) in (int, float) and 0 <= row[key] < 1e12 for key in ("ms", "share_of_peak")):
            raise ValueError("its times are no numbers")
        if not row["ms"] > 0:
            raise ValueError("a time is 0")
    for row in (*profile["calls"], *profile["kernels"]):
        if row["kernel"] not in kernels or not all(type(row[key]) is int for key in ("calls", "multiply_adds")):
            raise ValueError("a kernel is none of its plan's")
        if not isinstance(row["what"], str):
            raise ValueError("what a kernel computes is no text")
    if {row["kernel"] for row in profile["kernels"]} != kernels:
        raise ValueError("it has not the kernels of its plan")
    texts = profile["network"], profile["place"], profile["processor"]["name"], profile["command"]
    numbers = (profile["rounds"], profile["rounds_asked"], profile["threads"], profile["sum_of_kernels_ms"],
               profile["peak_multiply_adds_per_second"])  # fmt: skip
    known = isinstance(profile["versions"], dict) and isinstance(profile["twin_differs"], list)
    if not known or not all(isinstance(text, str) for text in (*texts, *profile["twin_differs"])):
        raise ValueError("its conditions are no text")
    if not all(type(number) in (int, float) and number > 0 for number in numbers) or "core" not in profile:
        raise ValueError("its conditions are no numbers")


def from_library(path: Path, size: tuple[int, int] | None = None) -> Subject:
    """The subject of a library that is not run: its plan alone, of several sizes that of one."""
    manifest = read_manifest(path, size)
    if "plan" not in manifest or "model" not in manifest:
        raise UserError(f"{path} records no plan of its kernels and memory: build it anew with this version")
    return _subject(path.name, manifest, None)


def from_model(name: str, target_name: str, size: tuple[int, int] | None) -> Subject:
    """The subject of a network of the list that is compiled up to its plan, and not run."""
    net, target = network(name, size), resolve(target_name)
    return planned(net, target, tuning(net, target))


def planned(net: Network, target: TargetSpec, tuned: list[Tuned]) -> Subject:
    """The subject of any network that is compiled up to its plan, and not run."""
    from ..building.plan import plan_of
    from ..lowering.choose_knobs import choose_knobs
    from ..lowering.plan_memory import plan_memory
    from ..pipeline import lower_graph

    program = lower_graph(net, random_parameters(net), target)
    plan = plan_memory(program)
    kernels = choose_knobs(program, target.machine, Records.read(FOLDER, target))
    tables = {table: unpacked({"plan": plan_of(program, plan, kernels)}, table) or [] for table in COLUMNS}
    return Subject(net.name, net, target.name, plan.bytes, **tables, profile=None, tuned=tuned)


def load_profile(path: Path) -> Subject:
    """The subject of a file of `profile --json`."""
    try:
        return from_profile(json.loads(path.read_text()), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path} is no JSON, expected a file of `python -m tvm_shufflenet.profile --json FILE`"
        ) from None


def _subject(label: str, manifest: dict, profile: dict | None) -> Subject:
    if description := manifest.get("network"):
        net = from_description(description, source=label)
    elif own_name(manifest["model"]):
        net = network(manifest["model"], inputs(manifest)[0].size, classes_of(manifest))
    else:
        raise UserError(f"{label}: its network {manifest['model']!r} is not in the list of this version")
    tables = {table: unpacked(manifest, table) or [] for table in COLUMNS}
    last = len(tables["calls"]) - 1
    if last < 0 or not all(row["first"] <= row["last"] <= last for row in tables["memory"]):
        raise UserError(f"{label} is damaged: its plan has places that are alive at no call")
    described = {"mtriple": manifest["triple"], "mcpu": manifest["cpu"], "mattr": manifest["features"]}
    target = resolve(json.dumps({"kind": "llvm", **described}))
    return Subject(label, net, manifest["target"], manifest["workspace_bytes"], **tables, profile=profile,
                   tuned=tuning(net, target, manifest["target"]))  # fmt: skip


def tuning(net: Network, target: TargetSpec, name: str | None = None) -> list[Tuned]:
    """What the records of a target, in the folder of that name, say of the kernels of a network; most gain first."""
    folder = FOLDER / Path(name or target.name).name
    if not (folder / FILE).is_file():
        return []
    from ..lowering.choose_knobs import choose_knobs
    from ..lowering.costs import what
    from ..pipeline import lower_graph
    from ..records.keys import task_of
    from ..records.store import digest, read_file, tvm_version

    program = lower_graph(net, random_parameters(net), target)
    words = {call.workload: what(call) for call in reversed(program.calls)}
    by_task: dict[tuple, list[Record]] = {}
    for record in read_file(folder / FILE).all:
        if record.tvm == tvm_version() and record.target == digest(target):
            by_task.setdefault((record.task, record.kind), []).append(record)
    found = []
    for kernel in choose_knobs(program, target.machine):
        for kind in ("measured", "estimated"):
            trials = by_task.get((task_of(kernel.workload), kind), [])
            if best := fastest(settle(trials).values()):
                found.append(Tuned(kernel.name, words[kernel.workload], kind, 1 / best.relative, len(trials),
                                   _so_far(trials)))  # fmt: skip
                break
    return sorted(found, key=lambda tuned: -tuned.gain)


def _so_far(trials: list[Record]) -> list[float]:
    best, found = 1.0, []
    for trial in trials:
        best = min(best, trial.relative)
        found.append(best)
    return found
