"""Fine-tuning for int8: the twin is rounded as the library, learns, goes on after a break, and its scales stay."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch

import tvm_shufflenet
from tvm_shufflenet.architectures import Network, NetworkBuilder, network
from tvm_shufflenet.bridge import load_checkpoint, load_parameters, random_parameters, save_checkpoint
from tvm_shufflenet.bridge.parameters import digest
from tvm_shufflenet.bridge.twin import Twin
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import train
from tvm_shufflenet.cli.quantize import main as quantize_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import OURS, Imported, save_network
from tvm_shufflenet.graph.integers import each_integers
from tvm_shufflenet.graph.quantise import quantise
from tvm_shufflenet.pipeline import byte_graph
from tvm_shufflenet.targets.calibration import calibration_in
from tvm_shufflenet.training.calibration import calibrate, integer_network
from tvm_shufflenet.training.fake_quantised import FakeQuantised

from ..conftest import picture, relative_error
from .test_train import same, stop_at

SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)


@pytest.fixture(scope="module")
def quantised(labelled_pictures, tmp_path_factory):
    """Weights that are no good, with scales."""
    folder = tmp_path_factory.mktemp("quantised")
    net = network(SMALL, SIZE, 3)
    found = Imported(net, random_parameters(net), OURS, ["tench", "English springer", "weather"])
    save_network(folder / "plain.safetensors", found)
    quantize_command([str(folder / "plain.safetensors"), "--data", str(labelled_pictures), "--pictures", "6",
                      "--check", "0", "-o", str(folder / "int8.safetensors")])  # fmt: skip
    return folder / "int8.safetensors"


def fit(data, out, *arguments) -> dict:
    train.main(["--data", str(data), "--out", str(out), "--qat", "--batch", "8", "--device", "cpu", "--workers", "0",
                *map(str, arguments)])  # fmt: skip
    return load_checkpoint(out)[0]


def rounded(net, parameters, scales) -> FakeQuantised:
    twin = Twin(net)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)
    return FakeQuantised(twin.eval(), scales)


def steps() -> Network:
    """Of each step of its own one: a curve, a sum, normalisation, means of all kinds, a dilated window, an end."""
    builder = NetworkBuilder((32, 32))
    first = builder.hard_swish("curve", builder.conv("first", 0, 8, 3, 2, 1, bias=True))
    deep = builder.conv("deep", first, 8, 3, pad=2, groups=2, bias=True, dilation=2)
    added = builder.lrn("norm", builder.relu("relu", builder.add("sum", deep, first)), 3, 1e-2, 0.75, 2.0)
    means = builder.valid_avg_pool("means", builder.avg_pool("few", added, 3, 1, 1), (2, 3), 1, 1)
    builder.conv("last", builder.adaptive_avg_pool("bins", means, 5), 10, 5, bias=True)
    return builder.network("steps")


@pytest.mark.parametrize("name", [SMALL, "shufflenet-v2-0.5x", "mobilenet-v2-0.35", "steps"])
def test_each_step_gives_the_bytes_of_the_reference(name):
    """For equal inputs: of a thousand bytes two may be one off, where a sum of floats is nearly a half."""
    net = steps() if name == "steps" else network(name, SIZE, 10)
    parameters, data = random_parameters(net), picture(net.size, 3)
    scales = calibrate(net, parameters, [picture(net.size, seed) for seed in range(2)], "minmax")
    model, graph, values, off, count = rounded(net, parameters, scales), byte_graph(net, parameters), {}, 0, 0
    quantise(graph, scales)
    with torch.inference_mode():
        for node, (_, wanted) in zip(model.graph.nodes, each_integers(graph, data)):
            found = model.step(node, *([values[source] for source in node.inputs] or [torch.from_numpy(data)]))
            if node.op in ("dense", "exit"):
                assert relative_error(found.numpy().ravel(), wanted.ravel()) < 1e-5
                break
            step, zero = model.scale(node)
            values[node] = torch.from_numpy(((wanted - zero) * step).astype(np.float32))[None]
            differences = ((found - values[node]) / step).abs().numpy().round(3)
            assert set(np.unique(differences)) <= {0, 1}, node.name
            off, count = off + differences.sum(), count + differences.size
    assert off <= 2e-3 * count


def test_it_learns_and_the_library_decides_as_the_twin(quantised, labelled_pictures, tmp_path, capsys):
    """The scales stay; statistics of batch norms too."""
    out = tmp_path / "tuned.safetensors"
    fit(labelled_pictures, out, "--weights", quantised, "--epochs", "4", "--rate", "0.02")
    rows = list(csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text())))
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"]) and rows[-1]["top1"]
    net = network(SMALL, SIZE, 3)
    before, metadata = load_parameters(net, quantised)
    tuned, after = load_parameters(net, out)
    old, new = calibration_in(metadata, digest(before), "x"), calibration_in(after, digest(tuned), "x")
    assert old.tensors == new.tensors and old.weights != new.weights
    assert all((before[name] == tuned[name]).all() == ("running" in name) for name in before)
    parameters, metadata = load_parameters(net, out.with_suffix(".pth"))  # `build` takes either
    assert same(parameters, tuned) and calibration_in(metadata, digest(parameters), "x") == new
    built = build_library(BuildOptions(weights=out, target="native", output=tmp_path, precision="int8"))
    run, reference, model = tvm_shufflenet.load(built.path), integer_network(net, tuned, new), rounded(net, tuned, new)
    with torch.inference_mode():
        for seed in range(4):
            data = picture(SIZE, seed)
            logits = run(data)
            assert np.array_equal(logits.ravel(), reference(data).ravel())
            assert relative_error(model(torch.from_numpy(data)).numpy(), logits) < 0.02
            assert model(torch.from_numpy(data)).argmax() == logits.argmax()


def test_a_resumed_run_makes_the_same_weights(quantised, labelled_pictures, tmp_path, monkeypatch):
    options = "--weights", quantised, "--epochs", "2"
    unbroken = fit(labelled_pictures, tmp_path / "a.safetensors", *options)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            fit(labelled_pictures, tmp_path / "b.safetensors", *options)
    assert not same(load_checkpoint(tmp_path / "b.safetensors")[0], unbroken)
    train.main(["--data", str(labelled_pictures), "--resume", str(tmp_path / "b.pth"), "--device", "cpu"])
    assert same(load_checkpoint(tmp_path / "b.safetensors")[0], unbroken)
    assert load_checkpoint(tmp_path / "a.safetensors")[1] == load_checkpoint(tmp_path / "b.safetensors")[1]


def test_a_batch_norm_behind_no_convolution_cannot_be_tuned():
    builder = NetworkBuilder((16, 16))
    norm = builder.batch_norm("norm", builder.max_pool("pool", builder.conv("conv", 0, 4, 3), 2, 1))
    builder.dense("fc", builder.global_avg_pool("mean", norm), 3)
    net = builder.network("norms")
    parameters = random_parameters(net)
    with pytest.raises(UserError, match="layer norm: a batch_norm behind no convolution cannot be fine-tuned for int8"):
        rounded(net, parameters, calibrate(net, parameters, [picture(net.size, 0)], "minmax"))


def test_what_cannot_be_tuned_is_refused_before_anything_is_written(quantised, labelled_pictures, tmp_path):
    plain, out = quantised.with_name("plain.safetensors"), tmp_path / "none.safetensors"
    arrays, metadata = load_checkpoint(quantised)
    named = tmp_path / "named.safetensors"
    save_checkpoint(named, arrays, {**metadata, "class_names": '["a", "b", "c"]'})
    for arguments, message in (
        (["--qat"], "--qat: expected --weights FILE, as `python -m tvm_shufflenet.quantize` writes it"),
        (["--weights", plain], "--weights .*: expected with --qat; a detector begins with --backbone"),
        (["--qat", "--weights", plain], "int8 needs the scales .*: run `python -m tvm_shufflenet.quantize"),
        (["--qat", "--weights", named], "has other classes than .*named.safetensors, or in another order: tench"),
        (["shufflenet-v1-1x-g3", "--qat", "--weights", quantised], "it holds shufflenet-v1-0.25x-g3, expected shuf"),
        (["--qat", "--weights", quantised, "--size", "96"], "--size 96: the scales in .* are of 64 pixels"),
        (["--qat", "--weights", quantised, "--precision", "bf16"], "--precision bf16: --qat computes in fp32"),
        (["--qat", "--weights", tmp_path / "missing.safetensors"], "missing.safetensors"),
    ):
        with pytest.raises(UserError, match=message):
            train.main(["--data", str(labelled_pictures), "--out", str(out), "--device", "cpu",
                        *map(str, arguments)])  # fmt: skip
    assert not out.exists() and not out.with_suffix(".pth").exists()
