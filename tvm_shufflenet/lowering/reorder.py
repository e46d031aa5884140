"""Code for Cortex-A53 and A55 in the order that these cores run best: a pass over emitted assembly.

    text = reorder(module.inspect_source("asm"), MODELS["cortex-a53"])

LLVM cannot make this order: its tables of both cores lack the rules of `targets/inorder_rules.py`.  Of each longer
block of instructions the pass makes the cheapest of a few forms, by the same model that prices code:

- A load of a whole vector blocks these cores for two cycles.  Loaded as halves, one of them through a general register
  that is not in use, it goes beside multiply-adds (ncnn's and gemmlowp's kernels do so by hand).
- The first loads of a loop's round are done in the round before; what is left of the last round stands behind the
  loop, so nothing is read that was not read before.
- Instructions then go one by one into the first cycle that they fit, no result read before it is there.
- Where a load may not start as a multiply-add enters the adder, every fourth cycle is kept for loads while any are
  left: three multiply-adds and a load take turns, then come the other multiply-adds.  Loads that go wherever they fit
  break that up, and each break costs a cycle.

The same values are computed from the same values: results are equal to the bit.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from ..targets.inorder import DRAIN, FLAGS, Instruction, Model, Pipeline, cycles_once, cycles_per_round, instruction
from .assembly import find_live, functions_of, instruction_of, jumps, touched, uses, written_by

SHORTEST = 8  # instructions of a block that is worth it
ROUNDS = 2  # that are put in order, so that the last one meets what the one before left
WINDOW = 32  # of instructions that are ready, those that are compared
AHEAD = (0, 4, 8)  # loads that may go into the round before
GREEDY, EAGER, IN_TURNS = "multiply-adds first", "loads first", "loads in turns"  # ways to choose what comes next
SCRATCH = [f"x{i}" for i in (*range(18), *range(19, 29), 30)]  # all but the platform's and the frame's

NOP = "nop"
ACCUMULATES = r"(madd|msub|smaddl|umaddl|smsubl|umsubl) x"
ORDERED = r"ld(a|x)|st(l|x)"  # accesses that other threads see in their order
LOAD = re.compile(r"(ldr|ldur|ldp)\s+q(\d+),\s*(?:q(\d+),\s*)?\[(x\d+|sp)(?:,\s*#(-?\d+))?\]")


def reorder(assembly: str, model: Model, done: Callable[[float], None] = lambda share: None) -> str:
    """The same program in another order.  `done` is told what share of the code, 0 to 1, has been gone through."""
    lines = assembly.splitlines()
    texts = [instruction_of(line) for line in lines]
    changed: dict[int, list[str]] = {}  # what stands in the place of lines
    functions, gone = list(functions_of(lines, texts)), 0
    whole = sum(len(block.lines) for blocks in functions for block in blocks)
    for blocks in functions:
        find_live(blocks, texts, model)
        for block in blocks:
            done(gone / whole)
            gone += len(block.lines)
            body = tuple(texts[line] for line in block.lines)
            inside = lines[block.lines[0] : block.lines[-1] + 1] if body else []
            if (free := _free(body, block.live, model)) is None or any("\t.cfi" in line for line in inside):
                continue
            loop = bool(block.label) and bool(re.fullmatch(rf"b\.\w+ {re.escape(block.label)}", body[-1]))
            labels = [line for line in inside if re.match(r"\.Ltmp\w*:", line)]  # which tables of lines name
            changed.update((line, []) for line in range(block.lines[0], block.lines[-1] + 1))
            changed[block.lines[0]] = [*labels, *_rewritten(body, block.label if loop else "", model, free)]
    return "\n".join(line for number, old in enumerate(lines) for line in changed.get(number, [old])) + "\n"


def _free(body: tuple[str, ...], live: frozenset[str], model: Model) -> tuple[str, ...] | None:
    """General registers that a block may use besides its own; None for a block that stays as it is."""
    ones = [instruction(text, model) for text in body]
    if len(ones) < SHORTEST or not all(one.known for one in ones):
        return None
    # Barriers and system registers stay where they are; a frame is made and left with tables that unwinders read.
    if any(one.unit == "none" and one.text != NOP or "sp" in written_by(one) for one in ones):
        return None
    if any(jumps(text) or text.startswith(("bl ", "blr ")) or re.match(ORDERED, text) for text in body[:-1]):
        return None
    used = live.union(*map(touched, ones))
    return tuple(name for name in SCRATCH if name not in used)


@functools.lru_cache(maxsize=1 << 12)
def _rewritten(body: tuple[str, ...], label: str, model: Model, free: tuple[str, ...]) -> tuple[str, ...]:
    """The lines of a block in its cheapest form, behind its label; `label` is that of a loop, "" of other blocks."""
    price = (lambda found: cycles_per_round(found, model)) if label else (lambda found: cycles_once(found, model))
    best, lines = price(body), [f"\t{text}" for text in body]
    end = [body[-1]] if jumps(body[-1]) or body[-1].startswith("bl") else []
    inner = [text for text in body[: len(body) - len(end)] if text != NOP]
    for halves in (False, True) if free else (False,):
        for ahead in AHEAD if label else AHEAD[:1]:
            rotated = _rotated(inner, body[-1], ahead, free, model)
            if rotated is None or halves and not rotated[-1]:
                continue
            *parts, left = rotated
            first, round_, counter, rest = (_in_halves(part, left) if halves else part for part in parts)
            for way in (GREEDY, EAGER, IN_TURNS) if model.drains else (GREEDY, EAGER):
                found = [*_guarded(_scheduled(tuple([*round_, *counter]), model, way), model, not end), *end]
                if (cycles := price(found)) < best:
                    behind = _guarded(_scheduled(tuple(rest), model, way), model, True)
                    best, lines = cycles, _written(label, first, found, counter, behind)
    return tuple(lines)


def _written(label: str, first: list[str], round_: list[str], counter: list[str], rest: list[str]) -> list[str]:
    """The lines of a block; of a loop whose loads go ahead, what stands in front of it and behind it, too."""
    if not first:
        return [f"\t{text}" for text in round_]
    loop, end = f"{label}_loop", f"{label}_end"
    return [*(f"\t{text}" for text in [*first, *counter, f"b.eq {end}"]),
            f"{loop}:", *(f"\t{text}" for text in [*round_[:-1], f"b.ne {loop}"]),
            f"{end}:", *(f"\t{text}" for text in rest)]  # fmt: skip


def _rotated(
    inner: list[str], branch: str, ahead: int, free: tuple[str, ...], model: Model
) -> tuple[list[str], list[str], list[str], list[str], tuple[str, ...]] | None:
    """What comes in front of the loop, a round, the counting, what comes behind, and registers that are left.

    The first `ahead` vectors that are loaded move behind all else of the round before.  None where that cannot be.
    """
    work = _single_loads(inner)
    if not ahead:
        return [], work, [], [], free
    first = [text for text in work if LOAD.fullmatch(text)][:ahead]
    counted = _counting(work, free, model)
    if counted is None or not branch.startswith("b.ne ") or len(first) < ahead or len(set(work)) < len(work):
        return None
    work, counting, left = counted
    ones = {text: instruction(text, model) for text in work}
    rest = [text for text in work if text not in first]
    if any(one.unit.startswith("store") for one in ones.values()):
        return None
    # What stood in front of these loads comes behind them now: neither may change what the other one reads or writes.
    passed = [ones[text] for text in work[: max(map(work.index, first))] if text in rest]
    moved = [ones[text] for text in first]
    if any(written_by(one) & touched(load) or written_by(load) & touched(one) for one in passed for load in moved):
        return None
    return first, [*rest, *first], counting, rest, left


def _counting(
    work: list[str], free: tuple[str, ...], model: Model
) -> tuple[list[str], list[str], tuple[str, ...]] | None:
    """A loop's body without the end of its counting, which is asked for before the body's own step; registers left.

    What counts and does nothing else is taken out whole; of another register its next value goes to a free one.
    """
    setting = [text for text in work if any(r.register == FLAGS for r in instruction(text, model).results)]
    if len(setting) != 1:
        return None
    others = [text for text in work if text != setting[0]]
    used = set().union(*(touched(instruction(text, model)) for text in others))
    if step := re.fullmatch(r"(add|sub)s ([xw])(\d+), [xw]\3, (#\d+)", setting[0]):
        operation, kind, number, amount = step.groups()
        if f"x{number}" not in used:
            return others, setting, free
        own = f"{operation} {kind}{number}, {kind}{number}, {amount}"
        if not free or own in work:
            return None
        counting = [f"{operation}s {kind}{free[0][1:]}, {kind}{number}, {amount}"]
        return [own if text == setting[0] else text for text in work], counting, free[1:]
    if end := re.fullmatch(r"cmp ([xw])(\d+), (#\d+(?:, lsl #12)?|[xw]\d+)", setting[0]):
        kind, number, limit = end.groups()
        steps = [text for text in others if f"x{number}" in written_by(instruction(text, model))]
        step = (
            re.fullmatch(rf"(add|sub) {kind}{number}, {kind}{number}, (#\d+(?:, lsl #12)?)", steps[0])
            if steps
            else None
        )
        written = set().union(*(written_by(instruction(text, model)) for text in others))
        # The step must come before the comparison, and nothing may change what is compared with.
        if len(steps) != 1 or not step or not free or f"x{limit[1:]}" in written:
            return None
        if work.index(steps[0]) > work.index(setting[0]):
            return None
        next_ = f"{kind}{free[0][1:]}"
        return others, [f"{step[1]} {next_}, {kind}{number}, {step[2]}", f"cmp {next_}, {limit}"], free[1:]
    return None


def _single_loads(texts: list[str]) -> list[str]:
    """Pairs of vectors as two loads."""
    result = []
    for text in texts:
        match = LOAD.fullmatch(text)
        if match and match[3]:
            offset = int(match[5] or 0)
            if match[2] != match[3] and match[1] == "ldp" and offset >= -256:
                result += [_load(f"q{match[2 + i]}", match[4], offset + 16 * i, 16) for i in (0, 1)]
                continue
        result.append(text)
    return result


def _load(register: str, base: str, offset: int, size: int) -> str:
    name = "ldr" if offset >= 0 and offset % size == 0 and offset // size < 4096 else "ldur"
    return f"{name} {register}, [{base}, #{offset}]" if offset else f"{name} {register}, [{base}]"


def _reachable(offset: int) -> bool:
    return -256 <= offset <= 240 or (0 <= offset and offset % 8 == 0 and offset + 8 <= 8 * 4095)


def _nearer(base: str, offset: int, scratch: str) -> tuple[list[str], str, int]:
    """A base and an offset in reach of loads of 64 bits, whose offsets go half as far, and what computes the base."""
    if _reachable(offset):
        return [], base, offset
    pages, offset = divmod(offset, 4096)
    return [f"add {scratch}, {base}, #{pages}, lsl #12"], scratch, offset


def _in_halves(texts: list[str], free: tuple[str, ...]) -> list[str]:
    """Loads of vectors as loads of their lower halves, and of the upper ones through registers that are `free`."""
    result, turn = [], 0
    for text in texts:
        match = LOAD.fullmatch(text)
        if match and not match[3] and (_reachable(int(match[5] or 0)) or int(match[5]) % 16 == 0):
            number, scratch = match[2], free[turn % len(free)]
            turn += 1
            way, base, offset = _nearer(match[4], int(match[5] or 0), scratch)
            result += [*way, _load(f"d{number}", base, offset, 8), _load(scratch, base, offset + 8, 8)]
            result.append(f"mov v{number}.d[1], {scratch}")
        else:
            result.append(text)
    return result


def _guarded(texts: list[str], model: Model, falls: bool) -> list[str]:
    """With a nop between a memory access and a multiply-add, which early Cortex-A53s get wrong else (fault 835769).

    What stands in front of a block may be the one; `falls`: what comes behind, where no branch is between, the other.
    """
    result: list[str] = []
    for text in texts:
        behind = not result or instruction(result[-1], model).memory
        result += [NOP, text] if behind and re.match(ACCUMULATES, text) else [text]
    return [*result, NOP] if falls and result and instruction(result[-1], model).memory else result


@functools.lru_cache(maxsize=1 << 12)
def _scheduled(texts: tuple[str, ...], model: Model, way: str) -> list[str]:
    """The instructions in the order in which the core can issue them; the second time they meet their own results.

    Where several can issue, multiply-adds go first, which must be first in their cycle, or loads do if `EAGER`.
    `IN_TURNS` keeps multiply-adds out of every fourth cycle until the last load has issued.
    """
    ones = [instruction(text, model) for text in texts]
    after, waiting = _dependences(ones)
    rank = _ranks(ones, after)
    pipeline, order = Pipeline(model), list(range(len(ones)))
    for _ in range(ROUNDS):
        order, left = [], list(waiting)
        ready = [index for index, count in enumerate(left) if not count]
        loads = {index for index, one in enumerate(ones) if one.drained} if way == IN_TURNS else set()
        while ready:
            ready.sort()
            at = {index: pipeline.earliest(ones[index]) for index in ready[:WINDOW]}
            if loads:
                kept = (index for index in at if ones[index].unit == "multiply" and at[index] % DRAIN == 0)
                at.update({index: at[index] + 1 for index in kept})

            def key(index: int, at: dict[int, int] = at) -> tuple:
                one = ones[index]
                begins = at[index] > pipeline.cycle
                kind = (one.drained if way == EAGER else one.first) if begins else False
                return at[index], not kind, -rank[index], index

            chosen = min(at, key=key)
            ready.remove(chosen)
            order.append(chosen)
            pipeline.issue(ones[chosen], at[chosen])
            loads.discard(chosen)
            for later in after[chosen]:
                left[later] -= 1
                if not left[later]:
                    ready.append(later)
    return [texts[index] for index in order]


def _dependences(ones: list[Instruction]) -> tuple[list[set[int]], list[int]]:
    """Which instructions must stay behind each, and how many each one waits for."""
    after: list[set[int]] = [set() for _ in ones]
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    stores: list[int] = []
    accesses: list[int] = []
    for index, one in enumerate(ones):
        before: set[int] = set()
        for register in uses(one):
            before |= {writer[register]} if register in writer else set()
        written = written_by(one)
        for register in written:
            before |= {writer[register]} if register in writer else set()
            before |= set(readers.get(register, ()))
        if one.memory:
            before |= set(accesses if one.unit.startswith("store") else stores)
            accesses.append(index)
            if one.unit.startswith("store"):
                stores.append(index)
        for earlier in before - {index}:
            after[earlier].add(index)
        for register in uses(one):
            readers.setdefault(register, []).append(index)
        for register in written:
            writer[register], readers[register] = index, []
    return after, [sum(index in later for later in after) for index in range(len(ones))]


def _ranks(ones: list[Instruction], after: list[set[int]]) -> list[int]:
    """Cycles from the issue of each instruction to the end, were nothing in its way."""
    ranks = [0] * len(ones)
    for index in reversed(range(len(ones))):
        ready = max((result.ready for result in ones[index].results), default=1)
        ranks[index] = max((ready + ranks[later] for later in after[index]), default=0)
    return ranks
