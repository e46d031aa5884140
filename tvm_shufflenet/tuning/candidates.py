"""A kernel with given knobs as a small library: the function that a network's library would hold.

The weights are arguments, not part of the file: a fully connected layer has up to 151 MB.
"""

from __future__ import annotations

import importlib.resources
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from schedules import WEIGHT, Knobs, Workload, round_up

from ..errors import UserError
from ..library.link import memory_functions
from ..lowering.emit_module import FLOAT_POINTER, scheduled_kernel
from ..lowering.plan_memory import ALIGN
from ..lowering.program import FLOAT, ScheduledKernel
from ..lowering.to_object import compile_module
from ..targets import TargetSpec

KERNEL = "kernel"


@dataclass(frozen=True)
class Argument:
    """A buffer that a kernel is given, in floats, with room for what it may read around it."""

    role: str
    floats: int
    front: int
    behind: int

    @property
    def size(self) -> int:
        return self.front + self.floats + self.behind

    @property
    def inside(self) -> slice:
        """What the kernel is given, within its buffer."""
        return slice(self.front, self.front + self.floats)


def arguments_of(workload: Workload, packed: list[int]) -> list[Argument]:
    """What a kernel takes; `packed` are the floats of its packed weights."""
    weights, found = iter(packed), []
    for operand in workload.operands():
        floats = next(weights) if operand.role == WEIGHT else operand.bytes // FLOAT
        front, behind = (round_up(n, ALIGN) // FLOAT for n in (operand.before, operand.behind))
        found.append(Argument(operand.role, floats, front, behind))
    return found


def timed_module(workload: Workload, knobs: Knobs, arguments: list[Argument]) -> tvm.IRModule:
    """`main(buffers...)`: each float32, with room around what the kernel is given."""
    buffers = [tirx.decl_buffer((a.size,), "float32", f"b{i}") for i, a in enumerate(arguments)]
    variable, kernel = _kernel(workload, knobs)
    call = variable(*(tirx.address_of(tirx.BufferLoad(b, [a.front])) for b, a in zip(buffers, arguments)))
    main = tirx.PrimFunc(buffers, tirx.Evaluate(call)).with_attrs({"global_symbol": "main", "s_tir": True})
    return tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: kernel})


def counted_module(workload: Workload, knobs: Knobs, arguments: list[Argument]) -> tuple[tvm.IRModule, int]:
    """`int tsn_run(input, output, workspace)`, for the emulator, and the workspace's bytes: all lies there."""
    pointers = [tirx.Var(name, FLOAT_POINTER) for name in ("input", "output", "workspace")]
    offsets, end = [], 0
    for argument in arguments:
        offsets.append(end + FLOAT * argument.front)
        end += round_up(FLOAT * argument.size, ALIGN)
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
        compile_module(module, target.tvm).write_to_file(str(object_file), "o")
        memory.write_bytes(memory_functions(target.arch))
        options = ["-shared", "-z", "max-page-size=16384", "--gc-sections"]
        argv = [*_linker(), *options, str(object_file), str(memory), "-o", str(path)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"linking a kernel failed: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}")


def _linker() -> list[str]:
    """Zig itself: through Python it would start twice as slowly, which counts here."""
    return [str(importlib.resources.files("ziglang") / "zig"), "ld.lld"]


def pack(workload: Workload, knobs: Knobs, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays that the kernel reads, flat; the bits of integers as floats."""
    return [np.ascontiguousarray(array).ravel().view(np.float32) for array in workload.pack(knobs, *arrays)]
