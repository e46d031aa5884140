"""Proves of every program, in every build, what its kernels rely on; a program that breaks a rule is never emitted.

- A kernel is given as many inputs as it takes, as runs of planes that are as large as it says.
- Every plane that a kernel reads holds the channel which it is meant to be, then: planes may hold one channel after
  the other.
- The caller's buffers are given only to kernels that touch nothing around them.
- In the plan, everything that a kernel may read lies in the workspace, and what it writes lies on nothing that
  is alive, but for an input in whose place its output may be.

A failure is a fault of the compiler, never of a network.
"""

from __future__ import annotations

from schedules import INPUT, INPUTS, OUTPUT, RESIDUAL, SCRATCH, WEIGHT, Copy, Operand

from .plan_memory import ALIGN, MemoryPlan
from .program import FLOAT, Call, Channel, Channels, Program, Root, View


class InvalidProgram(AssertionError):
    """The compiler has made a program that would compute something else than the network."""


def verify(program: Program) -> None:
    """What can be told before memory is planned; raises `InvalidProgram`."""
    held: dict[tuple[Root, int], Channel] = {(program.input, channel[1]): channel for channel in program.reads}
    for call in program.calls:
        for operand, view in operands_of(call):
            _check_operand(call, operand, view)
        for view, channels in zip(call.inputs, call.reads, strict=True):
            _demand(_holds(held, view, channels), call, f"reads {view}, which does not hold what it needs")
        for operand, view in operands_of(call):
            _demand(_apart(call, operand, view), call, f"writes {call.output} while it reads that")
        _demand(call.output.root.memory is None, call, f"writes {call.output}, which is a view of other memory")
        held.update(zip([(call.output.root, plane) for plane in call.output.planes], call.writes, strict=True))
    if len(program.outputs) != len(program.writes):
        raise InvalidProgram(f"{len(program.outputs)} buffers for {len(program.writes)} outputs")
    for root, channels in zip(program.outputs, program.writes):
        if not _holds(held, View(root, tuple(range(root.planes))), channels):
            raise InvalidProgram(f"{root.name} does not hold its channels in the end")


def _apart(call: Call, operand: Operand, view: View | None) -> bool:
    """Whether an input has no plane of the output, or is one in whose very place the output may be."""
    if view is None or operand.role == OUTPUT or view.root is not call.output.root:
        return True
    replaces = call.workload.may_replace(operand.name) and view.planes == call.output.planes
    return replaces or not set(view.planes) & set(call.output.planes)


def _holds(held: dict[tuple[Root, int], Channel], view: View, channels: Channels) -> bool:
    """Whether its planes hold these channels; those of a view of other memory, if that holds what it did before."""
    root = view.root
    if root.memory is None:
        return [held.get((root, plane)) for plane in view.planes] == list(channels)
    first = root.offset // (FLOAT * root.memory.plane.size)
    memory = View(root.memory, tuple(range(first, first + len(root.holds))))
    return [index for _, index in channels] == list(view.planes) and _holds(held, memory, root.holds)


def verify_plan(program: Program, plan: MemoryPlan) -> None:
    """What depends on where things lie; raises `InvalidProgram`."""
    last_read = {piece: i for i, call in enumerate(program.calls) for view in call.inputs for piece in _runs(view)}
    last_use: dict[Root, int] = {}
    for (root, *_), index in last_read.items():
        last_use[root] = max(index, last_use.get(root, 0))
    alive: dict[tuple[Root, int, int], None] = {}
    for index, call in enumerate(program.calls):
        for operand, view in operands_of(call):
            if view is not None and not view.root.home.external:
                start = plan.start_of(operand, view)
                inside = start >= operand.before and start + operand.bytes + operand.behind <= plan.bytes
                _demand(inside, call, f"touches memory outside of the workspace around {view}")
        written = [
            (plan.offsets[root] + a, plan.offsets[root] + b) for root, a, b in _runs(call.output) if not root.external
        ]
        if index in plan.scratch:
            size = next(o.bytes for o in call.workload.operands() if o.role == SCRATCH)
            start = plan.scratch[index]
            _demand(start % ALIGN == 0 and start + size <= plan.bytes, call, "has its scratch outside of the workspace")
            written.append((start, start + size))
        replaced = _replaced(call, plan, last_use, index)
        for root, first, last in alive:
            # Which planes of the same root may be written again, `verify` has proved.
            if root in replaced or root is call.output.root or root.external or last_use.get(root, -1) < index:
                continue
            span = plan.offsets[root] + first, plan.offsets[root] + last
            clear = all(span[1] <= a or b <= span[0] for a, b in written)
            _demand(clear, call, f"writes over {root.name}, which is read later")
        if len(written) == 2:
            (a, b), (c, d) = written
            _demand(b <= c or d <= a, call, "has its scratch in its output")
        alive.update(dict.fromkeys(_runs(call.output)))


