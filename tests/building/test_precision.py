"""Networks in fp16, and fully connected weights in halves: right to their tolerance, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import NetworkBuilder, model_names, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.bridge.ranges import check_ranges, largest_numbers
from tvm_shufflenet.bridge.shipped import trained
from tvm_shufflenet.cli.build import main as build_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.lowering.emit_module import rounded
from tvm_shufflenet.pipeline import lower_graph
from tvm_shufflenet.records.keys import task_of
from tvm_shufflenet.schedules import Dense, Plane, Pointwise, Strewn, tuning_space
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.precision import FP16, precision_in, precision_of
from tvm_shufflenet.training.evaluation import evaluate, open_subject
from tvm_shufflenet.training.pictures import find_pictures

from .. import fences, fuzz
from ..conftest import IMAGENETTE, STRUCTURES, picture, relative_error, twin_logits
from ..kernel_runs import run_kernel

HALVES = pytest.mark.skipif(resolve("native").arch == "arm", reason="no precision but fp32 is for 32-bit processors")
SMALL = "shufflenet-v1-0.25x-g3"
LARGER = ("shufflenet-v1-1x-g3", "shufflenet-v2-2x", "mobilenet-v1-1.0", "alexnet")


def largest_difference(build, name: str, size: tuple[int, int], target: str = "native", **options) -> float:
    """Of the logits from the twin's, relative to the largest; the library is removed."""
    net, data = network(name, size, 10), picture(size)
    built = build(name, target=target, size=size, classes=10, **options)
    found = tvm_shufflenet.load(built.path)(data) if target == "native" else fences.check(built.path, data)[0]
    built.path.unlink()
    return relative_error(found, twin_logits(net, random_parameters(net), data))


@HALVES
def test_a_small_network_agrees_with_its_twin(build):
    assert 1e-5 < largest_difference(build, SMALL, (64, 64), precision="fp16") < 2e-2


@HALVES
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*STRUCTURES, "shufflenet-v1-1x-g3", "mobilenet-v1-1.0", "alexnet", "shufflenet-v2-2x"]
)
def test_every_structure_agrees_with_its_twin(build, name):
    """Local response normalisation, sums of more than 512 terms, Winograd's convolutions and all others."""
    assert largest_difference(build, name, (96, 96), precision="fp16") < 2e-2


@HALVES
@pytest.mark.full
@pytest.mark.parametrize("name", model_names())
def test_every_network_of_the_list_is_compiled(name):
    """Up to the proof of its memory plan."""
    net = network(name, (64, 64), 10)
    lower_graph(net, random_parameters(net), resolve("cortex-a76"), precision=FP16)


@HALVES
def test_weights_of_fully_connected_layers_as_halves(build):
    plain, halves = (build(SMALL, size=(64, 64), weights_precision=weights) for weights in (None, "fp16"))
    assert precision_in(halves.manifest).dense_weights == "float16"
    saved = plain.path.stat().st_size - halves.path.stat().st_size
    inputs = network(SMALL, (64, 64)).layers[-1].inputs
    channels = network(SMALL, (64, 64)).layers[inputs[0]].shape[1]
    assert saved > 0.9 * 2 * 1000 * channels
    data = picture((64, 64))
    one, other = (tvm_shufflenet.load(built.path)(data) for built in (plain, halves))
    assert 0 < relative_error(other, one) < 2e-3


@HALVES
@pytest.mark.slow
@pytest.mark.skipif(not (IMAGENETTE / "val.tar").exists(), reason=f"no pictures in {IMAGENETTE}")
def test_decisions_are_those_of_fp32(build):
    """Of the shipped network, on a sample: `evaluate FP32.so FP16.so --data val.tar` takes all pictures."""
    weights = trained("shufflenet-v1-0.5x-g3")
    libraries = [build(None, weights=weights, precision=precision).path for precision in ("fp32", "fp16")]
    subjects = [open_subject(path, None, None) for path in libraries]
    scores, difference, _ = evaluate(subjects, find_pictures(str(IMAGENETTE / "val.tar"), "val").first(400), 0)
    assert scores[0].images == 400 and scores[0].top1 > 0.85
    assert difference.decisions <= 2 and difference.logits < 0.02 * difference.largest_logit


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-a76", "cortex-a55"])
def test_arm_agrees_with_the_twin(build, target):
    """The emulated processor has halves; nothing around the library's arrays is touched."""
    assert 1e-5 < largest_difference(build, SMALL, (64, 64), target, precision="fp16") < 2e-2


@pytest.mark.emulator
def test_halves_are_widened_on_plain_armv8(build):
    assert largest_difference(build, SMALL, (64, 64), "cortex-a72", weights_precision="fp16") < 2e-3


@pytest.mark.parametrize("target", ["cortex-a53", "cortex-a72", "arm", "snapdragon-820", "armv7"])
def test_processors_without_halves_are_refused(target):
    with pytest.raises(
        UserError, match=rf"--precision fp16: target {target} (lacks fullfp16|is arm): expected such as"
    ):
        precision_of("fp16", None, resolve(target))


