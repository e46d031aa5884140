"""What each kernel of a network takes, in place: in the real sequence, with what the caches really hold.

The library that is measured stays as it is.  A *clocked copy* of it is compiled from the same description: the
same program, memory plan and kernels, but `main` reads a clock around each kernel (`profile.c`).
Library, clocked copy and the peak kernel take turns in the same rounds, so that shares of peak are of the
same seconds, and the sum over the kernels can be held against the whole that is shipped.  Weights of
the clocked copy are random: no kernel's time depends on them, but that of a detector's suppression
(`benchmarks.post_processing` times it with trained weights).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..architectures import DEFAULT_MODEL, Network, network, own_name
from ..architectures.described import from_description
from ..boards.processor import Processor
from ..bridge import random_parameters
from ..building.build_library import written_team
from ..building.manifest import manifest as describe_library
from ..building.origin import Origin
from ..building.plan import plan_of
from ..errors import UserError
from ..library.elf import read_elf
from ..library.interface import batch_of, classes_of, ports, team_bytes
from ..library.link import link
from ..library.loading import read_manifest
from ..lowering.costs import call_bytes, call_multiply_adds, weight_bytes, what
from ..lowering.to_object import write_object
from ..pipeline import Compiled, compile_network, with_scales
from ..records.store import FOLDER, Chooser, Records
from ..targets import TargetSpec, resolve, target_names
from ..targets.precision import FP32, Precision, precision_in, precision_of
from .attention import PARTS, attention_parts
from .beside_peak import Progress, Silent, time_beside_peak
from .entries import Entry, check_name, check_outputs, make_entry
from .peak import multiply_adds
from .place import Place, open_place
from .rounds import calibrate

SOURCE = Path(__file__).with_name("profile.c")
RUNS = 100  # of the network in one turn, at most
PAIRS = 4  # of ticks with nothing between them, at the end of a run


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
class Timing:
    """One call of a kernel: `seconds` has for each round the mean of a turn, without the clock's own part."""

    kernel: str
    layer: str
    what: str
    output: str  # the tensor, as `build --debug-dump` names it
    knobs: dict
    tuned: bool
    multiply_adds: int
    bytes: int  # activations and weights read, results written, each once
    seconds: np.ndarray
    weight_bytes: int = 0  # of `bytes`: weights and biases
    attention: str = ""  # of channel attention the part that the call is, of `attention.PARTS`

    @property
    def minimum(self) -> float:
        return float(self.seconds.min())

    @property
    def median(self) -> float:
        return statistics.median(map(float, self.seconds))


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
        with progress.step(f"building the clocked copy of {entry.label}"):
            clocked = clocked_copy(entry, target, scratch, team=options.threads > 1)
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


def clocked_copy(entry: Entry, target: TargetSpec, scratch: Path, team: bool = False) -> Clocked:
    """The clocked copy of a library, in the folder `scratch`."""
    if description := entry.manifest.get("network"):
        net = from_description(description, source=str(entry.path))
    else:
        net = network(entry.model, entry.size, classes_of(entry.manifest))
    records = Records.read(FOLDER, target) if entry.manifest["kernels"]["tuned"] else None
    kept = precision_in(entry.manifest)
    precision = precision_of(kept.name, kept.weights if kept.name == FP32.name else None, target)
    parts = entry.manifest.get("calibration", {}).get("parts", False)
    return Clocked(net, target, scratch / "clocked.so", records, team, precision, entry.batch, parts)


