"""A network with a clock between its kernels, beside the library that is measured.

A *clocked copy* is compiled from the library's description: the same program, memory plan and kernels, but `main`
reads a clock around each kernel (`profile.c`).  Its weights are random: no kernel's time depends on them, but that of a
detector's suppression (`benchmarks.post_processing` times it with trained weights).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..architectures import Network, network
from ..architectures.described import from_description
from ..bridge import random_parameters
from ..building.build_library import written_team
from ..building.manifest import manifest as describe_library
from ..building.origin import Origin
from ..building.plan import plan_of
from ..building.work import Share, Work, unheard
from ..library.elf import read_elf
from ..library.interface import classes_of, ports, team_bytes
from ..library.link import link
from ..lowering.costs import call_bytes, call_multiply_adds, weight_bytes, what
from ..lowering.to_object import write_object
from ..pipeline import Compiled, compile_network, with_scales
from ..records.store import FOLDER, Chooser, Records
from ..targets import TargetSpec
from ..targets.precision import FP32, Precision, precision_in, precision_of
from .attention import attention_parts
from .entries import Entry
from .place import Place

SOURCE = Path(__file__).with_name("profile.c")
RUNS = 100  # of the network in one turn, at most
PAIRS = 4  # of ticks with nothing between them, at the end of a run


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


def clocked_copy(
    entry: Entry, target: TargetSpec, scratch: Path, team: bool = False, done: Share = unheard
) -> Clocked:  # fmt: skip
    """The clocked copy of a library, in the folder `scratch`.  `done` is told what share of building is done."""
    if description := entry.manifest.get("network"):
        net = from_description(description, source=str(entry.path))
    else:
        net = network(entry.model, entry.size, classes_of(entry.manifest))
    records = Records.read(FOLDER, target) if entry.manifest["kernels"]["tuned"] else None
    kept = precision_in(entry.manifest)
    precision = precision_of(kept.name, kept.weights if kept.name == FP32.name else None, target)
    parts = entry.manifest.get("calibration", {}).get("parts", False)
    return Clocked(net, target, scratch / "clocked.so", records, team, precision, entry.batch, parts, done)


class Clocked:
    """A network with a clock between its kernels, compiled and linked to `path`; its knobs are those of `records`.

    `parts`: whether int8 computes channel attention by parts (`pipeline.byte_graph`).  `parameters` are random unless
    given: of all kernels, only the time of those that choose boxes depends on them.
    """

    def __init__(
        self, net: Network, target: TargetSpec, path: Path, records: Chooser | None, team: bool = False,
        precision: Precision = FP32, pictures: int = 1, parts: bool = False, done: Share = unheard,
        parameters: dict[str, np.ndarray] | None = None,
    ):  # fmt: skip
        self.path, self._parameters = path, random_parameters(net) if parameters is None else parameters
        work = Work(done, target, precision, team=team)
        work.started()
        precision = with_scales(precision, net, self._parameters, parts)
        self.compiled = compile_network(
            net, self._parameters, target, ticking=True, records=records, team=team, precision=precision,
            pictures=pictures, done=work,
        )  # fmt: skip
        object_file = path.with_suffix(".o")
        write_object(self.compiled.code, target.tvm, object_file, partial(work, "write"))
        work("write")
        inputs, outputs = ports(net, pictures)
        linked = link(
            object_file, self.compiled.weights, {}, inputs=inputs, outputs=outputs, spec=target, output=path,
            workspace_bytes=self.compiled.plan.bytes, source=SOURCE, functions=("__tvm_ffi_profile",),
            team=written_team(self.compiled, path.with_suffix(".team.o"), partial(work, "write team")),
        )  # fmt: skip
        done(1)
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
