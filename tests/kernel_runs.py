"""Kernels alone, as tuning runs them: every buffer full of NaN but for what the kernel is given."""

from __future__ import annotations

import numpy as np
import tvm

from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.schedules import FACTOR, INPUT, OUTPUT, RESIDUAL, WEIGHT, Knobs, Machine, Workload
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.tuning.candidates import arguments_of, pack, timed_module


def run_kernel(
    workload: Workload, machine: Machine, data: np.ndarray, *parameters: np.ndarray, residual: np.ndarray | None = None,
    knobs: Knobs | None = None,
    scale: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """What the kernel writes: flat, with whatever it leaves in the padding."""
    knobs = knobs or workload.knobs(machine)
    packed = pack(workload, knobs, list(parameters))
    taken = arguments_of(workload, [array.size for array in packed])
    given = {INPUT: iter([data]), RESIDUAL: iter([residual]), FACTOR: iter([scale]), WEIGHT: iter(packed)}
    arrays = [
        np.full(argument.size, np.nan if argument.dtype.startswith("float") else 0, argument.dtype)
        for argument in taken
    ]
    for argument, array in zip(taken, arrays):
        if argument.role in given:
            array[argument.inside] = np.ravel(next(given[argument.role]))
    module = compile_module(timed_module(workload, knobs, taken), resolve("native").tvm)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    module["main"](*tensors)
    index = [argument.role for argument in taken].index(OUTPUT)
    return tensors[index].numpy()[taken[index].inside]
