"""The model of cores in order beside pairs of XNNPACK's matrix products, of which one was written for the core.

XNNPACK's commits name the times of both products on one device, which they do not name: their ratio is compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.targets.inorder import MODELS

from .kernel_times import cycles_of_loop, source

REPOSITORY = "https://github.com/google/XNNPACK"
FOLDER = "XNNPACK/src/f32-igemm"
LOOP = re.compile(r"^2:$(.*?^\s*B\.HS\s+2b$)", re.MULTILINE | re.DOTALL)  # the only loop over whole steps


@dataclass(frozen=True)
class Pair:
    """Two products of 4 rows and 8 columns: how many times as fast the second one was measured, and is by the model.

    `files` hold them.  `cycles` are those of a multiply-add of four lanes that the model gave for them.
    """

    core: str
    what: str
    source: str
    files: tuple[str, str]
    published: float
    cycles: tuple[float, float]

    @property
    def modelled(self) -> float:
        return self.cycles[0] / self.cycles[1]

    @property
    def factor(self) -> float:
        """Published over modelled, as elsewhere."""
        return self.published / self.modelled


NAME = "f32-igemm-4x8-minmax-asm-aarch64-neonfma-cortex-{}.S"
A75, A53 = f"gen/{NAME.format('a75')}", f"gen/{NAME.format('a53')}"
# Nanoseconds of MobileNet's products; then microseconds of the whole of MobileNet v2, which is more than products.
PUBLISHED = (
    Pair("cortex-a53", "product for A53 beside that for A75", "commit 7c8e0c7a", (A75, A53), 61078821 / 48954181,
         (1.875, 1.5)),
    Pair("cortex-a55", "MobileNet v2, products for A55 beside those for A53", "commit 8fb90559",
         (A53, NAME.format("a55")), 132632 / 123029, (1.5, 1.46875)),
)  # fmt: skip


def pairs(sources: Path | None) -> list[Pair]:
    """All pairs: priced now from XNNPACK's files below `sources`, or as they were priced before."""
    return [priced(pair, sources) if sources else pair for pair in PUBLISHED]


def priced(pair: Pair, sources: Path) -> Pair:
    """The pair with the model's present prices of its files; `UserError` where these cannot be read."""
    before, after = (multiply_add(sources / FOLDER / name, sources, pair.core) for name in pair.files)
    return Pair(pair.core, pair.what, pair.source, pair.files, pair.published, (before, after))


def multiply_add(path: Path, sources: Path, core: str) -> float:
    """Cycles of a multiply-add of four lanes in the loop of a file."""
    loop = LOOP.search("\n".join(line.split("//")[0].rstrip() for line in source(path, sources, REPOSITORY)))
    lines = [line for line in loop[1].splitlines() if not line.strip().startswith("#")] if loop else []
    cycles, count = cycles_of_loop(lines, MODELS[core], path)
    return cycles / count


def summary(found: list[Pair]) -> list[str]:
    """A line for each pair."""
    return [f"{pair.core}, XNNPACK's {pair.what}: {pair.published:.2f} times as fast ({pair.source}), "
            f"{pair.modelled:.2f} times by the model" for pair in found]  # fmt: skip
