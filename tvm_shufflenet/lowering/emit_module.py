"""`Program`, memory plan and knobs  =>  one TIR module.

`main(input, output, workspace)` is the only public function: it calls the private kernels, one after
the other, with pointers into the workspace and into the weights, which `tsn_weights()`, linked into
the library, returns.  Nothing is interpreted or allocated at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import s_tir, tirx
from tvm.ir import PointerType, PrimType

from schedules import round_up

from .plan_memory import ALIGN, MemoryPlan
from .program import Program, ScheduledKernel

FLOAT_POINTER = PointerType(PrimType("float32"))


@dataclass(frozen=True)
class EmittedModule:
    """The TIR module, and the weights as `main` expects them: arrays one behind the other."""

    module: tvm.IRModule
    weights: list[np.ndarray]  # each padded to ALIGN floats


def emit_module(
    program: Program, plan: MemoryPlan, kernels: list[ScheduledKernel], classes: int, ticking: bool = False
) -> EmittedModule:
    """With `ticking`, `main` calls `tsn_tick()` in front of each kernel and behind the last (`measure/profile.c`)."""
    by_workload = {kernel.workload: kernel for kernel in kernels}
    variables = {kernel.name: tvm.ir.GlobalVar(kernel.name) for kernel in kernels}
    functions = {variables[k.name]: scheduled_kernel(k) for k in kernels}

    plane = program.input.plane
    # The caller's buffers are aligned as floats are: no kernel loads or stores vectors there.
    shape = (1, program.input.channels, plane.height, plane.width)
    picture = tirx.decl_buffer(shape, "float32", "input", data_alignment=4)
    logits = tirx.decl_buffer((1, classes), "float32", "output", data_alignment=4)
    workspace = tirx.decl_buffer((plan.floats,), "float32", "workspace")
    weights = tirx.Var("weights", FLOAT_POINTER)
    body = [tirx.Bind(weights, tirx.call_extern(FLOAT_POINTER, "tsn_weights"))]
    tick = [tirx.Evaluate(tirx.call_extern("void", "tsn_tick"))] if ticking else []

    def at(offset: int):
        return tirx.address_of(tirx.BufferLoad(workspace, [offset]))

    def pointer(tensor):
        if tensor is program.input:
            return picture.data
        return logits.data if tensor is program.output else at(plan.offsets[tensor])

    packed, cursor = [], 0
    for index, call in enumerate(program.calls):
        kernel = by_workload[call.workload]
        parameters = []
        for array in call.workload.pack(kernel.knobs, *call.parameters):
            parameters.append(tirx.handle_add_byte_offset(weights, 4 * cursor))
            flat = np.ravel(array)
            packed.append(np.pad(flat, (0, round_up(flat.size, ALIGN) - flat.size)))
            cursor += packed[-1].size
        data, *residual = (pointer(t) for t in call.inputs)
        scratch = [at(plan.scratch[index])] if call.workload.scratch else []
        arguments = [data, *parameters, *residual, pointer(call.output), *scratch]
        body += [*tick, tirx.Evaluate(variables[kernel.name](*arguments))]
    body += tick

    main = tirx.PrimFunc([picture, logits, workspace], tirx.SeqStmt(body)).with_attrs(
        {"global_symbol": "main", "s_tir": True}
    )
    return EmittedModule(tvm.IRModule({tvm.ir.GlobalVar("main"): main, **functions}), packed)


def scheduled_kernel(kernel: ScheduledKernel) -> tirx.PrimFunc:
    """The kernel, scheduled, as a private function of raw pointers.

    A public function would bring argument checks and device attributes for each call.
    """
    schedule = s_tir.Schedule(kernel.workload.definition())
    kernel.workload.schedule(schedule, kernel.knobs)
    function = schedule.mod["main"]
    pointers = [tirx.Var(f"{p.name}_pointer", PointerType(PrimType(str(p.dtype)))) for p in function.params]
    views = [tirx.DeclBuffer(p, data=pointer) for p, pointer in zip(function.params, pointers)]
    body = tirx.SeqStmt([*views, function.body])
    return tirx.PrimFunc(pointers, body, function.ret_type).with_attrs({"s_tir": True, "tirx.noalias": True})
