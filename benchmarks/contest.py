"""Networks run by us and by every rival, turn by turn on one core: what the command `latency` does, as a function.

Every engine is called from Python and timed there, each in a process of its own; the peak of the
core's arithmetic is measured in the same rounds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import write_bytes
from tvm_shufflenet.measure.beside_peak import Silent, time_beside_peak
from tvm_shufflenet.measure.peak import multiply_adds
from tvm_shufflenet.measure.place import Place
from tvm_shufflenet.measure.rounds import Timer, calibrate
from tvm_shufflenet.targets import resolve

from .rivals import FP32, OURS, PROJECT, RIVALS, THREADS
from .rivals.agreement import check, check_boxes
from .rivals.worker import Failed, Worker, export

KEY = "made-from"
# On what an engine's files depend, beside its version: ours on the whole compiler.
OUR_SOURCES = ("tvm_shufflenet", "schedules", "tuning_logs", "benchmarks/rivals/passing.py")
SHARED = ("boxes", "calibration", "folded", "onnx_model", "passing", "qdq", "torch_twin", "two_stages")
RIVAL_SOURCES = ("tvm_shufflenet/architectures", "tvm_shufflenet/bridge", "tvm_shufflenet/exchange/onnx_writer.py",
                 *(f"benchmarks/rivals/{name}.py" for name in SHARED))  # fmt: skip


def title(engine: str) -> str:
    return RIVALS[engine].title if engine in RIVALS else engine


def variants(engine: str) -> tuple[str, ...]:
    return RIVALS[engine].variants if engine in RIVALS else ("",)


@dataclass
class Contestant:
    """An engine in one of its variants, and the seconds of one inference in each round."""

    engine: str
    variant: str
    difference: float  # of its logits from ours in fp32, of the largest; of a detector the share of boxes
    seconds: list[float] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{title(self.engine)} {self.variant}".strip()

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass
class Contest:
    """One network: all that ran, ours first; `absent` says of the others why they did not."""

    net: Network
    contestants: list[Contestant] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    precision: str = FP32
    core: int | None = None
    rounds: int = 0
    peak: float = 0.0  # multiply-adds per second: the best of all rounds
    kernels: dict = field(default_factory=dict)  # of ours, as the manifest has it: how many are tuned

    @property
    def ours(self) -> Contestant:
        return self.contestants[0]

    @property
    def standing(self) -> list[Contestant]:
        """Ours, and of each rival the variant with the lower minimum: the fastest first."""
        best: dict[str, Contestant] = {}
        for each in sorted(self.contestants[1:], key=lambda each: each.minimum):
            best.setdefault(each.engine, each)
        return [self.ours, *best.values()]

    def leave_out(self, engine: str, why: Failed) -> None:
        """Goes on without a rival; without ours there is no contest."""
        if engine == OURS:
            raise why
        self.absent[engine] = str(why)

    def add(self, engine: str, variant: str, logits: np.ndarray, expected: np.ndarray) -> bool:
        """Lets an engine take part whose logits are those expected, of fp32; whether it does.

        `UserError` for others, which in fp32 are wrong; in other precisions a rival that loses too much is left out.
        """
        what = f"{self.net.name}, {title(engine)} {variant}".strip()
        try:
            if self.net.detector:
                differs = check_boxes(logits, expected, self.net.size, what)
            else:
                differs = check(logits, expected, what, self.precision)
        except UserError as error:
            if self.precision == FP32 or engine == OURS:
                raise
            self.absent[engine] = str(error)
            return False
        self.contestants.append(Contestant(engine, variant, differs))
        return True

    def share_of_peak(self, each: Contestant) -> float:
        return self.net.multiply_adds() / each.minimum / self.peak

    def ratio(self, each: Contestant) -> float:
        """How many times as long as ours it takes."""
        return each.minimum / self.ours.minimum


class Files:
    """What the engines read, in a folder: made when asked for, or left by an earlier run and still current."""

    def __init__(self, root: Path):
        self.root = root

    def of(self, engine: str, net: Network, precision: str = FP32) -> Path:
        """The folder with the engine's files of the network; `Failed` where it cannot have any."""
        which = "" if precision == FP32 else f"-{precision}"
        folder = self.root / f"{net.name}-{net.size[0]}x{net.size[1]}-{net.classes}{which}" / engine
        key, current = _key(engine, net), folder / KEY
        if not current.is_file() or current.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            export(engine, net, folder, precision)
            write_bytes(current, key.encode())
        return folder


def _key(engine: str, net: Network) -> str:
    rival = RIVALS.get(engine)
    sources = (*RIVAL_SOURCES, f"benchmarks/rivals/{engine}.py") if rival else OUR_SOURCES
    digest = hashlib.sha256(repr((net, rival and rival.version)).encode())
    for source in (PROJECT / source for source in sources):
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(PROJECT)).encode() + path.read_bytes())
    return digest.hexdigest()


def prepare(
    net: Network, rivals: Iterable[str], files: Files, progress: Silent = Silent(), precision: str = FP32
) -> Contest:  # fmt: skip
    """Builds ours and exports for the rivals; `absent` holds those which cannot have the network.

    For other precisions than fp32 ours is built in fp32, too: its logits are what all are checked against.
    """
    contest = Contest(net, precision=precision)
    if precision != FP32:
        with progress.step(f"{net.name}: building ours in fp32"):
            files.of(OURS, net)
    for engine in (OURS, *rivals):
        with progress.step(f"{net.name}: {'building ours' if engine == OURS else f'exporting for {title(engine)}'}"):
            try:
                folder = files.of(engine, net, precision)
            except Failed as error:
                contest.leave_out(engine, error)
                continue
            if engine == OURS:
                (library,) = folder.glob("*.so")
                contest.kernels = json.loads(library.with_suffix(".json").read_text())["kernels"]
    return contest


def measure(contest: Contest, rivals: Iterable[str], rounds: int, files: Files, progress: Silent = Silent()) -> None:
    """Loads what `prepare` made, checks all logits against ours in fp32 and times.

    Ctrl-C ends it with the rounds so far.  `UserError` where an engine computes something else; see `Contest.add`.
    """
    target = resolve("native")
    with contextlib.ExitStack() as stack:

        def load() -> list[Timer]:
            """Called on the core which was chosen: the workers inherit it."""
            timers, expected = [], None
            if contest.precision != FP32:
                with contextlib.closing(Worker(OURS, files.of(OURS, contest.net))) as floats:
                    expected = floats.logits
            for engine in (OURS, *(rival for rival in rivals if rival not in contest.absent)):
                for variant in variants(engine):
                    try:
                        folder = files.of(engine, contest.net, contest.precision)
                        worker = Worker(engine, folder, variant, contest.precision)
                    except Failed as error:
                        contest.leave_out(engine, error)
                        continue
                    stack.callback(worker.close)
                    expected = worker.logits if expected is None else expected
                    if contest.add(engine, variant, worker.logits, expected):
                        timers.append(calibrate(worker.timer))
            return timers

        timed = time_beside_peak(Place(target.arch, threads=THREADS), target, load, rounds, progress)
    contest.core, contest.rounds = timed.core, len(timed.peak_seconds)
    contest.peak = multiply_adds(target.machine, THREADS) / min(timed.peak_seconds)
    for each, seconds in zip(contest.contestants, timed.turns):
        each.seconds = seconds
