"""Detectors of two stages: their kernels and whole networks against PyTorch, and the proof of their programs."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

import tvm_shufflenet
from tvm_shufflenet.architectures import NetworkBuilder, faster_rcnn, network, shufflenet_v1
from tvm_shufflenet.architectures.described import describe, from_description
from tvm_shufflenet.architectures.registry import backbone
from tvm_shufflenet.bridge import random_parameters, regions
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, load_network, save_network
from tvm_shufflenet.exchange.onnx_writer import onnx_model
from tvm_shufflenet.lowering.plan_memory import plan_memory
from tvm_shufflenet.lowering.verify import InvalidProgram, verify, verify_plan
from tvm_shufflenet.pipeline import lower_graph
from tvm_shufflenet.schedules import BinPlanes, Plane, RegionDetections, RegionPixels, Regions
from tvm_shufflenet.targets import resolve

from .. import fences
from ..conftest import same_boxes, twin_boxes
from .test_detections import lay, parts
from .test_generic_kernels import run

SIZE, CLASSES, COUNT = (96, 128), 3, 20
# Left, top, right, bottom: within, less than a pixel, the whole, none, at the far edges, one pixel high.
EDGES = [[10, 20, 50, 60], [33, 33, 34, 34], [0, 0, 104, 72], [0, 0, 0, 0], [100, 70, 104, 72], [5, 40, 90, 41]]


def found_of(boxes, scores=None) -> torch.Tensor:
    """What proposals of these boxes give."""
    rows = torch.tensor(boxes, dtype=torch.float32)
    rest = torch.zeros(2 * len(rows))
    return torch.cat([rows.flatten(), rest, torch.tensor([float(len(rows))])])[None]


@pytest.mark.parametrize("mode", ["max", "align"])
@pytest.mark.parametrize("size", [3, 7, 14])
def test_regions_agree_with_pytorch(mode, size):
    data = np.random.default_rng(0).standard_normal((20, 9, 13)).astype("float32")  # channels of two blocks
    expected = regions.Regions(size, mode, 8)(torch.from_numpy(data)[None], found_of(EDGES)).numpy()
    before, after = Plane.padded_rows(9, 13, 16), Plane.padded(size, size, 16)
    for edges, wanted in zip(EDGES, expected, strict=True):
        out = run(Regions(20, before, after, mode, 8), lay(data, before), np.array(edges, "float32"))
        found = out.reshape(20, after.size)[:, : size * size].reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5 if mode == "align" else 0)


@pytest.mark.parametrize("size", [2, 7])
def test_bins_are_read_in_planes_of_their_own(size):
    """Kernel and twin have of RoI align of all planes what is each bin's, in R-FCN's order c * size^2 + bin."""
    data = np.random.default_rng(0).standard_normal((3 * size**2, 9, 13)).astype("float32")
    planes, bins = torch.from_numpy(data)[None], np.arange(size)
    all_means = regions.Regions(size, "align", 8)(planes, found_of(EDGES)).numpy()
    rows, columns = bins[:, None], bins[None]
    chosen = (np.arange(3)[:, None, None] * size + rows) * size + columns
    expected = all_means[:, chosen, rows, columns]
    twin = regions.Regions(size, "bins", 8)(planes, found_of(EDGES)).numpy()
    np.testing.assert_allclose(twin, expected, rtol=1e-6, atol=1e-5)
    before, after = Plane.padded_rows(9, 13, 16), Plane.padded(size, size, 16)
    for edges, wanted in zip(EDGES, expected, strict=True):
        out = run(BinPlanes(3, before, after, 8), lay(data, before), np.array(edges, "float32"))
        found = out.reshape(3, after.size)[:, : size * size].reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


def test_the_twin_pools_as_defined():
    """Means of a plane that rises evenly are its values in the middles of the bins; the largest are counted by hand."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(13.0), indexing="ij")
    plane = (2 * y + 3 * x)[None, None]
    edges = found_of([[16, 8, 80, 56]])  # in pixels of 8 of the picture: 2 to 10, 1 to 7
    means = regions.Regions(2, "align", 8)(plane, edges)[0, 0]
    middles = [[2 * row + 3 * column - 2.5 for column in (4.0, 8.0)] for row in (2.5, 5.5)]
    assert torch.allclose(means, torch.tensor(middles))
    largest = regions.Regions(2, "max", 8)(plane, edges)[0, 0]  # pixels 2 to 10 and 1 to 7: the middle ones twice
    assert largest.tolist() == [[2 * 4 + 3 * 6, 2 * 4 + 3 * 10], [2 * 7 + 3 * 6, 2 * 7 + 3 * 10]]
    assert regions.Regions(2, "max", 8)(plane, found_of([[104, 72, 104, 72]])).tolist() == [[[[0, 0], [0, 0]]]]


