"""`Program`, memory plan and knobs  =>  one TIR module.

`main(input, outputs..., workspace)` is the only function of TVM's kind; `emit_team` makes what a team of threads runs.
`main` calls the private kernels, one after the other, with pointers into the workspace and into the weights, which
`tsn_weights()`, linked into the library, returns.  Nothing is interpreted or allocated at run time.

For several pictures there are loops around the calls, whose variable moves the pointers on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from ..architectures.network import Shapes
from ..errors import UserError
from ..schedules import WEIGHT, Operand, scheduled
from .emit_team import Loop, Step, TeamModule, as_private, emit_team
from .packed_weights import PackedWeights
from .plan_memory import MemoryPlan, scratch_places
from .program import FLOAT, Call, Program, ScheduledKernel, View
from .verify import operands_of

FLOAT_POINTER = PointerType(PrimType("float32"))


@dataclass(frozen=True)
class EmittedModule:
    """The TIR module; `team` is a module for teams of threads, which calls kernels of the first."""

    module: tvm.IRModule
    team: TeamModule | None


def emit_module(
    program: Program, plan: MemoryPlan, kernels: list[ScheduledKernel], shapes: Shapes, packed: PackedWeights,
    ticking: bool = False, team: bool = False,
) -> EmittedModule:  # fmt: skip
    """`shapes` are those of the caller's arrays, for all pictures; `packed` gets the weights, which `main` reads there.

    With `ticking`, `main` calls `tsn_tick()` in front of each kernel and behind the last (`measure/profile.c`).
    With `team` there is a module for teams of threads, too.
    """
    by_workload = {kernel.workload: kernel for kernel in kernels}
    variables = {kernel.name: tvm.ir.GlobalVar(kernel.name) for kernel in kernels}
    functions = {variables[k.name]: scheduled_kernel(k) for k in kernels}

    # The caller's buffers are aligned as floats are: no kernel loads or stores vectors there.
    picture = tirx.decl_buffer(shapes.input, "float32", "input", data_alignment=FLOAT)
    results = [
        tirx.decl_buffer(shape, "float32", root.name, data_alignment=FLOAT)
        for shape, root in zip(shapes.outputs, program.outputs, strict=True)
    ]
    outside = {program.input: picture, **dict(zip(program.outputs, results))}
    workspace = tirx.decl_buffer((plan.bytes // FLOAT,), "float32", "workspace")
    weights = tirx.Var("weights", FLOAT_POINTER)
    body = [tirx.Bind(weights, tirx.call_extern(FLOAT_POINTER, "tsn_weights"))]
    tick = [tirx.Evaluate(tirx.call_extern("void", "tsn_tick"))] if ticking else []

    def at(offset: int, dtype: str):
        if dtype == "float32":
            return tirx.address_of(tirx.BufferLoad(workspace, [offset // FLOAT]))
        return _as(dtype, tirx.handle_add_byte_offset(workspace.data, offset))

    def pointer(call: Call, operand: Operand, view: View, picture: tirx.Var | None):
        if (buffer := outside.get(view.root)) is None:
            start, first = plan.start_of(operand, view), workspace.data
            here = at(start, operand.dtype)
        else:
            start, first = view.start, buffer.data
            here = tirx.handle_add_byte_offset(first, start) if start else first
        if picture is None or not (pitch := call.stride(operand, view)):
            return here
        return _as(operand.dtype, tirx.handle_add_byte_offset(first, picture * pitch + start))

    loops = [Loop.of(each) for each in program.passes()]
    for index, loop in ((index, each) for each in loops for index in each.calls):
        call = program.calls[index]
        kernel, arguments = by_workload[call.workload], []
        arrays = iter(call.workload.pack(kernel.knobs, *call.parameters))
        for operand, view in operands_of(call):
            if operand.role == WEIGHT:
                offset = packed.place(rounded(next(arrays), operand, call.layer))
                arguments.append(_as(operand.dtype, tirx.handle_add_byte_offset(weights, offset)))
            else:
                arguments.append(
                    at(plan.scratch[index] + scratch_places(call)[operand.name][0], operand.dtype)
                    if view is None else pointer(call, operand, view, loop.picture)
                )  # fmt: skip
        loop.steps.append(Step(call, kernel, arguments))
    for loop in loops:
        body += loop.around(
            [each for step in loop.steps for each in
             (*tick, tirx.Evaluate(variables[step.kernel.name](*step.arguments)))]
        )  # fmt: skip
    body += tick

    main = tirx.PrimFunc([picture, *results, workspace], tirx.SeqStmt(body)).with_attrs(
        {"global_symbol": "main", "s_tir": True}
    )
    threads = emit_team(loops, [picture, *results, workspace], weights, ticking) if team else None
    return EmittedModule(tvm.IRModule({tvm.ir.GlobalVar("main"): main, **functions}), threads)


def rounded(array: np.ndarray, operand: Operand, layer: str) -> np.ndarray:
    """Packed weights in the operand's dtype; `UserError` where one is too large for that."""
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, operand.dtype)
    if found.dtype.kind == "f" and not np.isfinite(found).all() and np.isfinite(array).all():
        raise UserError(
            f"layer {layer}: a weight or bias of {np.abs(array).max():.3g} is too large for {operand.dtype}, which "
            f"ends at {np.finfo(found.dtype).max:g}: build with --precision fp32"
        )
    return found


def _as(dtype: str, address: tirx.Expr) -> tirx.Expr:
    """A pointer to floats as one to that dtype."""
    return address if dtype == "float32" else tirx.reinterpret(PointerType(PrimType(dtype)), address)


def scheduled_kernel(kernel: ScheduledKernel) -> tirx.PrimFunc:
    """The kernel, scheduled, as a private function of raw pointers.

    A public function would bring argument checks and device attributes for each call.
    """
    return as_private(scheduled(kernel.workload, kernel.knobs))
