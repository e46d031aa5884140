"""How fast networks are: timed here or on a board, or in cycles of the model of a core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..architectures import Network
from ..building.build_library import BuildOptions, build_library, make_writable
from ..errors import UserError
from ..measure.beside_peak import Progress
from ..measure.comparison import CompareOptions, Comparison, compare, measured_target
from ..measure.place import open_place
from ..records.store import FOLDER, Records
from ..targets import resolve
from ..targets.cores import Core

INTERRUPTED = "interrupted"
Key = tuple[str, tuple[int, int]]  # of a network: its name, and its size in pixels


@dataclass(frozen=True)
class How:
    """Where speeds are from; with `core` they are model cycles of it, and nothing is timed."""

    target: str | None = None
    rpc: str | None = None
    key: str | None = None
    rounds: int = 30
    timeout: float = 10.0
    records: Path | None = FOLDER
    core: Core | None = None
    threads: int = 1


@dataclass(frozen=True)
class Speed:
    """The speed of one inference.

    `amount` is milliseconds, the least of all rounds, or millions of cycles with missed lines.  `share` is
    multiply-adds by those of the FMA peak in the same time.
    """

    amount: float
    share: float


@dataclass
class Speeds:
    """Speeds by network; a text in the place of a speed says why there is none."""

    found: dict[Key, Speed | str] = field(default_factory=dict)
    comparison: Comparison | None = None  # where they were timed
    interrupted: bool = False

    def of(self, net: Network) -> Speed | str:
        return self.found.get(key(net), INTERRUPTED)

    def amount(self, net: Network) -> float | str:
        """`Speed.amount`, or why there is none."""
        speed = self.of(net)
        return speed if isinstance(speed, str) else speed.amount


def key(net: Network) -> Key:
    return net.name, net.size


Meter = Callable[[Sequence[Network]], Speeds]


def open_meter(how: How, folder: Path, progress: Progress) -> Meter:
    """A function that finds the speeds of networks; libraries lie in `folder` and are built once.

    `UserError`, before anything is built, for what would fail with every network: the target, the board, the records,
    the folder.  Ctrl-C ends it with what was found so far.
    """
    libraries: dict[Key, Path | str] = {}
    target = how.core.name if how.core else measured_target(how.target, how.rpc)[0]
    make_writable(folder)
    if how.records:
        Records.read(how.records, resolve(target))

    def library(net: Network, number: int, of: int) -> Path | str:
        if key(net) not in libraries:
            with progress.step(f"building {net.name} for {target}", number, of) as done:
                try:
                    options = BuildOptions(
                        network=net, target=target, output=folder, records=how.records, team=how.threads > 1
                    )
                    libraries[key(net)] = build_library(options, done).path
                except UserError as error:
                    libraries[key(net)] = str(error)
        return libraries[key(net)]

    find = _estimated(how.core, library, folder, progress) if how.core else _timed(how, target, library, progress)

    def meter(networks: Sequence[Network]) -> Speeds:
        speeds = Speeds()
        try:
            find(list({key(net): net for net in networks}.values()), speeds)
        except KeyboardInterrupt:
            speeds.interrupted = True
        return speeds

    return meter


def _timed(how: How, target: str, library: Callable[[Network, int, int], Path | str], progress: Progress) -> Callable:
    """All networks of a call take turns in the same rounds."""
    spec = measured_target(how.target, how.rpc)[1]
    with progress.step(f"connecting to {how.rpc}" if how.rpc else "looking at this machine"):
        with open_place(spec, how.rpc, how.key, how.timeout, how.threads) as place:
            processor = place.processor
    options = CompareOptions((), target, rpc=how.rpc, key=how.key, rounds=how.rounds, timeout=how.timeout,
                             threads=how.threads)  # fmt: skip

    def find(networks: list[Network], speeds: Speeds) -> None:
        if not processor.measurable:
            speeds.found = {key(net): f"{processor.name}: {processor.why_no_latency}" for net in networks}
            return
        built = {key(net): library(net, number, len(networks)) for number, net in enumerate(networks, 1)}
        speeds.found = {which: reason for which, reason in built.items() if isinstance(reason, str)}
        there = {which: path for which, path in built.items() if isinstance(path, Path)}
        if not there:
            return
        result = speeds.comparison = compare(replace(options, names=tuple(map(str, there.values()))), progress)
        speeds.interrupted = result.rounds < result.rounds_asked
        for which, row in zip(there, result.rows(), strict=True):
            speeds.found[which] = Speed(row["minimum_ms"], row["share_of_peak"])

    return find


def _estimated(
    core: Core, library: Callable[[Network, int, int], Path | str], folder: Path, progress: Progress
) -> Callable:  # fmt: skip
    from ..estimation import tools
    from ..estimation.networks import estimate_networks

    tools.qemu(), tools.llvm()  # before anything slow

    def find(networks: list[Network], speeds: Speeds) -> None:
        for number, net in enumerate(networks, 1):
            path = library(net, number, len(networks))
            if isinstance(path, str):
                speeds.found[key(net)] = path
                continue
            (row,) = estimate_networks((str(path),), core, net.size, folder, progress.step)
            speeds.found[key(net)] = Speed(row["total_cycles"] / 1e6, row["share_of_fma_bound"])

    return find