@pytest.mark.parametrize("levels", [0, 8])
def test_boxes_of_regions_agree_with_pytorch(levels):
    """With `levels` many scores are equal, and the first region comes first."""
    rng, places, count = np.random.default_rng(0), 40, 33
    low = rng.uniform(0, 60, (places, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 40, (places, 2))], 1).astype("float32")
    boxes[count:] = 0
    found = torch.cat([torch.from_numpy(boxes).flatten(), torch.zeros(2 * places), torch.tensor([float(count)])])
    scores = torch.tensor(rng.normal(0, 2, (places, CLASSES + 1)), dtype=torch.float32).softmax(1)
    scores = (scores * levels).round() / levels if levels else scores
    deltas = torch.tensor(rng.normal(0, 1.5, (places, 4 * (CLASSES + 1))), dtype=torch.float32)
    how = dict(least=0.05, overlap=0.3, best=25)
    expected = parts(regions.RegionDetections(SIZE, **how)(found[None], scores, deltas)[0].numpy(), 25)
    block, pitches, laid = 14, (80, 272), []  # of which the last one is of 12
    planes = Plane.padded(1, block, 16), Plane.dense(1, block)
    for each, plane, pitch in zip((scores, deltas), planes, pitches):
        all_blocks = np.full((3, pitch), np.nan, "float32")
        for index, its in enumerate(np.split(each.numpy(), [block, 2 * block])):
            its = np.pad(its, ((0, block - len(its)), (0, 0)))
            all_blocks[index, : its.shape[1] * plane.size] = lay(its.T[:, None], plane).ravel()
        laid.append(all_blocks.ravel()[: 2 * pitch + each.shape[1] * plane.size])
    sizes = (plane.size for plane in planes)
    workload = RegionDetections(*SIZE, CLASSES, places, block, *sizes, *pitches, **how)
    out = parts(run(workload, found.numpy(), *laid), 25)
    assert out[3] == expected[3] > 5 and np.array_equal(out[1], expected[1]) and np.array_equal(out[2], expected[2])
    np.testing.assert_allclose(out[0], expected[0], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("regions", [2, 16, 33])
def test_regions_become_pixels(regions):
    """Each plane has what stands in one place of every region; what lies between two regions is not read."""
    data = np.random.default_rng(0).standard_normal((regions, 21)).astype("float32")
    laid, plane = np.full((regions, 32), np.nan, "float32"), Plane.padded(1, regions, 16)
    laid[:, :21] = data
    out = run(RegionPixels(21, 32, plane), laid.ravel()[: (regions - 1) * 32 + 21])
    assert np.array_equal(out.reshape(21, plane.size)[:, :regions], data.T)


# ------------------------------------------------------------------------- whole networks


def small(mode: str = "max", size=SIZE, count: int = COUNT, pooled: int = 14):
    """Faster R-CNN on the quarter-wide ShuffleNet."""
    structure = shufflenet_v1.planned(60, 3, 12)
    body, head = (partial(each, structure) for each in (faster_rcnn._body_of_v1, faster_rcnn._head_of_v1))
    return faster_rcnn.faster_rcnn(faster_rcnn.Backbone(body, head), "small", size, CLASSES, count, mode, pooled)


def small_of_bins():
    """Position-sensitive: 5 channels of 7x7 bins, and fully connected layers behind them."""
    structure = shufflenet_v1.planned(60, 3, 12)

    def body(net):
        return net.conv("thin", faster_rcnn._body_of_v1(structure, net), 5 * 49, bias=True)

    def head(net, x):
        return net.conv("region", x, 16, kernel=7, bias=True)

    return faster_rcnn.faster_rcnn(faster_rcnn.Backbone(body, head), "small", SIZE, CLASSES, COUNT, "bins", 7)


@pytest.mark.parametrize("mode,target", [
    ("max", "native"), ("align", "native"), ("bins", "native"),
    pytest.param("max", "cortex-a72", marks=[pytest.mark.emulator, pytest.mark.slow]),
])  # fmt: skip
def test_a_detector_of_two_stages_agrees_with_pytorch(mode, target, build_folder):
    """Random weights, whose decisions differ; threads change nothing, and nothing around the arrays is touched."""
    net = small_of_bins() if mode == "bins" else small(mode)
    parameters, data = random_parameters(net), np.random.default_rng(0).standard_normal((1, 3, *SIZE), "float32")
    expected = twin_boxes(net, parameters, data)
    assert len(set(expected[2][0, : int(expected[3].item())])) > 1 and 5 < expected[3].item() < 100
    options = BuildOptions(None, target, network=net, output=build_folder / f"regions-{mode}", team=True)
    path = build_library(options).path
    found = fences.check(path, data)
    assert same_boxes(found, expected)
    if target == "native":
        for threads in (1, 2):
            again = tvm_shufflenet.load(path, threads, oversubscribe=True).run(data)
            assert all(map(np.array_equal, again, found))
        assert tvm_shufflenet.load(path).manifest["detector"] == {
            "classes": 3, "candidates": 20, "least": 0.05, "overlap": 0.3, "best": 100
        }  # fmt: skip


def odd(count: int = COUNT):
    """What is left of a region is read by steps that go pixel by pixel and by others, whole and in part."""
    net = NetworkBuilder(SIZE)
    planes = faster_rcnn._body_of_v1(shufflenet_v1.planned(60, 3, 12), net)
    found = faster_rcnn.region_proposals(net, planes, faster_rcnn.default_boxes(SIZE, (2, 4)), count)
    x = net.relu("r", net.conv("x", net.regions("regions", planes, found, 4), 24, kernel=3, bias=True))
    mean = net.global_avg_pool("mean", x)
    factors = net.sigmoid("factors", net.dense("attention", mean, 24))  # which planes of more pixels read
    most = net.global_max_pool("most", net.multiply("scaled", x, factors))
    hidden = net.hard_swish("swish", net.dense("hidden", net.concat("both", mean, most), 33))
    half = net.slice("half", hidden, 3, 33, 2)
    again = net.add("again", net.dense("second", half, 33), hidden)
    part = net.concat("part", net.slice("some", most, 0, 24, 3), net.multiply("product", half, half))
    late = net.conv("late", planes, 8, bias=True)  # of the picture, between steps of the regions
    one = net.relu("one", net.regions("middle", late, found, 1, "align"))
    third = net.global_avg_pool("third", net.add("more", x, net.dense("back", hidden, 24)))
    again = net.concat("all", again, net.flatten("flat", one), third)
    scores = net.softmax("softmax", net.dense("head.scores", again, CLASSES + 1))
    boxes = net.dense("head.boxes", part, 4 * (CLASSES + 1))
    end = net.region_detections("detections", found, scores, boxes, least=0.2)
    return net.network("odd", outputs=net.boxes_of("detections", end))


@pytest.mark.parametrize("count,weights", [(COUNT, None), (1, None), (COUNT, "fp16"), (131, None), (70, "fp16")])
def test_regions_of_any_structure_agree_with_pytorch(count, weights, tmp_path):
    """One region has no others beside it; of 131 the last block is not full.

    Weights in halves are for fully connected layers, region by region.
    """
    net = odd(count)
    parameters, data = random_parameters(net), np.random.default_rng(0).standard_normal((1, 3, *SIZE), "float32")
    options = BuildOptions(None, "native", network=net, output=tmp_path, team=True, weights_precision=weights)
    built = build_library(options)
    kernels = [row[0] for row in built.manifest["plan"]["kernels"]["rows"]]
    assert any(name.startswith("region_pixels") for name in kernels) == (count > 1)
    found, expected = fences.check(built.path, data), twin_boxes(net, parameters, data)
    assert expected[3].item() > (3 if count > 1 else 0)
    if weights:
        assert found[3] == expected[3] and np.array_equal(found[2], expected[2])
        assert np.abs(found[1] - expected[1]).max() < 2e-3 and np.abs(found[0] - expected[0]).max() < 1
    else:
        assert same_boxes(found, expected)
    again = tvm_shufflenet.load(built.path, 2, oversubscribe=True).run(data)
    assert all(map(np.array_equal, again, found))


@pytest.mark.slow
def test_mobilenet_s_detector_agrees_with_pytorch(build_folder):
    name = "faster-rcnn-mobilenet-v1-1.0"
    net = network(name, (64, 96), 3)
    data = np.random.default_rng(0).standard_normal((1, 3, 64, 96), "float32")
    path = build_library(BuildOptions(name, "native", (64, 96), 3, output=build_folder / "mobilenet")).path
    assert same_boxes(tvm_shufflenet.load(path).run(data), twin_boxes(net, random_parameters(net), data))


@pytest.fixture(scope="module")
def lowered():
    net = small(count=100)
    return lambda: lower_graph(net, random_parameters(net), resolve("cortex-a72"))


def names_of(program, each) -> list[str]:
    return [program.calls[index].workload.name for index in each.calls]


def test_regions_go_through_their_calls_one_by_one(lowered):
    """And two blocks of them through what reads each weight for a single pixel of a region."""
    program = lowered()
    before, each, blocks, behind = program.passes()
    assert (before.times, each.times, blocks.times, behind.times) == (1, 100, 2, 1)
    assert names_of(program, blocks) == ["region_pixels", "pointwise", "softmax", "pointwise"]
    assert names_of(program, behind)[0] == "region_detections"
    assert names_of(program, each)[0] == "regions" and len(each.calls) > 10
    places = {call.output.root: call.output.root.places for call in program.calls if call.output.root.places > 1}
    assert sorted(places.values()) == [2, 2, 100] and places[program.calls[each.calls[-1]].output.root] == 100
    steps = len(before.calls) + 100 * len(each.calls) + 2 * len(blocks.calls) + len(behind.calls)
    assert len(list(program.steps())) == steps
    largest = max(call.output.root.bytes for call in program.calls)
    assert plan_memory(program).bytes < 8 * largest  # not a hundred times what a region takes


def test_the_proof_finds_what_would_be_wrong(lowered):
    program = lowered()
    _, each, blocks, _ = program.passes()
    plan = plan_memory(program)
    verify_plan(program, plan)
    planes = program.calls[each.calls[0]].inputs[0].root  # which every region reads
    last = program.calls[each.calls[-3]].output.root
    means = program.calls[each.calls[-1]].output.root
    for wrong in (
        {last: plan.offsets[planes]},  # the first region would write over what the next ones read
        {last: plan.offsets[means] + 40 * means.pitch},  # over what the 41st has left
    ):
        with pytest.raises(InvalidProgram, match="writes over"):
            verify_plan(program, dataclasses.replace(plan, offsets=plan.offsets | wrong))
    verify(program)
    scores = program.calls[blocks.calls[-2]].output.root
    for root, wrong in ((means, 99), (means, 101), (scores, 3)):
        right, root.places = root.places, wrong
        with pytest.raises(InvalidProgram, match="needs all places of planes side by side"):
            verify(program)
        root.places = right
    with pytest.raises(InvalidProgram, match="outside of the workspace"):  # where the second block reads
        verify_plan(program, dataclasses.replace(plan, bytes=plan.offsets[means] + 90 * means.pitch))
    end = program.calls[blocks.calls[0]]
    end.workload = dataclasses.replace(end.workload, pitch=end.workload.pitch - 16)
    with pytest.raises(InvalidProgram, match="takes .* bytes, its places of"):
        verify(program)


def test_listed_networks():
    """Multiply-adds as computed from the definition, apart from this code, at 600x800."""
    expected = {
        "faster-rcnn-shufflenet-v1-1x-g3": (1003, 4273, 300 * 32.8),
        "faster-rcnn-shufflenet-v1-2x-g3": (3791, 8475, 300 * 129.6),
        "faster-rcnn-mobilenet-v1-1.0": (None, None, None),
    }
    for name, figures in expected.items():
        net = network(name, (600, 800))
        found = net.parts()
        assert sum(found.values()) == net.multiply_adds() and net.classes == 80 and net.two_stages
        for count, figure in zip(found.values(), figures):
            assert figure is None or count / 1e6 == pytest.approx(figure, rel=2e-3)
        assert net.shapes.outputs == ((1, 100, 1, 4), (1, 100), (1, 100), (1, 1))
        own = network(backbone(name), (224, 224))
        body = {layer.name for layer in own.layers if not layer.name.startswith(("pool", "classifier"))}
        assert body <= {layer.name for layer in net.layers}
    # What MobileNet's own paper prints of its detector, at short sides of 300 and 600.
    for side, figure in ((300, 25.2), (600, 30.5)):
        net = network("faster-rcnn-mobilenet-v1-1.0", (side, side))
        assert net.multiply_adds() / 1e9 == pytest.approx(figure, rel=0.01)


def test_descriptions_and_checkpoints(tmp_path):
    net = small("align")
    assert from_description(describe(net)) == net
    listed = network("faster-rcnn-shufflenet-v1-1x-g3", (64, 64), 3)
    file = tmp_path / "x.safetensors"
    save_network(file, Imported(listed, random_parameters(listed), "ours", ["a", "b", "c"]))
    assert load_network(file).network == listed


def test_what_cannot_be_built_is_refused(tmp_path):
    net = small()
    for options, message in (
        ({"batch": 2}, "goes through the regions of one picture"),
        ({"precision": "fp16"}, "--precision fp16: small chooses its regions by scores"),
        ({"precision": "int8"}, "--precision int8: small chooses its regions by scores"),
    ):
        with pytest.raises(UserError, match=message):
            build_library(BuildOptions(None, "cortex-a76", network=net, output=tmp_path / "out", **options))
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="a detector that looks at regions cannot be written"):
        onnx_model(net, random_parameters(net))
    with pytest.raises(UserError, match="small looks at regions that it chooses itself"):
        net.heads()


