"""Networks of bytes: a library equals the reference in numpy to the bit, or is refused in one line."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import tvm_shufflenet
from tvm_shufflenet.architectures import Network, NetworkBuilder, network
from tvm_shufflenet.bridge import load_checkpoint, random_parameters, save_checkpoint
from tvm_shufflenet.bridge.parameters import digest
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.building.needs import needed
from tvm_shufflenet.cli.build import main as build_command
from tvm_shufflenet.cli.evaluate import main as evaluate_command
from tvm_shufflenet.cli.inspect import main as inspect_command
from tvm_shufflenet.cli.quantize import main as quantize_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import OURS, Imported, save_network
from tvm_shufflenet.graph.byte_tensors import any_scales, tensors_of
from tvm_shufflenet.graph.integers import run_integers
from tvm_shufflenet.graph.quantise import quantise
from tvm_shufflenet.pipeline import byte_graph, check_int8, lower_graph
from tvm_shufflenet.schedules import Int8Matrix, Int8Pointwise
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.calibration import KEY, Calibration, calibration_in
from tvm_shufflenet.targets.precision import precision_of
from tvm_shufflenet.training.calibration import calibrate, float_network, integer_network, run_floats

from .. import fences
from ..conftest import STRUCTURES, picture, relative_error, twin_logits
from ..int8_graphs import network_of

BYTES = pytest.mark.skipif(resolve("native").arch == "arm", reason="no precision but fp32 is for 32-bit processors")
SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
CURVES = ("hard_swish", "leaky_relu", "sigmoid", "hard_sigmoid")


@pytest.fixture(scope="module")
def quantised():
    """`quantised(model or network)` -> (network, parameters, scales), of random weights and pictures of noise."""
    made: dict = {}

    def quantise_one(model):
        net = network(model, SIZE, 10) if isinstance(model, str) else model
        if net.name not in made:
            parameters = random_parameters(net)
            pictures = [picture(net.size, seed) for seed in range(2)]
            made[net.name] = net, parameters, calibrate(net, parameters, pictures, "minmax")
        return made[net.name]

    return quantise_one


def check(built, reference, data: np.ndarray, target: str) -> None:
    """The library gives what the reference does, and nothing around its arrays is touched."""
    assert np.array_equal(fences.check(built.path, data)[0].ravel(), reference.ravel())
    if target == "native":
        for threads in (1, 2):
            assert np.array_equal(tvm_shufflenet.load(built.path, threads)(data).ravel(), reference.ravel())


@BYTES
@pytest.mark.parametrize(
    "name,target",
    [
        pytest.param(SMALL, "native"),
        pytest.param(SMALL, "cortex-a76", marks=pytest.mark.emulator),
        pytest.param(SMALL, "cortex-a72", marks=pytest.mark.emulator),
        pytest.param(SMALL, "cortex-a710", marks=pytest.mark.emulator),
        *(
            pytest.param(name, "native", marks=pytest.mark.slow)
            for name in (
                "shufflenet-v1-0.25x-g8",
                "shufflenet-v2-0.5x-residual",
                "mobilenet-v1-0.25",
                "shufflenet-v1-0.25x-g8-se",
                "mobilenet-v2-0.35",
            )
        ),
        *(
            pytest.param("shufflenet-v2-0.5x", target, marks=[pytest.mark.emulator, pytest.mark.slow])
            for target in ("cortex-a55", "cortex-a53")
        ),
        pytest.param("shufflenet-v1-0.25x-g3-se", "native"),
        *(
            pytest.param(name, "native", marks=pytest.mark.slow)
            for name in (
                "squeezenet-1.1",
                "resnet-like-13m",
                "resnext-like-13m",
                "vgg-like-38m",
                "googlenet-torchvision",
            )
        ),
        pytest.param("resnext-like-13m", "cortex-a76", marks=[pytest.mark.emulator, pytest.mark.slow]),
        pytest.param("shufflenet-v2-plus-small", "native", marks=pytest.mark.slow),
        pytest.param("mobilenet-v3-large", "native", marks=pytest.mark.slow),
        pytest.param("mobilenet-v3-large", "cortex-a76", marks=[pytest.mark.emulator, pytest.mark.slow]),
        pytest.param("shufflenet-v2-0.5x-se", "cortex-a72", marks=[pytest.mark.emulator, pytest.mark.slow]),
    ],
)
def test_a_library_equals_the_reference(build, quantised, name, target):
    net, parameters, scales = quantised(name)
    built = build(
        name, target=target, size=SIZE, classes=10, precision="int8", calibration=scales, team=target == "native"
    )
    data = picture(SIZE, 5)
    check(built, integer_network(net, parameters, scales)(data), data, target)
    assert built.manifest["calibration"] == {
        "pictures": 2,
        "observer": "torch MinMaxObserver",
        "tensors": len(scales.tensors),
    }


@BYTES
def test_the_reference_is_near_the_floats(quantised):
    net, parameters, scales = quantised(SMALL)
    data = picture(SIZE, 7)
    floats = float_network(net, parameters)(data)
    assert relative_error(floats, twin_logits(net, parameters, data)) < 1e-5
    assert 1e-5 < relative_error(integer_network(net, parameters, scales)(data), floats) < 0.1


def odd() -> Network:
    """Numbers of channels that fill no words, planes that fill no vectors, a tensor that is read twice, a clip."""
    builder = NetworkBuilder((22, 18))
    first = builder.clip("clip", builder.conv("first", 0, 5, 3, stride=2, pad=1), -0.5, 2.0)
    wide = builder.conv("wide", first, 13, 1)
    branch = builder.relu("relu", builder.conv("deep", wide, 13, 3, pad=1, groups=13))
    back = builder.conv("back", branch, 13, 1)
    added = builder.relu("sum", builder.add("add", back, wide))
    joined = builder.concat("joined", added, first)
    pooled = builder.global_avg_pool("pool", joined)
    builder.dense("fc", pooled, 7)
    return builder.network("odd")


@BYTES
def test_odd_channels_and_planes(tmp_path, quantised):
    net, parameters, scales = quantised(odd())
    built = build_library(
        BuildOptions(network=net, target="native", output=tmp_path, precision="int8", calibration=scales, team=True)
    )
    data = picture(net.size, 3)
    check(built, integer_network(net, parameters, scales)(data), data, "native")


def attention_of_convolutions(folded: bool) -> Network:
    """Its layers are convolutions of one pixel; it scales a convolution with a residual, or what a ReLU gives."""
    builder = NetworkBuilder((22, 18))
    first = builder.relu("relu", builder.conv("first", 0, 12, 3, stride=2, pad=1, bias=True))
    scaled = builder.conv("scaled", first, 12, bias=True)
    scaled = scaled if folded else builder.relu("behind", scaled)
    mean = builder.reshape("mean", builder.global_avg_pool("pixels", scaled), (1, 12, 1, 1))
    inner = builder.relu("hidden", builder.conv("inner", mean, 4, bias=True))
    product = builder.multiply(
        "product", scaled, builder.sigmoid("sigmoid", builder.conv("outer", inner, 12, bias=True))
    )
    added = builder.add("add", product, first) if folded else product
    builder.dense("fc", builder.global_avg_pool("pool", added), 7)
    return builder.network(f"attention{folded}")


@BYTES
@pytest.mark.parametrize("folded", [True, False])
def test_attention_may_be_convolutions_of_one_pixel(tmp_path, quantised, folded):
    net, parameters, scales = quantised(attention_of_convolutions(folded))
    built = build_library(
        BuildOptions(network=net, target="native", output=tmp_path, precision="int8", calibration=scales, team=True)
    )
    data = picture(net.size, 3)
    check(built, integer_network(net, parameters, scales)(data), data, "native")


def gates() -> Network:
    """Numbers for channels that no sigmoid of a fully connected layer gives, or that others read, too."""
    builder = NetworkBuilder((22, 18))
    first = builder.relu("first.act", builder.conv("first", 0, 12, 3, stride=2, pad=1, bias=True))
    mean = builder.global_avg_pool("mean", first)
    product = builder.multiply("means", first, mean)
    gate = builder.sigmoid("gate.act", builder.dense("gate", mean, 12))
    product = builder.multiply("gated", builder.hard_swish("swish", product), gate)
    last = builder.global_avg_pool("last", product)
    builder.dense("fc", builder.multiply("pixels", last, gate), 7)
    return builder.network("gates")


@BYTES
@pytest.mark.parametrize("target", ["native", pytest.param("cortex-a72", marks=pytest.mark.emulator)])
def test_any_numbers_may_multiply_channels(tmp_path, quantised, target):
    net, parameters, scales = quantised(gates())
    options = BuildOptions(network=net, target=target, output=tmp_path, precision="int8", calibration=scales,
                           team=target == "native")  # fmt: skip
    built, data, seen = build_library(options), picture(net.size, 3), picture(net.size, 1)
    check(built, integer_network(net, parameters, scales)(data), data, target)
    assert relative_error(integer_network(net, parameters, scales)(seen), float_network(net, parameters)(seen)) < 0.1


def curves() -> Network:
    """Each behind a convolution, pooling, a sum, a hidden layer; one is read twice; one is no factor of attention."""
    builder = NetworkBuilder((22, 18))
    first = builder.hard_swish("first.act", builder.conv("first", 0, 12, 3, stride=2, pad=1, bias=True))
    wide = builder.leaky_relu("wide.act", builder.conv("wide", first, 12, bias=True))
    pooled = builder.sigmoid("pooled.act", builder.max_pool("pooled", wide, 3, 1, 1))
    added = builder.hard_swish("sum.act", builder.add("sum", builder.conv("back", pooled, 12, bias=True), first))
    mean = builder.global_avg_pool("pool", added)
    hidden = builder.hard_swish("hidden.act", builder.dense("hidden", mean, 20))
    gate = builder.hard_sigmoid("gate.act", builder.dense("gate", hidden, 20))
    builder.dense("fc", gate, 7)
    return builder.network("curves")


@BYTES
@pytest.mark.parametrize("target", ["native", pytest.param("cortex-a72", marks=pytest.mark.emulator)])
def test_curves_are_steps_of_their_own(tmp_path, quantised, target):
    """Each has a scale in front of it and one behind, under the names of the layers."""
    net, parameters, scales = quantised(curves())
    assert {"first", "first.act", "wide", "wide.act", "pooled.act", "gate", "gate.act"} <= set(scales.tensors)
    options = BuildOptions(network=net, target=target, output=tmp_path, precision="int8", calibration=scales,
                           team=target == "native")  # fmt: skip
    built, data, seen = build_library(options), picture(net.size, 3), picture(net.size, 1)
    check(built, integer_network(net, parameters, scales)(data), data, target)
    assert relative_error(integer_network(net, parameters, scales)(seen), float_network(net, parameters)(seen)) < 0.1


def windows() -> Network:
    """A first layer of no square and one of pixels, windows with dilation, groups, a strided one of 11, pools of all
    kinds, unequal bins, a sum that no convolution makes, normalisation, and maps as an output beside classes.
    """
    builder = NetworkBuilder((30, 26))
    wide = builder.conv("wide", 0, 6, (3, 5), pad=(1, 2), bias=True)
    first = builder.relu("sum.act", builder.add("sum", wide, builder.conv("pixels", 0, 6, bias=True)))
    first = builder.lrn("norm", first, 3, 1e-2, 0.75, 2.0)
    large = builder.relu("large.act", builder.conv("large", first, 8, 11, 4, 5, 2, True))
    deep = builder.conv("deep", large, 12, 3, pad=2, groups=4, bias=True, dilation=2)
    best = builder.max_pool("best", deep, (3, 2), 1, (1, 0, 1, 1))
    means = builder.valid_avg_pool("means", best, (3, 2), 1, (1, 0, 1, 1))
    maps = builder.conv("maps", means, 5, 3, pad=1, bias=True)
    bins = builder.adaptive_avg_pool("bins", builder.avg_pool("few", maps, 3, 2, 1, ceil=True), 3)
    classes = builder.dense("fc", builder.flatten("flat", bins), 7)
    return builder.network("windows", outputs=[classes, maps])


@BYTES
@pytest.mark.parametrize("target", ["native", pytest.param("cortex-a76", marks=pytest.mark.emulator)])
def test_any_window_pool_and_end(tmp_path, target):
    """Layers without a kernel of their own are named; maps leave as floats."""
    net = windows()
    parameters, pictures = random_parameters(net), [picture(net.size, n) for n in range(2)]
    scales = calibrate(net, parameters, pictures, "minmax")
    options = BuildOptions(network=net, target=target, output=tmp_path, precision="int8", calibration=scales,
                           team=target == "native")  # fmt: skip
    built, data = build_library(options), picture(net.size, 3)
    graph = byte_graph(net, parameters)
    quantise(graph, scales)
    reference, found = run_integers(graph, data), fences.check(built.path, data)
    assert all(np.array_equal(a.ravel(), b.ravel()) for a, b in zip(found, reference, strict=True))
    floats = dict(run_floats(byte_graph(net, parameters), torch.from_numpy(pictures[0])))
    assert relative_error(floats_of(graph, pictures[0]), list(floats.values())[-1].numpy().ravel()) < 0.2
    named = built.manifest["kernels"]["generic"]
    assert {"wide (int8_generic_conv)", "deep (int8_generic_conv)", "best (int8_generic_pool)"} <= set(named)
    assert not any(name.startswith(("large", "maps")) for name in named)


def floats_of(graph, data) -> np.ndarray:
    """The last output, flat."""
    return run_integers(graph, data)[-1].ravel()


@pytest.mark.parametrize("kind", CURVES)
def test_a_table_is_the_curve_rounded_once(kind):
    """Of each byte the nearest of the output's numbers, in exact arithmetic; the ends of the range where outside."""
    builder = NetworkBuilder((8, 8))
    conv = builder.conv("conv", 0, 4, 3, pad=1, bias=True)
    builder.dense("fc", builder.global_avg_pool("pool", getattr(builder, kind)("curve", conv)), 3)
    net = builder.network("one")
    graph = byte_graph(net, random_parameters(net))
    scales = any_scales(graph)
    scales.tensors.update(conv=(0.05, 100), curve=(0.01, 20))
    quantise(graph, scales)
    node = next(node for node in graph.nodes if node.op == "activation")
    x = (torch.arange(256, dtype=torch.float64) - 100) * 0.05
    wanted = {"hard_swish": torch.nn.functional.hardswish, "sigmoid": torch.sigmoid, "leaky_relu": (
        lambda x: torch.nn.functional.leaky_relu(x, node.activation.a)
    ), "hard_sigmoid": lambda x: (node.activation.a * x + node.activation.b).clamp(0, 1)}[kind](x)  # fmt: skip
    off = (torch.from_numpy(node.weights["table"]).double() - 20) * 0.01 - wanted.clamp(-0.2, 2.35)
    assert node.name == "curve" and float(off.abs().max()) <= 0.005 + 1e-9


