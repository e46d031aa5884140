"""What one inference costs on a core, ours and a rival's, by the same count and the same model.

Engines look up the processor and choose their kernels by it: a rival is counted with the identity of
the core that it is priced for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.architectures import network
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli.common import tuned_kernels
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.counting import WORD, Block
from tvm_shufflenet.estimation.estimates import Figures, estimate, figures, miss_cycles
from tvm_shufflenet.estimation.instructions import disassemble, words_of
from tvm_shufflenet.estimation.pricing import Price, price
from tvm_shufflenet.records.store import FOLDER
from tvm_shufflenet.targets.cores import Core, core

from .rivals import COUNTED, OURS, RIVALS
from .rivals.board import identity
from .rivals.counted import Exported, inference
from .rivals.worker import Failed

PRICED = 0.999  # of the instructions
PLAIN = "cortex-a72"  # whose kernels are every engine's ordinary ones


@dataclass(frozen=True)
class Cost:
    """One inference of a network by an engine on a core; `kernels` names the core they were chosen for."""

    model: str
    engine: str
    core: str
    kernels: str
    figures: Figures

    @property
    def cycles(self) -> float:
        """By the model; without misses, where no caches were simulated."""
        return self.figures.total_cycles

    def to_json(self) -> dict:
        f = self.figures
        return {
            "model": self.model, "engine": self.engine, "core": self.core, "kernels_for": self.kernels,
            "instructions": f.instructions, "vector_multiply_adds": f.vector_fma, "loads": f.loads,
            "stores": f.stores, "cycles_without_misses": f.cycles, "miss_cycles": f.miss_cycles,
            "cycles": self.cycles,
            "missed_lines": f.misses, "instructions_the_model_lacks": dict(f.refused),
        }  # fmt: skip


def ours(model: str, name: str, folder: Path, caches: bool = False, records: Path | None = FOLDER) -> Cost:
    """Builds the network for the core in the folder, with `records` of tuning or without, and counts and prices it."""
    built = build_library(BuildOptions(model, name, output=folder, records=records))
    how = tuned_kernels(built.manifest["kernels"]) if records else "default schedules"
    kernels = f"{name}, {how}"
    return Cost(model, OURS, name, kernels, estimate(built.path, core(name), caches).network)


def rival(engine: str, exported: Exported, name: str, caches: bool = False, shown: str | None = None) -> Cost:
    """With the kernels that the engine chooses for the core, or for the core `shown`."""
    target, kernels = core(name), shown or name
    blocks = inference(engine, exported, core(kernels), target.caches if caches else ())
    return Cost(exported.net.name, engine, name, kernels, _priced(blocks, target, caches))


def _priced(blocks: list[Block], target: Core, caches: bool) -> Figures:
    """Engines execute thousands of blocks a few times only: these are priced as the others are on average."""
    disassemble({word for block in blocks for word in words_of(block.code)})  # all in one call
    ordered = sorted(blocks, key=lambda block: -block.instructions)
    total = sum(block.instructions for block in blocks)
    hot, instructions = 0, 0
    while hot < len(ordered) and instructions < PRICED * total:
        instructions += ordered[hot].instructions
        hot += 1
    often, seldom = ordered[:hot], ordered[hot:]
    result = figures("network", often, price(often, target))
    mean = result.cycles / result.instructions
    result.add(figures("", seldom, [Price(mean * len(block.code) / WORD) for block in seldom]))
    if caches:
        result.miss_cycles = miss_cycles(result.misses, target)
    return result


def costs(
    models: list[str], engines: list[str], names: list[str], folder: Path, caches: bool, step, absent: list[str]
) -> Iterator[Cost]:
    """All of them; ours first for each network and core, with records and with default schedules.

    `step(text)` is told what comes next.

    `absent` gets a line for each network that an engine cannot have.
    """
    for model in models:
        with Exported(network(model)) as exported:
            for name in names:
                step(f"{model} on {name}: ours")
                yield ours(model, name, folder, caches)
                step(f"{model} on {name}: ours, default schedules")
                yield ours(model, name, folder, caches, None)
            for engine in engines:
                try:
                    for name in names:
                        step(f"{model} on {name}: {RIVALS[engine].title}")
                        yield rival(engine, exported, name, caches)
                except Failed as error:
                    absent.append(f"no {model}: {error}")


def check_names(models: list[str], engines: list[str], names: list[str]) -> None:
    """`UserError` for what is unknown, before all the work."""
    for model in models:
        network(model)
    for engine in engines:
        if engine not in COUNTED:
            raise UserError(f"unknown rival {engine!r}: expected {', '.join(COUNTED)}")
    for name in names:
        identity(core(name))
