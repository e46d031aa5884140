"""The cores whose costs are modelled, by the names of targets: which model prices them, and their memory.

Caches are those of one named board, in cycles of its clock.  Each level says where its figures are from and
which of them are assumed; `docs/estimation.md` says how wrong the whole was found.  `lanes` are the rate of fmla
that was measured (cpufp) or that LLVM's model has, which a test reads off.

Sources: TRM: Arm's technical reference manuals DDI 0500 (A53), 100442 (A55), 100095 (A72), 100798 (A76).  sbc:
github.com/ThomasKaiser/sbc-bench, results/NAME.txt: latency of dependent loads (ramlat), NEON reads and fills
(tinymembench).  cpufp: github.com/pigirons/cpufp.  ib: github.com/ocxtal/insn_bench_aarch64.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..errors import UserError
from . import IN_ORDER, resolve

LINE = 64  # bytes, on all of these cores
# Records name both: raise them where prices change.
IN_ORDER_VERSION = 1  # of the prices of `targets/inorder.py`
MISSES_VERSION = 1  # of the caches below and of what their misses cost
# Of targets that are no core of their own, the cores that stand for them.
STAND_INS = {"arm": ("cortex-a72", "cortex-a76")}


@dataclass(frozen=True)
class Level:
    """A cache, and what a line costs that is missed there and found in the next level, or in memory.

    `latency` is in cycles, of a line that waits for the one before it; `in_flight` are lines on their way at a time,
    the hardware's prefetching included; `read` and `write` are bytes per cycle.  `assumed` names the fields for which
    no source was found.
    """

    name: str
    kilobytes: int
    ways: int
    latency: int
    in_flight: int
    read: float
    write: float
    source: str = ""
    assumed: str = ""

    @property
    def cycles_per_line(self) -> float:
        """Cycles of a line among lines that are read one behind the other.

        Latency is divided by the lines in flight; bandwidth is the floor.
        """
        return max(self.latency / self.in_flight, LINE / self.read)

    @property
    def cycles_per_stored_line(self) -> float:
        """Cycles of a stored line: stores wait for nothing but the room to go to."""
        return LINE / self.write


@dataclass(frozen=True)
class Core:
    """A core, priced by the model `in_order` of `targets/inorder.py`, or with LLVM's scheduling model `model`.

    `lanes` is the bound of fp32 multiply-adds per cycle.  `board` is whose memory `caches` are; `clocks` are GHz of
    known boards.
    """

    name: str
    model: str
    lanes: int
    board: str
    caches: tuple[Level, ...]
    clocks: tuple[tuple[float, str], ...]
    note: str  # whose model LLVM's is, and where the lanes are from
    since: int = 14  # the first LLVM with this model
    in_order: str = ""

    @property
    def priced_by(self) -> str:
        """What prices kernels when records are made: the model of the core, and that misses are in the price."""
        return f"{f'{self.in_order} {IN_ORDER_VERSION}' if self.in_order else 'llvm'}, misses {MISSES_VERSION}"

    def cycles_per_lone_line(self, level: Level) -> float:
        """Cycles of a line that no prefetcher foresees: in order it is waited for, out of order such lines overlap."""
        return max(level.latency / (1 if self.model in IN_ORDER else level.in_flight), level.cycles_per_line)

    def computing(self, dtype: str) -> Core:
        """The core with its bound of multiply-adds in that dtype.

        Twice as many halves fit into a vector.  Of bytes smmla multiplies eight times as many as there are floats, sdot
        four times and smull twice as many.
        """
        if dtype == "int8":
            from .detect import features_of

            features = features_of(resolve(self.name).tvm)
            return replace(self, lanes=(8 if "i8mm" in features else 4 if "dotprod" in features else 2) * self.lanes)
        return replace(self, lanes=2 * self.lanes) if dtype == "float16" else self


def core(name: str) -> Core:
    """The core that a target stands for; `UserError` where none is modelled."""
    spec = resolve(name)
    if spec.name in CORES:
        return CORES[spec.name]
    if spec.arch != "aarch64":
        raise UserError(f"target {name} is {spec.arch}: only AArch64 cores are modelled, {', '.join(CORES)}")
    raise UserError(f"target {name} is no core of its own: expected {', '.join(CORES)}")


def cores_of(name: str) -> tuple[Core, ...]:
    """The cores by which code for a target is judged: its own, or those that stand for a target of many cores."""
    return tuple(map(core, STAND_INS.get(resolve(name).name, (name,))))


def mean_cycles(cycles: Iterable[float]) -> float:
    """Cycles on several cores as one figure, their geometric mean: the ratio of two such favours no core."""
    return statistics.geometric_mean(cycles)


ALL = "latency in_flight read write"
FLOW = "in_flight read write"
A57, N1 = "LLVM's model of Cortex-A57", "LLVM's model of Neoverse N1, a Cortex-A76"
N2 = "LLVM's model of Neoverse N2, which LLVM takes for Cortex-A77 and A78 from 22 on"
LANES, CPUFP = "lanes are its rate of fmla", "lanes by cpufp"

_CORES = (
    Core("cortex-a53", "cortex-a53", 4, "Raspberry Pi 3B+, 1.4 GHz", (
             Level("L1", 32, 4, 31, 4, 8, 8, "TRM; sbc 3DtN, 4o1A: 27 to 35 cycles", FLOW),
             Level("L2", 512, 16, 234, 6, 1.6, 1.2, "TRM; sbc 1iI5: 168 ns, reads 2148 to 2368, fills 1639 MB/s",
                   "in_flight")),
         ((1.2, "Raspberry Pi 3"), (1.4, "Raspberry Pi 3+")), f"LLVM's own model; {CPUFP}", in_order="cortex-a53"),
    Core("cortex-a55", "cortex-a55", 4, "RK3566, 1.8 GHz: no private L2", (
             Level("L1", 32, 4, 31, 4, 8, 8, "TRM; sbc 4qJF: 28 to 35 cycles", FLOW),
             Level("L3", 512, 16, 282, 7, 2.5, 3.2, "sbc 4qJF: 149 ns, fills 6104 MB/s", "in_flight read")),
         ((1.8, "RK3566"),), f"LLVM's own model; {CPUFP}", in_order="cortex-a55"),
    Core("cortex-a510", "cortex-a510", 8, "Dimensity 9000, taken as Orion O6's Cortex-A520 but for sizes", (
             Level("L1", 32, 4, 15, 4, 16, 16, "", f"kilobytes {ALL}"),
             Level("L2", 256, 8, 73, 6, 8, 8, "sbc 88LE: 73 cycles (A520)", f"kilobytes {FLOW}"),
             Level("L3", 8192, 16, 293, 10, 4.6, 8.6, "sbc 88LE: 163 ns, copies 8206, fills 15579 MB/s (A520)",
                   "in_flight read")),
         ((1.8, "Dimensity 9000"), (1.8, "Snapdragon 8 Gen 1")), f"LLVM's own model, of a vector unit of 2 x 128 bits "
         f"for each core; {LANES}, a core with 2 x 64 bits has half", 17),
    Core("cortex-a57", "cortex-a57", 4, "Jetson Nano", (
             Level("L1", 32, 2, 20, 6, 16, 16, "", ALL), Level("L2", 2048, 16, 200, 7, 3, 2, "", ALL)),
         ((1.43, "Jetson Nano"), (2.0, "Jetson TX2")), f"LLVM's own model; {LANES}"),
    Core("cortex-a72", "cortex-a57", 4, "Raspberry Pi 4, 1.8 GHz", (
             Level("L1", 32, 2, 21, 6, 16, 16, "TRM: six in flight; sbc 3OBF", "read write"),
             Level("L2", 1024, 16, 260, 7, 2.6, 1.7, "TRM; sbc 3OBF: 140 to 150 ns, fills 3122; 1MFf: reads 3943 MB/s",
                   "in_flight")),
         ((1.5, "Raspberry Pi 4"), (1.8, "RK3399")), f"{A57}; {CPUFP}"),
    Core("cortex-a73", "cortex-a57", 4, "Amlogic S922X, 2.4 GHz", (
             Level("L1", 32, 16, 26, 6, 16, 16, "sbc 3DtN, 4o1A: answers as 32 KiB, 25 to 28 cycles", f"ways {FLOW}"),
             Level("L2", 1024, 16, 302, 8, 4, 3.8, "sbc 4o1A: 124 to 128 ns, fills 9234 MB/s", "in_flight read")),
         ((2.2, "Amlogic S922X"), (2.36, "Kirin 960")), f"{A57}; {LANES}"),
    Core("cortex-a76", "neoverse-n1", 8, "Raspberry Pi 5, 2.4 GHz", (
             Level("L1", 64, 4, 11, 8, 32, 32, "TRM; sbc 8-NK: 9 to 12 cycles", FLOW),
             Level("L2", 512, 8, 41, 12, 16, 16, "TRM; sbc 8-NK", FLOW),
             Level("L3", 2048, 16, 269, 16, 5, 4.2, "sbc 8-NK: 107 to 117 ns, fills 10012 MB/s", "in_flight read")),
         ((2.4, "Raspberry Pi 5"), (2.4, "RK3588")), f"{N1}; {CPUFP}", 16),
    Core("cortex-a78", "neoverse-n2", 8, "Genio 1200, 2.2 GHz", (
             Level("L1", 64, 4, 12, 8, 32, 32, "sbc 4Kvg", FLOW), Level("L2", 256, 8, 44, 12, 16, 16, "sbc 4Kvg", FLOW),
             Level("L3", 4096, 16, 280, 20, 6.4, 8.6, "sbc 4Kvg: 127 ns, copies 14143, fills 18996 MB/s", "in_flight")),
         ((2.6, "Dimensity 1200"),), f"{N2}; {LANES}", 16),
    Core("cortex-a710", "neoverse-n2", 8, "Dimensity 9000, taken as Genio 1200 but for sizes", (
             Level("L1", 64, 4, 12, 8, 32, 32, "", ALL), Level("L2", 512, 8, 44, 12, 16, 16, "", ALL),
             Level("L3", 8192, 16, 280, 20, 6.4, 8.6, "", ALL)),
         ((2.85, "Dimensity 9000"), (2.5, "Snapdragon 8 Gen 1")), f"LLVM's model of Neoverse N2, a Cortex-A710; "
         f"{LANES}", 16),
    Core("snapdragon-820", "kryo", 4, "Snapdragon 820: only sizes were found", (
             Level("L1", 32, 4, 16, 6, 16, 16, "", f"ways {ALL}"),
             Level("L2", 1024, 8, 240, 8, 5, 4, "", f"ways {ALL}")),
         ((2.15, "Snapdragon 820"),), "LLVM's own model, from which the lanes are"),
    Core("snapdragon-835", "cortex-a57", 4, "Snapdragon 835, 2.36 GHz", (
             Level("L1", 64, 16, 23, 6, 16, 16, "sbc 4fdD", FLOW),
             Level("L2", 2048, 16, 267, 8, 4.1, 6, "sbc 4fdD: 113 ns, copies 9722, fills 14068 MB/s", "in_flight")),
         ((2.45, "Snapdragon 835"),), f"{A57}; {LANES} (A73)"),
    Core("snapdragon-845", "cortex-a57", 4, "Snapdragon 845", (
             Level("L1", 64, 16, 12, 6, 16, 16, "", ALL), Level("L2", 256, 8, 35, 8, 16, 16, "", ALL),
             Level("L3", 2048, 16, 280, 10, 4, 4, "", ALL)),
         ((2.8, "Snapdragon 845"),), f"{A57}; lanes taken as Cortex-A73's"),
    Core("snapdragon-855", "neoverse-n1", 8, "Snapdragon 855, taken as Raspberry Pi 5 but for memory", (
             Level("L1", 64, 4, 11, 8, 32, 32, "", ALL), Level("L2", 512, 8, 41, 12, 16, 16, "", ALL),
             Level("L3", 2048, 16, 280, 20, 5, 5, "", ALL)),
         ((2.84, "Snapdragon 855"),), f"{N1}; {LANES} (A76)", 16),
    Core("snapdragon-888", "neoverse-v1", 16, "8cx Gen 3 (Cortex-X1C), 3.0 GHz: no phone was found", (
             Level("L1", 64, 4, 12, 10, 32, 32, "sbc 4xwT: 10 to 12 cycles", FLOW),
             Level("L2", 1024, 8, 74, 16, 32, 32, "sbc 4xwT: 70 to 78 cycles", FLOW),
             Level("L3", 4096, 16, 470, 24, 5.5, 14, "sbc 4xwT: 136 to 179 ns, copies 16539, fills 41912 MB/s",
                   "in_flight")),
         ((2.84, "Snapdragon 888"),), f"LLVM's model of Neoverse V1, a Cortex-X1; {LANES}, by element 2.7 vectors a "
         "cycle were measured (ib)", 17),
    Core("snapdragon-8gen2", "neoverse-v1", 16, "Snapdragon 8 Gen 2", (
             Level("L1", 64, 4, 11, 12, 32, 32, "", ALL), Level("L2", 1024, 8, 40, 20, 32, 32, "", ALL),
             Level("L3", 8192, 16, 320, 32, 9, 9, "", ALL)),
         ((3.2, "Snapdragon 8 Gen 2"),), f"LLVM's model of Neoverse V1, a Cortex-X1; {LANES} (X3)", 17),
)  # fmt: skip
CORES = {entry.name: entry for entry in _CORES}

# What `benchmarks.model_trust` found of ShuffleNet 1x g=3 and MobileNet 1.0: ncnn's published times over the model's.
FOUND = {
    "cortex-a53": "ncnn's times on two boards are 1.33 to 1.70 of the model's, 0.77 to 0.88 of those with misses",
    "cortex-a72": "ncnn's times on two boards are 1.20 to 1.51 of the model's, 0.77 to 0.85 of those with misses",
    "snapdragon-820": "ncnn's times on one board are 1.24 to 1.29 of the model's, 0.81 to 0.86 of those with misses",
}
NOT_FOUND = "no network was compared with a board"

# The memory of other boards with these cores, by the boards' names in `published`.
MEMORY = {
    "RK3399, little core": (
        Level("L1", 32, 4, 31, 4, 8, 8, "TRM; sbc 3DtN, 4o1A: 27 to 35 cycles", FLOW),
        Level("L2", 512, 16, 248, 6, 1.6, 5.5, "TRM; sbc 2yIx: 164 ns, fills 8376 MB/s", "in_flight read")),
    "RK3399, big core": (
        Level("L1", 32, 2, 20, 6, 16, 16, "TRM: six in flight; sbc 2yIx", "read write"),
        Level("L2", 1024, 16, 335, 7, 2.6, 4.2, "TRM; sbc 2yIx: 165 to 170 ns, fills 8358 MB/s", "in_flight read")),
}  # fmt: skip