@BYTES
def test_the_memory_plan_is_that_of_floats(quantised):
    """The same calls in the same order write the same planes: the shuffle stays an address, and nothing is copied."""
    net, parameters, scales = quantised(SMALL)
    target = resolve("cortex-a76")
    precision = precision_of("int8", None, target)
    precision = dataclasses.replace(precision, calibration=scales)
    floats, integers = (lower_graph(net, parameters, target, **options) for options in ({}, {"precision": precision}))
    assert [(call.layer, str(call.output)) for call in floats.calls] == [
        (call.layer, str(call.output)) for call in integers.calls
    ]


def test_tensors_that_are_read_as_one_share_a_scale():
    net = network("shufflenet-v2-0.5x", SIZE)
    graph = byte_graph(net, random_parameters(net))
    names = {node.name: tensor for node, tensor in tensors_of(graph).items()}
    assert names["stage2.1.conv3"] == names["stage2.0.conv3"] == names["stage2.0.shortcut.conv2"]
    assert names["stem.pool"] == names["stem.conv"] != names["stage2.0.conv1"] != names["stage2.1.conv1"]


def test_weights_become_bytes_whose_gains_are_whole():
    """sum * scale of the residual alone is the residual: its gain is exact."""
    net = network(SMALL, SIZE, 10)
    graph = byte_graph(net, random_parameters(net))
    scales = any_scales(graph)
    quantise(graph, scales)
    convs = [node for node in graph.nodes if node.op == "conv"]
    assert all(abs(node.weights["weight"].astype(int)).max() == 127 for node in convs if not node.residual)
    residual = [node for node in convs if node.residual]
    for node in residual:
        assert np.allclose(node.weights["gain"] * node.weights["scale"], 1, rtol=3e-6)
        assert 120 <= abs(node.weights["weight"].astype(int)).max() <= 127
    assert residual