def operands_of(call: Call) -> list[tuple[Operand, View | None]]:
    """The operands of a call's kernel with their views; None for weights and scratch."""
    inputs = iter(call.inputs)
    operands = call.workload.operands()
    return [
        (o, call.output if o.role == OUTPUT else next(inputs, None) if o.role in INPUTS else None) for o in operands
    ]


def _check_operand(call: Call, operand: Operand, view: View | None) -> None:
    if operand.role in (WEIGHT, SCRATCH):
        return
    if view is None:
        raise _fault(call, f"has no {operand.name}")
    kind = f"{operand.name} {view}"
    _demand(operand.external or not view.root.home.external, call, f"may not be given the caller's buffer as {kind}")
    if operand.whole:
        _check_table(call, operand, view, kind)
        return
    _demand(operand.bytes <= view.bytes, call, f"takes {operand.bytes} bytes, {kind} has {view.bytes}")
    if isinstance(call.workload, Copy):
        return
    _demand(not view.root.interleaved, call, f"cannot read interleaved channels, as {kind} has")
    first = view.first
    order = call.workload.order(len(view.planes)) if operand.role == OUTPUT else range(len(view.planes))
    _demand(view.planes == tuple(first + place for place in order), call, f"needs its channels in order, unlike {kind}")
    _demand(operand.bytes == view.bytes, call, f"takes {operand.bytes} bytes, {kind} has {view.bytes}")


def _check_table(call: Call, operand: Operand, view: View, kind: str) -> None:
    """Of a kernel that is given a whole root, and the planes in a table."""
    _demand(operand.bytes == view.root.bytes, call, f"takes {operand.bytes} bytes, the root of {kind} is another")
    _demand(len(set(view.planes)) == len(view.planes), call, f"has the same plane twice in {kind}")
    tables = dict(zip((INPUT, OUTPUT, RESIDUAL), call.parameters[2:]))
    _demand(tuple(tables[operand.role]) == view.planes, call, f"has a table of other planes than {kind}")


def _replaced(call: Call, plan: MemoryPlan, last_use: dict[Root, int], index: int) -> set[Root]:
    """The inputs in whose very place the output lies, as its kernel allows: nothing reads them behind this call."""
    found = set()
    for operand, view in operands_of(call):
        if view is None or operand.role == OUTPUT or not call.workload.may_replace(operand.name):
            continue
        root = view.root.home
        dies = last_use.get(root) == index and sum(other.root.home is root for other in call.inputs) == 1
        outside = root.external or call.output.root.home.external
        if dies and not outside and view.planes == call.output.planes:
            found |= {root} if plan.start(view) == plan.start(call.output) else set()
    return found


def _runs(view: View) -> list[tuple[Root, int, int]]:
    """The bytes of a view within its home, neighbouring planes together."""
    return [(view.root.home, view.root.start + first, view.root.start + last) for first, last in _spans(view)]


def _spans(view: View) -> list[tuple[int, int]]:
    size = 4 * view.root.plane.size
    spans: list[tuple[int, int]] = []
    for plane in sorted(set(view.planes)):
        if spans and spans[-1][1] == plane * size:
            spans[-1] = (spans[-1][0], (plane + 1) * size)
        else:
            spans.append((plane * size, (plane + 1) * size))
    return spans


def _demand(holds: bool, call: Call, what: str) -> None:
    if not holds:
        raise _fault(call, what)


def _fault(call: Call, what: str) -> InvalidProgram:
    return InvalidProgram(f"layer {call.layer}: its kernel {call.workload.name} {what}")
