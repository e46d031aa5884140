"""`Program`, memory plan and knobs  =>  one TIR module.

`main(input, outputs..., workspace)` is the only public function.  It calls the private kernels, one after the other,
with pointers into the workspace and into the weights, which `tsn_weights()`, linked into the library, returns.  Nothing
is interpreted or allocated at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from schedules import WEIGHT, Operand, round_up, scheduled

from ..architectures.network import Shapes
from .plan_memory import ALIGN, MemoryPlan
from .program import FLOAT, Program, ScheduledKernel, View
from .verify import operands_of

FLOAT_POINTER = PointerType(PrimType("float32"))


@dataclass(frozen=True)
class EmittedModule:
    """The TIR module, and the weights as `main` expects them: bytes, one array behind the other."""

    module: tvm.IRModule
    weights: list[np.ndarray]  # uint8, each padded to ALIGN


def emit_module(
    program: Program, plan: MemoryPlan, kernels: list[ScheduledKernel], shapes: Shapes, ticking: bool = False
) -> EmittedModule:
    """`shapes` are those of the caller's arrays.

    With `ticking`, `main` calls `tsn_tick()` in front of each kernel and behind the last (`measure/profile.c`).
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

    def at(offset: int):
        return tirx.address_of(tirx.BufferLoad(workspace, [offset // FLOAT]))

    def pointer(operand: Operand, view: View):
        if (buffer := outside.get(view.root)) is None:
            return at(plan.start_of(operand, view))
        return tirx.handle_add_byte_offset(buffer.data, view.start) if view.start else buffer.data

    packed, cursor = [], 0
    for index, call in enumerate(program.calls):
        kernel, arguments = by_workload[call.workload], []
        arrays = iter(call.workload.pack(kernel.knobs, *call.parameters))
        for operand, view in operands_of(call):
            if operand.role == WEIGHT:
                address = tirx.handle_add_byte_offset(weights, cursor)
                arguments.append(
                    tirx.reinterpret(_pointer(operand.dtype), address) if operand.dtype != "float32" else address
                )
                flat = np.frombuffer(np.ascontiguousarray(next(arrays)).tobytes(), np.uint8)
                packed.append(np.pad(flat, (0, round_up(flat.size, ALIGN) - flat.size)))
                cursor += packed[-1].size
            else:
                arguments.append(at(plan.scratch[index]) if view is None else pointer(operand, view))
        body += [*tick, tirx.Evaluate(variables[kernel.name](*arguments))]
    body += tick

    main = tirx.PrimFunc([picture, *results, workspace], tirx.SeqStmt(body)).with_attrs(
        {"global_symbol": "main", "s_tir": True}
    )
    return EmittedModule(tvm.IRModule({tvm.ir.GlobalVar("main"): main, **functions}), packed)


def _pointer(dtype: str) -> PointerType:
    return PointerType(PrimType(dtype))


def scheduled_kernel(kernel: ScheduledKernel) -> tirx.PrimFunc:
    """The kernel, scheduled, as a private function of raw pointers.

    A public function would bring argument checks and device attributes for each call.
    """
    function = scheduled(kernel.workload, kernel.knobs)
    pointers = [tirx.Var(f"{p.name}_pointer", PointerType(PrimType(str(p.dtype)))) for p in function.params]
    views = [tirx.DeclBuffer(p, data=pointer) for p, pointer in zip(function.params, pointers)]
    body = tirx.SeqStmt([*views, function.body])
    return tirx.PrimFunc(pointers, body, function.ret_type).with_attrs({"s_tir": True, "tirx.noalias": True})