@BYTES
@pytest.mark.slow
def test_every_structure_of_the_list_is_covered():
    for name in STRUCTURES:
        net = network(name, SIZE, 10)
        check_int8(net, random_parameters(net))


def refused(kind: str) -> Network:
    """A network of one layer that int8 has no kernel for, between a convolution and a classifier."""
    builder = NetworkBuilder((8, 8))
    x = builder.conv("conv", 0, 4, 3, pad=1, bias=True)
    match kind:
        case "pad":
            x = builder.pad("layer", x, 1, mode="reflect")
        case "lrn":
            x = builder.lrn("layer", x, 5, 1e-4, 0.5, 1.0)
        case "multiply":
            x = builder.multiply("layer", x, builder.relu("relu", x))
        case "gate":  # which the convolution applies while it stores
            x = builder.conv("layer", x, 4)
            x = builder.multiply("product", x, builder.relu("relu", builder.dense(
                "dense", builder.global_avg_pool("means", x), 4
            )))  # fmt: skip
        case "softmax":
            builder.softmax("layer", builder.dense("fc", builder.global_avg_pool("pool", x), 3))
            return builder.network(kind)
    builder.dense("fc", builder.global_avg_pool("pool", x), 3)
    return builder.network(kind)


def test_a_batch_norm_alone_has_its_layers_name():
    builder = NetworkBuilder((8, 8))
    norm = builder.batch_norm("norm", builder.max_pool("pool", builder.conv("conv", 0, 4, 3), 2, 1))
    builder.dense("fc", builder.global_avg_pool("mean", norm), 3)
    net = builder.network("norms")
    assert "norm" in [node.name for node in byte_graph(net, random_parameters(net)).nodes]


