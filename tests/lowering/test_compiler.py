"""The pipeline: what each phase leaves, and that nothing but kernels is left at the end."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from tvm import relax, tirx

from tvm_shufflenet.architectures import NetworkBuilder, network
from tvm_shufflenet.bridge import random_parameters, to_relax
from tvm_shufflenet.bridge.relax_module import relax_module
from tvm_shufflenet.graph import Node
from tvm_shufflenet.graph.attention import fold_attention
from tvm_shufflenet.graph.fold import fold_affine
from tvm_shufflenet.graph.fuse import fuse_epilogues
from tvm_shufflenet.graph.read_relax import UnsupportedGraph, read_relax
from tvm_shufflenet.graph.simplify import simplify
from tvm_shufflenet.lowering.abilities import is_pointwise
from tvm_shufflenet.lowering.moves import copies
from tvm_shufflenet.lowering.plan_memory import plan_memory
from tvm_shufflenet.lowering.program import Root, View
from tvm_shufflenet.lowering.select_kernels import select_kernels
from tvm_shufflenet.lowering.verify import InvalidProgram, operands_of, verify, verify_plan
from tvm_shufflenet.pipeline import compile_network
from tvm_shufflenet.schedules import OUTPUT, RELU, Copy, Machine, Plane, Pointwise, Strewn
from tvm_shufflenet.targets import resolve

from ..conftest import EARLIER, STRUCTURES

NEON, AVX512 = Machine(4, 32), Machine(16, 32)
# Among them those where g does not divide n: n = 20 for 3 groups in stage 2 at 1x.
SHUFFLED = [f"shufflenet-v1-{scale}x-g{g}" for scale in ("0.25", "0.5", "1", "1.5", "2") for g in (1, 2, 3, 4, 8)]


def read(net, parameters=None):
    """The graph as it is read from Relax."""
    parameters = parameters or random_parameters(net)
    return read_relax(relax.transform.BindParams("main", to_relax(parameters))(relax_module(net)))


def passed(net, parameters=None):
    """The graph behind all passes."""
    graph = read(net, parameters)
    simplify(graph)
    fold_affine(graph)
    fold_attention(graph, is_pointwise)
    fuse_epilogues(graph, is_pointwise)
    return graph


def program_of(net, machine=NEON):
    program = select_kernels(passed(net), machine, net.layout)
    verify(program)
    return program


def build(make, channels=4, size=(8, 8), outputs=None):
    """The network that `make(net)` adds to a picture; it gives the outputs' layers if there are several."""
    net = NetworkBuilder(size, channels)
    made = make(net)
    return net.network("made", outputs=made if isinstance(made, tuple) else None)


def steps(graph) -> list[str]:
    return [node.op for node in graph.nodes[1:]]


def names(program) -> list[str]:
    return [call.workload.name for call in program.calls]


def test_tensors_of_other_ranks_are_refused():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 4, 6), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(relax.op.nn.relu(x)))
        builder.emit_func_output(result)
    with pytest.raises(UnsupportedGraph, match="N x C x H x W"):
        read_relax(builder.get())


def test_batch_norms_and_biases_fold_in_double_precision():
    net = build(lambda net: net.batch_norm("bn", net.conv("conv", 0, 3, kernel=3, bias=True)))
    parameters = random_parameters(net)
    (conv,) = passed(net, parameters).nodes[1:]
    gamma, beta, mean, variance = (
        parameters[f"bn.{key}"].astype("float64") for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + 1e-5)
    weight = parameters["conv.weight"].astype("float64") * scale[:, None, None, None]
    bias = (parameters["conv.bias"].astype("float64") - mean) * scale + beta
    np.testing.assert_array_equal(conv.weights["weight"], weight.astype("float32"))
    np.testing.assert_allclose(conv.weights["bias"], bias, rtol=1e-12)


def test_a_batch_norm_stays_where_it_cannot_be_folded():
    def read_twice(net):
        x = net.conv("conv", 0, 4)
        return net.add("add", net.batch_norm("bn", x), net.sigmoid("sigmoid", x))

    assert steps(passed(build(read_twice))) == ["conv", "affine", "activation", "add"]
    alone = build(lambda net: net.batch_norm("bn2", net.batch_norm("bn1", net.max_pool("pool", 0, 2, 2))))
    assert steps(passed(alone)) == ["pool", "affine"]  # two in a row are one


