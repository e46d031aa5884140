"""NanoDet, whose boxes are distances from pixels, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.architectures.described import describe, from_description
from tvm_shufflenet.bridge import detections as twin
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, load_network, save_network
from tvm_shufflenet.library.detection import Detected, joined_outputs, unlike
from tvm_shufflenet.schedules import Detections, Plane

from .. import fences
from ..conftest import same_boxes, twin_boxes
from .test_detections import lay, parts
from .test_generic_kernels import run

NAME, SIZE, CLASSES, BINS = "nanodet-m", (64, 96), 3, 8


@pytest.mark.parametrize("seed,corners", [(0, False), (1, False), (2, True)])
def test_distances_agree_with_pytorch(seed, corners):
    rng, extents = np.random.default_rng(seed), [(8, 12), (4, 6)]
    anchors = [[(8 / 96, 8 / 64)], [(16 / 96, 16 / 64)]]
    scores = [torch.tensor(rng.uniform(0, 1, (1, CLASSES, *e)), dtype=torch.float32) for e in extents]
    boxes = [torch.tensor(rng.normal(0, 3, (1, 4 * BINS, *e)), dtype=torch.float32) for e in extents]
    how = dict(least=0.05, overlap=0.6, candidates=50, best=40, bins=BINS, background=False, corners=corners)
    expected = parts(twin.Detections(anchors, CLASSES, **how, size=SIZE)(*scores, *boxes)[0].numpy(), 40)
    planes = [Plane.padded(*e, 16) for e in extents], [Plane.padded_rows(*e, 16) for e in extents]
    workload = Detections.of(SIZE, CLASSES, (1, 1), *planes, **how)
    laid = [lay(m.numpy()[0], plane) for m, plane in zip([*scores, *boxes], [*planes[0], *planes[1]])]
    out = parts(run(workload, *laid, np.array([[8, 8], [16, 16]], "float32")), 40)
    assert out[3] == expected[3] > 5
    assert np.array_equal(out[1], expected[1]) and np.array_equal(out[2], expected[2])
    np.testing.assert_allclose(out[0], expected[0], rtol=1e-6, atol=1e-4)


def test_a_sure_distance_is_that_number_of_strides():
    """By hand: each edge is sure of one bin, so the box is the centre and so many strides of 8 pixels."""
    boxes = torch.full((1, 32, 8, 12), -50.0)
    for edge, bin in enumerate((1, 2, 3, 0)):
        boxes[0, 8 * edge + bin] = 50
    scores = torch.zeros(1, 1, 8, 12)
    scores[0, 0, 4, 5] = 0.9  # its centre is at 44, 36
    found = twin.Detections([[(8 / 96, 8 / 64)]], 1, 0.05, 0.6, 10, 5, SIZE, bins=8, background=False)(scores, boxes)
    assert found[0, :4].tolist() == pytest.approx([44 - 8, 36 - 16, 44 + 24, 36]) and found[0, -1] == 1
    # From the pixel's upper left corner, at 40, 32.
    find = twin.Detections([[(8 / 96, 8 / 64)]], 1, 0.05, 0.6, 10, 5, SIZE, bins=8, background=False, corners=True)
    assert find(scores, boxes)[0, :4].tolist() == pytest.approx([40 - 8, 32 - 16, 40 + 24, 32])


EMULATED = [pytest.mark.emulator, pytest.mark.slow]


@pytest.mark.parametrize("name,target", [
    (NAME, "native"), pytest.param(NAME, "cortex-a72", marks=EMULATED),
    pytest.param("nanodet-plus-m", "cortex-a72", marks=EMULATED),
])  # fmt: skip
def test_library_agrees_with_pytorch(build, name, target):
    net, data = network(name, SIZE, CLASSES), np.random.default_rng(0).standard_normal((1, 3, *SIZE), "float32")
    found = fences.check(build(name, target, size=SIZE, classes=CLASSES).path, data)
    expected = twin_boxes(net, random_parameters(net), data)
    assert same_boxes(found, expected) and len(set(expected[2][0])) > 1 and expected[3].item() > 5


@pytest.mark.slow
def test_halves_and_several_pictures(build):
    net, rng = network(NAME, SIZE, CLASSES), np.random.default_rng(0)
    pictures = [rng.standard_normal((1, 3, *SIZE), "float32") for _ in range(2)]
    alone = tvm_shufflenet.load(build(NAME, size=SIZE, classes=CLASSES).path)
    together = tvm_shufflenet.load(build(NAME, size=SIZE, classes=CLASSES, batch=2).path).run(np.concatenate(pictures))
    halves = tvm_shufflenet.load(build(NAME, size=SIZE, classes=CLASSES, precision="fp16").path)
    for index, data in enumerate(pictures):
        assert all(np.array_equal(a[index : index + 1], b) for a, b in zip(together, alone.run(data)))
        expected = twin_boxes(net, random_parameters(net), data)
        pair = [Detected.of(joined_outputs(outputs)[0], SIZE) for outputs in (halves.run(data), expected)]
        assert unlike(*pair, tolerance=2e-2) <= 0.1


def test_a_library_of_nanodet_plus_agrees_with_pytorch(build):
    """Its last map has 2 pixels for 1.5: a pixel's place is its number times 64."""
    name, size = "nanodet-plus-m", (96, 96)
    net, data = network(name, size, CLASSES), np.random.default_rng(0).standard_normal((1, 3, *size), "float32")
    assert [net.heads().layers[index].shape[3] for index in net.heads().outputs[:4]] == [12, 6, 3, 2]
    found = tvm_shufflenet.load(build(name, size=size, classes=CLASSES).path).run(data)
    expected = twin_boxes(net, random_parameters(net), data)
    assert same_boxes(found, expected) and expected[3].item() > 5


