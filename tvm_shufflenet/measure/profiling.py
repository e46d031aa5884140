"""What each kernel of a network takes, in place: in the real sequence, with what the caches really hold.

The library that is measured stays as it is; a clocked copy of it (`clocked.py`) tells the kernels apart.  Library,
clocked copy and the peak kernel take turns in the same rounds, so that shares of peak are of the same seconds, and the
sum over the kernels can be held against the whole that is shipped.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..architectures import DEFAULT_MODEL, own_name
from ..boards.processor import Processor
from ..errors import UserError
from ..library.interface import batch_of
from ..library.loading import read_manifest
from ..targets import TargetSpec, resolve, target_names
from .attention import PARTS
from .beside_peak import Progress, Silent, time_beside_peak
from .clocked import Timing, clocked_copy, seconds_of
from .entries import check_name, check_outputs, make_entry
from .peak import multiply_adds
from .place import open_place
from .rounds import calibrate


@dataclass(frozen=True)
class ProfileOptions:
    """What to profile.  `target` and `size` are for a network: `native`, or `arm` with `rpc`, and the usual one.

    Of a library of several sizes `size` says which; None is its first.
    """

    name: str = DEFAULT_MODEL
    target: str | None = None
    size: tuple[int, int] | None = None
    rpc: str | None = None
    key: str | None = None
    rounds: int = 30
    timeout: float = 10.0
    threads: int = 1


@dataclass(frozen=True)
class Profile:
    """Where the time of a network goes.  Times are in seconds, of one picture: a call may be of several."""

    label: str
    manifest: dict
    target: TargetSpec
    place: str
    processor: Processor
    core: int | None
    rounds_asked: int
    differences: list[str]  # between the library and its clocked copy: empty where the code is the same
    calls: list[Timing]  # in the order of execution
    peak_seconds: list[float]  # per call of the peak kernel, one for each round, as the next ones
    library_seconds: list[float]
    twin_seconds: list[float]  # from the first tick to the last
    tick_seconds: list[float]  # what a tick costs, and was subtracted from each call
    plan: dict  # of the clocked copy, as library/plan.py has it
    threads: int = 1

    @property
    def rounds(self) -> int:
        return len(self.peak_seconds)

    @property
    def batch(self) -> int:
        """The pictures of a call."""
        return batch_of(self.manifest)

    @property
    def peak(self) -> float:
        """Multiply-adds per second of one core, or of as many as `threads` together: the best of all rounds."""
        return multiply_adds(self.target.machine, self.threads) / min(self.peak_seconds)

    @property
    def sum(self) -> float:
        """The sum of the calls' minima."""
        return sum(call.minimum for call in self.calls)

    def attention(self) -> dict[str, dict]:
        """For each part of channel attention the sum of its calls' minima in ms, and the bytes of weights they read."""
        found: dict[str, dict] = {}
        for part in PARTS:
            if calls := [call for call in self.calls if call.attention == part]:
                size, seconds = sum(call.weight_bytes for call in calls), sum(call.minimum for call in calls)
                found[part] = {"calls": len(calls), "ms": 1e3 * seconds, "weight_bytes": size}
        return found

    def kernels(self) -> list[dict]:
        """The figures of each kernel over its calls, slowest first."""
        by_kernel: dict[str, list[Timing]] = {}
        for call in self.calls:
            by_kernel.setdefault(call.kernel, []).append(call)
        return sorted((self._row(calls) for calls in by_kernel.values()), key=lambda row: -row["ms"])

    def rows(self) -> list[dict]:
        """The figures of each call, in the order of execution."""
        return [{"call": index, **self._row([call])} for index, call in enumerate(self.calls)]

    def _row(self, calls: list[Timing]) -> dict:
        seconds = sum(call.minimum for call in calls)
        macs, size = sum(call.multiply_adds for call in calls), sum(call.bytes for call in calls)
        first = calls[0]
        return {
            "kernel": first.kernel,
            "what": first.what,
            "layers": [call.layer for call in calls],
            "calls": len(calls),
            "outputs": [call.output for call in calls],
            "knobs": first.knobs,
            "tuned": first.tuned,
            "ms": 1e3 * seconds,
            "median_ms": 1e3 * sum(call.median for call in calls),
            "share_of_sum": seconds / self.sum,
            "multiply_adds": macs,
            "multiply_adds_per_second": macs / seconds,
            "share_of_peak": macs / seconds / self.peak,
            "bytes": size,
            "bytes_per_second": size / seconds,
        }


