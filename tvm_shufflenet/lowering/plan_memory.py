"""`Program`  =>  the place of every root and scratch in one workspace, in bytes.

Lifetimes are known, so the plan is static: pieces are placed one after the other, each at the lowest offset where it
overlaps none that is alive at the same time.  An output takes the place of an input that dies there, where its kernel
allows.  What kernels may read around their buffers decides how much room there is at both ends of the workspace.

Calls are the time.  Of several pictures a root that each has its own place of, and that is written while they go
through the head one after the other, is alive from the first call on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..schedules import INPUTS, SCRATCH, Operand, round_up
from .program import ALIGN, Call, Program, Root, View


@dataclass
class _Block:
    bytes: int
    first: int
    last: int
    offset: int = -1


# In which order pieces are placed: which one packs best differs; of equal ones the first is taken.
ORDERS: tuple[Callable[[_Block], tuple[int, int]], ...] = (
    lambda b: (-b.bytes, b.first),
    lambda b: (b.first, -b.bytes),
    lambda b: (-b.bytes * (b.last - b.first + 1), b.first),
)


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in bytes, of roots that are no view of another (the first place) and of the scratch of calls, by their
    number.

    `bytes` is the size of the workspace, a multiple of `ALIGN`; `live` the largest sum that is alive at once.
    """

    offsets: dict[Root, int]
    scratch: dict[int, int]
    bytes: int
    live: int

    def start(self, view: View) -> int:
        """Where a view begins, of the first picture."""
        return self.offsets[view.root.home] + view.start

    def start_of(self, operand: Operand, view: View) -> int:
        """Where that operand of a kernel begins, which is given the view, of the first picture."""
        return self.offsets[view.root.home] + view.root.start if operand.whole else self.start(view)

    def describe(self, program: Program) -> str:
        lines = [f"workspace: {self.bytes} bytes; alive at once at most: {self.live} bytes"]
        lines += [f"{root.name}: bytes {offset} +{root.all_bytes}" for root, offset in self.offsets.items()]
        for index, offset in self.scratch.items():
            lines.append(f"scratch of call {index}: bytes {offset} +{scratch_bytes(program.calls[index])}")
        return "\n".join(lines) + "\n"


def scratch_bytes(call: Call) -> int:
    """The bytes of all scratch of a call, one behind the other."""
    return max((offset + size for offset, size in scratch_places(call).values()), default=0)


def scratch_places(call: Call) -> dict[str, tuple[int, int]]:
    """By parameter, where its scratch begins within the scratch of the call, and its size, in bytes."""
    found: dict[str, tuple[int, int]] = {}
    end = 0
    for operand in call.workload.operands():
        if operand.role == SCRATCH:
            start = round_up(end, ALIGN)
            found[operand.name], end = (start, operand.bytes), start + operand.bytes
    return found


def plan_memory(program: Program) -> MemoryPlan:
    """Places everything but the caller's buffers."""
    blocks: dict[object, _Block] = {}
    owner = _replaced(program)  # root -> the root whose memory it uses

    def block_of(root: Root) -> Root:
        while root in owner:
            root = owner[root]
        return root

    for index, call in enumerate(program.calls):
        for view in (*call.inputs, call.output):
            root = view.root.home
            if not root.external:
                first, last = program.alive(root, index)
                block = blocks.setdefault(block_of(root), _Block(root.all_bytes, first, last))
                block.last = last
        if size := scratch_bytes(call):
            blocks[index] = _Block(size, index, index)

    operands = [operand for call in program.calls for operand in call.workload.operands()]
    front = round_up(max((operand.before for operand in operands), default=0), ALIGN)
    behind = max((operand.behind for operand in operands), default=0)
    pieces = list(blocks.values())
    best = min(ORDERS, key=lambda order: _place(sorted(pieces, key=order), front))
    end = _place(sorted(pieces, key=best), front)

    roots = dict.fromkeys(view.root.home for call in program.calls for view in (*call.inputs, call.output))
    offsets = {root: blocks[block_of(root)].offset for root in roots if not root.external}
    live = max((sum(b.bytes for b in pieces if b.first <= i <= b.last) for i in range(len(program.calls))), default=0)
    scratch = {key: block.offset for key, block in blocks.items() if isinstance(key, int)}
    return MemoryPlan(offsets, scratch, max(ALIGN, round_up(end + behind, ALIGN)), live)


def _place(pieces: list[_Block], front: int) -> int:
    """Gives each piece the lowest offset where nothing that is alive at the same time lies; the end of all."""
    placed: list[_Block] = []
    for block in pieces:
        rivals = sorted((b for b in placed if b.first <= block.last and block.first <= b.last), key=lambda b: b.offset)
        offset = front
        for rival in rivals:
            if offset + block.bytes <= rival.offset:
                break
            offset = max(offset, round_up(rival.offset + rival.bytes, ALIGN))
        block.offset = offset
        placed.append(block)
    return max((b.offset + b.bytes for b in placed), default=front)


def _replaced(program: Program) -> dict[Root, Root]:
    """Which root takes the place of which other one: an output that of an input which nothing reads later.

    Not where each region has a place: the verifier takes all of these for filled when the first region is.
    """
    uses: dict[Root, list[int]] = {}
    for index, call in enumerate(program.calls):
        for view in (*call.inputs, call.output):
            uses.setdefault(view.root.home, []).append(index)
    owner: dict[Root, Root] = {}
    for index, call in enumerate(program.calls):
        operands = [operand for operand in call.workload.operands() if operand.role in INPUTS]
        for view, operand in zip(call.inputs, operands):
            old, new = view.root, call.output.root
            alone = sum(other.root.home is old.home for other in call.inputs) == 1
            whole = view.planes == call.output.planes == tuple(range(old.planes)) and old.planes == new.planes
            if (
                call.workload.may_replace(operand.name) and alone and whole and old.plane == new.plane
                and old.dtype == new.dtype and old.places == new.places and call.workload.batch == 1
                and (program.pictures > 1 or old.places == 1)
                and not old.memory and not old.external and not new.external and not new.memory
                and uses[old][-1] == index and uses[new][0] == index and new not in owner
            ):  # fmt: skip
                owner[new] = old
    return owner
