"""What each kernel of a network takes, in place: in the real sequence, with what the caches really hold.

The library that is measured stays as it is.  A *clocked copy* of it is compiled from the same description: the
same program, memory plan and kernels, but `main` reads a clock around each kernel (`profile.c`).
Library, clocked copy and the peak kernel take turns in the same rounds, so that shares of peak are of the
same seconds, and the sum over the kernels can be held against the whole that is shipped.  Weights of
the clocked copy are random: no kernel's time depends on them.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..architectures import DEFAULT_MODEL, Network, network, own_name
from ..architectures.described import from_description
from ..boards.processor import Processor
from ..bridge import random_parameters
from ..building.manifest import manifest as describe_library
from ..errors import UserError
from ..library.elf import read_elf
from ..library.interface import ports
from ..library.link import link
from ..library.loading import read_manifest
from ..lowering.program import Call
from ..pipeline import Compiled, compile_network
from ..records.store import FOLDER, Chooser, Records
from ..targets import TargetSpec, resolve, target_names
from .beside_peak import Progress, Silent, time_beside_peak
from .entries import Entry, check_name, check_outputs, make_entry
from .peak import multiply_adds
from .place import Place, open_place
from .rounds import calibrate

SOURCE = Path(__file__).with_name("profile.c")
SIZE = (224, 224)
RUNS = 100  # of the network in one turn, at most
PAIRS = 4  # of ticks with nothing between them, at the end of a run


@dataclass(frozen=True)
class ProfileOptions:
    """What to profile.  `target` and `size` are for a network: `native`, or `arm` with `rpc`, and 224x224."""

    name: str = DEFAULT_MODEL
    target: str | None = None
    size: tuple[int, int] | None = None
    rpc: str | None = None
    key: str | None = None
    rounds: int = 30
    timeout: float = 10.0


@dataclass(frozen=True)
class Timing:
    """One call of a kernel: `seconds` has for each round the mean of a turn, without the clock's own part."""

    kernel: str
    what: str
    output: str  # the tensor, as `build --debug-dump` names it
    knobs: dict
    tuned: bool
    multiply_adds: int
    bytes: int  # activations and weights read, results written, each once
    seconds: np.ndarray

    @property
    def minimum(self) -> float:
        return float(self.seconds.min())

    @property
    def median(self) -> float:
        return statistics.median(map(float, self.seconds))


@dataclass(frozen=True)
class Profile:
    """Where the time of a network goes.  All in seconds, one inference each."""

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

    @property
    def rounds(self) -> int:
        return len(self.peak_seconds)

    @property
    def peak(self) -> float:
        """Multiply-adds per second of one core: the best of all rounds."""
        return multiply_adds(self.target.machine) / min(self.peak_seconds)

    @property
    def sum(self) -> float:
        """Of the calls' minima."""
        return sum(call.minimum for call in self.calls)

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
            place = stack.enter_context(open_place(target, options.rpc, options.key, options.timeout))
        if not place.processor.measurable:
            why = "wall time there says nothing" if place.processor.emulated else "it is not recognised"
            raise UserError(f"{place.processor.name}: {why}, so nothing is timed; {_estimate(options.name, target)}")
        with progress.step(f"building {options.name} for {target.name}"):
            entry = make_entry(options.name, target_name, options.size or SIZE, scratch)
        with progress.step(f"building the clocked copy of {entry.label}"):
            clocked = clocked_copy(entry, target, scratch)
        with progress.step(f"loading {entry.label} and its clocked copy on {place.name}"):
            library = place.load(entry.path, "main", *entry.arguments)
            turn = clocked.load(place)
        if place.session:
            with progress.step(f"checking {entry.label} on {place.name}"):
                check_outputs(entry, lambda i: library.run(result=1 + i), place.name)
        timed = time_beside_peak(place, target, lambda: [calibrate(library.timer), turn], options.rounds, progress)
        whole, turns = timed.turns
        seconds, totals, ticks = seconds_of(turns, clocked.calls)
        return Profile(
            entry.label, entry.manifest, target, place.name, place.processor, timed.core, options.rounds,
            clocked.differences(entry), clocked.timings(seconds), timed.peak_seconds, whole, list(totals), list(ticks),
        )  # fmt: skip


def _target(options: ProfileOptions) -> tuple[str, TargetSpec]:
    """The target to build for, or that of the library; `UserError`, before anything slow, for bad options."""
    name = options.name
    if not own_name(name) and Path(name).is_file():
        if options.target or options.size:
            raise UserError(f"--target and --size are of networks: {name} is compiled already")
        target = _target_of(read_manifest(name))
    else:
        target = resolve(options.target or ("arm" if options.rpc else "native"))
        check_name(name, options.size or SIZE, target.arch, "this machine")
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


def clocked_copy(entry: Entry, target: TargetSpec, scratch: Path) -> Clocked:
    """The clocked copy of a library, in the folder `scratch`."""
    if description := entry.manifest.get("network"):
        net = from_description(description, source=str(entry.path))
    else:
        net = network(entry.model, entry.size, entry.outputs[0].shape[1])
    records = Records.read(FOLDER, target) if entry.manifest["kernels"]["tuned"] else None
    return Clocked(net, target, scratch / "clocked.so", records)