REFUSED = [
    ("pad", "layer layer: int8 has no kernel for the operator pad: build with --precision fp32 or fp16"),
    ("lrn", "layer layer: int8 has no kernel for normalisation by the power 0.5, but 0.75"),
    ("multiply", "layer layer: int8 has no kernel for a product but of channels with a number each"),
    ("gate", "layer layer: int8 has no kernel for channels times what no sigmoid of a fully connected layer gives"),
    ("softmax", "layer layer: int8 has no kernel for the operator softmax"),
]


@pytest.mark.parametrize("kind,message", REFUSED)
def test_other_networks_are_refused_by_layer(kind, message):
    net = refused(kind)
    with pytest.raises(UserError, match=message):
        check_int8(net, random_parameters(net))


def scales_in(folder, metadata: dict, parameters: dict):
    path = folder / "weights.safetensors"
    save_checkpoint(path, parameters, {"model": SMALL, "size": "64x64", **metadata})
    return path


@BYTES
def test_weights_without_their_scales_are_refused(tmp_path, quantised):
    """Before anything is written."""
    _, parameters, scales = quantised(SMALL)
    arguments = ["--target", "native", "--precision", "int8", "-o", str(tmp_path / "none")]
    with pytest.raises(UserError, match=r"int8 needs the scales .*: run `python -m tvm_shufflenet.quantize CHECKPOINT"):
        build_command([SMALL, *arguments])
    good = json.loads(scales.to_metadata()[KEY])
    for metadata, message in (
        ({}, "which these weights lack: run `python -m tvm_shufflenet.quantize"),
        ({KEY: "{"}, "damaged"),
        ({KEY: json.dumps({**good, "tensors": {"input": [0, 300]}})}, "damaged"),
        ({KEY: json.dumps({**good, "weights": "0"})}, "of other weights"),
        ({KEY: json.dumps({**good, "tensors": {"input": [0.1, 3]}})}, "of another network: they lack layer"),
    ):
        with pytest.raises(UserError, match=message):
            build_command(["--weights", str(scales_in(tmp_path, metadata, parameters)), *arguments])
    assert not (tmp_path / "none").exists()


