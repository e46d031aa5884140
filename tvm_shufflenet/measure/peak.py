"""How many multiply-adds a second a core can do, or several at once: the ceiling for every network beside it.

A TIR function of independent chains of vector multiply-adds that stay in registers:

    chain[c] = chain[c] + chain[c + 1] * factor

The other multiplicand is the next chain, not a constant: LLVM would compute a product of constants
once, in front of the loop, and leave additions.  The sum is the chain itself, because the fused
instruction of Arm adds to its destination; any other order would cost a move.

How many chains: latency times pipes, as far as there are registers for them and the factor.

- 32 registers: 24 chains; Cortex-A76 and AVX-512 need 4 x 2, Cortex-A53 needs 8 x 1.
- 16 registers of 8 lanes (AVX2): 12 chains; Haswell needs 5 x 2.
- 16 registers of 4 lanes (32-bit Arm, SSE): 8 chains.  LLVM multiplies and adds separately there, so
  each chain needs a second register for a moment; with 12 chains LLVM spills some.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx
from tvm.script import tirx as T

from ..lowering.to_object import compile_module
from ..schedules import Machine
from ..targets import TargetSpec
from ..zig import call, zig
from .place import Function, Place

ITERATIONS = 20_000  # 31 M multiply-adds with AVX-512, 7.7 M with NEON: about 0.2 and 1 ms
UNROLL = 4  # times all chains: the loop's own instructions are then 2 or 3 in 50 to 100
FACTOR = 1e-9  # neither overflow nor denormals, which would be slow, in ITERATIONS


def chains(machine: Machine) -> int:
    """Independent accumulators."""
    return machine.registers * 3 // 4 if machine.lanes > 4 or machine.registers > 16 else 8


def multiply_adds(machine: Machine, threads: int = 1) -> int:
    """Multiply-adds of one call."""
    return threads * ITERATIONS * UNROLL * chains(machine) * machine.lanes


def peak_function(machine: Machine) -> tirx.PrimFunc:
    """`peak(factor, out)`: factor float32 (lanes,), out float32 (chains, lanes), which it also reads.

    All is loaded in front of the loop and stored behind it, so that nothing is optimised away.
    """
    count, lanes = chains(machine), machine.lanes

    @T.prim_func(s_tir=True)
    def peak(factor: T.Buffer((lanes,), "float32"), out: T.Buffer((count, lanes), "float32")):
        T.func_attr({"global_symbol": "peak", "tirx.noalias": True})
        chain = T.alloc_buffer((count, lanes), "float32", scope="local")
        for c in T.unroll(count):
            for lane in T.vectorized(lanes):
                chain[c, lane] = out[c, lane]
        for _ in T.serial(ITERATIONS):
            for _again in T.unroll(UNROLL):
                for c in T.unroll(count):
                    for lane in T.vectorized(lanes):
                        chain[c, lane] = chain[c, lane] + chain[(c + 1) % count, lane] * factor[lane]
        for c in T.unroll(count):
            for lane in T.vectorized(lanes):
                out[c, lane] = chain[c, lane]

    return peak


def joint_function(machine: Machine, threads: int) -> tirx.PrimFunc:
    """`peak(factor, out)` of each of TVM's threads at the same time: out is float32 (threads, chains, lanes)."""
    count, lanes = chains(machine), machine.lanes

    @T.prim_func(s_tir=True)
    def peak(factor: T.Buffer((lanes,), "float32"), out: T.Buffer((threads, count, lanes), "float32")):
        T.func_attr({"global_symbol": "peak", "tirx.noalias": True})
        for thread in T.parallel(threads):
            chain = T.alloc_buffer((count, lanes), "float32", scope="local")
            for c in T.unroll(count):
                for lane in T.vectorized(lanes):
                    chain[c, lane] = out[thread, c, lane]
            for _ in T.serial(ITERATIONS):
                for _again in T.unroll(UNROLL):
                    for c in T.unroll(count):
                        for lane in T.vectorized(lanes):
                            chain[c, lane] = chain[c, lane] + chain[(c + 1) % count, lane] * factor[lane]
            for c in T.unroll(count):
                for lane in T.vectorized(lanes):
                    out[thread, c, lane] = chain[c, lane]

    return peak


def compile_peak(machine: Machine, target: dict, threads: int = 1) -> tvm.runtime.Module:
    """Object code with the one function `peak`; `inspect_source("asm")` shows it."""
    function = peak_function(machine) if threads == 1 else joint_function(machine, threads)
    return compile_module(tvm.IRModule({"peak": function}), target)


def build_peak(spec: TargetSpec, library: Path, threads: int = 1) -> None:
    """Compiles and links a library with `peak`, for any place that has TVM: here or over RPC."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        object_file = Path(folder, "peak.o")
        compile_peak(spec.machine, spec.tvm, threads).write_to_file(str(object_file), "o")
        argv = [zig(), "ld.lld", "-shared", "-z", "max-page-size=16384"]
        call("linking the peak kernel", [*argv, str(object_file), "-o", str(library)])


def load_peak(place: Place, spec: TargetSpec, library: Path) -> Function:
    """The function on the place, with its arguments there."""
    machine = spec.machine
    factor = np.full(machine.lanes, FACTOR, "float32")
    each = chains(machine), machine.lanes
    return place.load(
        library, "peak", factor, np.ones((place.threads, *each) if place.threads > 1 else each, "float32")
    )
