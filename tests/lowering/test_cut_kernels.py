"""Kernels in parts, as threads take them: the same bits for any number of parts; no place is written twice."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import tirx

from tvm_shufflenet.lowering.cut_kernels import cut_kernel
from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.emit_team import as_private
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.schedules import (
    LRN,
    RELU,
    Activation,
    AdaptiveAvgPool,
    BatchedDense,
    Binary,
    BinPlanes,
    Conv2d,
    Copy,
    Dense,
    Depthwise,
    Detections,
    GenericConv,
    GenericLRN,
    GenericPool,
    GlobalAvgPool,
    GlobalPool,
    GroupedSoftmax,
    Int8AdaptiveAvgPool,
    Int8Add,
    Int8Attention,
    Int8BatchedDense,
    Int8Conv,
    Int8Dense,
    Int8Entry,
    Int8Exit,
    Int8GenericConv,
    Int8GenericPool,
    Int8GlobalAvgPool,
    Int8InnerDense,
    Int8LRN,
    Int8Matrix,
    Int8Pointwise,
    Int8Resize,
    Int8Stem,
    Int8Strewn,
    Int8StrewnMatrix,
    Int8StrewnWindow,
    Int8Table,
    Int8Window,
    LongConv,
    Machine,
    Pad,
    Plane,
    Pointwise,
    RegionDetections,
    RegionPixels,
    Regions,
    Reshuffled,
    Resize,
    Scale,
    Softmax,
    Strewn,
    StrewnDepthwise,
    Unary,
    WindowPool,
    Winograd,
    scheduled,
)
from tvm_shufflenet.schedules.valid_pooling import ValidAvgPool
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.precision import precision_of
from tvm_shufflenet.tuning.candidates import arguments_of, pack

PARTS = (2, 3, 16)
TILE = {"rows": 4, "vectors": 3, "block": 5}
BY_ELEMENT = Machine(4, 32, by_element=True)
# What this processor looks up bytes with; 32-bit Arm has no int8.
LOOKUP = "plain" if resolve("native").arch == "arm" else precision_of("int8", None, resolve("native")).lookup
UNTOUCHED = np.array([0x7FC0BEEF], "uint32").view("float32")[0]  # a NaN that no arithmetic makes


def padded(height, width, lanes):
    return Plane.padded(height, width, lanes)


def rows(height, width, lanes):
    return Plane.padded_rows(height, width, lanes)


def weights(*shape):
    return [shape, (shape[0],)]


# name: (lanes -> workload, shapes of its parameters before they are packed, knobs beside the defaults)
KERNELS = {
    "pointwise": (lambda n: Pointwise(3, 20, 36, padded(7, 7, n), n, RELU, shuffle=True), weights(108, 20, 1, 1), {}),
    "residual": (lambda n: Pointwise(1, 9, 17, padded(6, 9, n), n, residual=True), weights(17, 9, 1, 1), {}),
    "panel": (lambda n: Pointwise(2, 8, 32, padded(14, 14, n), n), weights(64, 8, 1, 1), {"panel": 1, "strip": 2}),
    # Of two tiles the second one is cut off, and TVM makes two loops of them, each of one round.
    "two tiles": (lambda n: Pointwise(1, 5, 20, Plane.dense(1, 4 * n), n), weights(20, 5, 1, 1), TILE),
    "reshuffled": (lambda n: Reshuffled(1, 5, 12, padded(7, 7, n), n, RELU, shuffle_groups=3),
        weights(12, 5, 1, 1), {}),
    "strewn": (lambda n: Strewn(1, 6, 10, padded(7, 7, n), n, RELU, sources=12, targets=20),
               [*weights(10, 6, 1, 1), (6,), (10,)], {}),
    "depthwise": (lambda n: Depthwise(10, padded(14, 14, n), padded(14, 14, n), 3, 1, 1, n), weights(10, 1, 3, 3), {}),
    "narrow rows": (lambda n: Depthwise(9, padded(7, 7, n), padded(4, 4, n), 3, 2, 1, n, RELU),
        weights(9, 1, 3, 3), {}),
    "strewn depthwise": (lambda n: StrewnDepthwise(6, padded(7, 7, n), padded(7, 7, n), 3, 1, 1, n, sources=13),
                         [*weights(6, 1, 3, 3), (6,)], {}),
    "maximum": (lambda n: WindowPool(5, rows(15, 17, n), padded(8, 9, n), 3, 2, 1, n), [], {}),
    "average": (lambda n: ValidAvgPool(6, padded(14, 14, n), padded(7, 7, n), 3, 2, 1, n), [], {}),
    "mean": (lambda n: GlobalAvgPool(40, padded(7, 7, n), n), [], {}),
    "adaptive": (lambda n: AdaptiveAvgPool(7, padded(13, 13, n), Plane.dense(6, 6)), [], {}),
    "dense": (lambda n: Dense(33, 250, n), [(250, 33), (250,)], {}),
    "batched dense": (lambda n: BatchedDense(33, 250, n, pictures=3, data_pitch=48, out_pitch=256),
                      [(250, 33), (250,)], {}),
    "stem": (lambda n: Conv2d(1, 3, 12, Plane.dense(95, 97), rows(48, 49, n), 3, 2, 1, n, RELU),
        weights(12, 3, 3, 3), {}),
    "few bands": (lambda n: Conv2d(1, 4, 24, padded(14, 14, n), rows(7, 7, n), 3, 2, 1, n), weights(24, 4, 3, 3), {}),
    "rows reach into the next": (lambda n: Conv2d(2, 4, 12, padded(20, 20, n), Plane(20, 21, 21, 21 * 20 + 20),
        3, 1, 1, n),
                                 weights(24, 4, 3, 3), {}),
    "long window": (lambda n: LongConv(2, 40, 6, Plane.dense(30, 19), Plane.dense(30, 19), (15, 1), 1, (7, 0), (1, 1),
        n), weights(12, 40, 15, 1), {}),
    "winograd": (lambda n: Winograd(2, 9, 12, padded(13, 13, n), Winograd.plane(13, 13, 3, n), 3, 1, n, RELU),
                 weights(24, 9, 3, 3), {}),
    "lrn": (lambda n: LRN(9, 6, n, 5, 1e-4, 1.0), [], {}),
    "generic conv": (lambda n: GenericConv(2, 3, 4, Plane.dense(9, 10), Plane.dense(7, 8), (3, 3)),
        weights(8, 3, 3, 3), {}),
    "generic pool": (lambda n: GenericPool("max", 5, Plane.dense(9, 9), Plane.dense(7, 7), (3, 3)), [], {}),
    "global pool": (lambda n: GlobalPool("avg", 9, Plane.dense(5, 5)), [], {}),
    "generic lrn": (lambda n: GenericLRN(6, Plane.dense(5, 5), Plane.dense(5, 5), 3, 1, 1e-2, 0.5, 1.0), [], {}),
    "pad": (lambda n: Pad(4, 6, Plane.dense(5, 5), Plane.dense(8, 7), (1, 1), 1), [], {}),
    "softmax": (lambda n: Softmax(7, Plane.dense(30, 20), Plane.dense(30, 20)), [], {}),
    "region pixels": (lambda n: RegionPixels(9, 16, Plane.padded(1, 40, n)), [], {}),
    "grouped softmax": (lambda n: GroupedSoftmax(3, 4, Plane.dense(15, 20), Plane.dense(15, 20)), [], {}),
    "unary": (lambda n: Unary(6, Plane.dense(6, 6), Plane.dense(6, 6), Activation("hard_swish")), [], {}),
    "scale": (lambda n: Scale(6, Plane.dense(6, 6), Plane(6, 6, 8, 64)), [(6,), (6,)], {}),
    "binary": (lambda n: Binary("add", 6, Plane.dense(6, 6), Plane.dense(6, 6), Plane.dense(6, 6)), [], {}),
    "copy": (lambda n: Copy.of((5, 7, 9), (1, 45, 5), (63, 9, 1)), [], {}),
    "int8 pointwise": (lambda n: Int8Pointwise(3, 6, 10, padded(7, 7, 16), 16, "plain", True, dtype="int8"),
                       [(30, 6, 1, 1), (30,), (30,), (4,), (30,)], {}),
    "int8 scaled pointwise": (lambda n: Int8Pointwise(3, 6, 10, padded(7, 7, 16), 16, "plain", True, False, True,
                              dtype="int8"), [(30, 6, 1, 1), (30,), (30,), (4,), (30,)], {}),
    "int8 attention": (lambda n: Int8Attention(9, padded(7, 7, 16), padded(7, 7, 16), dtype="int8"), [(1,), (4,)], {}),
    "int8 attention of bytes": (lambda n: Int8Attention(9, padded(7, 7, 16), padded(7, 7, 16), True, dtype="int8"),
                                [(1,), (4,), (1,)], {}),
    # What looks up vectors runs on some processors only.
    "int8 table": (lambda n: Int8Table(99, padded(7, 7, 16), padded(7, 7, 16), "plain", dtype="int8"), [(256,)], {}),
    "int8 table of vectors": (lambda n: Int8Table(199, padded(7, 7, 16), padded(7, 7, 16), LOOKUP, dtype="int8"),
                              [(256,)], {}),
    "int8 table of rows": (lambda n: Int8Table(9, padded(7, 7, 16), rows(7, 7, 16), dtype="int8"), [(256,)], {}),
    "int8 inner dense": (lambda n: Int8InnerDense(9, 90, 4, dot="plain", entries=256, dtype="int8"),
                         [(90, 9), (90,), (90,), (4,), (256,)], {}),
    "int8 strewn": (lambda n: Int8Strewn(1, 6, 10, padded(7, 7, 16), 16, "plain", sources=9, targets=20, dtype="int8"),
                    [(10, 6, 1, 1), (10,), (10,), (4,), (6,), (10,)], {}),
    "int8 matrix": (lambda n: Int8Matrix(3, 6, 10, padded(7, 7, 16), 16, "plain", True, dtype="int8"),
                    [(30, 6, 1, 1), (30,), (30,), (4,), (30,)], {}),
    "int8 strewn matrix": (
        lambda n: Int8StrewnMatrix(1, 6, 10, padded(7, 7, 16), 16, "plain", sources=9, targets=20, dtype="int8"),
        [(10, 6, 1, 1), (10,), (10,), (4,), (6,), (10,)], {}),
    "int8 window": (lambda n: Int8Window(5, padded(7, 7, 16), padded(4, 4, 16), 3, 2, 1, 16, "plain", dtype="int8"),
                    [(5, 1, 3, 3), (5,), (5,), (4,)], {}),
    "int8 strewn window": (lambda n: Int8StrewnWindow(5, padded(7, 7, 16), padded(7, 7, 16), 3, 1, 1, 16, "plain",
                           dtype="int8", sources=9), [(5, 1, 3, 3), (5,), (5,), (4,), (5,)], {}),
    "int8 stem": (lambda n: Int8Stem(1, 1, 9, Plane.dense(9, 9), rows(5, 5, 16), 3, 2, 1, 16, dot="plain",
                  dtype="int8"), [(9, 3, 3, 3), (9,), (9,), (4,), (1,), (4,)], {}),
    "int8 conv": (lambda n: Int8Conv(3, 2, 9, padded(9, 9, 16), rows(5, 5, 16), 3, 2, 1, 16, channels=5, dot="plain",
                  dtype="int8"), [(27, 5, 3, 3), (27,), (27,), (4,)], {}),
    "int8 generic conv": (lambda n: Int8GenericConv(2, 3, 8, padded(7, 7, 16), padded(4, 4, 16), (3, 5), (2, 2), (1, 2),
                          dtype="int8"), [(16, 3, 3, 5), (16,), (16,), (4,)], {}),
    "int8 generic pool": (lambda n: Int8GenericPool("avg", 8, padded(7, 7, 16), padded(4, 4, 16), (3, 3), (2, 2),
                          (1, 1, 1, 1), dtype="int8"), [(8,), (4,)], {}),
    "int8 adaptive": (lambda n: Int8AdaptiveAvgPool(6, padded(9, 9, 16), padded(4, 4, 16), dtype="int8"),
                      [(6,), (4,)], {}),
    "int8 add": (lambda n: Int8Add(6, *[padded(6, 6, 16)] * 3, dtype="int8"), [(2,), (2,), (4,)], {}),
    "int8 resize": (lambda n: Int8Resize(6, padded(6, 6, 16), padded(9, 9, 16), "bilinear", dtype="int8"),
                    [(9,), (9,), (9,), (9,), (9,), (9,), (4,)], {}),
    "int8 lrn": (lambda n: Int8LRN(6, padded(6, 6, 16), padded(6, 6, 16), 3, 1, dtype="int8"), [(3,), (4,)], {}),
    "int8 entry": (lambda n: Int8Entry(3, Plane.dense(6, 6), rows(6, 6, 16), dtype="int8"), [(1,), (4,)], {}),
    "int8 exit": (lambda n: Int8Exit(6, padded(6, 6, 16), Plane.dense(6, 6), dtype="int8"), [(1,), (4,)], {}),
    "int8 global": (lambda n: Int8GlobalAvgPool(9, padded(7, 7, 16), 16, dtype="int8"), [(9,), (9,), (4,)], {}),
    "int8 batched dense": (
        lambda n: Int8BatchedDense(9, 90, 4, dot="plain", dtype="int8", pictures=3, data_pitch=64, out_pitch=96),
        [(90, 9), (90,), (90,)], {}),
    "int8 dense": (lambda n: Int8Dense(9, 90, 4, dot="plain", dtype="int8"), [(90, 9), (90,), (90,)], {}),
    "copy in pieces": (lambda n: Copy.of((10000,), (1,), (1,)), [], {}),
}  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("machine", [Machine(16, 32), pytest.param(BY_ELEMENT, marks=pytest.mark.slow)], ids=str)
def test_parts_make_the_whole(kernel, machine):
    make, shapes, chosen = KERNELS[kernel]
    workload = make(machine.lanes)
    knobs = workload.knobs(machine) | chosen
    rng = np.random.default_rng(0)
    packed = pack(workload, knobs, workload.examples(shapes, rng))
    taken = arguments_of(workload, [array.size for array in packed])
    given, arrays = iter(packed), []
    for argument in taken:
        array = np.full(argument.size, UNTOUCHED if argument.dtype == "float32" else 0, argument.dtype)
        if argument.role == "weight":
            array[argument.inside] = next(given)
        elif argument.role not in ("output", "scratch"):
            array[argument.inside] = 9 * rng.standard_normal(argument.elements, "float32")
        arrays.append(array)
    (place,) = (i for i, argument in enumerate(taken) if argument.role == "output")
    whole, shared = ScheduledKernel("kernel", workload, knobs), workload.in_parts(knobs)
    cut = cut_kernel(workload, scheduled(workload, shared), shared)
    module = compiled(taken, scheduled_kernel(whole), as_private(cut.function))

    def run(name, inputs, *numbers):
        tensors = [tvm.runtime.tensor(array) for array in inputs]
        module[name](*tensors, *numbers)
        return [tensor.numpy() for tensor in tensors]

    expected = run("whole", arrays, 0, 1, 0)[place]
    assert cut.chunks > 1
    for parts in PARTS:
        state, written = arrays, np.zeros(expected.size, int)
        own = np.zeros(len(arrays), bool)
        for i, operand in enumerate(workload.operands()):
            own[i] = operand.name in workload.own_scratch
        for step in range(cut.steps):
            for part in rng.permutation(parts):
                before = [array.copy() for array in state]
                after, touched = (
                    run_bytes(run, before, place, int(part), parts, step) if expected.dtype == "int8"
                    else run_floats(run, before, place, int(part), parts, step)
                )  # fmt: skip
                written += touched
                kept = state[place].copy()
                kept[touched] = after[place][touched]
                state = [array if i != place else kept for i, array in enumerate(after)]
                state = [arrays[i] if own[i] else array for i, array in enumerate(state)]  # of each thread
        assert np.array_equal(state[place].view("uint8"), expected.view("uint8"))
        assert written.max() == 1 or repeats(workload)


def run_floats(run, arrays, place, *numbers):
    """What a part leaves in the arrays, and where in that one it has written."""
    arrays[place][:] = UNTOUCHED
    after = run("part", arrays, *numbers)
    return after, after[place].view("uint32") != UNTOUCHED.view("uint32")


def run_bytes(run, arrays, place, *numbers):
    """The same, of bytes, none of which means that nothing was written: it is the same whatever was there."""
    found = []
    for filler in (0, 1):
        arrays[place][:] = filler
        found.append(run("part", arrays, *numbers))
    return found[0], found[0][place] == found[1][place]


def repeats(workload) -> bool:
    """Whether some rows are written twice, with the same numbers: by the last band and the one before."""
    return isinstance(workload, Conv2d) and workload.after.height % workload._band > 0


def compiled(taken, whole, part):
    """Public functions of buffers and part, parts, step."""
    functions = {}
    for name, kernel in (("whole", whole), ("part", part)):
        buffers = [tirx.decl_buffer((a.size,), a.dtype, f"b{i}") for i, a in enumerate(taken)]
        numbers = [tirx.Var(number, "int32") for number in ("part", "parts", "step")]
        variable = tvm.ir.GlobalVar(f"{name}_kernel")
        pointers = [tirx.address_of(tirx.BufferLoad(b, [a.front])) for b, a in zip(buffers, taken)]
        call = tirx.Evaluate(variable(*pointers, *(numbers if name == "part" else [])))
        main = tirx.PrimFunc([*buffers, *numbers], call).with_attrs({"global_symbol": name, "s_tir": True})
        functions |= {tvm.ir.GlobalVar(name): main, variable: kernel}
    return compile_module(tvm.IRModule(functions), resolve("native").tvm)


def test_parts_of_pointwise_layers_ask_for_the_next_tile():
    """For the pixels that it loads, not for what it stores; not on Arm, where no board was asked."""
    workload, machine = Pointwise(3, 20, 36, padded(14, 14, 16), 16), Machine(16, 32)
    knobs = workload.knobs(machine)

    def asks(knobs, what):
        return str(scheduled(workload, knobs)).count(f"prefetch_to_{what}")

    shared = workload.in_parts(knobs)
    assert asks(shared, "write") == asks(knobs, "write") == 0
    assert asks(shared, "read") == asks(knobs, "read") + 1 and shared["tile_ahead"] == 16 * knobs["vectors"]
    on_arm = Pointwise(3, 20, 36, padded(14, 14, 4), 4)
    assert on_arm.in_parts(on_arm.knobs(BY_ELEMENT)) == on_arm.knobs(BY_ELEMENT)


def test_what_all_threads_would_write_is_refused():
    workload = Depthwise(10, Plane.padded(7, 7, 16), Plane.padded(7, 7, 16), 3, 1, 1, 16)
    machine = Machine(16, 32)

    class Uncut(Depthwise):
        def chunks(self, knobs):
            return {"nothing": 1}

    knobs = workload.knobs(machine)
    uncut = Uncut(10, workload.before, workload.after, 3, 1, 1, 16)
    with pytest.raises(ValueError, match="all threads would write"):
        cut_kernel(uncut, scheduled(uncut, knobs), knobs)


def test_every_kernel_is_here():
    """Each class of `schedules/` that computes something is cut somewhere above."""
    from tvm_shufflenet import schedules

    named = {getattr(schedules, name) for name in schedules.__all__}
    workloads = {each for each in named if isinstance(each, type) and issubclass(each, schedules.Workload)}
    seen = {type(make(16)) for make, _, _ in KERNELS.values()} | {schedules.Workload}
    # Tables of the one are no weights that `pack` takes; the places of regions are another kernel's results, see
    # tests/schedules/test_regions.py for two threads; the others have no loop whose rounds are independent.
    assert workloads - seen == {Resize, BinPlanes, Regions, Detections, RegionDetections}