class Clocked:
    """A network with a clock between its kernels, compiled and linked to `path`; its knobs are those of `records`.

    `parts`: whether int8 computes channel attention by parts (`pipeline.byte_graph`).  `parameters` are random unless
    given: of all kernels, only the time of those that choose boxes depends on them.
    """

    def __init__(
        self, net: Network, target: TargetSpec, path: Path, records: Chooser | None, team: bool = False,
        precision: Precision = FP32, pictures: int = 1, parts: bool = False,
        parameters: dict[str, np.ndarray] | None = None,
    ):  # fmt: skip
        self.path, self._parameters = path, random_parameters(net) if parameters is None else parameters
        precision = with_scales(precision, net, self._parameters, parts)
        self.compiled = compile_network(
            net, self._parameters, target, ticking=True, records=records, team=team, precision=precision,
            pictures=pictures,
        )  # fmt: skip
        object_file = path.with_suffix(".o")
        write_object(self.compiled.code, target.tvm, object_file)
        inputs, outputs = ports(net, pictures)
        linked = link(
            object_file, self.compiled.weights, {}, inputs=inputs, outputs=outputs, spec=target, output=path,
            workspace_bytes=self.compiled.plan.bytes, source=SOURCE, functions=("__tvm_ffi_profile",),
            team=written_team(self.compiled, path.with_suffix(".team.o")),
        )  # fmt: skip
        self.manifest = linked
        self.arguments = Entry(net.name, path, linked).arguments

    def differences(self, entry: Entry) -> list[str]:
        """In what the library of `entry` differs from this copy: nothing where the kernels are the same."""
        expected = describe_library(self.compiled, self._parameters, Origin(""), None)
        return _differences(entry, expected) or _code_differences(entry.path, self.path, self.compiled)

    @property
    def steps(self) -> int:
        """The calls that are executed in a run: those of the program, many of them once for each picture."""
        return len(list(self.compiled.program.steps()))

    @property
    def plan(self) -> dict:
        return plan_of(self.compiled.program, self.compiled.plan, self.compiled.kernels)

    def load(self, place: Place) -> Callable[..., np.ndarray]:
        """A turn on the place, which gives its ticks: int64 (1 + RUNS, columns), as profile.c describes them.

        The turn takes another input than the standard picture, or none.
        """
        ticks = np.zeros((1 + RUNS, self.steps + 1 + PAIRS), np.int64)
        team = () if place.threads == 1 else ((team_bytes(self.manifest, place.threads) // 4,), place.threads)
        function = place.load(self.path, "profile", *self.arguments, *team, ticks)
        return lambda picture=None: function.run(-1, picture)

    def timings(self, seconds: np.ndarray) -> list[Timing]:
        """The calls, of one picture; `seconds` are those of all steps, as `seconds_of` gives them."""
        by_workload = {kernel.workload: kernel for kernel in self.compiled.kernels}
        program = self.compiled.program
        timings, calls, columns = [], program.calls, np.zeros((len(program.calls), len(seconds)))
        for (index, _), column in zip(program.steps(), seconds.T, strict=True):
            columns[index] += column / program.pictures
        for index, (call, part, column) in enumerate(zip(calls, attention_parts(calls), columns)):
            kernel, weights = by_workload[call.workload], weight_bytes(call)
            planes = call.copies * (call_bytes(call) - weights)
            weights //= 1 if index < program.head else program.pictures  # behind the head once for all pictures
            figures = call.copies * call_multiply_adds(call), planes + weights, column, weights, part
            timings.append(
                Timing(kernel.name, call.layer, what(call), str(call.output), kernel.knobs, kernel.tuned, *figures)
            )
        return timings


def seconds_of(turns: list[np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the ticks of one turn a round come to, each the mean of the turn.

    Seconds of each step, (rounds, steps), without the clock's own part; from the first tick to the
    last; and of one tick, (rounds,).
    """
    nanoseconds, ticks = turns[-1][0, 3:5] - turns[0][0, 1:3]  # over all rounds: the longer, the truer
    between = np.array([np.diff(turn[1 : 1 + turn[0, 0]], axis=1).mean(axis=0) for turn in turns])
    between *= 1e-9 * nanoseconds / ticks
    tick = between[:, steps + 1 :].mean(axis=1)  # number `steps` is the way out of `main`
    inside = between[:, :steps]
    # The least tick for all: in a turn where something got between two ticks, its own would make each call too short.
    return np.maximum(inside - tick.min(), 1e-9), inside.sum(axis=1), tick  # slow clocks may not move at all


def _differences(entry: Entry, expected: dict) -> list[str]:
    """What the manifest of the library says differently from that of its clocked copy."""
    found = []
    for key, value in expected["versions"].items():
        if (was := entry.manifest["versions"].get(key)) != value:
            found.append(f"built with {key} {was}, now {value}")
    before, now = ({**m["kernels"], "records_ignored": None, "changed": None} for m in (entry.manifest, expected))
    if entry.manifest["multiply_adds"] != expected["multiply_adds"] or before != now:
        found.append("the present compiler chooses other kernels for it")
    return found


def _code_differences(library: Path, clocked: Path, compiled: Compiled) -> list[str]:
    """Kernels of which the clocked copy has other code: schedules or knobs have changed."""
    before, now = (_code(path) for path in (library, clocked))
    names = [kernel.name for kernel in compiled.kernels]
    changed = [
        name for name in names if not any(_alike(code, *now[name]) for code in before.get(name, ()))
    ]  # fmt: skip
    if not changed:
        return []
    return ["the present compiler makes other code of " + ("all" if changed == names else ", ".join(changed))]


def _code(library: Path) -> dict[str, list[bytes]]:
    """The code of each name: a library of several sizes may have a function of that name for each."""
    elf, found = read_elf(library), defaultdict(list)
    for function in elf.functions:
        found[function.name].append(elf.contents(function))
    return found


def _alike(one: bytes, other: bytes) -> bool:
    """The same but for addresses of constants and other functions, of four bytes: four of them, or a fifth of a kernel.

    A softmax over few classes, whose exponential has a dozen constants in each of its loops, comes near to that.
    """
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other)) <= max(16, len(one) / 5)
