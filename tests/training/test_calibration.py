"""Calibration that is stopped and goes on, and what layers lose by bytes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import load_checkpoint, random_parameters
from tvm_shufflenet.cli.quantize import main as quantize_command
from tvm_shufflenet.exchange import OURS, Imported, save_network
from tvm_shufflenet.graph.byte_tensors import VIEWS, tensors_of
from tvm_shufflenet.pipeline import byte_graph
from tvm_shufflenet.targets.calibration import KEY
from tvm_shufflenet.training import calibration
from tvm_shufflenet.training.calibration import LEAST, STEPS, Watch, calibrate
from tvm_shufflenet.training.losses import MOST, losses

from ..conftest import picture

SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)


@pytest.fixture(scope="module")
def net():
    small = network(SMALL, SIZE, 3)
    return small, random_parameters(small)


@pytest.fixture
def quantize(tmp_path, net, labelled_pictures, monkeypatch):
    """Runs `quantize` on six pictures, interrupted as `stop` of them were looked at; gives the scales."""
    small, parameters = net
    save_network(tmp_path / "plain.safetensors", Imported(small, parameters, OURS))
    look, seen = Watch.look, []

    def run(name: str, *options: str, stop: int = 0) -> str:
        def counted(self, data):
            if stop and len(seen) == stop:
                raise KeyboardInterrupt
            seen.append(data)
            look(self, data)

        seen.clear()
        monkeypatch.setattr(Watch, "look", counted)
        command = [str(tmp_path / "plain.safetensors"), "--data", str(labelled_pictures), "--pictures", "6",
                   "--check", "0", "-o", str(tmp_path / name)]  # fmt: skip
        if stop:
            with pytest.raises(KeyboardInterrupt):
                quantize_command([*command, *options])
            return ""
        quantize_command([*command, *options])
        return load_checkpoint(tmp_path / name)[1][KEY]

    return lambda *args, **options: (run(*args, **options), len(seen))


def test_a_second_run_goes_on_and_finds_the_same_scales(tmp_path, quantize, capsys):
    whole, _ = quantize("whole.safetensors")
    quantize("parts.safetensors", stop=4)
    assert not (tmp_path / "parts.safetensors").exists() and (tmp_path / "parts.safetensors.seen").exists()
    parts, looked = quantize("parts.safetensors")
    assert parts == whole and looked == 2
    assert "parts.safetensors.seen: going on behind picture 4" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.seen*"))


def test_another_run_starts_anew(tmp_path, quantize, capsys):
    """Also on a damaged file, of which nothing is taken."""
    whole, _ = quantize("whole.safetensors", "--observer", "minmax")
    quantize("parts.safetensors", stop=3)
    parts, looked = quantize("parts.safetensors", "--observer", "minmax")
    assert parts == whole and looked == 6
    assert "is of other weights, pictures or options: starting anew" in capsys.readouterr().err
    quantize("parts.safetensors", "--observer", "minmax", stop=3)
    state = tmp_path / "parts.safetensors.seen"
    state.write_bytes(state.read_bytes()[:-2000])
    parts, looked = quantize("parts.safetensors", "--observer", "minmax")
    assert parts == whole and looked == 6 and "is damaged" in capsys.readouterr().err


def test_losses_are_printed_and_written(tmp_path, quantize, net, capsys):
    quantize("a.safetensors", "--json", str(tmp_path / "found.json"))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "found.json").read_text())["losses"]
    names = [node.name for node in byte_graph(*net).nodes if node.op not in VIEWS]
    assert sorted(loss["layer"] for loss in written) == sorted(names)
    alone = [loss["alone"] for loss in written]
    assert alone == sorted(alone)
    assert all((f"{name} " in printed) == (name in [loss["layer"] for loss in written[:10]]) for name in names)


def test_the_layer_with_a_bad_scale_loses_most(net):
    """Ranges four times too wide: its rounding is 12 dB worse, its weights' not; what reads it loses too."""
    pictures = [picture(SIZE, seed) for seed in range(2)]
    scales, layer = calibrate(*net, pictures, "minmax"), "stage3.1.conv1"
    before = {loss.layer: loss for loss in losses(*net, scales, pictures)}
    scale, zero = scales.tensors[layer]
    spoilt = dataclasses.replace(scales, tensors={**scales.tensors, layer: (4 * scale, zero // 4)})
    shown: list[int] = []
    after = losses(*net, spoilt, pictures, lambda: shown.append(1))
    assert len(shown) == len(pictures)
    assert {loss.layer for loss in after[:2]} == {layer, "stage3.1.conv2"}
    assert 5 < before[layer].alone - next(loss.alone for loss in after if loss.layer == layer) < 12.5
    behind = next(loss for loss in after if loss.layer == "stage3.1.conv2")
    assert behind.so_far < before["stage3.1.conv2"].so_far - 2
    assert all(10 < loss.alone < MOST and np.isfinite(loss.so_far) for loss in before.values())


def test_losses_of_channel_attention():
    """Its factors are no bytes, and lose little."""
    net = network("shufflenet-v1-0.25x-g3-se", SIZE, 10)
    parameters, pictures = random_parameters(net), [picture(SIZE, 0)]
    found = {
        loss.layer: loss.alone
        for loss in losses(net, parameters, calibrate(net, parameters, pictures, "minmax"), pictures)
    }
    assert all(loss > 40 for layer, loss in found.items() if layer.endswith("se.fc2"))
    assert all(20 < loss < MOST for loss in found.values())


@pytest.mark.parametrize("name", ["ssdlite-shufflenet-v2-0.5x", "nanodet-plus-m"])
def test_calibration_finds_no_boxes(name, monkeypatch):
    """Every tensor that becomes bytes is looked at, and the post-processing, which has no scales, is not computed."""
    net = network(name, SIZE, 3)
    parameters, pictures = random_parameters(net), [picture(SIZE, 0)]
    graph = byte_graph(net, parameters)
    monkeypatch.setattr(calibration, "STEPS", {op: STEPS[op] for op in STEPS.keys() - {"detections"}})
    found = calibrate(net, parameters, pictures, "minmax")
    assert {node.op for node in graph.nodes} >= {"detections", "exit"}
    assert found.tensors.keys() == set(tensors_of(graph).values())
    assert all(scale > LEAST for scale, _ in found.tensors.values())
