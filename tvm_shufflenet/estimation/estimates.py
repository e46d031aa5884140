"""A compiled network's library  =>  what each of its kernels, and the whole, costs on a core."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..building.work import Share, unheard
from ..errors import UserError
from ..library.elf import Elf, Symbol, read_elf
from ..library.interface import check_one_picture, inputs, outputs
from ..library.loading import read_manifest
from ..library.symbols import prefix_in, renamed
from ..targets.cores import Core
from ..targets.measured import MEASURED
from ..targets.precision import precision_in
from .counting import Block, count, straighten, subtract
from .instructions import disassemble, kind, words_of
from .pricing import Price, price, price_measured
from .tools import runner

ENTRY = "(calls)"  # what is no kernel: the functions that call them
TWICE, COUNTED = 0.4, 0.6  # of an estimate: two inferences are counted, and one; the rest is pricing
OTHER = "(unnamed)"  # code of libraries that do not name their kernels


@dataclass
class Figures:
    """Sums over all executions.  `misses` are lines missed in each cache, as those of `Block`.

    `refused` are executions of instructions that the model lacks, by mnemonic.  `second_cycles` are by what was
    measured of the core's instructions, where that is known.
    """

    name: str
    calls: int = 0
    instructions: int = 0
    loads: int = 0
    stores: int = 0
    vector_fma: int = 0
    multiply_adds: int = 0
    cycles: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    misses: list[list[int]] = field(default_factory=list)
    miss_cycles: float | None = None
    second_cycles: float = 0.0

    @property
    def total_cycles(self) -> float:
        return self.cycles + (self.miss_cycles or 0)

    def add(self, other: Figures) -> None:
        for name in ("instructions", "loads", "stores", "vector_fma", "multiply_adds", "cycles", "second_cycles"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused.update(other.refused)
        self.misses = self.misses or [[0, 0, 0] for _ in other.misses]
        for mine, others in zip(self.misses, other.misses):
            mine[:] = [a + b for a, b in zip(mine, others)]

    def to_json(self, core: Core) -> dict:
        cycles, total = self.cycles or 1, self.total_cycles or 1
        return {
            "name": self.name, "calls": self.calls, "instructions": self.instructions,
            "loads": self.loads, "stores": self.stores, "vector_multiply_adds": self.vector_fma,
            "multiply_adds": self.multiply_adds, "multiply_adds_per_cycle": self.multiply_adds / cycles,
            "share_of_fma_bound": self.multiply_adds / core.lanes / cycles, "cycles": self.cycles,
            "missed_lines": {level.name: {"streamed_loads": streamed, "lone_loads": lone, "stores": stored}
                             for level, (streamed, lone, stored) in zip(core.caches, self.misses)},
            "miss_cycles": self.miss_cycles, "total_cycles": self.total_cycles,
            "total_share_of_fma_bound": self.multiply_adds / core.lanes / total,
            "instructions_the_model_lacks": dict(self.refused),
            **({"cycles_as_measured": self.second_cycles} if self.second_cycles else {}),
        }  # fmt: skip

    @property
    def second_opinion(self) -> float:
        """How much more cycles the measured figures give than the model, as a share of the model's."""
        return self.second_cycles / self.cycles - 1 if self.second_cycles and self.cycles else 0.0


@dataclass(frozen=True)
class Estimate:
    """The costs of one inference on a core: of each kernel, in the order of the first calls, and of the sum."""

    library: Path
    manifest: dict
    core: Core
    kernels: list[Figures]
    network: Figures

    def milliseconds(self, gigahertz: float) -> float:
        return self.network.total_cycles / gigahertz / 1e6


