"""Detectors of bytes: the maps are equal to the reference in numpy to the bit, and the boxes are those of the maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import tvm_shufflenet
from tvm_shufflenet.architectures import Network, NetworkBuilder, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli.build import main as build_command
from tvm_shufflenet.cli.detect import main as detect_command
from tvm_shufflenet.cli.evaluate import main as evaluate_command
from tvm_shufflenet.cli.quantize import main as quantize_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import OURS, Imported, save_network
from tvm_shufflenet.graph.byte_tensors import float_steps, tensors_of
from tvm_shufflenet.graph.quantise import quantise
from tvm_shufflenet.pipeline import byte_graph, check_int8
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.training.calibration import calibrate, run_bytes, run_floats

from .. import fences
from ..conftest import picture, same_boxes

BYTES = pytest.mark.skipif(resolve("native").arch == "arm", reason="no precision but fp32 is for 32-bit processors")
SSDLITE = "ssdlite-shufflenet-v2-0.5x"


def maps(bins: int, ends: bool = True) -> Network:
    """A detector on two maps, one of a single pixel, which are outputs, too; with `bins` as NanoDet has its heads.

    Without `ends` what the softmax gives is an output, and not what the softmax is given.
    """
    net = NetworkBuilder((24, 20))
    x = net.relu("stem.act", net.conv("stem", 0, 12, 3, stride=2, pad=1, bias=True))
    x = net.leaky_relu("body.act", net.conv("body", x, 12, 3, stride=2, pad=1, groups=12, bias=True))
    scores, boxes, seen = [], [], []
    pixel = net.reshape("pixel", net.global_avg_pool("mean", x), (1, 12, 1, 1))
    for level, source in enumerate((x, pixel)):
        if bins:
            head = net.conv(f"head{level}", source, 3 + 4 * bins, bias=True)
            scores.append(net.sigmoid(f"scores{level}", net.slice(f"logits{level}", head, 0, 3)))
            boxes.append(net.slice(f"boxes{level}", head, 3, 3 + 4 * bins))
            seen.append(head)
        else:
            logits = net.conv(f"logits{level}", source, 8, bias=True)
            scores.append(net.softmax(f"scores{level}", logits, groups=2))
            boxes.append(net.conv(f"boxes{level}", source, 8, bias=True))
            seen += [logits if ends else scores[-1], boxes[-1]]
    anchors = [[(0.3, 0.4)], [(0.7, 0.6)]] if bins else [[(0.3, 0.4), (0.4, 0.3)], [(0.7, 0.6), (0.9, 0.9)]]
    found = net.detector("detections", scores, boxes, anchors, best=20, bins=bins, background=not bins)
    return net.network(f"maps{bins}", outputs=[*found, *seen])


def calibrated(net: Network, observer: str = "minmax"):
    parameters = random_parameters(net)
    scales = calibrate(net, parameters, [picture(net.size, seed) for seed in range(2)], observer)
    graph = byte_graph(net, parameters)
    quantise(graph, scales)
    return parameters, scales, graph


def check(found, expected) -> None:
    """Boxes but for rounding, and what is behind them to the bit."""
    expected = [b.reshape(a.shape) for a, b in zip(found, expected, strict=True)]
    assert same_boxes(found[:4], expected[:4]) and expected[3].max() > 1
    assert all(map(np.array_equal, found[4:], expected[4:]))


@BYTES
@pytest.mark.parametrize("bins", [0, 4])
@pytest.mark.parametrize("target", ["native", pytest.param("cortex-a72", marks=pytest.mark.emulator)])
def test_maps_are_those_of_the_reference_and_boxes_are_those_of_the_maps(tmp_path, bins, target):
    net = maps(bins)
    _, scales, graph = calibrated(net)
    options = dict(network=net, target=target, precision="int8", calibration=scales, team=target == "native")
    pictures = [picture(net.size, seed) for seed in (5, 6)]
    wanted = [run_bytes(graph, data) for data in pictures]
    path = build_library(BuildOptions(output=tmp_path, **options)).path
    check(shaped(net, fences.check(path, pictures[0])), wanted[0])
    if target == "native":
        both = build_library(BuildOptions(output=tmp_path / "both", batch=2, **options)).path
        for threads in (1, 2):
            together = tvm_shufflenet.load(both, threads, oversubscribe=True).run(np.concatenate(pictures))
            for index, data in enumerate(pictures):
                alone = tvm_shufflenet.load(path, threads, oversubscribe=True).run(data)
                check(alone, wanted[index])
                assert all(np.array_equal(a[index : index + 1], b) for a, b in zip(together, alone))


def shaped(net: Network, outputs) -> list[np.ndarray]:
    return [output.reshape(net.layers[index].shape) for output, index in zip(outputs, net.outputs, strict=True)]


def test_scores_and_boxes_are_floats_behind_exits():
    """Exits are between the steps of bytes and the float steps, and tensors of floats have no scales."""
    net = maps(4)
    parameters, scales, graph = calibrated(net)
    floats = float_steps(graph)
    kinds = [2 if node in floats else int(node.op == "exit") for node in graph.nodes if node not in graph.outputs]
    assert kinds == sorted(kinds) and set(kinds) == {0, 1, 2}
    assert {"scores0", "logits0", "boxes1", "detections"} <= {node.name for node in floats}
    assert "head0" in scales.tensors and not {"scores0", "detections"} & set(scales.tensors)
    assert not floats & set(tensors_of(graph))
    data = picture(net.size, 1)
    values = {node.name: value for node, value in run_floats(byte_graph(net, parameters), torch.from_numpy(data))}
    heads = run_bytes(graph, data)[4]
    assert np.abs(heads - values["head0"][0].numpy()).max() < 0.1 * np.abs(heads).max()


@pytest.mark.parametrize(
    "net,message",
    [
        (lambda: maps(0, ends=False), "layer scores0: int8 has no kernel for the operator softmax: build with"),
        (lambda: network("light-head-rcnn-shufflenet-v2-0.5x", (64, 64), 3), r"^layer \S+: int8 has no kernel for"),
    ],
)  # fmt: skip
def test_other_detectors_are_refused_by_layer(net, message):
    net = net()
    with pytest.raises(UserError, match=message):
        check_int8(net, random_parameters(net))


@BYTES
@pytest.mark.slow
@pytest.mark.parametrize(
    "name,target",
    [
        ("nanodet-m", "native"),
        (SSDLITE, "native"),
        pytest.param("nanodet-m", "cortex-a76", marks=pytest.mark.emulator),
    ],
)
def test_a_detector_finds_the_boxes_of_the_reference(build, name, target):
    net = network(name, (64, 64), 5)
    _, scales, graph = calibrated(net)
    built = build(name, target=target, size=(64, 64), classes=5, precision="int8", calibration=scales)
    data = picture(net.size, 5)
    check(shaped(net, fences.check(built.path, data)), run_bytes(graph, data))


@BYTES
@pytest.mark.slow
def test_quantize_build_detect_and_evaluate(tmp_path, labelled_pictures, capsys):
    pytest.importorskip("pycocotools")
    net = network(SSDLITE, (64, 64), 2)
    plain, result = tmp_path / "plain.safetensors", tmp_path / "int8.safetensors"
    save_network(plain, Imported(net, random_parameters(net), OURS))
    quantize_command([str(plain), "--data", str(labelled_pictures), "-o", str(result), "--pictures", "3"])
    printed = capsys.readouterr()
    assert "from 3 pictures of" in printed.out and "top-1 is not measured of a detector" in printed.err
    build_command(["--weights", str(result), "--target", "native", "--precision", "int8", "--one-thread", "-o",
                   str(tmp_path)])  # fmt: skip
    library = str(next(tmp_path.glob("*-int8-64x64.so")))
    manifest = tvm_shufflenet.load(library).manifest
    assert manifest["precision"] == "int8" and manifest["detector"]["classes"] == 2
    data = tmp_path / "data"
    data.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(data / "0.png")
    (data / "0.xml").write_text(
        "<annotation><object><name>red</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax>"
        "</bndbox></object><object><name>blue</name><bndbox><xmin>35</xmin><ymin>5</ymin><xmax>70</xmax>"
        "<ymax>40</ymax></bndbox></object></annotation>"
    )
    detect_command([library, str(data / "0.png"), "--json", str(tmp_path / "boxes.json")])
    assert json.loads((tmp_path / "boxes.json").read_text())
    evaluate_command([library, str(plain), "--data", str(data), "--workers", "0", "--json", str(tmp_path / "f.json")])
    assert json.loads((tmp_path / "f.json").read_text())