def profile(options: ProfileOptions, progress: Progress = Silent()) -> Profile:
    """Builds what is needed, and times.  Ctrl-C while timing ends it with the rounds so far."""
    target_name, target = _target(options)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm_shufflenet-")))
        with progress.step(f"connecting to {options.rpc}" if options.rpc else "looking at this machine"):
            place = stack.enter_context(open_place(target, options.rpc, options.key, options.timeout, options.threads))
        if not place.processor.measurable:
            why = "wall time there says nothing" if place.processor.emulated else "it is not recognised"
            raise UserError(f"{place.processor.name}: {why}, so nothing is timed; {_estimate(options.name, target)}")
        with progress.step(f"building {options.name} for {target.name}") as done:
            entry = make_entry(options.name, target_name, options.size, scratch, threads=options.threads, done=done)
        with progress.step(f"building the clocked copy of {entry.label}") as done:
            clocked = clocked_copy(entry, target, scratch, options.threads > 1, done)
        with progress.step(f"loading {entry.label} and its clocked copy on {place.name}"):
            library = place.load_network(entry.path, entry.manifest, *entry.arguments)
            turn = clocked.load(place)
        if place.session:
            with progress.step(f"checking {entry.label} on {place.name}"):
                check_outputs(entry, lambda: library.run_all(range(1, 1 + len(entry.outputs))), place.name)
        timed = time_beside_peak(place, target, lambda: [calibrate(library.timer), turn], options.rounds, progress)
        whole, turns = timed.turns
        seconds, totals, ticks = seconds_of(turns, clocked.steps)
        return Profile(
            entry.label, entry.manifest, target, place.name, place.processor, timed.core, options.rounds,
            clocked.differences(entry), clocked.timings(seconds), timed.peak_seconds,
            [total / entry.batch for total in whole], list(totals / entry.batch), list(ticks), clocked.plan,
            options.threads,
        )  # fmt: skip


def _target(options: ProfileOptions) -> tuple[str, TargetSpec]:
    """The target to build for, or that of the library; `UserError`, before anything slow, for bad options."""
    name = options.name
    if not own_name(name) and Path(name).is_file():
        if options.target:
            raise UserError(f"--target is of networks: {name} is compiled already")
        target = _target_of(read_manifest(name, options.size))
    else:
        target = resolve(options.target or ("arm" if options.rpc else "native"))
        check_name(name, options.size, target.arch, "this machine")
    if not options.rpc and target.arch != (here := resolve("native").arch):
        raise UserError(
            f"{name} is for {target.arch}, but this machine is {here}: profile it on a board of its architecture "
            f"with --rpc HOST:PORT; {_estimate(name, target)}"
        )
    return options.target or target.name, target


def _estimate(name: str, target: TargetSpec) -> str:
    if target.arch != "aarch64":
        return "for AArch64, `python -m tvm_shufflenet.estimate` counts cycles without a board"
    return f"`python -m tvm_shufflenet.estimate {name}` counts its cycles by a model, kernel by kernel"


def _target_of(manifest: dict) -> TargetSpec:
    """The target that a library was built for: by its name, or as the manifest describes it."""
    described = {"mtriple": manifest["triple"], "mcpu": manifest["cpu"], "mattr": manifest["features"]}
    if manifest["target"] in target_names():
        target = resolve(manifest["target"])
        if all(target.tvm.get(key, []) == value for key, value in described.items()):
            return target  # `native` may have been another machine
    return resolve(json.dumps({"kind": "llvm", **described}))
