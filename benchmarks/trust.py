"""The model's cycles beside published times: by which factors it is wrong, and how far these spread.

A factor is what was published over what the model says, of times or of ratios of times.  Were the
model right, all would be 1; were it wrong by the same factor everywhere, the ratios' would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tvm_shufflenet import published
from tvm_shufflenet.architectures import network
from tvm_shufflenet.estimation.estimates import miss_cycles
from tvm_shufflenet.published import BOARDS, NETWORKS, OWN_KERNELS, Board
from tvm_shufflenet.targets.cores import MEMORY, core

from .rivals.counted import Exported
from .yardstick import PLAIN, Cost, ours, rival

ENGINE = "ncnn"
PAPERS_CORE = "snapdragon-820"


@dataclass(frozen=True)
class Time:
    """A network on a board: published milliseconds, and the model's."""

    board: Board
    model: str
    caches: bool
    published: float
    modelled: float

    @property
    def factor(self) -> float:
        return self.published / self.modelled

    @property
    def where(self) -> str:
        return f"{self.board.name}, {self.board.gigahertz:g} GHz"

    @property
    def what(self) -> str:
        return self.model


@dataclass(frozen=True)
class Ratio:
    """How many times longer (or faster) one network is than another: published, and the model's."""

    where: str
    what: str
    caches: bool
    published: float
    modelled: float

    @property
    def factor(self) -> float:
        return self.published / self.modelled


def times(caches: bool, step: Callable[[str], object]) -> list[Time]:
    """ncnn's networks on the boards of its table."""
    found = []
    for model, measured in zip(NETWORKS, zip(*(board.milliseconds for board in BOARDS))):
        with Exported(network(model)) as exported:
            costs = {}
            for name in dict.fromkeys(board.core for board in BOARDS):
                step(f"{model} on {name}: {ENGINE}" + (", with caches" if caches else ""))
                costs[name] = rival(ENGINE, exported, name, caches)
        for board, milliseconds in zip(BOARDS, measured):
            cycles = on_board(costs[board.core], board)
            if milliseconds is None:
                continue
            found.append(Time(board, model, caches, milliseconds, cycles / board.gigahertz / 1e6))
    return found


def on_board(cost: Cost, board: Board) -> float:
    """The cycles with what the misses cost on that board, where its memory is known."""
    if cost.figures.miss_cycles is None or board.name not in MEMORY:
        return cost.cycles
    return cost.figures.cycles + miss_cycles(cost.figures.misses, replace(core(board.core), caches=MEMORY[board.name]))


def kernels_of_their_own(step: Callable[[str], object]) -> list[Ratio]:
    """How much less ncnn takes on a Cortex-A53 with its kernels for that core than with its ordinary ones."""
    found = []
    for model, (before, after) in OWN_KERNELS.items():
        with Exported(network(model)) as exported:
            step(f"{model} on cortex-a53: {ENGINE}, both kinds of its kernels")
            own, plain = (rival(ENGINE, exported, "cortex-a53", shown=shown).cycles for shown in ("cortex-a53", PLAIN))
        found.append(Ratio("ncnn, Cortex-A53", f"{model}: its own kernels / plain", False, after / before, own / plain))
    return found


def ratios(found: list[Time]) -> list[Ratio]:
    """Of each board's other networks to its first."""
    base = {(time.board, time.caches): time for time in found if time.model == NETWORKS[0]}
    result = []
    for time in found:
        first = base[time.board, time.caches]
        if time is not first:
            result.append(Ratio(time.board.name, f"{time.model} / {first.model}", time.caches,
                                time.published / first.published, time.modelled / first.modelled))  # fmt: skip
    return result


def paper(caches: bool, folder: Path, step: Callable[[str], object]) -> list[Ratio]:
    """Our builds for the paper's processor: speed-up over AlexNet, beside the paper's own implementation's."""
    cycles = {}
    for model in published.MILLISECONDS:
        step(f"{model} on {PAPERS_CORE}: ours" + (", with caches" if caches else ""))
        cycles[model] = ours(model, PAPERS_CORE, folder, caches).cycles
    return [
        Ratio(published.PROCESSOR, f"alexnet / {model}", caches, published.speedup(model, (224, 224)),
              cycles["alexnet"] / cycles[model])
        for model in cycles if model != "alexnet"
    ]  # fmt: skip