class Clocked:
    """A network with a clock between its kernels, compiled and linked to `path`; its knobs are those of `records`."""

    def __init__(self, net: Network, target: TargetSpec, path: Path, records: Chooser | None):
        self.path, self._parameters = path, random_parameters(net)
        self.compiled = compile_network(net, self._parameters, target, ticking=True, records=records)
        object_file = path.with_suffix(".o")
        self.compiled.code.write_to_file(str(object_file), "o")
        inputs, outputs = ports(net)
        linked = link(
            object_file, self.compiled.weights, {}, inputs=inputs, outputs=outputs, spec=target, output=path,
            workspace_bytes=self.compiled.plan.bytes, source=SOURCE, functions=("__tvm_ffi_profile",),
        )  # fmt: skip
        self.arguments = Entry(net.name, path, linked).arguments

    def differences(self, entry: Entry) -> list[str]:
        """What its library has otherwise: nothing where the kernels are the same."""
        expected = describe_library(self.compiled, self._parameters, "", None)
        return _differences(entry, expected) or _code_differences(entry.path, self.path, self.compiled)

    @property
    def calls(self) -> int:
        return len(self.compiled.program.calls)

    def load(self, place: Place) -> Callable[[], np.ndarray]:
        """A turn on the place, which gives its ticks: int64 (1 + RUNS, columns), as profile.c describes them."""
        ticks = np.zeros((1 + RUNS, self.calls + 1 + PAIRS), np.int64)
        function = place.load(self.path, "profile", *self.arguments, ticks)
        return lambda: function.run(result=-1)

    def timings(self, seconds: np.ndarray) -> list[Timing]:
        """The calls, of which `seconds` are as `seconds_of` gives them."""
        by_workload = {kernel.workload: kernel for kernel in self.compiled.kernels}
        timings = []
        for call, column in zip(self.compiled.program.calls, seconds.T):
            kernel = by_workload[call.workload]
            timings.append(Timing(kernel.name, what(call), str(call.output), kernel.knobs, kernel.tuned,
                                  call_multiply_adds(call), call_bytes(call), column))  # fmt: skip
        return timings


def seconds_of(turns: list[np.ndarray], calls: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the ticks of one turn a round come to, each the mean of the turn.

    Seconds of each call, (rounds, calls), without the clock's own part; from the first tick to the
    last; and of one tick, (rounds,).
    """
    nanoseconds, ticks = turns[-1][0, 3:5] - turns[0][0, 1:3]  # over all rounds: the longer, the truer
    steps = np.array([np.diff(turn[1 : 1 + turn[0, 0]], axis=1).mean(axis=0) for turn in turns])
    steps *= 1e-9 * nanoseconds / ticks
    tick = steps[:, calls + 1 :].mean(axis=1)  # step number `calls` is the way out of `main`
    inside = steps[:, :calls]
    # The least tick for all: in a turn where something got between two ticks, its own would make each call too short.
    return np.maximum(inside - tick.min(), 1e-9), inside.sum(axis=1), tick  # slow clocks may not move at all


def _differences(entry: Entry, expected: dict) -> list[str]:
    """What the manifest of the library says differently from that of its clocked copy."""
    found = []
    for key, value in expected["versions"].items():
        if (was := entry.manifest["versions"].get(key)) != value:
            found.append(f"built with {key} {was}, now {value}")
    before, now = ({**m["kernels"], "records_ignored": None} for m in (entry.manifest, expected))
    if entry.manifest["multiply_adds"] != expected["multiply_adds"] or before != now:
        found.append("the present compiler chooses other kernels for it")
    return found


def _code_differences(library: Path, clocked: Path, compiled: Compiled) -> list[str]:
    """Kernels of which the clocked copy has other code: schedules or knobs have changed."""
    before, now = (_code(path) for path in (library, clocked))
    names = [kernel.name for kernel in compiled.kernels]
    changed = [name for name in names if not _alike(before.get(name, b""), now[name])]
    if not changed:
        return []
    return ["the present compiler makes other code of " + ("all" if changed == names else ", ".join(changed))]


def _code(library: Path) -> dict[str, bytes]:
    elf = read_elf(library)
    return {function.name: elf.contents(function) for function in elf.functions}


def _alike(one: bytes, other: bytes) -> bool:
    """The same but for addresses of constants and other functions, which are less than 1 % of a kernel."""
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other)) <= len(one) / 50


def what(call: Call) -> str:
    """What a call computes, in short: `g=3 240->60, 28x28, shuffle`."""
    workload, source, target = call.workload, call.inputs[0], call.output
    before, after, plane = len(source.planes), len(target.planes), target.root.plane
    if call.parameters and call.parameters[0].ndim == 2:
        after, before = call.parameters[0].shape
    channels = f"{before}->{after}" if hasattr(workload, "outputs") else str(after)  # or channel by channel
    groups, stride = getattr(workload, "groups", 1), getattr(workload, "stride", 1)
    words = [f"g={groups}"] if groups > 1 else []
    if kernel := getattr(workload, "kernel", None):
        sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        step = max(stride) if isinstance(stride, tuple) else stride
        words.append("x".join(map(str, sides)) + (f"/{step}" if step > 1 else ""))
    parts = [" ".join([*words, channels])]
    if (plane.height, plane.width) != (1, 1):
        parts.append(f"{plane.height}x{plane.width}")
    extras = {"residual": "residual", "shuffle": "shuffle", "shuffle_groups": "shuffle"}
    return ", ".join([*parts, *(name for key, name in extras.items() if getattr(workload, key, False))])


def call_multiply_adds(call: Call) -> int:
    """As the paper counts them: of the pixels of the plane, not of what pads it."""
    pixels = call.output.root.plane.height * call.output.root.plane.width
    return pixels * sum(array.size for array in call.parameters if array.ndim > 1)


def call_bytes(call: Call) -> int:
    """What has to move at least: planes with their padding, weights and biases, each once."""
    planes = (len(view.planes) * view.root.plane.size for view in (*call.inputs, call.output))
    return 4 * (sum(planes) + sum(array.size for array in call.parameters))
