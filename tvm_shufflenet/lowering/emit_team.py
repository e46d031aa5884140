"""What the threads of a team run together: `tsn_team_main(input, workspace, share)`, which each of them calls.

Every thread goes through the same calls as `main` does.  Of a kernel that is cut it takes parts, as long as there are
any; a small kernel, or one that cannot be cut, one thread runs as it is.  Behind each the threads wait for each other.
Who takes which part, and how they wait, is in `library/team.c`, whose functions are called here.

The module is apart from that of `main`, whose code so is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from ..schedules import scheduled
from .costs import call_bytes, call_multiply_adds
from .cut_kernels import CutKernel, cut_kernel
from .plan_memory import scratch_bytes, scratch_places
from .program import FLOAT, Call, Pass, ScheduledKernel

FLOAT_POINTER = PointerType(PrimType("float32"))
SMALL = 16 * 1024  # multiply-adds and floats moved, of a kernel that is done before a second thread would help


@dataclass(frozen=True)
class Step:
    """A call, its kernel, and the arguments that `main` calls it with: pointers."""

    call: Call
    kernel: ScheduledKernel
    arguments: list[tirx.Expr]


@dataclass(frozen=True)
class Loop:
    """A pass through calls: its steps, of whose arguments `picture` is the variable, if it is gone through often."""

    calls: range
    times: int
    picture: tirx.Var | None
    steps: list[Step] = field(default_factory=list)

    @staticmethod
    def of(each: Pass) -> Loop:
        return Loop(each.calls, each.times, tirx.Var("picture", "int64") if each.times > 1 else None)

    def around(self, body: list[tirx.Stmt]) -> list[tirx.Stmt]:
        """The body, in a loop if it is executed several times."""
        if self.picture is None:
            return body
        first, times = (tirx.IntImm("int64", value) for value in (0, self.times))
        inside = body[0] if len(body) == 1 else tirx.SeqStmt(body)
        return [tirx.For(self.picture, first, times, tirx.ForKind.SERIAL, inside)]


@dataclass(frozen=True)
class TeamModule:
    """The TIR module of a team; `scratch_bytes` is what each thread but the first needs of its own."""

    module: tvm.IRModule
    scratch_bytes: int


def emit_team(loops: Sequence[Loop], buffers: Sequence, weights: tirx.Var, ticking: bool) -> TeamModule:
    """`buffers` and `weights` are what the arguments are in terms of: the input, each output, and the workspace."""
    cuts: dict[str, CutKernel] = {}
    for step in (step for loop in loops for step in loop.steps):
        kernel = step.kernel
        if not is_small(step.call) and kernel.name not in cuts:
            knobs = kernel.workload.in_parts(kernel.knobs)
            made = cut_kernel(kernel.workload, scheduled(kernel.workload, knobs), knobs)
            if made.chunks > 1:
                cuts[kernel.name] = made
    parts = {name: tvm.ir.GlobalVar(f"{name}_part") for name in cuts}
    functions = {parts[name]: as_private(cut.function) for name, cut in cuts.items()}

    input_pointer, workspace_pointer = (tirx.Var(name, FLOAT_POINTER) for name in ("input", "workspace"))
    share = tirx.Var("share", PointerType(PrimType("void")))

    def ask(name: str, *arguments, result="int32"):
        return tirx.call_extern(result, name, share, *arguments)

    picture, *results, workspace = buffers
    body: list[tirx.Stmt] = [
        tirx.DeclBuffer(picture, data=input_pointer),
        *(tirx.DeclBuffer(each, data=ask("tsn_output", i, result=FLOAT_POINTER)) for i, each in enumerate(results)),
        tirx.DeclBuffer(workspace, data=workspace_pointer),
        tirx.Bind(weights, tirx.call_extern(FLOAT_POINTER, "tsn_weights")),
    ]
    wait = tirx.Evaluate(ask("tsn_barrier", result="void"))
    tick = [tirx.Evaluate(ask("tsn_team_tick", result="void"))] if ticking else []
    together = True  # whether the call before was of all threads
    scratch = 0
    for loop in loops:
        inside: list[tirx.Stmt] = []
        # All meet at both ends of a loop, in which what one thread does alone is read by all.
        shared = loop.times > 1 and any(step.kernel.name in cuts and not is_small(step.call) for step in loop.steps)
        if shared and not together:
            body.append(wait)
            together = True
        for step in loop.steps:
            name = step.kernel.name
            cut = cuts.get(name) if not is_small(step.call) else None
            if not together and cut:
                inside.append(wait)
            inside += tick
            if cut is None:
                call_it = tirx.call_extern("void", name, *step.arguments)
                inside.append(tirx.IfThenElse(ask("tsn_alone") != 0, tirx.Evaluate(call_it), None))
            else:
                own = own_scratch(step.call)
                scratch = max(scratch, own)
                places = scratch_places(step.call) if own else {}
                arguments = [
                    _of_thread(ask, argument, places[operand.name][0]) if operand.name in places else argument
                    for operand, argument in zip(step.call.workload.operands(), step.arguments, strict=True)
                ]
                for number in range(cut.steps):
                    part = parts[name](*arguments, ask("tsn_part"), ask("tsn_parts"), number)
                    inside += [tirx.While(ask("tsn_take") != 0, tirx.Evaluate(part)), wait]
            together = cut is not None
        if shared and not together:
            inside.append(wait)
            together = True
        body += loop.around(inside)
    body += [*([] if together else [wait]), *tick]
    main = tirx.PrimFunc([input_pointer, workspace_pointer, share], tirx.SeqStmt(body)).with_attrs({"s_tir": True})
    functions[tvm.ir.GlobalVar("tsn_team_main")] = main
    return TeamModule(tvm.IRModule(functions), scratch)


def _of_thread(ask: Callable[..., tirx.Expr], argument: tirx.Expr, offset: int) -> tirx.Expr:
    """The place in the calling thread's scratch that is `offset` bytes behind the start of that scratch."""
    if not offset:
        return ask("tsn_scratch", argument, result=FLOAT_POINTER)
    start = ask("tsn_scratch", tirx.handle_add_byte_offset(argument, -offset), result=FLOAT_POINTER)
    return tirx.handle_add_byte_offset(start, offset)


def is_small(call: Call) -> bool:
    return call_multiply_adds(call) + call_bytes(call) // FLOAT < SMALL


def own_scratch(call: Call) -> int:
    """Bytes of scratch of which each thread needs a place of its own: all of the kernel's scratch, or none."""
    return scratch_bytes(call) if call.workload.own_scratch else 0


def as_private(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with raw pointers in the place of buffers."""
    params, views = [], []
    for param in function.params:
        if isinstance(param.ty, PrimType):
            params.append(param)
            continue
        params.append(tirx.Var(f"{param.name}_pointer", PointerType(PrimType(str(param.dtype)))))
        views.append(tirx.DeclBuffer(param, data=params[-1]))
    body = tirx.SeqStmt([*views, function.body])
    return tirx.PrimFunc(params, body, function.ret_type).with_attrs({"s_tir": True, "tirx.noalias": True})
