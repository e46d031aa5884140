"""The model of cores in order beside measurements of others: single sequences, and the loops of tract's kernels.

tract publishes the seconds of its matrix products on a Cortex-A53 and a Cortex-A55 whose clocks it does not say: one
clock is fitted to all kernels of a core, so that the model is judged by their ratios.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.targets.inorder import MODELS, Model, cycles_once, cycles_per_round, instruction

from .rivals import PROJECT

SEQUENCES = PROJECT / "tests" / "data" / "a53_sequences.txt"
REPOSITORY = "https://github.com/sonos/tract"
FOLDER = "tract/linalg/arm64/arm64simd"
STEPS = 4  # of the inner dimension in one round of the loop
END = ["sub x3, x3, #4", "cmp x3, #4", "b.ge #-4"]


@dataclass(frozen=True)
class Kernel:
    """A loop of tract's, its published nanoseconds of a step in L1, and the cycles that the model gave for it.

    `file` holds the loop's `copies`-th part.  Both figures are of Cortex-A53, then of Cortex-A55.
    """

    name: str
    file: str
    copies: int
    nanoseconds: tuple[float, float]
    cycles: tuple[float, float]


# github.com/sonos/tract, linalg/src/arm64/cortex_a53.txt and cortex_a55.txt, July 2026: from shapes with the same sides
# and different depths.
KERNELS = (
    Kernel("12x8 for A53", "12x8/packed_packed_loop1/ldr_x_preload", 4, (27.9, 18.2), (33.5, 29.5)),
    Kernel("12x8 plain", "12x8/packed_packed_loop1/naive", 4, (30.8, 20.7), (38.5, 34.5)),
    Kernel("12x8 for A55", "12x8/packed_packed_loop2/cortex_a55", 2, (37.9, 16.0), (48.75, 24.75)),
    Kernel("8x8 for A53", "8x8/packed_packed_loop1/ldr_x_preload", 4, (21.0, 14.1), (24.5, 20.5)),
    Kernel("8x8 plain", "8x8/packed_packed_loop1/naive", 4, (23.6, 15.4), (28.5, 24.5)),
    Kernel("8x8 for A55", "8x8/packed_packed_loop2/cortex_a55", 2, (25.3, 11.5), (30.75, 16.5)),
    Kernel("16x4 for A53", "16x4/packed_packed_loop1/cortex_a53", 4, (21.0, 13.6), (26.25, 22.0)),
    Kernel("16x4 plain", "16x4/packed_packed_loop1/naive", 4, (24.9, 16.2), (32.0, 28.0)),
    Kernel("16x4 for A55", "16x4/packed_packed_loop2/cortex_a55", 2, (24.7, 10.7), (33.75, 17.25)),
    Kernel("24x4 for A53", "24x4/packed_packed_loop1/cortex_a53", 4, (27.9, 18.7), (36.25, 32.25)),
    Kernel("24x4 plain", "24x4/packed_packed_loop1/naive", 4, (34.5, 22.9), (44.0, 40.0)),
    Kernel("24x4 for A55", "24x4/packed_packed_loop1/cortex_a55", 4, (41.3, 16.1), (55.25, 27.25)),
)
CORES = ("cortex-a53", "cortex-a55")  # in the order of the figures


@dataclass(frozen=True)
class Judged:
    """A kernel on a core: published nanoseconds of a step, the model's cycles, and these at the fitted clock."""

    core: str
    kernel: str
    published: float
    cycles: float
    modelled: float

    @property
    def factor(self) -> float:
        """Published over modelled, as elsewhere."""
        return self.published / self.modelled


def sequences() -> list[tuple[int, list[str]]]:
    """Measured cycles of sequences of instructions on a Cortex-A53."""
    lines = [line for line in SEQUENCES.read_text().splitlines() if not line.startswith("#")]
    return [(int(cycles), texts.split("; ")) for cycles, texts in (line.split(": ") for line in lines)]


def exact_sequences() -> tuple[int, int]:
    """How many of the measured sequences the model gives to the cycle, and of how many."""
    found = [cycles_once(texts, MODELS[CORES[0]]) == cycles for cycles, texts in sequences()]
    return sum(found), len(found)


def judge(sources: Path | None) -> list[Judged]:
    """All kernels on both cores: priced now from tract's files below `sources`, or as they were priced before."""
    result = []
    for column, name in enumerate(CORES):
        cycles = [step(kernel, MODELS[name], sources) if sources else kernel.cycles[column] for kernel in KERNELS]
        clock = statistics.geometric_mean([c / k.nanoseconds[column] for c, k in zip(cycles, KERNELS)])
        result += [Judged(name, kernel.name, kernel.nanoseconds[column], found, found / clock)
                   for kernel, found in zip(KERNELS, cycles)]  # fmt: skip
    return result


def step(kernel: Kernel, model: Model, sources: Path) -> float:
    """Cycles of a step, from the kernel's file below `sources`; `UserError` where it cannot be read."""
    path = sources / FOLDER / f"arm64simd_mmm_f32_{kernel.file}.S.raw"
    lines = [line.replace("{{", "{").replace("}}", "}") for line in source(path, sources, REPOSITORY)]
    return cycles_of_loop([*lines * kernel.copies, *END], model, path)[0] / STEPS


def source(path: Path, sources: Path, repository: str) -> list[str]:
    """The lines of a file of a checkout below `sources`; `UserError` where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"--sources: cannot read {path}: {why}; git clone {repository} below {sources}") from None


def cycles_of_loop(lines: list[str], model: Model, path: Path) -> tuple[float, int]:
    """The cycles of a loop's round, and its multiply-adds; `UserError` for a body without any, or what no row names."""
    body = [*filter(None, (" ".join(line.split("//")[0].split()) for line in lines))]
    if lacking := {line for line in body if not instruction(line, model).known}:
        raise UserError(f"--sources: {path} holds what the model lacks: {sorted(lacking)[0]!r}")
    count = sum(instruction(line, model).unit == "multiply" for line in body)
    if not count:
        raise UserError(f"--sources: {path} holds no loop of multiply-adds: expected another version of the file")
    return cycles_per_round(body, model), count


def summary(judged: list[Judged]) -> list[str]:
    """How far off the kernels are, for each core."""
    lines = []
    for name in CORES:
        errors = [abs(1 / each.factor - 1) for each in judged if each.core == name]
        clock = next(each.cycles / each.modelled for each in judged if each.core == name)
        lines.append(f"{name}, {len(errors)} kernels of tract: {statistics.mean(errors):.1%} off on average, "
                     f"{max(errors):.1%} at most, at a clock of {clock:.2f} GHz that fits best")  # fmt: skip
    return lines
