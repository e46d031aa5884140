"""What the compiler decided, as the manifest of a library keeps it; see library/plan.py."""

from __future__ import annotations

from ..library.plan import packed
from ..lowering.costs import call_bytes, call_multiply_adds, what
from ..lowering.plan_memory import MemoryPlan, scratch_bytes
from ..lowering.program import Program, Root, ScheduledKernel


def plan_of(program: Program, plan: MemoryPlan, kernels: list[ScheduledKernel]) -> dict:
    """Kernels with their knobs, calls in order, and where and how long every root lies in the workspace."""
    names = {kernel.workload: kernel.name for kernel in kernels}
    calls = [
        {"kernel": names[call.workload], "layer": call.layer, "what": what(call),
         "inputs": list(map(str, call.inputs)), "output": str(call.output),
         "multiply_adds": call.copies * call_multiply_adds(call), "bytes": call.copies * call_bytes(call)}
        for call in program.calls
    ]  # fmt: skip
    chosen = [
        {"kernel": kernel.name, "knobs": kernel.knobs, "record": kernel.record, "choices": kernel.choices}
        for kernel in kernels
    ]
    return {
        "kernels": packed("kernels", chosen),
        "calls": packed("calls", calls),
        "memory": packed("memory", [*_roots(program, plan), *_scratch(program, plan)]),
    }


def _roots(program: Program, plan: MemoryPlan) -> list[dict]:
    used: dict[Root, list[int]] = {}
    for index, call in enumerate(program.calls):
        for view in (*call.inputs, call.output):
            used.setdefault(view.root.home, []).append(index)
    return [
        {"root": root.name, "offset": offset, "bytes": root.all_bytes,
         "first": program.alive(root, used[root][0])[0], "last": program.alive(root, used[root][-1])[1],
         "planes": root.planes, "height": root.plane.height, "width": root.plane.width, "pitch": root.plane.pitch,
         "size": root.plane.size}
        for root, offset in plan.offsets.items()
    ]  # fmt: skip


def _scratch(program: Program, plan: MemoryPlan) -> list[dict]:
    none = dict.fromkeys(("planes", "height", "width", "pitch", "size"), 0)
    return [
        {"root": f"scratch of call {index}", "offset": offset, "bytes": scratch_bytes(program.calls[index]),
         "first": index, "last": index, **none}
        for index, offset in plan.scratch.items()
    ]  # fmt: skip
