"""Cortex-A72 as it was measured: a second opinion beside LLVM's scheduling model, which is of Cortex-A57.

    cycles, lacking = bound(["fmla v0.4s, v1.4s, v2.s[0]", ...])

The larger of two bounds of a block that repeats back to back: what its busiest unit needs for a round, and the longest
chain of results from one round into the next.  That is the method of OSACA (J. Laukemann et al., "Automatic throughput
and critical path analysis of x86 and ARM assembly kernels", PMBS 2019); the figures are not OSACA's.

Every load hits and is aligned: a vector load across 16 bytes takes a second cycle, which code does not tell.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .inorder import MODELS, Instruction, instruction

MEASURED = ("cortex-a72",)  # cores
DECODED = 3  # instructions a cycle: github.com/tobast, thesis, "40_A72-frontend"
ROUNDS = 16  # of which the second half is measured
SOURCES = {
    "i": "measured on an NXP LX2160A: github.com/ocxtal/insn_bench_aarch64, results",
    "l": "LLVM's model of Cortex-A57",
    "r": "inferred from rows beside it",
}
# Mnemonics; operands as in `inorder_rules`; unit; cycles of the unit, of which n are vectors in a list; cycles until
# the result is there, and behind ":" as the accumulator of the next; source.  The first row that fits counts.
# There are two pipes for vectors.  "first" and "second" are one of them, by LLVM's model (F0 and F1 of Arm's guide):
# multiplications of integers in the first, shifts and pairwise sums in the second.  "vector" is both, for the cycles
# that the measured rate leaves; also where the pipe is not known.
TABLE = """
fmla,fmls                                            v   vector  1     7:3   i
fmul,fadd,fsub,fabd,fneg,fabs,faddp                  v   vector  1     4     i
fmax,fmin,fmaxnm,fminnm                              v   vector  0.67  3     i
mul,sqdmulh,sqrdmulh                                 v   first   2     4     i
mla,mls                                              v   first   2     4:2   i
smull,smull2,umull,umull2                            v   first   1     4     i
smlal,smlal2,umlal,umlal2,smlsl,smlsl2               v   first   1     4:1   i
sadalp,uadalp                                        v   second  1     4     i
saddlp,uaddlp                                        v   second  1     4     r
scvtf,ucvtf,fcvtzs,fcvtzu,fcvtns,fcvtas,frintn       v   vector  2     3     i
xtn,xtn2                                             v   vector  0.5   3     i
sqxtn,sqxtn2,sqxtun,sqxtun2,uqxtn                    v   second  1     4     i
sxtl,sxtl2,uxtl,uxtl2,shl,sshr,ushr,sshll,ushll,shrn v   second  1     3     i
rshrn,srshl,srshr,ssra,usra                          v   second  1     4     r
tbl,tbx                                              v   vector  1.5n  6     i
fdiv                                                 v   vector  36    36    l
fsqrt                                                v   vector  28    30    i
ins,mov,fmov,dup                                     lx  vector  1     8     i
dup,fmov,scvtf,ucvtf                                 vx  vector  1     8     i
umov,smov,mov,fmov                                   xl  vector  1     7     i
fmov,umov,smov                                       x   vector  1     7     i
ldr,ldur                                             v   load    1     5     l
ldp,ldnp                                             q   load    2     5     i
ldp,ldnp                                             d   load    1     5     l
ld1                                                  l   load    1     8     i
ld1                                                  v   load    n     5     i
ld1r                                                 -   load    1     8     i
ld2                                                  v   load    1.35n 8     i
ld3,ld4                                              v   load    1.47n 8     i
str,stur                                             q   store   2     0     i
str,stur                                             -   store   1     0     r
stp,stnp                                             q   store   4     0     i
stp,stnp                                             -   store   1     0     r
st1                                                  l   store   1     0     i
st1                                                  v   store   2n    0     r
st2,st3,st4                                          v   store   4n    0     r
"""
# Cycles of a unit and until a result is there, of what no row names, by its unit in order: the plain instruction of it.
PLAIN = {
    "vector": ("vector", 0.67, 3), "multiply": ("vector", 1, 7), "wide": ("vector", 0.67, 3), "ins": ("vector", 1, 8),
    "umov": ("vector", 1, 7), "load_x": ("load", 1, 4), "load_2x": ("load", 1, 4), "store_x": ("store", 1, 0),
    "alu": ("integer", 0.5, 1), "integer": ("multiplier", 1, 3), "branch": ("branch", 1, 0), "none": ("", 0, 0),
}  # fmt: skip
SHIFTED = re.compile(r", (?:lsl|lsr|asr|[su]xt[bhwx])\b")  # of an operand: in the multiplier, two cycles (i)


@dataclass(frozen=True)
class Figures:
    unit: str
    cycles: float
    latency: int
    accumulator: int
    known: bool


@functools.cache
def _rows() -> dict[str, list[tuple[str, ...]]]:
    rows: dict[str, list[tuple[str, ...]]] = {}
    for line in TABLE.strip().splitlines():
        mnemonics, operands, *figures, _ = line.split()
        pattern = operands.replace("v", "[qd]").replace("-", "")
        for mnemonic in mnemonics.split(","):
            rows.setdefault(mnemonic, []).append((pattern, *figures))
    return rows


@functools.cache
def _figures(text: str) -> tuple[Instruction, Figures]:
    one = instruction(text, MODELS["cortex-a53"])
    mnemonic, _, operands = text.strip().lower().partition(" ")
    for pattern, unit, cycles, latency in _rows().get(mnemonic, ()):
        if re.match(pattern, one.classes):
            number = float(cycles.rstrip("n") or 1) * (one.vectors if cycles.endswith("n") else 1)
            ready, _, forwarded = latency.partition(":")
            return one, Figures(unit, number, int(ready), int(forwarded or ready), True)
    if one.unit == "alu" and SHIFTED.search(operands):
        return one, Figures("multiplier", 1, 2, 2, True)
    if one.unit in PLAIN and one.known:
        unit, share, ready_in = PLAIN[one.unit]
        return one, Figures(unit, share, ready_in, ready_in, True)
    unit, share, ready_in = PLAIN["vector" if one.classes[:1] in ("q", "d", "l") else "alu"]
    return one, Figures(unit, share, ready_in, ready_in, False)


def bound(texts: Sequence[str]) -> tuple[float, tuple[str, ...]]:
    """Cycles of a round of these instructions, as LLVM writes them, and the mnemonics that no row names."""
    body = [_figures(text) for text in texts]
    units: Counter[str] = Counter()
    for _, figures in body:
        units[figures.unit] += figures.cycles  # type: ignore[assignment]
    pipes = units["vector"] + (units["first"] + units["second"]) / 2
    busiest = max([len(body) / DECODED, pipes, *units.values()])
    lacking = tuple(one.text.split()[0] for one, figures in body if not figures.known)
    return max(busiest, _chain(body)), lacking


def _chain(body: Sequence[tuple[Instruction, Figures]]) -> float:
    """How many cycles later each round has its results than the one before, if units were never busy."""
    ready: dict[str, float] = {}
    accumulator: dict[str, float] = {}
    ends = []
    for _ in range(ROUNDS):
        for one, figures in body:
            needed = [*one.reads, *([one.part] if one.part else [])]
            start = max((ready.get(register, 0) for register in needed), default=0)
            if one.addend:
                start = max(start, accumulator.get(one.addend, ready.get(one.addend, 0)))
            for result in one.results:
                moved = one.memory and result.ready == 1  # an address, whatever is loaded from there
                ready[result.register] = start + (1 if moved else figures.latency)
                accumulator.pop(result.register, None)
                if one.addend == result.register:
                    accumulator[result.register] = start + figures.accumulator
        ends.append(max(ready.values(), default=0))
    half = ROUNDS // 2
    return (ends[-1] - ends[half - 1]) / (ROUNDS - half)