@pytest.mark.parametrize("name,operations,millions", [
    ("nanodet-m-0.5x", 0.3, 0.28), ("nanodet-m", 0.72, 0.95), ("nanodet-m-1.5x", 1.44, 2.08),
    ("nanodet-plus-m", 0.9, 1.17), ("nanodet-plus-m-1.5x", 1.75, 2.44),
])  # fmt: skip
def test_it_is_the_network_of_its_authors(name, operations, millions):
    """Who print so many 10^9 operations, two for a multiply-add, at 320x320 and so many 10^6 parameters."""
    net = network(name)
    assert net.size == (320, 320) and net.classes == 80
    assert 2 * net.multiply_adds() / 1e9 == pytest.approx(operations, rel=0.08)  # theirs counts batch norms, too
    assert net.parameter_count() / 1e6 == pytest.approx(millions, rel=0.034)  # and parameters that nothing reads
    assert [net.heads().layers[i].shape for i in net.heads().outputs[:3]] == [(1, 80, n, n) for n in (40, 20, 10)]


def test_a_description_and_a_checkpoint_are_the_same_network(tmp_path):
    small = network(NAME, SIZE, CLASSES)
    assert from_description(describe(small)) == small
    save_network(tmp_path / "x.safetensors", Imported(small, random_parameters(small), "ours"))
    assert load_network(tmp_path / "x.safetensors").network == small


def test_other_bins_are_refused():
    from tvm_shufflenet.architectures import NetworkBuilder

    net = NetworkBuilder((32, 32))
    scores, boxes = net.conv("s", 0, 3, kernel=3, stride=8, pad=1), net.conv("b", 0, 32, kernel=3, stride=8, pad=1)
    how = dict(anchors=[[(0.25, 0.25)]], classes=3, background=False)
    with pytest.raises(UserError, match="scores of 1x3x4x4 and boxes of 1x32x4x4 on map 0, expected 3 and 28 channels"):
        net.detections("d", scores, boxes, bins=7, **how)
    assert net.shape(net.detections("d", scores, boxes, bins=8, **how)) == (1, 601)