def test_scales_survive_their_file():
    scales = Calibration({"input": (0.125, 3), "stem.conv": (1e-3, 0)}, 4, "torch HistogramObserver", "abc")
    assert calibration_in(scales.to_metadata(), "abc", "x") == scales


X86 = '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "%s"}'


@pytest.mark.parametrize(
    "target,dot,dtype",
    [("cortex-a76", "sdot", "int8"), ("cortex-a55", "sdot", "int8"), ("cortex-a72", "smull", "int8"),
     ("cortex-a53", "smull", "int8"), ("arm", "smull", "int8"), ("snapdragon-888", "sdot", "int8"),
     ("snapdragon-8gen2", "smmla", "int8"), ("cortex-a710", "smmla", "int8"),
     ("cortex-a510", "smmla", "int8"),
     (X86 % "haswell", "maddwd", "int8"), (X86 % "bdver2", "plain", "int8"), (X86 % "cascadelake", "vnni512", "uint8")],
)  # fmt: skip
def test_what_multiplies_bytes(target, dot, dtype):
    precision = precision_of("int8", None, resolve(target))
    assert (precision.dot, precision.activations, str(precision)) == (dot, dtype, "int8")


@pytest.mark.parametrize(
    "target,lookup",
    [("cortex-a53", "tbl"), ("cortex-a710", "tbl"), (X86 % "bdver2", "plain"), (X86 % "haswell", "avx2"),
     (X86 % "cascadelake", "avx2"), (X86 % "icelake-server", "vbmi"), (X86 % "znver4", "vbmi")],
)  # fmt: skip
def test_what_looks_up_bytes(target, lookup):
    """The library asks for it where it is loaded."""
    spec = resolve(target)
    precision = precision_of("int8", None, spec)
    assert precision.lookup == lookup
    assert ("avx512vbmi" in needed(spec, precision)) == (lookup == "vbmi")


