"""Proves of every program, in every build, what its kernels rely on; a program that breaks a rule is never emitted.

- A kernel is given as many inputs as it takes, as runs of planes of the size and dtype that it says.
- Every plane that a kernel reads holds the channel which it is meant to be, then: planes may hold one channel after
  the other.
- The caller's buffers are given only to kernels that touch nothing around them.
- In the plan, everything that a kernel may read lies in the workspace, and what it writes lies on nothing that
  is alive, but for an input in whose place its output may be.  Of several pictures that holds for all that is executed.

A failure is a fault of the compiler, never of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..schedules import INPUT, INPUTS, OUTPUT, RESIDUAL, SCRATCH, WEIGHT, Copy, Operand
from .plan_memory import MemoryPlan, scratch_bytes
from .program import ALIGN, Call, Channel, Channels, Program, Root, View

_Value = tuple[Root, int]  # what a root holds of that picture


class InvalidProgram(AssertionError):
    """The compiler has made a program that would compute something else than the network."""


def verify(program: Program) -> None:
    """Proves what can be told before memory is planned; raises `InvalidProgram`."""
    held: dict[tuple[Root, int], Channel] = {(program.input, channel[1]): channel for channel in program.reads}
    for call in program.calls:
        for operand, view in operands_of(call):
            _check_operand(call, operand, view)
            alone = view is None or program.pictures > 1 or call.copies > 1 or view.root.home.places == 1
            _demand(alone or operand.name in call.workload.gathers, call, f"reads {view}, of which each region has one")
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
    first = root.offset // (root.itemsize * root.memory.plane.size)
    memory = View(root.memory, tuple(range(first, first + len(root.holds))))
    return [index for _, index in channels] == list(view.planes) and _holds(held, memory, root.holds)


def verify_plan(program: Program, plan: MemoryPlan) -> None:
    """Proves what depends on where things lie; raises `InvalidProgram`."""
    steps = [(program.calls[index], index, pictures) for index, pictures in _executed(program)]
    held_by = _values(program)
    runs = {view: _runs(view) for call in program.calls for view in (*call.inputs, call.output)}
    last_use = {
        held_by(view.root.home, picture): time
        for time, (call, _, pictures) in enumerate(steps)
        for view in call.inputs
        for picture in pictures
    }
    alive: dict[_Value, set[tuple[int, int]]] = {}  # where in the workspace each lies
    for time, (call, index, pictures) in enumerate(steps):
        _check_inside(call, pictures, plan)
        root = call.output.root.home
        stored = {held_by(root, picture): _places(runs[call.output], root, picture, plan) for picture in pictures}
        if call.copies > 1 and root.places > 1:  # what the regions between the first one and the last one fill
            stored = {value: [(plan.offsets[root], plan.offsets[root] + root.all_bytes)] for value in stored}
        written = [span for spans in stored.values() for span in spans]
        if index in plan.scratch:
            start = plan.scratch[index]
            scratch = start, start + scratch_bytes(call)
            _demand(start % ALIGN == 0 and scratch[1] <= plan.bytes, call, "has its scratch outside of the workspace")
            _demand(_clear([scratch], written), call, "has its scratch in its output")
            written.append(scratch)
        replaced = _replaced(call, plan, last_use, time, pictures, held_by)
        alive = {value: spans for value, spans in alive.items() if last_use.get(value, -1) >= time}
        for value, spans in alive.items():
            # Which planes of the same root may be written again, `verify` has proved.
            if value not in replaced and value not in stored:
                _demand(_clear(spans, written), call, f"writes over {value[0].name}, which is read later")
        for value, places in stored.items():
            alive.setdefault(value, set()).update(places)


def _executed(program: Program) -> Iterable[tuple[int, range]]:
    """The steps of a program; of regions, which all go through the same, the first one and the last one."""
    times = {index: each.times for each in program.passes() for index in each.calls}
    for index, pictures in program.steps():
        if program.pictures > 1 or pictures[0] in (0, times[index] - 1):
            yield index, pictures


def _values(program: Program) -> Callable[[Root, int], _Value]:
    """What a root holds while a picture or region goes through a call.

    Regions find in a root what was left there in front of them, and fill a root that has a place for each of them.
    """
    inside = {call.output.root.home for call in program.calls if call.copies > 1}
    each = program.pictures > 1
    return lambda root, picture: (root, picture if each or (root in inside and root.places == 1) else 0)


def _check_inside(call: Call, pictures: range, plan: MemoryPlan) -> None:
    for operand, view in operands_of(call):
        if view is None or view.root.home.external:
            continue
        for picture in pictures:
            start = plan.start_of(operand, view) + picture * call.stride(operand, view)
            end = start + operand.bytes // call.workload.batch
            inside = start >= operand.before and end + operand.behind <= plan.bytes
            _demand(inside, call, f"touches memory outside of the workspace around {view}")


def _places(runs: list[tuple[int, int]], root: Root, picture: int, plan: MemoryPlan) -> list[tuple[int, int]]:
    """Where in the workspace these bytes of a picture's root lie; nothing of the caller's buffers does."""
    if root.external:
        return []
    start = plan.offsets[root] + picture * root.pitch
    return [(start + first, start + behind) for first, behind in runs]


def _clear(spans: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> bool:
    """Whether none of the spans shares a byte with one of the others."""
    return all(b <= c or d <= a for a, b in spans for c, d in others)


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
    _demand(operand.dtype == view.root.dtype, call, f"takes {operand.dtype}, {kind} is {view.root.dtype}")
    if operand.name in call.workload.gathers:
        places = (call.workload.gathered - 1) * view.root.home.pitch + view.bytes
        _demand(operand.bytes == places, call, f"takes {operand.bytes} bytes, its places of {kind} have {places}")
        all_places = call.copies * call.workload.gathered == view.root.home.places
        _demand(view.is_run and all_places, call, f"needs all places of planes side by side, unlike {kind}")
        return
    if operand.whole:
        _check_table(call, operand, view, kind)
        return
    if call.workload.batch > 1:
        places = call.workload.batch * view.root.home.pitch
        _demand(operand.bytes == places, call, f"takes {operand.bytes} bytes, all places of {kind} have {places}")
        _demand(not view.start and view.is_run, call, f"needs whole roots, unlike {kind}")
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
    """Checks a kernel that is given a whole root, and the numbers of its planes in a table."""
    _demand(operand.bytes == view.root.bytes, call, f"takes {operand.bytes} bytes, the root of {kind} is another")
    _demand(len(set(view.planes)) == len(view.planes), call, f"has the same plane twice in {kind}")
    count = sum(operand.whole for operand in call.workload.operands())
    tables = dict(zip((INPUT, OUTPUT, RESIDUAL), call.parameters[-count:]))
    _demand(tuple(tables[operand.role]) == view.planes, call, f"has a table of other planes than {kind}")


def _replaced(
    call: Call, plan: MemoryPlan, last_use: dict[_Value, int], time: int, pictures: range,
    held_by: Callable[[Root, int], _Value],
) -> set[_Value]:  # fmt: skip
    """The inputs in whose very place the output lies, as the kernel allows: nothing reads them behind this call."""
    found: set[_Value] = set()
    for operand, view in operands_of(call):
        if view is None or operand.role == OUTPUT or not call.workload.may_replace(operand.name):
            continue
        root, target = view.root.home, call.output.root.home
        alone = sum(other.root.home is root for other in call.inputs) == 1
        same = view.planes == call.output.planes and root.pitch == target.pitch
        if alone and same and not root.external and not target.external and plan.start(view) == plan.start(call.output):
            found |= {each for each in (held_by(root, p) for p in pictures) if last_use.get(each) == time}
    return found


def _runs(view: View) -> list[tuple[int, int]]:
    """The bytes of a view within a place of its home, neighbouring planes together."""
    return [(view.root.start + first, view.root.start + last) for first, last in _spans(view)]


def _spans(view: View) -> list[tuple[int, int]]:
    size = view.root.itemsize * view.root.plane.size
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
