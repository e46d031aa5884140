"""`Program`  =>  offsets of every tensor and scratch in one workspace.

Lifetimes are known, so the plan is static: tensors are placed largest first, each at the lowest
offset where it overlaps no tensor that is alive at the same time.  The output of a residual add
takes the place of the residual, which dies there.
"""

from __future__ import annotations

from dataclasses import dataclass

from schedules import round_up

from .program import Program, Tensor

ALIGN = 16  # floats: 64 bytes, a cache line and the widest vector
# Window kernels load whole vectors around the pixels they use: a few floats before and behind.
GUARD = 64


@dataclass
class _Block:
    floats: int
    first: int
    last: int
    offset: int = -1


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in floats; `floats` is the size of the workspace, `live` the largest sum alive at once."""

    offsets: dict[Tensor, int]
    scratch: dict[int, int]
    floats: int
    live: int

    @property
    def bytes(self) -> int:
        return 4 * self.floats

    def describe(self, program: Program) -> str:
        lines = [f"workspace: {4 * self.floats} bytes; alive at once at most: {4 * self.live} bytes"]
        for index, call in enumerate(program.calls):
            if call.output in self.offsets:
                lines.append(f"{call.output.name}: floats {self.offsets[call.output]} +{call.output.floats}")
            if index in self.scratch:
                lines.append(f"scratch of call {index}: floats {self.scratch[index]} +{call.workload.scratch}")
        return "\n".join(lines) + "\n"


def plan_memory(program: Program) -> MemoryPlan:
    """Places everything but the caller's input and output."""
    blocks: dict[object, _Block] = {}
    outside = {program.input, program.output}
    owner: dict[Tensor, Tensor] = {}  # root tensor -> the root whose memory it uses

    def home(tensor: Tensor) -> Tensor:
        root = tensor.root
        return owner.get(root, root)

    last_use = {t.root: i for i, call in enumerate(program.calls) for t in call.inputs}
    for index, call in enumerate(program.calls):
        if len(call.inputs) == 2:
            residual = call.inputs[1]
            if last_use[residual.root] == index and residual.root not in outside and call.output.base is None:
                owner[call.output.root] = home(residual)
        for tensor in (*call.inputs, call.output):
            root = home(tensor)
            if root not in outside:
                block = blocks.setdefault(root, _Block(root.floats, index, index))
                block.last = index
        if call.workload.scratch:
            blocks[index] = _Block(call.workload.scratch, index, index)

    placed: list[_Block] = []
    for block in sorted(blocks.values(), key=lambda b: (-b.floats, b.first)):
        rivals = sorted((b for b in placed if b.first <= block.last and block.first <= b.last), key=lambda b: b.offset)
        offset = GUARD
        for rival in rivals:
            if offset + block.floats <= rival.offset:
                break
            offset = max(offset, round_up(rival.offset + rival.floats, ALIGN))
        block.offset = offset
        placed.append(block)

    roots = {t for call in program.calls for t in (*call.inputs, call.output)} - outside
    offsets = {t: blocks[home(t)].offset + t.root_offset for t in roots}
    live = max((sum(b.floats for b in placed if b.first <= i <= b.last) for i in range(len(program.calls))), default=0)
    end = max((b.offset + b.floats for b in placed), default=0)
    return MemoryPlan(
        offsets, {k: b.offset for k, b in blocks.items() if isinstance(k, int)}, round_up(end + GUARD, ALIGN), live
    )
