"""The pipeline: what each phase leaves, and that nothing but kernels is left at the end."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from tvm import relax, tirx

from schedules import SCRATCH, Machine
from tvm_shufflenet.architectures import NetworkBuilder, model_names, network
from tvm_shufflenet.bridge import random_parameters, to_relax
from tvm_shufflenet.bridge.relax_module import relax_module
from tvm_shufflenet.graph.fold import fold_affine
from tvm_shufflenet.graph.fuse import fuse_epilogues
from tvm_shufflenet.graph.read_relax import read_relax
from tvm_shufflenet.graph.simplify import simplify
from tvm_shufflenet.lowering.plan_memory import ALIGN, plan_memory
from tvm_shufflenet.lowering.program import View
from tvm_shufflenet.lowering.rules import is_pointwise
from tvm_shufflenet.lowering.select_kernels import select_kernels
from tvm_shufflenet.lowering.verify import InvalidProgram, verify, verify_plan
from tvm_shufflenet.pipeline import compile_network
from tvm_shufflenet.targets import resolve

NEON, AVX512 = Machine(4, 32), Machine(16, 32)
# Among them those where g does not divide n: n = 20 for 3 groups in stage 2 at 1x.
SHUFFLED = [f"shufflenet-v1-{scale}x-g{g}" for scale in ("0.25", "0.5", "1", "1.5", "2") for g in (1, 2, 3, 4, 8)]
NAMES = [n for n in model_names() if "noshuffle" not in n]
QUICK = {"shufflenet-v1-1x-g3", "shufflenet-v1-0.25x-g8", "alexnet", "mobilenet-v1-0.25"}  # the others are slow
PASSES = (simplify, fold_affine, lambda graph: fuse_epilogues(graph, is_pointwise))


def graph_of(net, passes=PASSES, parameters=None):
    """The graph of a network behind these passes."""
    parameters = random_parameters(net) if parameters is None else parameters
    graph = read_relax(relax.transform.BindParams("main", to_relax(parameters))(relax_module(net)))
    for graph_pass in passes:
        graph_pass(graph)
    return graph


def program_of(net, machine=NEON, parameters=None):
    return select_kernels(graph_of(net, parameters=parameters), machine, net.layout)


def built(make, size=(8, 8), channels=6):
    """The network that `make(builder)` builds on a picture; it returns the last layer, or several outputs."""
    builder = NetworkBuilder(size, channels)
    outputs = make(builder)
    return builder.network("tiny", {}, outputs=list(outputs) if isinstance(outputs, tuple) else None)


def ops(graph) -> list[str]:
    return [node.op + (f" {node.activation.kind}" if node.activation else "") for node in graph.nodes]


def test_simplify_puts_an_activation_before_a_concatenation():
    def make(net):
        a, b = net.conv("a", 0, 4, bias=True), net.conv("b", 0, 4, bias=True)
        return net.relu("relu", net.concat("concat", a, b))

    net = built(make)
    assert ops(graph_of(net, ())) == ["input", "conv", "conv", "concat", "activation relu"]
    assert Counter(ops(graph_of(net, (simplify,)))) == Counter(
        ["input", "conv", "conv", "activation relu", "activation relu", "concat"]
    )
    assert Counter(ops(graph_of(net))) == Counter(["input", "conv relu", "conv relu", "concat"])


def test_simplify_leaves_a_concatenation_that_others_read():
    def make(net):
        both = net.concat("concat", net.conv("a", 0, 4, bias=True), net.conv("b", 0, 4, bias=True))
        return net.relu("relu", both), both

    assert ops(graph_of(built(make))) == ["input", "conv", "conv", "concat", "activation relu"]


def test_fold_puts_a_batch_norm_into_its_convolution():
    net = built(lambda net: net.batch_norm("bn", net.conv("conv", 0, 4, kernel=3)))
    parameters = random_parameters(net)
    (_, conv) = graph_of(net, (simplify, fold_affine), parameters).nodes
    of = {name.rsplit(".", 1)[-1]: name for name in parameters if name.startswith("bn")}
    gamma, beta, mean, variance = (
        parameters[of[key]].astype("float64") for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + 1e-5)
    weight = parameters["conv.weight"] * scale[:, None, None, None]
    assert conv.op == "conv" and np.allclose(conv.weights["weight"], weight, rtol=1e-6, atol=0)
    assert np.allclose(conv.weights["bias"], beta - mean * scale, rtol=1e-5, atol=1e-7)


def test_fold_leaves_a_convolution_that_others_read():
    def make(net):
        conv = net.conv("conv", 0, 4)
        return net.batch_norm("bn", conv), conv

    graph = graph_of(built(make))
    assert len(graph.nodes) == 3 and [node.op for node in graph.nodes[:2]] == ["input", "conv"]


@pytest.mark.parametrize("swapped", [False, True])
def test_fuse_adds_the_residual_in_either_order(swapped):
    def make(net):
        a = net.relu("a.relu", net.conv("a", 0, 6, bias=True))
        b = net.conv("b", a, 6, bias=True)
        return net.relu("relu", net.add("add", *((b, a) if swapped else (a, b))))

    graph = graph_of(built(make))
    assert ops(graph) == ["input", "conv relu", "conv relu"]
    assert graph.nodes[2].residual and graph.nodes[2].inputs == [graph.nodes[1], graph.nodes[1]]


def test_fuse_leaves_what_others_read():
    def make(net):
        conv = net.conv("conv", 0, 6, bias=True)
        return net.add("add", conv, 0), net.relu("relu", conv)

    graph = graph_of(built(make))
    (conv,) = (node for node in graph.nodes if node.op == "conv")
    assert not conv.residual and not conv.activation


@pytest.mark.parametrize("batch_norms", [True, False])
def test_equal_parameters_stay_apart(batch_norms):
    """As in a network that is yet to be trained: TVM merges equal expressions, but not what becomes kernels."""

    def make(net):
        x = 0
        for index in range(3):
            layer = f"layer{index}"
            if batch_norms:
                x = net.conv_bn(layer, "", x, 6, groups=3, relu=True)
            else:
                x = net.relu(f"{layer}.relu", net.conv(layer, x, 6, groups=3, bias=True))
            x = net.shuffle(f"{layer}.shuffle", x, 3)
        return net.dense("classifier", net.global_avg_pool("pool", x), 2)

    net = built(make)
    parameters = {name: np.full(shape, 0.5, "float32") for name, shape in net.parameters().items()}
    kernels = [call.workload.name for call in program_of(net, parameters=parameters).calls if not is_copy(call)]
    assert len(kernels) == 5


def is_copy(call) -> bool:
    return type(call.workload).__name__ == "Copy"


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SHUFFLED])
def test_the_shuffle_leaves_no_operator(name):
    """No copy and no generic kernel: a kernel for each layer, and as many calls as without shuffles."""
    net = network(name)
    program = program_of(net)
    shuffles = sum(layer.op == "shuffle" for layer in net.layers)
    assert shuffles == (0 if name.endswith("g1") else 15)
    assert not program.generic() and not any(map(is_copy, program.calls))
    layers = Counter(layer.op for layer in net.layers)
    kernels = Counter(call.workload.name for call in program.calls)
    assert kernels["pointwise"] + kernels["depthwise"] + kernels["conv2d"] == layers["conv"]
    assert kernels.total() == sum(layers[op] for op in ("conv", "max_pool", "avg_pool", "global_avg_pool", "dense"))
    assert sum(getattr(call.workload, "shuffle", False) for call in program.calls) == shuffles
    ablation = program_of(network(name + "-noshuffle"))
    assert [c.workload.name for c in ablation.calls] == [c.workload.name for c in program.calls]


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


def chain():
    """A program of three calls: two convolutions and the average over their planes."""

    def make(net):
        x = net.relu("a.relu", net.conv("a", 0, 8, kernel=3, pad=1, bias=True))
        x = net.relu("b.relu", net.conv("b", x, 8, bias=True))
        return net.global_avg_pool("pool", x)

    program = program_of(built(make))
    verify(program)
    verify_plan(program, plan_memory(program))
    return program


def test_verify_rejects_a_view_shifted_by_a_plane():
    program = chain()
    call = program.calls[1]
    view = call.inputs[0]
    call.inputs[0] = View(view.root, (*view.planes[1:], view.planes[0]))
    with pytest.raises(InvalidProgram, match="in order"):
        verify(program)


def test_verify_rejects_a_plane_that_is_not_written():
    program = chain()
    del program.calls[0]
    with pytest.raises(InvalidProgram, match="before all of it is written"):
        verify(program)
    program = chain()
    del program.calls[-1]
    with pytest.raises(InvalidProgram, match="never written"):
        verify(program)


def test_verify_rejects_a_plane_that_is_written_twice():
    program = chain()
    program.calls.insert(1, program.calls[0])
    with pytest.raises(InvalidProgram, match="written already"):
        verify(program)


def test_verify_rejects_the_callers_buffer_where_a_kernel_looks_around():
    program = chain()
    program.calls[0].output.root.external = "output 1"
    with pytest.raises(InvalidProgram, match="caller's buffer"):
        verify(program)


def test_verify_rejects_offsets_that_overlap():
    program = chain()
    plan = plan_memory(program)
    call = program.calls[1]
    offsets = {**plan.offsets, call.output.root: plan.offsets[call.inputs[0].root] + ALIGN}
    later = dataclasses.replace(program.calls[2], inputs=[call.inputs[0]])
    program.calls.append(later)
    with pytest.raises(InvalidProgram, match="read later"):
        verify_plan(program, dataclasses.replace(plan, offsets=offsets, bytes=2 * plan.bytes))


def test_verify_rejects_reach_outside_of_the_workspace():
    program = chain()
    plan = plan_memory(program)
    root = program.calls[0].output.root
    offsets = {**plan.offsets, root: plan.bytes - root.bytes + ALIGN}
    with pytest.raises(InvalidProgram, match="outside of the workspace"):
        verify_plan(program, dataclasses.replace(plan, offsets=offsets))


def lifetimes(program):
    """First and last call of every home between input and outputs."""
    spans = {}
    for index, call in enumerate(program.calls):
        for view in (*call.inputs, call.output):
            first, _ = spans.get(view.root.home, (index, index))
            spans[view.root.home] = (first, index)
    return {root: span for root, span in spans.items() if not root.external}


def scratch_of(call) -> int:
    return sum(o.bytes for o in call.workload.operands() if o.role == SCRATCH)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
@pytest.mark.parametrize("machine", [NEON, AVX512], ids=["neon", "avx512"])
def test_memory_plan(name, machine):
    """Nothing alive at the same time overlaps, and little is lost."""
    program = program_of(network(name, (128, 160)), machine)
    plan = plan_memory(program)
    spans = lifetimes(program)
    assert set(spans) == set(plan.offsets)
    pieces = [(plan.offsets[root], root.bytes, *spans[root], root) for root in spans]
    pieces += [(o, scratch_of(program.calls[i]), i, i, None) for i, o in plan.scratch.items()]
    replaced = {  # the sum takes the place of what is added
        (view.root, call.output.root)
        for call in program.calls
        for view, operand in zip(call.inputs, (o for o in call.workload.operands() if o.role in ("input", "residual")))
        if call.workload.may_replace(operand.name)
    }
    for i, (offset, size, first, last, root) in enumerate(pieces):
        assert offset >= 0 and offset % ALIGN == 0 and offset + size <= plan.bytes
        for offset2, size2, first2, last2, root2 in pieces[:i]:
            apart = offset + size <= offset2 or offset2 + size2 <= offset
            in_place = (root, root2) in replaced or (root2, root) in replaced
            assert apart or last < first2 or last2 < first or (in_place and offset == offset2)
    around = sum(
        max(getattr(o, side) for w in program.workloads() for o in w.operands()) for side in ("before", "behind")
    )
    assert plan.bytes <= 1.2 * plan.live + around + 2 * ALIGN


def test_debug_dump(tmp_path):
    net = network("shufflenet-v1-0.25x-g3", (64, 64), 10)
    compile_network(net, random_parameters(net), resolve("cortex-a53"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1_relax.py", "2_read_relax.txt", "3_simplify.txt", "4_fold_affine.txt", "5_fuse_epilogues.txt",
        "6_select_kernels.txt", "7_plan_memory.txt", "8_emit_module.py", "9_to_object.ll",
    ]  # fmt: skip
    assert "batch_norm" in (tmp_path / "1_relax.py").read_text()
    assert "affine" in (tmp_path / "3_simplify.txt").read_text()
    assert "affine" not in (tmp_path / "4_fold_affine.txt").read_text()
    assert "pointwise_1" in (tmp_path / "8_emit_module.py").read_text()
    assert "<4 x float>" in (tmp_path / "9_to_object.ll").read_text()