@pytest.mark.parametrize("target", ["cortex-a55", "cortex-a76", "cortex-a78", "snapdragon-845", "snapdragon-8gen2"])
def test_processors_with_halves(target):
    assert precision_of("fp16", None, resolve(target)) is FP16


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(UserError, match="with --precision fp16 all weights are fp16"):
        precision_of("fp16", "fp32", resolve("cortex-a76"))
    with pytest.raises(UserError, match="--weights-precision fp16: target armv7 is arm"):
        precision_of("fp32", "fp16", resolve("armv7"))
    with pytest.raises(UserError, match="a library of precision int3"):
        precision_in({"precision": "int3"})
    with pytest.raises(UserError, match="lacks fullfp16"):
        build_command([SMALL, "--target", "cortex-a72", "--precision", "fp16", "-o", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


def large(factor: float):
    """A network whose second layer passes the largest half if `factor` is large; its first one does not."""
    builder = NetworkBuilder((8, 8))
    first = builder.conv("first", 0, 8, 3)
    second = builder.conv("second", first, 8)
    pooled = builder.global_avg_pool("pool", second)
    builder.dense("fc", pooled, 4)
    net = builder.network("large")
    parameters = random_parameters(net)
    return net, {**parameters, "second.weight": parameters["second.weight"] * np.float32(factor)}


def test_a_network_of_large_numbers_is_refused_by_name():
    net, parameters = large(1.0)
    check_ranges(net, parameters, FP16.largest, "fp16")
    with pytest.raises(UserError, match=r"large does not fit fp16, which ends at 65504: its layer second reaches"):
        check_ranges(*large(1e5), FP16.largest, "fp16")


def test_ranges_are_those_of_the_twin():
    net, parameters = large(1.0)
    found = largest_numbers(net, parameters)
    assert set(found) == {"first", "second", "pool"} and found["pool"] < 1.001 * found["second"]
    doubled = largest_numbers(*large(2.0))
    assert doubled["first"] == found["first"] and doubled["second"] == pytest.approx(2 * found["second"], rel=1e-5)


def test_a_weight_that_halves_cannot_hold_is_refused_by_name():
    workload = Pointwise(1, 8, 8, Plane.padded(4, 4, 8), 8, dtype="float16")
    weight = next(operand for operand in workload.operands() if operand.name == "weight")
    assert rounded(np.array([65504.0]), weight, "conv1") == 65504
    with pytest.raises(UserError, match="layer conv1: a weight or bias of 7e[+]04 is too large for float16"):
        rounded(np.array([1.0, 7e4]), weight, "conv1")


@HALVES
@pytest.mark.parametrize("inputs,height,limit", [(512, 4, 0.05), (520, 7, 3e-3), (1042, 4, 1e-3)])
def test_long_sums_are_made_of_parts(inputs, height, limit):
    """Of positive terms, the worst case.  520 are 2 sums of 260; 1,042 are 2 of 521, a prime: each is added in fp32."""
    machine = resolve("native").machine
    plane = Plane.padded(height, height, machine.at("float16").lanes)
    workload = Pointwise(1, inputs, 8, plane, machine.at("float16").lanes, dtype="float16")
    rng = np.random.default_rng(0)
    data = np.abs(rng.standard_normal((inputs, plane.size))).astype("float16")
    weight = (np.abs(rng.standard_normal((8, inputs, 1, 1))) / inputs).astype("float16")
    bias = rng.standard_normal(8).astype("float16")
    found = run_kernel(workload, machine.at("float16"), data, weight, bias).reshape(8, -1)[:, : height**2]
    expected = weight[:, :, 0, 0].astype(float) @ data.astype(float)[:, : height**2] + bias[:, None]
    assert relative_error(found.astype(float), expected) < limit


@HALVES
def test_a_record_is_of_one_precision():
    plane = Plane.padded(14, 14, 8)
    kernels = [Strewn(3, 20, 40, plane, 8, sources=60, targets=120, dtype=d) for d in ("float32", "float16")]
    kernels += [Dense(40, 100, 8), Dense(40, 100, 8, weights="float16"), Dense(40, 100, 8, dtype="float16")]
    assert len({task_of(kernel) for kernel in kernels}) == len(kernels)
    assert "dtype" not in task_of(kernels[0]) and '"dtype":"float16"' in task_of(kernels[1])


def test_default_knobs_of_halves_do_not_unroll_reductions_whole():
    machine = resolve("cortex-a76").machine
    for outputs, pixels in ((80, 28), (20, 28), (40, 14)):
        fp32, fp16 = (
            Pointwise(3, 20, outputs, Plane.padded(pixels, pixels, 8), lanes, dtype=dtype)
            for dtype, lanes in (("float32", 4), ("float16", 8))
        )
        assert tuning_space(fp16, machine)[0]["unroll"] <= 10 < tuning_space(fp32, machine)[0]["unroll"]


@HALVES
@pytest.mark.parametrize("seed", [
    pytest.param(10 * i, marks=() if i == 0 else pytest.mark.slow if i < 4 else pytest.mark.full) for i in range(10)
])  # fmt: skip
def test_random_networks_agree(seed):
    """Those that are not refused for their large numbers."""
    failures = [
        fuzz.examine(net, number, fuzz.runner("native", number, "fp16"), precision="fp16")
        for number, net in fuzz.networks(4 if seed == 0 else 10, seed, set())
    ]
    assert not [f"seed {f.seed}: {f.kind}: {f.why}\n{fuzz.describe(f.network)}" for f in failures if f]
