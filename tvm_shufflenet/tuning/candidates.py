"""A kernel with given knobs as a small library: the function that a network's library would hold.

The weights are arguments, not part of the file: a fully connected layer has up to 151 MB.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from ..errors import UserError
from ..library.link import memory_functions
from ..lowering.emit_module import FLOAT_POINTER, rounded, scheduled_kernel
from ..lowering.program import ALIGN, ScheduledKernel
from ..lowering.to_object import compile_module, write_object
from ..schedules import WEIGHT, Knobs, Workload, itemsize, round_up
from ..targets import TargetSpec
from ..zig import zig

KERNEL = "kernel"


@dataclass(frozen=True)
class Argument:
    """A buffer that a kernel is given, in elements of `dtype`, with room for what it may read around it."""

    role: str
    elements: int
    front: int
    behind: int
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return self.front + self.elements + self.behind

    @property
    def inside(self) -> slice:
        """The part of the buffer that the kernel is given."""
        return slice(self.front, self.front + self.elements)


def arguments_of(workload: Workload, packed: list[int]) -> list[Argument]:
    """The arguments of a kernel; `packed` are the elements of its packed weights."""
    weights, found = iter(packed), []
    for operand in workload.operands():
        width = itemsize(operand.dtype)
        elements = next(weights) if operand.role == WEIGHT else operand.bytes // width
        front, behind = (round_up(n, ALIGN) // width for n in (operand.before, operand.behind))
        found.append(Argument(operand.role, elements, front, behind, operand.dtype))
    return found


def timed_module(workload: Workload, knobs: Knobs, arguments: list[Argument]) -> tvm.IRModule:
    """`main(buffers...)`: with room around what the kernel is given."""
    buffers = [tirx.decl_buffer((a.size,), a.dtype, f"b{i}") for i, a in enumerate(arguments)]
    variable, kernel = _kernel(workload, knobs)
    call = variable(*(tirx.address_of(tirx.BufferLoad(b, [a.front])) for b, a in zip(buffers, arguments)))
    main = tirx.PrimFunc(buffers, tirx.Evaluate(call)).with_attrs({"global_symbol": "main", "s_tir": True})
    return tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: kernel})


def counted_module(workload: Workload, knobs: Knobs, arguments: list[Argument]) -> tuple[tvm.IRModule, int]:
    """`int tsn_run(input, output, workspace)`, for the emulator, and the workspace's bytes: all lies there."""
    pointers = [tirx.Var(name, FLOAT_POINTER) for name in ("input", "output", "workspace")]
    offsets, end = [], 0
    for argument in arguments:
        width = itemsize(argument.dtype)
        offsets.append(end + width * argument.front)
        end += round_up(width * argument.size, ALIGN)
    variable, kernel = _kernel(workload, knobs)
    call = variable(*(tirx.handle_add_byte_offset(pointers[2], offset) for offset in offsets))
    body = tirx.SeqStmt([tirx.Evaluate(call), tirx.Return(tirx.IntImm("int32", 0))])
    # Without `noalias` here TVM's code generator does not take the kernel's own pointers for separate, either.
    run = tirx.PrimFunc(pointers, body, tvm.ir.PrimType("int32")).with_attrs({"s_tir": True, "tirx.noalias": True})
    return tvm.IRModule({tvm.ir.GlobalVar("tsn_run"): run, variable: kernel}), end


def _kernel(workload: Workload, knobs: Knobs) -> tuple[tvm.ir.GlobalVar, tirx.PrimFunc]:
    return tvm.ir.GlobalVar(KERNEL), scheduled_kernel(ScheduledKernel(KERNEL, workload, knobs))


def write_library(module: tvm.IRModule, target: TargetSpec, path: Path) -> None:
    """Compiles and links; only TVM's runtime, if any, is needed to load it."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        object_file, memory = Path(folder, "kernel.o"), Path(folder, "memory.o")
        write_object(compile_module(module, target.tvm), target.tvm, object_file)
        memory.write_bytes(memory_functions(target.arch))
        options = ["-shared", "-z", "max-page-size=16384", "--gc-sections"]
        argv = [zig(), "ld.lld", *options, str(object_file), str(memory), "-o", str(path)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"linking a kernel failed: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}")


def pack(workload: Workload, knobs: Knobs, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays that the kernel reads, flat, in its dtypes."""
    weights = (operand for operand in workload.operands() if operand.role == WEIGHT)
    return [rounded(a, o, workload.name).ravel() for a, o in zip(workload.pack(knobs, *arrays), weights, strict=True)]