@pytest.mark.parametrize("batch_norms", [True, False])
def test_equal_parameters_stay_apart(batch_norms):
    """As in a network that is yet to be trained: TVM merges equal expressions, but not what becomes kernels."""
    net = NetworkBuilder((8, 8))
    x = 0
    for index in range(3):
        layer = f"layer{index}"
        if batch_norms:
            x = net.conv_bn(layer, "", x, 3, groups=3, relu=True)
        else:
            x = net.relu(f"{layer}.relu", net.conv(layer, x, 3, groups=3, bias=True))
        x = net.shuffle(f"{layer}.shuffle", x, 3)
    net.dense("classifier", net.global_avg_pool("pool", x), 2)
    net = net.network("tiny")
    parameters = {name: np.full(shape, 0.5, "float32") for name, shape in net.parameters().items()}
    program = select_kernels(passed(net, parameters), NEON)
    assert [name for name in names(program) if name != "copy"] == ["pointwise"] * 3 + ["global_avg_pool", "dense"]


def test_activations_move_before_concatenations_and_shuffles():
    def make(net):
        a, b = net.conv("a", 0, 6), net.conv("b", 0, 2)
        return net.relu("relu", net.shuffle("shuffle", net.concat("concat", a, b), 2))

    graph = passed(build(make))
    assert steps(graph) == ["conv", "conv", "concat", "gather"]
    assert [node.activation for node in graph.nodes[1:3]] == [RELU, RELU]

    def shared(net):
        x = net.concat("concat", net.conv("a", 0, 6), net.conv("b", 0, 2))
        return net.relu("relu", x), x

    assert steps(passed(build(shared))) == ["conv", "conv", "concat", "activation"]


def test_what_changes_nothing_is_left_out():
    def make(net):
        x = net.slice("slice", net.concat("concat", 0), 0, 4)
        x = net.reshape("reshape", net.pad("pad", net.shuffle("shuffle", x, 1), 0), (1, 4, 8, 8))
        net.conv("dead", x, 9)
        return net.relu("relu", net.dropout("dropout", x, 0.5)), x

    assert steps(passed(build(make))) == ["activation"]


def test_residuals_are_fused_where_nothing_else_reads_the_sum():
    def either_way(net):
        x = net.conv("stem", 0, 4, kernel=3, pad=1)
        y = net.relu("relu1", net.add("add1", x, net.conv("conv1", x, 4)))
        return net.relu("relu2", net.add("add2", net.conv("conv2", y, 4), y))

    graph = passed(build(either_way))
    assert steps(graph) == ["conv"] * 3 and [node.residual for node in graph.nodes[1:]] == [False, True, True]

    def around(net):
        """What is added is computed behind the convolution; the sum is read before and behind its ReLU."""
        conv = net.conv("conv", 0, 4)
        total = net.add("add", conv, net.sigmoid("sigmoid", 0))
        return net.add("last", total, net.relu("relu", total))

    graph = passed(build(around))
    assert steps(graph) == ["activation", "conv", "activation", "add"] and graph.nodes[2].residual

    def not_alone(net):
        conv = net.conv("conv", 0, 4)
        return net.add("add", conv, conv)

    assert steps(passed(build(not_alone))) == ["conv", "add"]
    assert steps(passed(build(lambda net: net.add("add", 0, net.conv("conv", 0, 4, kernel=3, pad=1))))) == [
        "conv",
        "add",
    ]


@pytest.mark.parametrize(
    "name",
    [n if "-0.25x-" in n or n == "shufflenet-v1-1x-g3" else pytest.param(n, marks=pytest.mark.full) for n in SHUFFLED],
)
def test_the_shuffle_leaves_no_operator(name):
    """No copy: a kernel for each layer, and each shuffle is the order in which one of them stores its output."""
    net = network(name)
    shuffles = sum(layer.op == "shuffle" for layer in net.layers)
    assert shuffles == (0 if name.endswith("g1") else 15)
    program = program_of(net)
    layers, kernels = Counter(layer.op for layer in net.layers), Counter(names(program))
    assert kernels["pointwise"] + kernels["depthwise"] + kernels["conv2d"] == layers["conv"]
    assert kernels.total() == sum(layers[op] for op in ("conv", "max_pool", "avg_pool", "global_avg_pool", "dense"))
    assert sum(getattr(call.workload, "shuffle", False) for call in program.calls) == shuffles
    assert not program.generic()

    ablation = program_of(network(name + "-noshuffle"))
    assert names(ablation) == names(program)


