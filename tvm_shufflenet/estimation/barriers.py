"""What the barriers of a team cost: counted in a library's AArch64 code, priced like kernels, with lines that move.

    barriers = count_barriers(Path("model.so"), core("cortex-a72"), threads=4)
    barriers.share(estimate.network.total_cycles)  # of the time that a picture takes

`library/team.c` has the barrier.  A thread that arrives adds 1 to a counter, which all of them write: its cache line
goes from core to core, one after the other.  The last thread writes another line, which the others read again.  So
`2 * threads` lines move one after the other at most, as none of these cores can do two such steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..library.elf import Elf, Symbol, read_elf
from ..library.interface import check_one_picture
from ..library.loading import read_manifest
from ..library.symbols import prefix_in, renamed
from ..targets.cores import Core
from .counting import WORD, Block
from .instructions import words_of
from .pricing import price

LINE_CYCLES = 200  # assumed of a line that another core of the cluster has written; no source
_BRANCHES = (0x25, 0x05)  # bl and b, as the upper six bits of an instruction


@dataclass(frozen=True)
class Barriers:
    """`count` barriers of a picture; `instructions` and `cycles` are those of one, without the time spent waiting."""

    threads: int
    count: int
    instructions: int
    cycles: float

    @property
    def lines(self) -> int:
        """Cache lines that move in one barrier, one after the other."""
        return 2 * self.threads

    @property
    def all_cycles(self) -> float:
        """The cycles of all barriers of a picture."""
        return self.count * (self.cycles + self.lines * LINE_CYCLES)

    def share(self, cycles: float) -> float:
        """The barriers' share of a picture's time, if its work of so many cycles is divided without a rest."""
        return self.all_cycles / (self.all_cycles + cycles / self.threads)

    def to_json(self, cycles: float) -> dict:
        return {
            "threads": self.threads, "barriers": self.count, "instructions_of_one": self.instructions,
            "cycles_of_one": self.cycles, "lines_of_one": self.lines, "assumed_cycles_of_a_line": LINE_CYCLES,
            "cycles": self.all_cycles, "share": self.share(cycles),
        }  # fmt: skip


def count_barriers(library: Path, core: Core, threads: int, size: tuple[int, int] | None = None) -> Barriers:
    """The barriers of a picture; `UserError` for a library without code for teams, or for other processors."""
    elf, manifest = read_elf(library), read_manifest(library, size)
    check_one_picture(library, manifest, "the estimate")
    if "threads" not in manifest:
        raise UserError(f"{library} is not made for --threads {threads}: build it anew, without --one-thread")
    if elf.arch != "aarch64":
        raise UserError(f"{library} is for {elf.arch}: only AArch64 libraries can be counted")
    entry = elf.exported[renamed("tsn_run_team_outputs", prefix_in(manifest))]
    main, _ = _called(elf, entry, "tsn_team_main")
    barrier, count = _called(elf, main, "tsn_barrier")
    code = elf.contents(barrier)
    (cost,) = price([Block(barrier.address, code, 1)], core)
    return Barriers(threads, count, len(code) // WORD, cost.cycles)


def _called(elf: Elf, caller: Symbol, name: str) -> tuple[Symbol, int]:
    """The function of that name which the caller calls, and from how many places.

    A library of several sizes has a function of that name for each.
    """
    named = {symbol.address: symbol for symbol in elf.functions if symbol.name == name}
    targets = [
        caller.address + at * WORD + WORD * _signed(word & 0x3FFFFFF)
        for at, word in enumerate(int.from_bytes(each, "little") for each in words_of(elf.contents(caller)))
        if word >> 26 in _BRANCHES
    ]
    found = [target for target in targets if target in named]
    if not found:
        raise UserError(f"{elf.path}: its code for teams is not to be found, build it anew")
    return named[found[0]], len(found)


def _signed(word: int) -> int:
    """A number of 26 bits."""
    return word - (1 << 26) if word >> 25 else word