def test_what_is_no_detector_is_refused():
    net = NetworkBuilder((64, 64))
    x = net.conv("x", 0, 8, kernel=3, stride=16, pad=1)
    maps = net.conv("s", x, 4), net.conv("b", x, 8)
    anchors = [[(0.2, 0.2), (0.4, 0.4)]]
    found = net.proposals("p", *maps, anchors=anchors, best=5)
    assert net.shape(found) == (1, 31)
    planes = net.regions("r", x, found, 4)
    assert net.shape(planes) == (5, 8, 4, 4)
    flat = net.global_avg_pool("g", planes)
    scores, boxes = net.dense("fs", flat, 3), net.dense("fb", flat, 12)
    for call, message in (
        (lambda: net.regions("e", x, net.flatten("f", x), 4), "its regions are those of f, expected proposals"),
        (lambda: net.regions("e", planes, found, 4), "an input is of each region"),
        (lambda: net.regions("e", x, found, 5, "bins"), "channels, expected a multiple of 5x5 bins"),
        (lambda: net.regions("e", x, found, 4, "mean"), "its mode is 'mean', expected max or align or bins"),
        (lambda: net.proposals("e", *maps[::-1], anchors=anchors), "scores of 1x8x4x4 and boxes of 1x4x4x4"),
        (lambda: net.region_detections("e", found, boxes, scores), "scores of 5x12 and boxes of 5x3"),
        (lambda: net.region_detections("e", found, net.flatten("h", x), boxes), "scores of 1x128 and boxes of 5x12"),
        (lambda: net.concat("e", planes, net.adaptive_avg_pool("a", x, 4)), "expected equal"),
        (lambda: net.network("n", outputs=[planes]), "an output is of each region"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    assert net.shape(net.region_detections("d", found, scores, boxes, best=7)) == (1, 43)
