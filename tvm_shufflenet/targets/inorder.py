"""A model of Cortex-A53 and Cortex-A55, which issue at most two instructions a cycle, in order.

    model = MODELS["cortex-a53"]
    cycles, unknown = cycles_per_round(["fmla v0.4s, v1.4s, v2.s[0]", ...], model)

Each instruction goes into the first cycle, not before the one in front of it, in which its registers are
there, its units are free and the rules of `Model` and of `inorder_rules` hold.  Every load hits, every
branch is foreseen.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .inorder_rules import TABLE, UNITS

WIDTH = 2  # instructions a cycle
PIPES = 2  # of 64 bits, for vectors
CAPACITY = {"m": 1, "a": 2, "i": 1, "b": 1, "-": 9}  # of a cycle: loads and stores, ALUs, multiplier, branches
DRAIN = 4  # cycles from a multiply-add until it enters the adder
ROUNDS = 60  # at most, until the rounds of a block repeat themselves
FLAGS = "nzcv"
UNKNOWN = 4  # cycles until the result of an instruction that no row names


@dataclass(frozen=True)
class Model:
    """One core.  `figures` and `pipes` are its columns in `TABLE` and `UNITS`.

    `drains`: no vector load and no move into a vector starts 4 cycles behind a multiply-add, which then enters the
    adder (ncnn's and gemmlowp's comments; that moves are meant too is inferred, as kernels' published times fit then).
    `stores_apart`: no vector store in the cycle behind another one (slothy).
    """

    name: str
    figures: int
    pipes: int
    drains: bool
    stores_apart: bool
    error: str


MODELS = {
    "cortex-a53": Model("Cortex-A53", 0, 0, True, False, "8 % off at most, 4 % on average, of 12 published kernels"),
    "cortex-a55": Model(
        "Cortex-A55 r1", 1, 2, False, True, "11 % off at most, 5 % on average, of 12 published kernels"
    ),
    "cortex-a55-r0": Model("Cortex-A55 r0", 1, 1, False, True, "not compared with any measurement"),
}


@dataclass(frozen=True)
class Result:
    """A register that an instruction writes, cycles until it is there, and until it is there as an accumulator."""

    register: str
    ready: int
    accumulator: int


@dataclass(frozen=True)
class Instruction:
    """What one instruction asks of a core.

    `part` is a register of which a part is replaced, `addend` the accumulator that it adds to.  `issue` are the cycles
    that it issues for, in which it keeps its unit, or everything where it accesses memory.
    """

    text: str
    unit: str
    pipes: int
    shared: str
    first: bool  # of its cycle
    alone: bool
    issue: int
    reads: tuple[str, ...]
    part: str | None
    addend: str | None
    results: tuple[Result, ...]
    known: bool = True
    classes: str = ""  # of the registers outside of brackets
    vectors: int = 0  # in its list, else registers outside of brackets

    @property
    def memory(self) -> bool:
        return self.shared == "m"

    @property
    def drained(self) -> bool:
        """Whether the instruction must not start in the cycle in which a multiply-add enters the adder."""
        return self.unit in ("ins", "load_d", "load_2d", "load_q", "load_lane")


@dataclass(frozen=True)
class _Row:
    operands: str
    unit: str
    how: str
    figures: tuple[tuple[str, str], ...]  # issue and ready, of each core


def _rows() -> dict[str, list[_Row]]:
    rows: dict[str, list[_Row]] = {}
    for line in TABLE.strip().splitlines():
        mnemonic, operands, unit, how, issue53, ready53, issue55, ready55, _, _ = line.split()
        pattern = operands.replace("v", "[qd]").replace("-", "")
        rows.setdefault(mnemonic, []).append(_Row(pattern, unit, how, ((issue53, ready53), (issue55, ready55))))
    return rows


ROWS = _rows()
UNIT_ROWS = {row.split()[0]: row.split()[1:] for row in UNITS.strip().splitlines()}
REGISTER = re.compile(r"\b(?:(?P<x>[xw])(?P<xn>\d+|zr)|(?P<sp>w?sp)|(?P<s>[qdshb])(?P<sn>\d+)"
                      r"|v(?P<vn>\d+)(?:\.(?P<shape>\d*[bhsdq]))?)\b")  # fmt: skip
WIDE = {"16b", "8h", "4s", "2d", "1q", None}


def _registers(text: str) -> list[tuple[str, str]]:
    """Class and name of each register in a text, in order; the zero register has no name."""
    found = []
    for match in REGISTER.finditer(text):
        if match["x"]:
            found.append(("x", "" if match["xn"] == "zr" else f"x{match['xn']}"))
        elif match["sp"]:
            found.append(("x", "sp"))
        elif match["s"]:
            found.append(("q" if match["s"] == "q" else "d", f"v{match['sn']}"))
        else:
            shape = match["shape"]
            kind = "q" if shape in WIDE else "d" if shape[0].isdigit() else "l"
            found.append((kind, f"v{match['vn']}"))
    return found


def _amount(text: str, vectors: int = 1, place: int = 0) -> int:
    """Cycles of a figure: a sum of numbers, multiples of n (`vectors`) and of i (`place`)."""
    total = 0
    for term in text.split("+"):
        scale = {"n": vectors, "i": place}.get(term[-1])
        total += int(term) if scale is None else int(term[:-1] or 1) * scale
    return total


@functools.cache
def instruction(text: str, model: Model) -> Instruction:
    """What the instruction of this text, as LLVM writes it, asks of the core."""
    mnemonic, _, operands = text.strip().lower().partition(" ")
    mnemonic = "b." if mnemonic.startswith("b.") else mnemonic
    outside, bracket, inside = operands.partition("[")
    if not bracket or re.search(r"[vqdshb]\d+\.?\w*$|\}$", outside.strip()):  # an index, not an address
        lane_end = operands.find("[", operands.find("]"))
        outside, inside = (operands, "") if lane_end < 0 else (operands[:lane_end], operands[lane_end + 1 :])
    registers, address = _registers(outside), _registers(inside)
    classes = "".join(kind for kind, _ in registers)
    row = next((row for row in ROWS.get(mnemonic, ()) if re.match(row.operands, classes)), None)
    known = row is not None
    if row is None:
        vector = classes[:1] in ("q", "d", "l")
        row = _Row("", "vector" if vector else "alu", "-", (("1", str(UNKNOWN)),) * 2)

    names = [name for _, name in registers]
    count = len(names) if row.how == "load" else 0 if row.how in ("store", "jump", "compare") else 1
    written, read = names[:count], names[count:]
    addend = part = None
    if row.how == "acc":
        addend = names[0]
    elif row.how == "addend":
        addend = read.pop()
    elif row.how == "merge":
        read = names
    elif row.how == "part":
        part = names[0]
    if row.how == "if":
        read = [*read, FLAGS]
    listed = re.search(r"\{.*\}", outside)
    vectors = len(_registers(listed[0]) if listed else registers)
    issue, ready = row.figures[model.figures]
    latency, _, forwarded = ready.partition(":")
    results = [Result(name, _amount(latency, vectors, i), _amount(forwarded or latency, vectors, i))
               for i, name in enumerate(written) if name]  # fmt: skip
    if row.how in ("flags", "compare"):
        results.append(Result(FLAGS, _amount(latency), _amount(latency)))
    base = [name for _, name in address if name]
    if base and ("]!" in inside or re.search(r"\], ", inside)):
        results.append(Result(base[0], 1, 1))
    *pipes, shared, alone = UNIT_ROWS[row.unit]
    wide = classes[:1] == "q"
    needed = pipes[model.pipes]
    return Instruction(
        text, row.unit, (2 if wide else 1) if needed == "w" else int(needed), shared,
        shared == "-" and row.unit not in ("ins", "umov", "none") and (wide or row.unit == "wide"), alone == "1",
        _amount(issue, vectors), tuple(filter(None, [*read, *base])), part, addend, tuple(results), known, classes,
        vectors,
    )  # fmt: skip


@dataclass
class Pipeline:
    """A core that issues instructions; `cycle` is that of the last one, `end` the first one behind all."""

    model: Model
    cycle: int = 0
    blocked: int = 0  # the first cycle in which anything may issue
    used: Counter = field(default_factory=Counter)  # of this cycle: instructions, pipes, shared units
    ready: dict[str, int] = field(default_factory=dict)
    accumulator: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)  # units
    multiplied: tuple[int, ...] = ()  # the last cycles in which a multiply-add issued
    stored: int = -2

    @property
    def end(self) -> int:
        return max(self.cycle + 1, self.blocked)

    def earliest(self, one: Instruction) -> int:
        """The cycle in which the instruction would issue next."""
        at = max(self.cycle, self.blocked, self.busy.get(one.unit, 0))
        for register in one.reads:
            # A branch looks at flags in the cycle that sets them: cmp and b.cond issue together (qsdr).
            at = max(at, self.ready.get(register, 0) - (register == FLAGS and one.unit == "branch"))
        if one.part:
            at = max(at, self.written.get(one.part, -1) + 1)
        if one.addend:
            at = max(at, self.accumulator.get(one.addend, self.ready.get(one.addend, 0)))
        while not self._fits(one, at):
            at += 1
        return at

    def _fits(self, one: Instruction, at: int) -> bool:
        used = self.used if at == self.cycle else Counter()
        if used["alone"] or used["n"] and (one.first or one.alone):
            return False
        if used["n"] >= WIDTH or used["pipes"] + one.pipes > PIPES or used[one.shared] >= CAPACITY[one.shared]:
            return False
        if self.model.drains and one.drained and at - DRAIN in self.multiplied:
            return False
        return not (self.model.stores_apart and one.unit == "store_v" and at == self.stored + 1)

    def issue(self, one: Instruction, at: int | None = None) -> int:
        """Issues the instruction, in the cycle `at` if that is later than it could; gives its cycle."""
        at = self.earliest(one) if at is None else at
        if at > self.cycle:
            self.used, self.cycle = Counter(), at
        self.used.update({"n": 1, "pipes": one.pipes, one.shared: 1, "alone": one.alone})
        if one.issue > 1:
            if one.memory:
                self.blocked = at + one.issue
            else:
                self.busy[one.unit] = at + one.issue
        if one.unit == "multiply":
            self.multiplied = (*self.multiplied[-2 * DRAIN :], at)
        elif one.unit == "store_v":
            self.stored = at + one.issue - 1
        for result in one.results:
            register, ready = result.register, at + result.ready
            self.ready[register] = max(ready, self.ready.get(register, 0)) if one.part == register else ready
            self.written[register] = at
            if result.accumulator != result.ready:
                self.accumulator[register] = at + result.accumulator
            else:
                self.accumulator.pop(register, None)
        return at

    def state(self) -> tuple:
        """All that the future depends on, seen from the present cycle."""
        now = self.cycle

        def ahead(times: dict[str, int], since: int = 0) -> tuple:
            return tuple(sorted((key, at - now) for key, at in times.items() if at > now - since))

        return (
            tuple(sorted(self.used.items())), max(0, self.blocked - now), ahead(self.ready), ahead(self.accumulator),
            ahead(self.written, 1), ahead(self.busy), tuple(at - now for at in self.multiplied if at >= now - DRAIN),
            max(-1, self.stored - now),
        )  # fmt: skip


def cycles_once(texts: Sequence[str], model: Model) -> int:
    """The cycles of a sequence, on a core that has nothing else to do."""
    pipeline = Pipeline(model)
    for text in texts:
        pipeline.issue(instruction(text, model))
    return pipeline.end


def cycles_per_round(texts: Sequence[str], model: Model) -> float:
    """The cycles of a sequence that repeats back to back, once its rounds are all alike."""
    pipeline = Pipeline(model)
    seen: dict[tuple, tuple[int, int]] = {}
    body = [instruction(text, model) for text in texts]
    for number in range(ROUNDS):
        state = pipeline.state()
        if state in seen:
            before, cycle = seen[state]
            return (pipeline.cycle - cycle) / (number - before)
        seen[state] = number, pipeline.cycle
        for one in body:
            pipeline.issue(one)
    return pipeline.cycle / ROUNDS
