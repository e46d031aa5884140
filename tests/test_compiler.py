"""The pipeline: what each phase leaves, and that nothing but kernels is left at the end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.script import ir as I
from tvm.script import relax as R
from tvm_shufflenet.passes.distribute_relu import DistributeReLU
from tvm_shufflenet.passes.fold_batch_norm import FoldBatchNorm
from tvm_shufflenet.passes.fold_channel_shuffle import fold_channel_shuffle
from tvm_shufflenet.passes.fuse_epilogues import fuse_epilogues

from schedules import Machine
from tvm_shufflenet.architectures import NetworkBuilder, model_names, network
from tvm_shufflenet.bridge import random_parameters, to_relax
from tvm_shufflenet.bridge.relax_module import relax_module
from tvm_shufflenet.lowering.plan_memory import GUARD, plan_memory
from tvm_shufflenet.lowering.select_kernels import UnsupportedGraph, select_kernels
from tvm_shufflenet.pipeline import compile_network
from tvm_shufflenet.targets import resolve

NEON, AVX512 = Machine(4, 32), Machine(16, 32)
# Among them those where g does not divide n: n = 20 for 3 groups in stage 2 at 1x.
SHUFFLED = [f"shufflenet-v1-{scale}x-g{g}" for scale in ("0.25", "0.5", "1", "1.5", "2") for g in (1, 2, 3, 4, 8)]


def graph(name: str, size=(224, 224)):
    """The Relax module behind the graph passes."""
    net = network(name, size)
    return net, passed(net, random_parameters(net))


def passed(net, parameters):
    module = relax.transform.BindParams("main", to_relax(parameters))(relax_module(net))
    for graph_pass in (FoldBatchNorm(), fold_channel_shuffle(), DistributeReLU(), fuse_epilogues()):
        module = graph_pass(module)
    return module


def operators(function) -> Counter:
    (block,) = function.body.blocks
    calls = [b.value for b in block.bindings if isinstance(b.value, relax.Call)]
    return Counter(call.op.name if hasattr(call.op, "name") else "composite" for call in calls)


def random_tensor(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_fold_batch_norm_before_and_after():
    gamma, beta, mean, variance = (random_tensor(4) ** 2 + 0.1 for _ in range(4))
    weight = random_tensor(4, 2, 3, 3)
    scale = gamma.astype("float64") / np.sqrt(variance.astype("float64") + 1e-5)
    constants = [relax.const(a) for a in (weight, gamma, beta, mean, variance)]
    folded_weight = relax.const((weight * scale[:, None, None, None]).astype("float32"))
    folded_bias = relax.const((beta - mean * scale).astype("float32").reshape(1, 4, 1, 1))

    def module(folded: bool):
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType((1, 2, 8, 8), "float32"))
        with builder.function("main", [x]):
            with builder.dataflow():
                if folded:
                    y = builder.emit(relax.op.nn.conv2d(x, folded_weight, padding=1))
                    out = builder.emit_output(relax.op.add(y, folded_bias))
                else:
                    y = builder.emit(relax.op.nn.conv2d(x, constants[0], padding=1))
                    y = builder.emit(relax.op.nn.batch_norm(y, *constants[1:], axis=1, epsilon=1e-5, training=False))
                    out = builder.emit_output(relax.TupleGetItem(y, 0))
            builder.emit_func_output(out)
        return builder.get()

    tvm.ir.assert_structural_equal(FoldBatchNorm()(module(False)), module(True), map_free_vars=True)


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
    net = net.network("tiny", {})
    parameters = {name: np.full(shape, 0.5, "float32") for name, shape in net.parameters().items()}
    module = passed(net, parameters)
    assert set(operators(module["main"])) == {"composite"}
    assert len(select_kernels(module, NEON).calls) == 5


def test_distribute_relu_before_and_after():
    @I.ir_module
    class Before:
        @R.function
        def main(a: R.Tensor((1, 2, 4, 4), "float32"), b: R.Tensor((1, 3, 4, 4), "float32")):
            with R.dataflow():
                c = R.concat((a, b), axis=1)
                d = R.nn.relu(c)
                R.output(d)
            return d

    @I.ir_module
    class Expected:
        @R.function
        def main(a: R.Tensor((1, 2, 4, 4), "float32"), b: R.Tensor((1, 3, 4, 4), "float32")):
            with R.dataflow():
                x = R.nn.relu(a)
                y = R.nn.relu(b)
                d = R.concat((x, y), axis=1)
                R.output(d)
            return d

    tvm.ir.assert_structural_equal(DistributeReLU()(Before), Expected)


@pytest.mark.parametrize("name", SHUFFLED)
def test_the_shuffle_leaves_no_operator(name):
    """No reshape, transpose or copy: only composites and concatenations, and a kernel for each layer."""
    net, module = graph(name)
    shuffles = sum(layer.op == "shuffle" for layer in net.layers)
    assert set(operators(module["main"])) == {"composite", "relax.concat"}
    composites = Counter(str(f.attrs["Composite"]) for g, f in module.functions.items() if g.name_hint != "main")
    assert composites["tsn.shuffled_conv"] == shuffles == (0 if name.endswith("g1") else 15)

    program = select_kernels(module, NEON)
    layers = Counter(layer.op for layer in net.layers)
    kernels = Counter(call.workload.name for call in program.calls)
    assert kernels["pointwise"] + kernels["depthwise"] + kernels["conv2d"] == layers["conv"]
    assert kernels.total() == sum(layers[op] for op in ("conv", "max_pool", "avg_pool", "global_avg_pool", "dense"))
    assert sum(getattr(call.workload, "shuffle", False) for call in program.calls) == shuffles

    ablation = select_kernels(graph(name + "-noshuffle")[1], NEON)
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


def test_a_shuffle_elsewhere_is_refused_not_copied():
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 6, 4, 4), "float32")):
            with R.dataflow():
                a = R.reshape(x, R.shape([1, 2, 3, 4, 4]))
                b = R.permute_dims(a, axes=[0, 2, 1, 3, 4])
                c = R.reshape(b, R.shape([1, 6, 4, 4]))
                R.output(c)
            return c

    with pytest.raises(UnsupportedGraph):
        select_kernels(fuse_epilogues()(fold_channel_shuffle()(Module)), NEON)


def lifetimes(program):
    """First and last call of every root tensor between input and output."""
    spans = {}
    for index, call in enumerate(program.calls):
        for tensor in (*call.inputs, call.output):
            first, _ = spans.get(tensor.root, (index, index))
            spans[tensor.root] = (first, index)
    return {t: s for t, s in spans.items() if t not in (program.input, program.output)}


@pytest.mark.parametrize("name", [n for n in model_names() if "noshuffle" not in n])
@pytest.mark.parametrize("machine", [NEON, AVX512], ids=["neon", "avx512"])
def test_memory_plan(name, machine):
    """Nothing alive at the same time overlaps, and no more than the guards is lost."""
    program = select_kernels(graph(name, (128, 160))[1], machine)
    plan = plan_memory(program)
    spans = lifetimes(program)
    pieces = [(plan.offsets[t], t.floats, *spans[t], t) for t in spans]
    pieces += [(o, program.calls[i].workload.scratch, i, i, None) for i, o in plan.scratch.items()]
    replaced = {
        (call.inputs[1].root, call.output.root) for call in program.calls if len(call.inputs) == 2
    }  # the sum takes the place of the residual
    for i, (offset, floats, first, last, tensor) in enumerate(pieces):
        assert offset >= GUARD and offset % 16 == 0 and offset + floats + GUARD <= plan.floats
        for offset2, floats2, first2, last2, tensor2 in pieces[:i]:
            apart = offset + floats <= offset2 or offset2 + floats2 <= offset
            in_place = (tensor, tensor2) in replaced or (tensor2, tensor) in replaced
            assert apart or last < first2 or last2 < first or (in_place and offset == offset2)
    assert plan.floats <= 1.2 * plan.live + 2 * GUARD


def test_debug_dump(tmp_path):
    net = network("shufflenet-v1-0.25x-g3", (64, 64), 10)
    compile_network(net, random_parameters(net), resolve("cortex-a53"), tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [
        "1_relax.py", "2_fold_batch_norm.py", "3_fold_channel_shuffle.py", "4_distribute_relu.py",
        "5_fuse_epilogues.py", "6_select_kernels.txt", "7_plan_memory.txt", "8_emit_module.py", "9_to_object.ll",
    ]  # fmt: skip
    assert "permute_dims" in (tmp_path / "2_fold_batch_norm.py").read_text()
    assert "batch_norm" not in (tmp_path / "2_fold_batch_norm.py").read_text()
    assert "pointwise_1" in (tmp_path / "8_emit_module.py").read_text()
    assert "<4 x float>" in (tmp_path / "9_to_object.ll").read_text()
