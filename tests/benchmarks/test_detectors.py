"""Detectors on other engines: their heads by the engine, the rest by ONNX operators, and the same boxes as ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import latency, post_processing
from benchmarks.rivals import NO_DETECTORS, RIVALS, agreement, ncnn, onnxruntime, openvino, passing, worker
from benchmarks.tables import rows as rows_table
from tvm_shufflenet.architectures import NetworkBuilder, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.bridge.detections import rows
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, save_network
from tvm_shufflenet.library.detection import Detected, joined_outputs, unlike

from ..conftest import ROOT, twin_boxes
from ..schedules.test_regions import small
from .test_benchmarks import call, needs

SIZE, CLASSES = (64, 96), 5
# With default boxes and a background, and with distances from centres and from corners.
NAMES = ("ssdlite-mobilenet-v3-large-reduced", "nanodet-m-0.5x", "nanodet-plus-m")
ENGINES = {"ncnn": ncnn, "onnxruntime": onnxruntime, "openvino": openvino}


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """A detector, its weights, a picture and the boxes of its twin."""
    net = network(request.param, SIZE, CLASSES)
    data = worker.picture(net.layers[0].shape)
    parameters = passing.parameters_for(net, data)
    return net, parameters, data, joined_outputs(twin_boxes(net, parameters, data))[0]


@pytest.mark.parametrize("engine", [pytest.param(name, marks=needs(name, "onnxruntime")) for name in ENGINES])
def test_an_engine_finds_the_boxes_of_the_twin(case, engine, tmp_path):
    net, parameters, data, expected = case
    ENGINES[engine].export(net, parameters, tmp_path)
    found = np.array(ENGINES[engine].load(tmp_path, data)()).ravel()
    assert found.shape == expected.shape and found[-1] == expected[-1] > 5
    assert unlike(Detected.of(found, SIZE), Detected.of(expected, SIZE), 1e-5) <= 0.02
    assert agreement.check_boxes(found, expected, SIZE, engine) <= 0.02


# Regions by RoI max pooling and by position-sensitive RoI align; heads of convolutions and of fully connected layers.
STAGES = ("faster-rcnn-shufflenet-v1-1x-g3", "light-head-rcnn-shufflenet-v2-0.5x")


@pytest.fixture(scope="module", params=STAGES)
def stages(request):
    """A detector of two stages, as `case` has one of one stage."""
    net = network(request.param, (96, 128), CLASSES)
    data = worker.picture(net.layers[0].shape)
    parameters = passing.parameters_for(net, data)
    return net, parameters, data, joined_outputs(twin_boxes(net, parameters, data))[0]


@pytest.mark.parametrize("engine", [pytest.param(name, marks=needs(name)) for name in ("onnxruntime", "openvino")])
def test_an_engine_finds_the_boxes_of_two_stages(stages, engine, tmp_path):
    net, parameters, data, expected = stages
    ENGINES[engine].export(net, parameters, tmp_path)
    found = np.array(ENGINES[engine].load(tmp_path, data)()).ravel()
    assert found.shape == expected.shape and 10 < expected[-1] <= passing.COUNT
    assert len(set(expected[500:600][: int(expected[-1])])) > 1
    assert agreement.check_boxes(found, expected, net.size, engine) <= 0.02


@needs("onnxruntime")
def test_rois_aligned_over_all_planes(tmp_path):
    """As no listed network has them; the scores of 20 regions pass as they are."""
    net = small("align")
    parameters, data = random_parameters(net), worker.picture(net.layers[0].shape)
    expected = joined_outputs(twin_boxes(net, parameters, data))[0]
    onnxruntime.export(net, parameters, tmp_path)
    found = np.array(onnxruntime.load(tmp_path, data)()).ravel()
    assert expected[-1] > 5 and agreement.check_boxes(found, expected, net.size, "X") <= 0.02


def test_what_cannot_be_a_model_of_two_stages_is_refused(tmp_path):
    net = NetworkBuilder((64, 64))
    x = net.conv("x", 0, 8, kernel=3, stride=16, pad=1)
    maps = net.softmax("s", net.conv("c", x, 4), groups=2), net.conv("b", x, 8)
    found = net.proposals("p", *maps, anchors=[[(0.2, 0.2), (0.4, 0.4)]], best=5)
    first = net.global_avg_pool("one", net.regions("first", x, found, 4))
    second = net.global_avg_pool("two", net.regions("second", net.conv("y", x, 8), found, 4))
    flat = net.concat("both", first, second)
    scores = net.softmax("softmax", net.dense("of_classes", flat, 3))
    end = net.region_detections("d", found, scores, net.dense("of_boxes", flat, 12))
    made = net.network("n", outputs=net.boxes_of("n", end))
    with pytest.raises(UserError, match="layer y of the head of n reads what is of the whole picture"):
        onnxruntime.export(made, random_parameters(made), tmp_path)
    with pytest.raises(UserError, match="looks at regions that it chooses itself"):
        ncnn.export(made, random_parameters(made), tmp_path)


def test_few_scores_pass(case):
    net, parameters, data, expected = case
    assert 0 < expected[-1] <= passing.COUNT  # those that overlap a better one are gone
    assert expected[-1] < twin_boxes(net, passing.random_parameters(net), data)[3].item()
    with pytest.raises(UserError, match="scores without a bias"):
        heads = net.heads()
        passing._bias(heads, heads.layers[heads.outputs[0]].inputs[0] - 1)


def test_other_boxes_are_refused(case):
    *_, expected = case
    for wrong in (expected * 0.9, expected[:-1], np.full_like(expected, np.nan)):
        with pytest.raises(UserError, match="X: .*one of the two is wrong"):
            agreement.check_boxes(wrong, expected, SIZE, "X")


def test_engines_without_detectors_say_so(tmp_path):
    for name in RIVALS.keys() - ENGINES.keys():
        with pytest.raises(worker.Failed, match=NO_DETECTORS):
            worker.export(name, network("nanodet-m", SIZE, CLASSES), tmp_path)
    if RIVALS["onnxruntime"].version:
        with pytest.raises(UserError, match="--precision int8: nanodet-m finds boxes, which are compared in fp32 only"):
            latency.main(["nanodet-m", "--rivals", "onnxruntime", "--precision", "int8"])


@pytest.mark.slow
@needs("onnxruntime")
def test_ours_and_another_are_timed_to_the_boxes(tmp_path):
    file = tmp_path / "figures.json"
    options = ["--size", "64", "--rivals", "onnxruntime", "--rounds", "1", "--json", file]
    done = call("latency", "nanodet-m-0.5x", *options)
    assert done.returncode == 0, done.stderr
    assert "detectors: from the picture to the boxes" in done.stdout
    (found,) = json.loads(file.read_text())["networks"]
    assert [each["engine"] for each in found["engines"]] == ["ours", "onnxruntime"]
    assert found["engines"][1]["output_difference"] <= 0.02


def test_every_score_passes_in_the_worst_case(case):
    net, parameters, data, _ = case
    maps = passing._outputs(net.heads(), passing.parameters_of_all(net, parameters), data)
    a, scores = net.layers[net.detector].attrs, maps[: len(maps) // 2]
    logits = rows(scores, a["classes"] + a["background"])[0]
    found = logits.softmax(1)[:, 1:] if a["background"] else logits.sigmoid()
    assert (found > a["least"]).all() and len(found.unique()) > 10


def test_the_share_of_post_processing(tmp_path, capsys):
    """Of a detector with random weights, on pictures of noise."""
    net = network("ssdlite-shufflenet-v2-0.5x", (64, 64), 2)
    save_network(tmp_path / "net.safetensors", Imported(net, random_parameters(net), "ours", ["a", "b"]))
    for name in "xy":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)).save(tmp_path / f"{name}.png")
        box = "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax>"
        its = f"<annotation><object><name>a</name><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / f"{name}.xml").write_text(its)
    argv = [str(tmp_path / "net.safetensors"), "--data", str(tmp_path), "--rounds", "2"]
    assert post_processing.main([*argv, "--json", str(tmp_path / "found.json")]) == 0
    found, printed = json.loads((tmp_path / "found.json").read_text()), capsys.readouterr().out
    assert all(cell in printed for row in found["rows"] for cell in row) and rows_table(found)
    for case in post_processing.CASES:
        softmax, boxes, whole = (np.array(found["seconds"][case][key]) for key in ("softmax", "boxes", "whole"))
        assert len(whole) == 2 and (0 < softmax).all() and (0 < boxes).all() and (softmax + boxes < whole).all()
    for wrong, message in (
        ([*argv, "--limit", "0"], "--limit 0: expected 1 or more"),
        (["alexnet", *argv[1:]], "no trained weights of alexnet"),
        ([str(ROOT / "weights" / "shufflenet-v2-0.5x.safetensors"), *argv[1:]], "is no detector"),
    ):
        with pytest.raises(UserError, match=message):
            post_processing.main(wrong)
