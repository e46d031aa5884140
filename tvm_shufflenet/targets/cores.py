"""The cores whose costs are modelled, by the names of targets.

What LLVM does not model is stated here, and none of it has been checked against a document: the
caches' geometry and the clocks are as commonly given for these chips; how long a line takes from the
next level, how many lines are on their way at a time and how many bytes arrive per cycle are rounded
assumptions, the same in kind for every core.  `lanes` are the rate of fmla in LLVM's model, which a
test reads off, but for the three cores whose notes say that they are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError
from . import resolve

LINE = 64  # bytes, on all of these cores


@dataclass(frozen=True)
class Level:
    """A cache, and what a line costs that is missed there and found in the next level, or in memory."""

    name: str
    kilobytes: int
    ways: int
    latency: int  # cycles until the line arrives, alone
    in_flight: int  # lines on their way at a time, hardware's prefetching included
    bytes_per_cycle: float

    @property
    def cycles_per_line(self) -> float:
        """Lines come one behind the other: latency is divided by those in flight, bandwidth is the floor."""
        return max(self.latency / self.in_flight, LINE / self.bytes_per_cycle)


@dataclass(frozen=True)
class Core:
    """A core, priced with LLVM's scheduling model `model`.

    `lanes` is the bound of fp32 multiply-adds per cycle.  `clocks` are GHz of known boards.
    """

    name: str
    model: str
    lanes: int
    caches: tuple[Level, ...]
    clocks: tuple[tuple[float, str], ...]
    note: str  # whose model it is, and where the figures are from
    since: int = 14  # the first LLVM with this model


def core(name: str) -> Core:
    """The core that a target stands for; `UserError` where none is modelled."""
    spec = resolve(name)
    if spec.name in CORES:
        return CORES[spec.name]
    if spec.arch != "aarch64":
        raise UserError(f"target {name} is {spec.arch}: only AArch64 cores are modelled, {', '.join(CORES)}")
    raise UserError(f"target {name} is no core of its own: expected {', '.join(CORES)}")


def _caches(*levels: tuple[int, int, int, int, float]) -> tuple[Level, ...]:
    return tuple(Level(f"L{i}", *level) for i, level in enumerate(levels, 1))


A57, N1 = "LLVM's model of Cortex-A57", "LLVM's model of Neoverse N1, a Cortex-A76"
LANES, ASSUMED = "lanes are its rate of fmla", "lanes assumed, not looked up"

# KiB, ways, then cycles, lines in flight and bytes per cycle of the level below.
_CORES = (
    Core("cortex-a53", "cortex-a53", 4, _caches((32, 4, 15, 2, 8), (512, 16, 160, 3, 1.6)),
         ((1.2, "Raspberry Pi 3"), (1.4, "Raspberry Pi 3+")),
         "LLVM's own model; pessimistic, as llvm-mca lets no instruction here finish before those in front of it; "
         "lanes: two 64-bit pipes, one 128-bit multiply-add per cycle"),
    Core("cortex-a55", "cortex-a55", 4, _caches((32, 4, 10, 3, 16), (128, 4, 30, 4, 8), (512, 16, 200, 5, 2.5)),
         ((1.8, "RK3566"),), f"LLVM's own model, which starts two 128-bit multiply-adds per cycle; {ASSUMED}: one"),
    Core("cortex-a57", "cortex-a57", 4, _caches((32, 2, 20, 6, 16), (2048, 16, 200, 7, 3)),
         ((1.43, "Jetson Nano"), (2.0, "Jetson TX2")), f"LLVM's own model; {LANES}"),
    Core("cortex-a72", "cortex-a57", 4, _caches((32, 2, 20, 6, 16), (1024, 16, 220, 7, 3)),
         ((1.5, "Raspberry Pi 4"), (1.8, "RK3399")), f"{A57}; {LANES}"),
    Core("cortex-a73", "cortex-a57", 4, _caches((64, 16, 20, 6, 16), (1024, 16, 220, 8, 4)),
         ((2.2, "Amlogic S922X"), (2.36, "Kirin 960")), f"{A57}; {LANES}"),
    Core("cortex-a76", "neoverse-n1", 8, _caches((64, 4, 11, 8, 32), (512, 8, 35, 12, 16), (2048, 16, 260, 16, 5)),
         ((2.4, "Raspberry Pi 5"), (2.4, "RK3588")), f"{N1}; {LANES}", 16),
    Core("cortex-a78", "neoverse-n1", 8, _caches((64, 4, 11, 8, 32), (512, 8, 35, 12, 16), (4096, 16, 280, 20, 6)),
         ((2.6, "Dimensity 1200"),), f"{N1}; {LANES}", 16),
    Core("snapdragon-820", "kryo", 4, _caches((24, 3, 16, 6, 16), (1024, 8, 240, 8, 5)),
         ((2.15, "Snapdragon 820"),), "LLVM's own model, from which the lanes are"),
    Core("snapdragon-835", "cortex-a57", 4, _caches((64, 16, 20, 6, 16), (2048, 16, 250, 8, 4)),
         ((2.45, "Snapdragon 835"),), f"{A57}; {LANES} (A73)"),
    Core("snapdragon-845", "cortex-a57", 4, _caches((64, 16, 12, 6, 16), (256, 8, 35, 8, 16), (2048, 16, 280, 10, 4)),
         ((2.8, "Snapdragon 845"),), f"{A57}; lanes taken as Cortex-A73's"),
    Core("snapdragon-855", "neoverse-n1", 8, _caches((64, 4, 11, 8, 32), (512, 8, 35, 12, 16), (2048, 16, 280, 20, 5)),
         ((2.84, "Snapdragon 855"),), f"{N1}; {LANES} (A76)", 16),
    Core("snapdragon-888", "neoverse-n1", 16,
         _caches((64, 4, 11, 10, 32), (1024, 8, 40, 16, 32), (4096, 16, 300, 24, 7)),
         ((2.84, "Snapdragon 888"),), f"{N1}, which starts half as many multiply-adds; {ASSUMED} (X1)", 16),
    Core("snapdragon-8gen2", "neoverse-n1", 16,
         _caches((64, 4, 11, 12, 32), (1024, 8, 40, 20, 32), (8192, 16, 320, 32, 9)),
         ((3.2, "Snapdragon 8 Gen 2"),), f"{N1}, which starts half as many multiply-adds; {ASSUMED} (X3)", 16),
)  # fmt: skip
CORES = {entry.name: entry for entry in _CORES}