@pytest.mark.parametrize("name", ["mobilenet-v1-1.0", "alexnet"])
@pytest.mark.parametrize("machine", [NEON, AVX512], ids=["neon", "avx512"])
def test_no_listed_network_needs_a_generic_kernel(name, machine):
    assert not program_of(network(name), machine).generic()


@pytest.mark.parametrize("name", ["shufflenet-v1-1x-g3", "shufflenet-v1-0.25x-g8", "mobilenet-v1-0.25", "alexnet"])
def test_the_lowered_module_is_kernel_calls(name):
    """The TIR entry is one call of a private kernel after another, and allocates nothing."""
    net = network(name, classes=10)
    compiled = compile_network(net, random_parameters(net), resolve("cortex-a72"))
    kernels = {kernel.name for kernel in compiled.kernels}
    called = []
    for statement in compiled.tir["main"].body.seq:
        if isinstance(statement, tirx.Evaluate):
            called.append(statement.value.op.name_hint)
    assert len(called) == len(compiled.program.calls) and set(called) == kernels
    assert {g.name_hint for g in compiled.tir.functions} == kernels | {"main"}
    public = [g.name_hint for g, f in compiled.tir.functions.items() if "global_symbol" in f.attrs]
    assert public == ["main"]
    text = compiled.code.inspect_source("ll")
    assert "AllocWorkspace" not in text and "TVMBackend" not in text
    declared = {line.split("@")[1].split("(")[0] for line in text.splitlines() if line.startswith("declare")}
    assert not {d for d in declared if not d.startswith("llvm.")} - {
        "tsn_weights", "TVMFFIErrorSetRaisedFromCStrParts",
    }  # fmt: skip


def test_concatenations_are_one_root_and_slices_views_of_it():
    def make(net):
        stem = net.relu("stem", net.conv("conv", 0, 16, kernel=3, pad=1))
        parts = [net.conv(f"part{i}", stem, 8) for i in range(3)]
        whole = net.concat("whole", net.concat("inner", parts[0], parts[1]), parts[2])
        return net.conv("tail", whole, 8), net.conv("half", net.slice("slice", whole, 8, 16), 8)

    program = program_of(build(make, size=(16, 16)))
    parts = [call.output for call in program.calls if call.layer.startswith("part")]
    assert len({view.root for view in parts}) == 1 and [view.planes[0] for view in parts] == [0, 8, 16]
    (half,) = [call for call in program.calls if call.layer == "half" and not isinstance(call.workload, Copy)]
    assert half.inputs[0].root is parts[0].root and half.inputs[0].planes == tuple(range(8, 16))


def test_what_cannot_be_a_view_is_copied_once():
    def make(net):
        x = net.conv("conv", 0, 4)
        y = net.concat("twice", x, x)
        return net.conv("a", y, 4), net.conv("b", y, 4), net.max_pool("c", net.concat("picture", 0, x), 2, 2)

    program = program_of(build(make, size=(16, 16)))
    read = {call.layer: call.inputs[0].root for call in program.calls if isinstance(call.workload, Pointwise)}
    assert read["a"] is read["b"]
    written = [call.output for call in program.calls if call.output.root is read["a"]]
    assert sorted(plane for view in written for plane in view.planes) == list(range(8))


def stage(net, units=4, channels=12, even=True, residual=False):
    """Of ShuffleNet v2: each unit leaves half of the channels as they are, and their places are shuffled."""
    x, half = net.conv("first", net.conv("stem", 0, 8, kernel=3, pad=1), channels), channels // 2
    for unit in range(units):
        ends = ((0, channels, 2), (1, channels, 2)) if even else ((0, half), (half, channels))
        kept, y = (net.slice(f"{unit}.{i}", x, *end) for i, end in enumerate(ends))
        z = net.conv_bn(f"{unit}", "1", y, half, relu=True)
        z = net.conv_bn(f"{unit}", "3", net.conv_bn(f"{unit}", "2", z, half, kernel=3, pad=1, groups=half), half)
        z = net.relu(f"{unit}.relu", net.add(f"{unit}.add", y, z) if residual else z)
        x = net.concat(f"{unit}.concat", kept, z)
        x = x if even else net.shuffle(f"{unit}.shuffle", x, 2)
    y = net.conv_bn("dw", "", x, channels, kernel=3, stride=1, pad=1, groups=channels)
    x = net.add("last", net.conv("conv5", x, 20), net.conv("other", y, 20))
    return net.dense("classifier", net.global_avg_pool("mean", x), 3)