def estimate(
    library: Path, core: Core, caches: bool = True, size: tuple[int, int] | None = None, done: Share = unheard
) -> Estimate:  # fmt: skip
    """Counts and prices one inference, caches warm from the one before.  `UserError` for other files.

    Of a library of several sizes it is of one of them, the first unless `size` says another.  `done` is told what share
    of the work is done.
    """
    elf, manifest = read_elf(library), read_manifest(library, size)
    check_one_picture(library, manifest, "the estimate")
    if elf.arch != "aarch64":
        raise UserError(f"{library} is for {elf.arch}: only AArch64 libraries can be counted")
    core = core.computing(precision_in(manifest).activations)
    (given,), (result, *_) = inputs(manifest), outputs(manifest)
    sizes = given.bytes, result.bytes, manifest["workspace_bytes"]
    blocks = inference(library, elf, sizes, core, caches, renamed("tsn_run", prefix_in(manifest)), done)
    disassemble({word for block in blocks for word in words_of(block.code)})  # all in one call
    starts, functions = _functions(elf)
    kernels: dict[str, Figures] = {}
    second = price_measured(blocks) if core.name in MEASURED else [None] * len(blocks)
    costs = price(blocks, core, lambda share: done(COUNTED + (1 - COUNTED) * share))
    for block, cost, other in zip(blocks, costs, second):
        address = _address(elf, block.offset)
        index = bisect.bisect_right(starts, address) - 1
        found = functions[index] if index >= 0 and address < starts[index] + functions[index].size else None
        group = (ENTRY if found.name in elf.exported else _group(found.name)) if found else OTHER
        kernel = kernels.setdefault(group, Figures(group))
        kernel.add(figures(group, [block], [cost]))
        kernel.second_cycles += other.cycles * block.executions if other else 0
        kernel.calls += block.executions if found and address == found.address else 0
    total = figures("network", [], [])
    for kernel in kernels.values():
        kernel.miss_cycles = miss_cycles(kernel.misses, core) if caches else None
        total.add(kernel)
    total.calls, total.miss_cycles = 1, miss_cycles(total.misses, core) if caches else None
    if ENTRY in kernels:
        kernels[ENTRY].calls = 0
    return Estimate(library, manifest, core, list(kernels.values()), total)


def inference(
    library: Path, elf: Elf, sizes: tuple[int, int, int], core: Core, caches: bool, entry: str = "tsn_run",
    done: Share = unheard,
) -> list[Block]:  # fmt: skip
    """The blocks of one inference of the library: those of two, without those of one.

    `sizes` are the bytes of what `entry` takes: input, output and workspace.
    """

    def run(iterations: int) -> list[Block]:
        start = elf.exported[entry].address
        argv = [str(each) for each in (runner(), library.resolve(), iterations, start, *sizes)]
        blocks = count(argv, caches=core.caches if caches else (), environment={})
        return [block for block in blocks if block.module]

    twice = run(2)
    done(TWICE)
    once = run(1)
    done(COUNTED)
    return straighten(subtract(twice, once))


def figures(name: str, blocks: Iterable[Block], prices: Iterable[Price]) -> Figures:
    """The sums over these blocks, without the cost of missed lines."""
    result = Figures(name)
    for block, cost in zip(blocks, prices):
        words = words_of(block.code)
        text = disassemble(words)
        kinds = [kind(text[word]) for word in words]
        times = block.executions
        result.add(Figures(
            name, 0, len(words) * times, sum(k.load for k in kinds) * times, sum(k.store for k in kinds) * times,
            sum(k.vector_fma for k in kinds) * times, sum(k.lanes for k in kinds) * times,
            cost.cycles * times, Counter({name: n * times for name, n in Counter(cost.refused).items()}),
            [list(kinds) for kinds in block.misses],
        ))  # fmt: skip
    return result


def miss_cycles(misses: list[list[int]], core: Core) -> float:
    """What missed lines cost: each comes from the first level that has it, at the price of its kind."""
    further = [*misses[1:], [0, 0, 0]]
    total = 0.0
    for level, here, beyond in zip(core.caches, misses, further):
        costs = level.cycles_per_line, core.cycles_per_lone_line(level), level.cycles_per_stored_line
        found = sum(here[:2]) - sum(beyond[:2])
        lone = min(max(here[1] - beyond[1], 0), found)  # what is lone here may go on with a stream beyond
        total += (found - lone) * costs[0] + lone * costs[1] + (here[2] - beyond[2]) * costs[2]
    return total


def _functions(elf: Elf) -> tuple[list[int], list[Symbol]]:
    """The functions of a library and where they start, sorted."""
    known = {symbol.address: symbol for symbol in elf.functions or elf.exported.values()}
    return sorted(known), [known[address] for address in sorted(known)]


def _group(name: str) -> str:
    return ENTRY if name.startswith(("tsn_", "__tvm", "main", "TVMFFI")) else name


def _address(elf: Elf, offset: int) -> int:
    """The address in the library's own numbering of what is at `offset` in its file."""
    for segment in elf.segments:
        if segment.offset <= offset < segment.offset + segment.size:
            return offset - segment.offset + segment.address
    return -1
