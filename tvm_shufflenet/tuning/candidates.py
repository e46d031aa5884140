"""A kernel with given knobs as a small library: the function that a network's library would hold.

The weights are arguments, not part of the file: a fully connected layer has up to 151 MB.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from schedules import Knobs

from ..errors import UserError
from ..library.link import memory_functions
from ..lowering.emit_module import FLOAT_POINTER, scheduled_kernel
from ..lowering.plan_memory import ALIGN, GUARD
from ..lowering.program import ScheduledKernel, WorkloadType
from ..lowering.to_object import compile_module
from ..targets import TargetSpec

KERNEL = "kernel"


def floats_of(workload: WorkloadType, packed: list[int]) -> list[int]:
    """Floats behind each pointer that the kernel takes; `packed` are those of its packed weights."""
    data, *rest = _defined_floats(workload)
    return [data, *packed, *rest[len(packed) :]]


@functools.cache
def _defined_floats(workload: WorkloadType) -> list[int]:
    """Of each parameter of the definition, where weights are not packed yet."""
    return [math.prod(map(int, p.shape)) * tvm.DataType(p.dtype).bits // 32 for p in workload.definition().params]


def output_index(workload: WorkloadType, packed: int) -> int:
    """Which of the pointers is the output."""
    return 1 + packed + int(getattr(workload, "residual", False))


def timed_module(workload: WorkloadType, knobs: Knobs, floats: list[int]) -> tvm.IRModule:
    """`main(buffers...)`: each float32, with `GUARD` floats before and behind what the kernel is given."""
    buffers = [tirx.decl_buffer((n + 2 * GUARD,), "float32", f"b{i}") for i, n in enumerate(floats)]
    variable, kernel = _kernel(workload, knobs)
    call = variable(*(tirx.address_of(tirx.BufferLoad(b, [GUARD])) for b in buffers))
    main = tirx.PrimFunc(buffers, tirx.Evaluate(call)).with_attrs({"global_symbol": "main", "s_tir": True})
    return tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: kernel})


def counted_module(workload: WorkloadType, knobs: Knobs, floats: list[int]) -> tuple[tvm.IRModule, int]:
    """`int tsn_run(input, output, workspace)`, for the emulator, and the workspace's bytes: all lies there."""
    pointers = [tirx.Var(name, FLOAT_POINTER) for name in ("input", "output", "workspace")]
    offsets, end = [], GUARD
    for count in floats:
        offsets.append(end)
        end += -(-(count + GUARD) // ALIGN) * ALIGN
    variable, kernel = _kernel(workload, knobs)
    call = variable(*(tirx.handle_add_byte_offset(pointers[2], 4 * offset) for offset in offsets))
    body = tirx.SeqStmt([tirx.Evaluate(call), tirx.Return(tirx.IntImm("int32", 0))])
    # Without `noalias` here TVM's code generator does not take the kernel's own pointers for separate, either.
    run = tirx.PrimFunc(pointers, body, tvm.ir.PrimType("int32")).with_attrs({"s_tir": True, "tirx.noalias": True})
    return tvm.IRModule({tvm.ir.GlobalVar("tsn_run"): run, variable: kernel}), 4 * end


def _kernel(workload: WorkloadType, knobs: Knobs) -> tuple[tvm.ir.GlobalVar, tirx.PrimFunc]:
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
    found = importlib.util.find_spec("ziglang")
    return [str(Path(found.origin).with_name("zig")), "ld.lld"]


def pack(workload: WorkloadType, knobs: Knobs, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ravel(array) for array in workload.pack(knobs, *arrays)]
