"""Detectors: their networks, and their post-processing against PyTorch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tvm_shufflenet.architectures import NetworkBuilder, network
from tvm_shufflenet.architectures.described import describe, from_description
from tvm_shufflenet.architectures.registry import backbone, model_names, usual_size
from tvm_shufflenet.architectures.ssdlite import default_boxes
from tvm_shufflenet.bridge import detections as twin
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.schedules import Detections, GroupedSoftmax, Plane

from ..conftest import same_boxes
from .test_generic_kernels import run

DETECTORS = [name for name in model_names() if name.startswith("ssdlite")]
HEAD = ("pool", "hidden", "dropout", "classifier")  # of a classifier
SIZE, CLASSES = (64, 96), 3
ANCHORS = [[(0.2, 0.3), (0.4, 0.2)], [(0.5, 0.5), (0.7, 0.4), (0.9, 1.0)]]
EXTENTS = [(8, 12), (4, 6)]


def maps(seed: int, spread: float = 2.0, levels: int = 0) -> list[torch.Tensor]:
    """Scores of each map, then boxes; with `levels` scores are rounded to that many, so that many are equal."""
    rng = np.random.default_rng(seed)
    scores, boxes = [], []
    for sides, extents in zip(ANCHORS, EXTENTS):
        logits = torch.tensor(rng.normal(0, spread, (1, len(sides), CLASSES + 1, *extents)), dtype=torch.float32)
        shares = logits.softmax(2).flatten(1, 2)
        scores.append((shares * levels).round() / levels if levels else shares)
        boxes.append(torch.tensor(rng.normal(0, 1.5, (1, 4 * len(sides), *extents)), dtype=torch.float32))
    return [*scores, *boxes]


def both(inputs: list[torch.Tensor], least=0.01, overlap=0.5, candidates=40, best=30):
    """What the kernel and PyTorch make of these maps, as boxes, scores, labels and count."""
    how = dict(least=least, overlap=overlap, candidates=candidates, best=best)
    expected = twin.Detections(ANCHORS, CLASSES, **how, size=SIZE)(*inputs)[0].numpy()
    scores, boxes = [Plane.padded(*e, 16) for e in EXTENTS], [Plane.padded_rows(*e, 16) for e in EXTENTS]
    sides = [len(each) for each in ANCHORS]
    workload = Detections.of(SIZE, CLASSES, sides, scores, boxes, **how)
    defaults = np.concatenate(ANCHORS).astype("float32") * np.float32([SIZE[1], SIZE[0]])
    laid = [lay(m.numpy()[0], plane) for m, plane in zip(inputs, [*scores, *boxes])]
    return parts(run(workload, *laid, defaults), best), parts(expected, best)


def lay(planes: np.ndarray, plane: Plane) -> np.ndarray:
    """As they lie in memory, NaN in the padding."""
    found = np.full((len(planes), plane.size), np.nan, "float32")
    for y in range(plane.height):
        found[:, y * plane.pitch : y * plane.pitch + plane.width] = planes[:, y]
    return found


def parts(row: np.ndarray, best: int) -> list[np.ndarray]:
    return np.split(row, np.cumsum([4 * best, best, best]))


@pytest.mark.parametrize("seed", range(4))
def test_kernel_agrees_with_pytorch(seed):
    found, expected = both(maps(seed))
    assert found[3] == expected[3] and np.array_equal(found[2], expected[2])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(found[1], expected[1])


def test_equal_scores_come_in_the_order_of_classes_and_default_boxes():
    """Rounded to eight levels nearly all scores are equal to others: more than candidates, and more than boxes."""
    for seed in range(3):
        found, expected = both(maps(seed, levels=8), candidates=25, best=20)
        assert len(set(expected[1])) < 8
        assert np.array_equal(found[1], expected[1]) and np.array_equal(found[2], expected[2])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("candidates,best", [(1, 30), (16, 1), (17, 7), (5000, 30)])
def test_lists_of_any_length(candidates, best):
    """Ever so many candidates and boxes: with few levels equal scores stand on both sides of the end of the list.

    A list that is full of better boxes passes over classes behind it.
    """
    for levels in (0, 1, 3, 40):
        found, expected = both(maps(0, levels=levels), overlap=1.0, candidates=candidates, best=best)
        assert found[3] == expected[3] > 0
        assert np.array_equal(found[1], expected[1]) and np.array_equal(found[2], expected[2])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-4)


def test_scores_of_any_size():
    """Some beyond 1, and the least numbers that there are: their bits are in the same order."""
    inputs = maps(0)
    for index, powers in enumerate((np.linspace(-44, 38, 192), np.linspace(-3, 3, 72))):
        numbers = np.random.default_rng(0).permutation(np.tile(10.0**powers, CLASSES + 1)).astype("float32")
        inputs[index] = torch.from_numpy(numbers.reshape(inputs[index].shape))
    found, expected = both(inputs, least=0.0, overlap=1.0, candidates=150, best=150)
    assert found[3] == expected[3] == 150 and np.array_equal(found[1], expected[1])
    assert np.array_equal(found[2], expected[2])


def test_nothing_and_little_is_found():
    """Zeros stand behind what is found."""
    (boxes, scores, labels, count), _ = both(maps(0), least=0.9999)
    assert count == 0 and not boxes.any() and not scores.any() and not labels.any()
    found, expected = both(maps(0), least=0.95)
    assert 0 < found[3] == expected[3] < 30 and not found[0][4 * int(found[3][0]) :].any()
    assert same_boxes([a.reshape(1, -1) for a in found], [a.reshape(1, -1) for a in expected])


def test_all_places_are_taken_in_the_worst_case():
    """Every default box passes, none drives another out: candidates and boxes are as many as there are places."""
    found, expected = both(maps(0, spread=0.1), least=0.0, overlap=1.0, candidates=200, best=100)
    assert found[3] == expected[3] == 100
    assert np.array_equal(found[1], expected[1])


def test_extreme_numbers_stay_in_the_picture():
    inputs = maps(0)
    inputs[2:] = [m * 1e4 for m in inputs[2:]]
    found, expected = both(inputs)
    boxes = found[0].reshape(-1, 4)
    assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all()
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("plane", [Plane.padded(5, 7, 16), Plane.padded_rows(3, 130, 4), Plane.dense(1, 1)])
def test_softmax_of_groups(plane, log):
    data = np.random.default_rng(0).normal(0, 20, (12, plane.height, plane.width)).astype("float32")
    found = run(GroupedSoftmax(3, 4, plane, plane, log), lay(data, plane)).reshape(12, plane.size)
    function = torch.log_softmax if log else torch.softmax
    expected = function(torch.from_numpy(data).unflatten(0, (3, 4)), 1).flatten(0, 1).numpy()
    for y in range(plane.height):
        row = found[:, y * plane.pitch : y * plane.pitch + plane.width]
        np.testing.assert_allclose(row, expected[:, y], rtol=2e-6, atol=1e-37)


def test_decoding_is_the_inverse_of_encoding():
    defaults = twin.default_boxes(ANCHORS, EXTENTS, SIZE)
    assert len(defaults) == 2 * 96 + 3 * 24
    assert defaults[0].tolist() == pytest.approx([4, 4, 0.2 * 96, 0.3 * 64])
    boxes = torch.tensor([[3.0, 5.0, 40.0, 60.0]]).expand(len(defaults), 4)
    assert torch.allclose(twin.decoded(twin.encoded(boxes, defaults), defaults), boxes, atol=1e-3)


def test_default_boxes_are_those_of_ssdlite():
    boxes = default_boxes(6)
    assert [len(each) for each in boxes] == [6] * 6
    assert boxes[0][0] == pytest.approx((0.2, 0.2)) and boxes[0][1] == pytest.approx((0.2646, 0.2646), abs=1e-4)
    assert boxes[0][2:4] == [pytest.approx((0.2828, 0.1414), abs=1e-4), pytest.approx((0.1414, 0.2828), abs=1e-4)]
    assert boxes[5][0] == pytest.approx((0.95, 0.95)) and boxes[5][2][0] == 1.0  # cut off


def test_listed_detectors():
    for name in DETECTORS:
        net = network(name)
        assert net.size == usual_size(name) == (320, 320) and net.classes == 90
        assert [net.layers[i].name for i in net.outputs] == ["boxes", "scores", "labels", "count"]
        best = 300 if "mobilenet" in name else 100  # torchvision's own detector gives more
        assert net.shapes.outputs == ((1, best, 1, 4), (1, best), (1, best), (1, 1))
        body = network(backbone(name), (320, 320))
        own = [layer for layer in body.layers if not layer.name.startswith(HEAD)]
        assert list(net.layers[: len(own)]) == own
        heads = net.heads()
        shapes = [heads.layers[index].shape[1:] for index in heads.outputs]
        assert shapes[:6] == [(6 * 91, n, n) for n in (20, 10, 5, 3, 2, 1)]
        assert shapes[6:] == [(24, n, n) for n in (20, 10, 5, 3, 2, 1)] and heads.parameters() == net.parameters()
    # As computed from the definition, apart from this code.
    assert network("ssdlite-shufflenet-v2-1x").multiply_adds() / 1e6 == pytest.approx(450, abs=2)


def test_a_description_is_the_same_detector():
    net = dataclasses.replace(network("ssdlite-shufflenet-v2-0.5x", (96, 128), 3), name="mine")
    assert from_description(describe(net)) == net
    assert from_description(describe(net), (64, 64)).shapes.outputs == net.shapes.outputs


def builder():
    net = NetworkBuilder((32, 32))
    scores = net.conv("scores", 0, 2 * 3, stride=8, kernel=3, pad=1)
    return net, scores, net.conv("boxes", 0, 8, stride=8, kernel=3, pad=1)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"anchors": [[(0.2, 0.2)]]}, "scores of 1x6x4x4 and boxes of 1x8x4x4 on map 0, expected 3 and 4 channels"),
        ({"anchors": []}, "expected those of 1 maps"),
        ({"anchors": [[(0.2, 0.2), (0.3,)]]}, "a default box is .*expected width and height"),
        ({"anchors": [[(0.2, 0.2), (0.3, 0.0)]]}, "a side of a default box is 0.0, expected a number"),
        ({"classes": 3}, "expected 8 and 8 channels"),
        ({"least": -1}, "its least score is -1"),
        ({"overlap": 2}, "its overlap is 2"),
        ({"best": 0}, "the number of its boxes is 0"),
        ({"candidates": 1.5}, "the number of its candidates is 1.5"),
    ],
)
def test_what_is_no_detector_is_refused(change, message):
    net, scores, boxes = builder()
    how = {"anchors": [[(0.2, 0.2), (0.3, 0.3)]], "classes": 2} | change
    with pytest.raises(UserError, match=f"layer d: .*{message}"):
        net.detections("d", scores, boxes, **how)
    assert net.shape(net.detections("d", scores, boxes, anchors=[[(0.2, 0.2), (0.3, 0.3)]], classes=2)) == (1, 601)


def test_groups_of_a_softmax_divide_its_channels():
    net, scores, _ = builder()
    with pytest.raises(UserError, match="6 channels in 4 groups"):
        net.softmax("s", scores, groups=4)


def test_heads_can_be_written_as_onnx(tmp_path):
    pytest.importorskip("onnx")
    from tvm_shufflenet.bridge import random_parameters
    from tvm_shufflenet.exchange.onnx_reader import read_onnx
    from tvm_shufflenet.exchange.onnx_writer import onnx_model

    net = network("ssdlite-shufflenet-v2-0.5x", (64, 64), 3)
    parameters = random_parameters(net)
    with pytest.raises(UserError, match="detections: ONNX has no such post-processing; .*heads"):
        onnx_model(net, parameters)
    file = tmp_path / "heads.onnx"
    file.write_bytes(onnx_model(net.heads(), parameters))
    again, *_ = read_onnx(file)
    assert again.shapes.outputs == net.heads().shapes.outputs