def test_processors_without_kernels_of_bytes_are_refused():
    with pytest.raises(UserError, match="--precision int8: target armv7 is arm: expected such as --target cortex-a72"):
        precision_of("int8", None, resolve("armv7"))
    with pytest.raises(UserError, match="with --precision int8 all weights are int8"):
        precision_of("int8", "fp16", resolve("cortex-a76"))


@BYTES
def test_quantize_build_inspect_and_evaluate(tmp_path, labelled_pictures, capsys):
    """The whole way, of weights that are no good: floats and bytes decide alike."""
    net = network(SMALL, SIZE, 3)
    parameters = random_parameters(net)
    plain, result = tmp_path / "plain.safetensors", tmp_path / "made" / "int8.safetensors"
    save_network(plain, Imported(net, parameters, OURS))
    data = ["--data", str(labelled_pictures)]
    quantize_command([str(plain), *data, "-o", str(result), "--pictures", "6", "--check", "9", "--workers", "0"])
    printed = capsys.readouterr().out
    assert "from 6 pictures of" in printed and "top-1 on 9 pictures of" in printed and "decisions differ" in printed
    arrays, metadata = load_checkpoint(result)
    assert all(np.array_equal(arrays[name], parameters[name]) for name in parameters)
    assert calibration_in(metadata, digest(parameters), "x").pictures == 6
    build_command(
        ["--weights", str(result), "--precision", "int8", "--target", "native", "--one-thread", "-o", str(tmp_path)]
    )
    library = str(tmp_path / f"{SMALL}-native-int8-64x64.so")
    inspect_command([library])
    printed = " ".join(capsys.readouterr().out.split())
    assert "precision int8 scales of 51 tensors, by torch HistogramObserver, from 6 pictures" in printed
    evaluate_command([library, str(plain), *data, "--workers", "0", "--json", str(tmp_path / "found.json")])
    difference = json.loads((tmp_path / "found.json").read_text())["difference"]
    assert 0 < difference["logits"] < 0.2 * difference["largest_logit"]


