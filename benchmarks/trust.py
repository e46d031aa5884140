"""The model's cycles beside published times: by which factors it is wrong, and how far these spread.

A factor is what was published over what the model says, of times or of ratios of times.  Were the
model right, all would be 1; were it wrong by the same factor everywhere, the ratios' would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet import published
from tvm_shufflenet.architectures import network
from tvm_shufflenet.published import BOARDS, NETWORKS, Board

from .rivals.counted import Exported
from .yardstick import ours, rival, rival_both

ENGINE = "ncnn"
PAPERS_CORE = "snapdragon-820"


@dataclass(frozen=True)
class Time:
    """A network on a board: published milliseconds, and the model's."""

    board: Board
    model: str
    kernels: str  # the core that the engine chose its kernels for
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
                both = rival_both(ENGINE, exported, name)
                costs[name] = [rival(ENGINE, exported, name, caches)] if caches else both
        for board, milliseconds in zip(BOARDS, measured):
            found += [Time(board, model, cost.kernels, caches, milliseconds, cost.cycles / board.gigahertz / 1e6)
                      for cost in costs[board.core]]  # fmt: skip
    return found


def standing(found: list[Time]) -> list[Time]:
    """Of each network on each board the kernels that the model finds cheaper, see `yardstick`."""
    best: dict[tuple, Time] = {}
    for time in found:
        key = (time.board, time.model, time.caches)
        if key not in best or time.modelled < best[key].modelled:
            best[key] = time
    return list(best.values())


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