@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("even", [True, False], ids=["even and odd", "shuffled halves"])
def test_a_stage_of_split_concat_and_shuffle_moves_nothing(even, residual):
    """One buffer serves the stage, with a plane for each channel."""
    program = program_of(build(lambda net: stage(net, even=even, residual=residual), size=(16, 16)))
    verify_plan(program, plan_memory(program))
    assert "copy" not in names(program)
    written = [call.output for call in program.calls if call.layer == "first" or call.layer.endswith(".conv3")]
    (root,) = {view.root for view in written}
    assert len(written) == 5 and root.planes == 12


@pytest.mark.parametrize("groups", [1, 3])
def test_a_scale_is_known_before_what_it_scales(groups):
    """The mean is that of the convolution's inputs, and neither scaling nor the addition is a pass of its own."""

    def make(net):
        x = net.conv("stem", 0, 6, kernel=3, pad=1)
        y = net.conv("conv", x, 12, bias=True, groups=groups)
        s = net.relu("squeezed", net.dense("squeeze", net.global_avg_pool("mean", y), 3))
        y = net.multiply("scaled", y, net.sigmoid("sigmoid", net.dense("excite", s, 12)))
        return net.relu("out", net.add("add", net.conv("shortcut", x, 12), y))

    net = build(make)
    parameters = random_parameters(net)
    program = program_of(net)
    kernels = [name for name in names(program) if name != "copy"]
    assert sorted(kernels[1:]) == ["dense", "dense", "global_avg_pool", "pointwise", "pointwise"]
    (last,) = [call for call in program.calls if getattr(call.workload, "scaled", False)]
    assert last.workload.residual and last.workload.activation == RELU
    squeeze = next(node for node in passed(net, parameters).nodes if node.name == "squeeze")
    kernel = parameters["conv.weight"].reshape(groups, 12 // groups, 6 // groups).astype("float64")
    whole = np.zeros((12, 6))
    for g in range(groups):
        whole[g * 12 // groups : (g + 1) * 12 // groups, g * 6 // groups : (g + 1) * 6 // groups] = kernel[g]
    np.testing.assert_allclose(squeeze.weights["weight"], parameters["squeeze.weight"] @ whole, rtol=1e-5, atol=1e-6)
    expected = parameters["squeeze.weight"].astype("float64") @ parameters["conv.bias"] + parameters["squeeze.bias"]
    np.testing.assert_allclose(squeeze.weights["bias"], expected, rtol=1e-6)


@pytest.mark.parametrize("between", ["relu", "read twice", "maximum"])
def test_a_scale_of_something_else_is_a_pass_of_its_own(between):
    def make(net):
        y = net.conv("conv", net.conv("stem", 0, 6, kernel=3, pad=1), 8, bias=True)
        y = net.relu("relu", y) if between == "relu" else y
        mean = (net.global_max_pool if between == "maximum" else net.global_avg_pool)("mean", y)
        z = net.multiply("scaled", y, net.sigmoid("sigmoid", net.dense("excite", mean, 8)))
        return (z, net.max_pool("pool", y, 2, 2)) if between == "read twice" else z

    program = program_of(build(make))
    assert "binary" in names(program) and not [c for c in program.calls if getattr(c.workload, "scaled", False)]


def test_attention_may_be_written_as_convolutions_of_one_pixel():
    def make(net):
        y = net.conv("conv", net.conv("stem", 0, 6, kernel=3, pad=1), 8, bias=True)
        s = net.reshape("pixel", net.global_avg_pool("mean", y), (1, 8, 1, 1))
        s = net.conv("excite", net.relu("relu", net.conv("squeeze", s, 3, bias=True)), 8, bias=True)
        return net.multiply("scaled", y, net.sigmoid("sigmoid", s))

    (last,) = [call for call in program_of(build(make)).calls if call.layer == "conv" and call.workload.name != "copy"]
    assert last.workload.scaled


def test_projections_read_the_pixels_that_they_need_once():
    """A stride of 2 at 1x1 leaves a pointwise convolution, which takes a residual."""

    def make(net):
        x = net.conv("stem", 0, 8, kernel=3, pad=1)
        y = net.conv("second", net.relu("relu", net.conv("first", x, 4, stride=2)), 8)
        return net.relu("out", net.add("add", y, net.conv("projection", x, 8, stride=2)))

    program = program_of(build(make, size=(16, 16)))
    kernels = [name for name in names(program) if name != "copy"]
    assert sorted(kernels[1:]) == ["max_pool", "pointwise", "pointwise", "pointwise"]
    assert sum(getattr(call.workload, "residual", False) for call in program.calls) == 1


def test_a_plane_that_holds_another_channel_by_now_is_not_read():
    program = program_of(build(lambda net: stage(net), size=(16, 16)))
    first = next(i for i, call in enumerate(program.calls) if call.layer == "2.conv1")
    later = next(i for i, call in enumerate(program.calls) if call.layer == "2.conv3")
    reader = dataclasses.replace(
        program.calls[first], output=View(Root("again", program.calls[first].output.root.plane, 6), tuple(range(6)))
    )
    verify(program)
    program.calls.insert(later + 1, reader)
    with pytest.raises(InvalidProgram, match="does not hold"):
        verify(program)


def test_either_input_may_be_replaced():
    """The picture's place is the caller's; that of the other factor is free."""
    net = build(lambda net: net.max_pool("pool", net.multiply("multiply", 0, net.sigmoid("sigmoid", 0)), 2, 2))
    program = program_of(net)
    plan = plan_memory(program)
    verify_plan(program, plan)
    sigmoid, multiply = (call.output for call in program.calls[:2])
    assert plan.start(sigmoid) == plan.start(multiply)


@pytest.mark.parametrize("machine", [NEON, AVX512], ids=["neon", "avx512"])
def test_scales_of_channels_may_come_from_any_convolution(machine):
    """A convolution that leaves one pixel may leave it in planes of whole vectors."""

    def make(net):
        scale = net.conv("scale", net.adaptive_avg_pool("pool", 0, 3), 4, kernel=3, groups=2)
        return net.multiply("multiply", 0, net.sigmoid("sigmoid", scale)), net.add("add", scale, 0)

    program = program_of(build(make), machine)
    verify_plan(program, plan_memory(program))


def test_shuffles_are_copied_in_few_calls():
    root, target = Root("a", Plane.dense(4, 4), 960), Root("b", Plane.dense(4, 4), 960)
    order = tuple(int(c) for c in np.arange(960).reshape(3, -1).T.ravel())
    channels = tuple((Node("conv", "x", [], (960, 4, 4)), i) for i in range(960))
    calls = copies("x", channels, View(root, order), View(target, tuple(range(960))))
    assert len(calls) == 1 and calls[0].workload.extents == (320, 3, 16)
    assert calls[0].reads == [calls[0].writes] and set(calls[0].writes) == set(channels)
    backwards = copies("x", channels, View(root, tuple(range(959, -1, -1))), View(target, tuple(range(960))))
    assert sorted(plane for call in backwards for plane in call.inputs[0].planes) == list(range(960))


def broken(change):
    """A program, and its plan, with something that `change` made wrong."""
    program = program_of(network("shufflenet-v1-0.25x-g3", (64, 64), 10))
    plan = plan_memory(program)
    verify_plan(program, plan)
    return change(program, plan) or (program, plan)


def _shifted(program, plan):
    call = next(call for call in program.calls if isinstance(call.workload, Pointwise))
    view = call.inputs[0]
    call.inputs[0] = View(view.root, tuple(plane + 1 for plane in view.planes))


def _unwritten(program, plan):
    del program.calls[3]


def _others(program, plan):
    """The planes hold other channels than the next kernel needs."""
    call = program.calls[0]
    program.calls[0] = dataclasses.replace(call, writes=call.writes[::-1])


def _external(program, plan):
    call = next(call for call in program.calls if isinstance(call.workload, Pointwise))
    view = call.inputs[0]
    call.inputs[0] = View(dataclasses.replace(view.root, external="input"), view.planes)


def _short(program, plan):
    program.outputs.append(Root("more", Plane.dense(1, 1), 5, "output 1"))


def _table(program, plan):
    """The kernel would write somewhere else than the program says."""
    program.calls[:] = program_of(build(stage, size=(16, 16))).calls
    call = next(call for call in program.calls if isinstance(call.workload, Strewn))
    call.parameters[3] = call.parameters[3][::-1]


@pytest.mark.parametrize("change", [_shifted, _unwritten, _others, _external, _short, _table])
def test_broken_programs_are_refused(change):
    program, _ = broken(change)
    with pytest.raises(InvalidProgram):
        verify(program)


def _overlapping(program, plan):
    first, second = [call.output.root for call in program.calls[:2]]
    return program, dataclasses.replace(plan, offsets={**plan.offsets, second: plan.offsets[first]})


def _outside(program, plan):
    return program, dataclasses.replace(plan, bytes=plan.bytes - 64)


def _no_room(program, plan):
    """What a window kernel reads in front of its input lies in front of the workspace."""
    window = next(call for call in program.calls if call.workload.name == "depthwise")
    return program, dataclasses.replace(plan, offsets={**plan.offsets, window.inputs[0].root: 0})


@pytest.mark.parametrize("change", [_overlapping, _outside, _no_room])
def test_broken_plans_are_refused(change):
    program, plan = broken(change)
    with pytest.raises(InvalidProgram):
        verify_plan(program, plan)


def lifetimes(program):
    """First and last call of every root between input and outputs."""
    spans = {}
    for index, call in enumerate(program.calls):
        for view in (*call.inputs, call.output):
            first, _ = spans.get(view.root.home, (index, index))
            spans[view.root.home] = (first, index)
    return {root: span for root, span in spans.items() if not root.external}


# The quick tests take each structure on one of the machines, and each number of groups on the other.
QUICK_PLANS = {*((name, NEON) for name in (*STRUCTURES, "shufflenet-v1-1x-g3", "alexnet", "mobilenet-v1-0.25")),
               *((f"shufflenet-v1-0.25x-g{groups}", AVX512) for groups in (1, 2, 3, 4, 8)),
               ("alexnet", AVX512), ("googlenet", AVX512)}  # fmt: skip


@pytest.mark.parametrize("name,machine", [
    pytest.param(name, machine, id=f"{label}-{name}", marks=() if (name, machine) in QUICK_PLANS else pytest.mark.slow)
    for name in (*EARLIER, *STRUCTURES) if "noshuffle" not in name
    for label, machine in (("neon", NEON), ("avx512", AVX512))
])  # fmt: skip
def test_memory_plan(name, machine):
    """Nothing alive at the same time overlaps but an output in the place of an input, and little is lost."""
    program = program_of(network(name, (128, 160)), machine)
    plan = plan_memory(program)
    verify_plan(program, plan)
    pieces = [(plan.offsets[root], root.bytes, *span, root) for root, span in lifetimes(program).items()]
    for index, offset in plan.scratch.items():
        size = sum(o.bytes for o in program.calls[index].workload.operands() if o.role == "scratch")
        pieces.append((offset, size, index, index, None))
    replaced = {
        (view.root, call.output.root) for call in program.calls for operand, view in operands_of(call)
        if view is not None and operand.role != OUTPUT and call.workload.may_replace(operand.name)
    }  # fmt: skip
    for i, (offset, size, first, last, root) in enumerate(pieces):
        assert offset >= 0 and offset % 64 == 0 and offset + size <= plan.bytes
        for offset2, size2, first2, last2, root2 in pieces[:i]:
            apart = offset + size <= offset2 or offset2 + size2 <= offset
            in_place = (root, root2) in replaced or (root2, root) in replaced
            assert apart or last < first2 or last2 < first or (in_place and offset == offset2)
    assert plan.bytes <= 1.2 * plan.live + 1024


def test_debug_dump(tmp_path):
    net = network("shufflenet-v1-0.25x-g3", (64, 64), 10)
    compile_network(net, random_parameters(net), resolve("cortex-a53"), tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [
        "01_relax.py", "02_read_relax.txt", "03_simplify.txt", "04_fold_affine.txt", "05_fold_attention.txt",
        "06_fuse_epilogues.txt", "07_select_kernels.txt", "08_plan_memory.txt", "09_emit_module.py", "10_to_object.ll",
    ]  # fmt: skip
    assert "permute_dims" in (tmp_path / "01_relax.py").read_text()
    assert "affine" in (tmp_path / "03_simplify.txt").read_text()
    assert "affine" not in (tmp_path / "04_fold_affine.txt").read_text()
    assert "pointwise_1" in (tmp_path / "09_emit_module.py").read_text()
    assert "<4 x float>" in (tmp_path / "10_to_object.ll").read_text()