def test_quantize_refuses_before_it_writes(tmp_path, labelled_pictures):
    data = ["--data", str(labelled_pictures)]
    net = refused("pad")
    windows = tmp_path / "windows.safetensors"
    save_network(windows, Imported(net, random_parameters(net), OURS))
    for arguments, message in (
        (
            [str(windows), *data, "-o", str(tmp_path / "none" / "a.safetensors")],
            "int8 has no kernel for the operator pad",
        ),
        ([str(windows), *data, "-o", str(tmp_path / "a.onnx")], "unknown suffix '.onnx', expected .safetensors"),
        ([SMALL, *data, "-o", str(tmp_path / "a.pth")], "no trained weights of shufflenet-v1-0.25x-g3 are held here"),
        ([str(windows), *data, "-o", "a.pth", "--pictures", "0"], "--pictures 0: expected"),
    ):
        with pytest.raises(UserError, match=message):
            quantize_command(arguments)
    assert not (tmp_path / "none").exists()


@BYTES
@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=() if n < 2 else pytest.mark.slow if n < 15 else pytest.mark.full) for n in range(100)],
)
def test_random_networks_equal_the_reference(tmp_path, seed):
    """None is refused; bytes are near the floats on a picture whose ranges were seen, over all outputs."""
    net = network_of(seed)
    parameters, data = random_parameters(net), picture(net.size, 2)
    scales = calibrate(net, parameters, [picture(net.size, n) for n in range(2)], "minmax")
    options = BuildOptions(network=net, target="native", output=tmp_path, precision="int8", calibration=scales)
    reference, seen = integer_network(net, parameters, scales), picture(net.size, 1)
    assert np.array_equal(fences.check(build_library(options).path, data)[0].ravel(), reference(data).ravel())
    wanted = float_network(net, parameters)(seen)
    assert np.linalg.norm(reference(seen) - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=() if n < 1 else pytest.mark.slow if n < 8 else pytest.mark.full) for n in range(40)],
)
def test_random_networks_by_smmla(tmp_path, monkeypatch, seed):
    """Also where smmla does not pay: every pointwise layer of even outputs, of any number of inputs."""
    monkeypatch.setattr(Int8Matrix, "pays", staticmethod(lambda inputs, outputs: outputs % 2 == 0))
    net = network_of(seed)
    parameters, data = random_parameters(net), picture(net.size, 2)
    scales = calibrate(net, parameters, [picture(net.size, n) for n in range(2)], "minmax")
    options = BuildOptions(network=net, target="cortex-a710", output=tmp_path, precision="int8", calibration=scales)
    check(build_library(options), integer_network(net, parameters, scales)(data), data, "cortex-a710")


def test_a_library_of_smmla_asks_for_it():
    net = network(SMALL, SIZE, 10)
    target = resolve("cortex-a710")
    precision = dataclasses.replace(precision_of("int8", None, target), calibration=any_scales(byte_graph(
        net, random_parameters(net)
    )))  # fmt: skip
    assert needed(target, precision) == ["asimddp", "i8mm"]
    calls = lower_graph(net, random_parameters(net), target, precision=precision).calls
    pointwise = [call.workload for call in calls if isinstance(call.workload, Int8Pointwise)]
    assert {(work.dot, Int8Matrix.pays(work.inputs, work.outputs)) for work in pointwise} == {
        ("smmla", True), ("sdot", False),
    }  # fmt: skip
    assert {call.workload.dot for call in calls if hasattr(call.workload, "dot")} == {"smmla", "sdot"}
