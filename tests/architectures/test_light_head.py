"""Light-Head R-CNN: what its description computes, its cost, and its library beside the PyTorch twin."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import tvm_shufflenet
from tvm_shufflenet.architectures import NetworkBuilder, light_head, model_names, network, shufflenet_v2
from tvm_shufflenet.architectures.atrous import AtrousBuilder
from tvm_shufflenet.architectures.registry import backbone
from tvm_shufflenet.bridge import random_parameters, torch_module
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.targets import resolve

from .. import fences
from ..conftest import relative_error, same_boxes, twin_boxes

NAMES = [name for name in model_names() if name.startswith("light-head-rcnn-")]
SIZE, CLASSES, COUNT = (96, 128), 3, 70  # two blocks of regions
ONE_OF_EACH = ("shufflenet-v2-0.5x", "shufflenet-v2-0.5x-star", "shufflenet-v1-0.5x-g3", "xception-0.5x",
               "mobilenet-v2-1.0")  # fmt: skip


def of_backbone(name: str):
    """The function that appends the layers of that backbone."""
    return light_head.entries()[f"light-head-rcnn-{name}"].build.args[0]


def output_of(net, parameters: dict, data: np.ndarray) -> np.ndarray:
    module = torch_module(net).eval()
    module.load_state_dict({key: torch.from_numpy(value) for key, value in parameters.items()}, strict=False)
    with torch.inference_mode():
        return module(torch.from_numpy(data)).numpy()


def map_of(net, last: int, name: str, data: np.ndarray) -> np.ndarray:
    """The output of layer `last`, with the weights of the classifier `name`."""
    return output_of(net.network("part", outputs=[last]), random_parameters(network(name)), data)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_dilated_backbone_has_the_classifier_s_numbers_at_every_second_pixel(name):
    """Whose last stage has the stride of 32; 5 rows at the stride of 16 are 3 there."""
    data = np.random.default_rng(0).standard_normal((1, 3, 80, 128), "float32")
    dilated, strided = AtrousBuilder((80, 128)), AtrousBuilder((80, 128))
    with dilated.limited(16):
        middle, last = of_backbone(name)(dilated)
    assert dilated.shape(middle)[2:] == dilated.shape(last)[2:] == (5, 8)
    _, other = of_backbone(name)(strided)
    assert strided.shape(other)[2:] == (3, 4)
    found, expected = map_of(dilated, last, name, data), map_of(strided, other, name, data)
    np.testing.assert_allclose(found[..., ::2, ::2], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_behind_the_limit_windows_are_as_they_are_told():
    net = AtrousBuilder((64, 64))
    with net.limited(4):
        x = net.conv("a", 0, 4, kernel=3, stride=4, pad=1)
        x = net.conv("b", x, 4, kernel=3, stride=2, pad=1)  # keeps its taps side by side
        with pytest.raises(UserError, match="layer p: a pooling of dilated windows"):
            net.max_pool("p", net.conv("c", x, 4, kernel=3, pad=1), 3, 1, 1)
    x = net.conv("d", net.conv("e", x, 4, kernel=3, pad=1), 4, kernel=3, stride=2, pad=1)
    layers = {layer.name: layer for layer in net.layers}
    assert [layers[name].attrs["dilation"] for name in "abced"] == [(1, 1), (1, 1), (2, 2), (1, 1), (1, 1)]
    assert [layers[name].shape[2] for name in "abced"] == [16, 16, 16, 16, 8] and net.shape(x)[2] == 8


@pytest.mark.parametrize("name", NAMES)
def test_listed_networks(name):
    """Multiply-adds from the paper's numbers, apart from this code."""
    net, own = network(name), network(backbone(name))
    assert net.shapes.outputs == ((1, 100, 1, 4), (1, 100), (1, 100), (1, 1)) and net.size == (800, 1200)
    pixels, layers = 50 * 75, {layer.name: layer for layer in net.layers}
    inputs = layers["rpn.conv"].inputs[0]
    assert net.layers[inputs].shape[2:] == (50, 75)
    channels = net.layers[layers["head.thin.tall1"].inputs[0]].shape[1]
    body, rpn, head = net.parts().values()
    assert body + rpn + head == net.multiply_adds()
    assert rpn == pixels * 512 * (9 * net.layers[inputs].shape[1] + 15 * 6)
    assert head == 2 * pixels * 15 * 64 * (channels + 490) + 1000 * 2048 * (490 + 81 + 4 * 81)
    parameters = {key: shape for key, shape in own.parameters().items() if not key.startswith("classifier.")}
    assert parameters.items() <= net.parameters().items()  # the classifier's weights are what it begins with
    anchors = next(layer for layer in net.layers if layer.op == "proposals").attrs["anchors"][0]
    assert len(anchors) == 15 and max(width for width, _ in anchors) == pytest.approx(512 * 2**0.5 / 1200)


def test_the_list_is_table_7_s():
    assert len(NAMES) == 18 and {backbone(name) for name in NAMES} == {name.removeprefix("light-head-rcnn-")
                                                                       for name in NAMES}  # fmt: skip
    with pytest.raises(UserError, match="light-head-rcnn-mobilenet-v2-40m is left out: which MobileNet v2"):
        network("light-head-rcnn-mobilenet-v2-40m")
    assert network(NAMES[0], (161, 227), 7).classes == 7


def thin(enlarged: bool = True):
    """ShuffleNet V2 with few units, of which each stands once behind the stride that is left out."""
    plan = shufflenet_v2.Plan(((16, 1, 2), (32, 1, 2), (48, 2, 2)), 40, (8,), enlarged=enlarged)
    return partial(light_head._of_v2, plan)


def held_against_pytorch(which, folder, target: str = "native") -> None:
    net = light_head.light_head_rcnn(which, "small", SIZE, CLASSES, COUNT)
    parameters, data = random_parameters(net), np.random.default_rng(0).standard_normal((1, 3, *SIZE), "float32")
    expected = twin_boxes(net, parameters, data)
    assert len(set(expected[2][0, : int(expected[3].item())])) > 1 and 5 < expected[3].item() < 100
    built = build_library(BuildOptions(None, target, network=net, output=folder, team=True))
    assert not [layer for layer in built.manifest["kernels"]["generic"] if "(copy)" not in layer]
    found = fences.check(built.path, data)
    assert same_boxes(found, expected)
    if target == "native":
        again = tvm_shufflenet.load(built.path, 2, oversubscribe=True).run(data)
        assert all(map(np.array_equal, again, found))


@pytest.mark.parametrize("target", [
    "native", pytest.param("cortex-a72", marks=[pytest.mark.emulator, pytest.mark.slow]),
])  # fmt: skip
def test_a_small_one_agrees_with_pytorch(target, tmp_path):
    """With two threads too, and nothing around the arrays is touched."""
    held_against_pytorch(thin(), tmp_path, target)


@pytest.mark.skipif(resolve("native").arch == "arm", reason="no precision but fp32 is for 32-bit processors")
def test_long_and_dilated_windows_in_fp16(tmp_path):
    """Sums of few terms in halves, of many in fp32; the plane has no room behind its rows."""
    net = NetworkBuilder((17, 21))
    x = net.relu("relu", net.conv("entry", 0, 40, kernel=3, pad=1))
    x = net.conv("dilated", x, 40, kernel=3, pad=2, dilation=2, groups=40)
    light_head.large_separable(net, "thin", x, 8, 12)
    only = net.network("windows")
    built = build_library(BuildOptions(network=only, target="native", precision="fp16", output=tmp_path, team=True))
    kernels = {call[0] for call in built.manifest["plan"]["kernels"]["rows"]}
    assert not any("generic" in name for name in kernels) and sum(name.startswith("long") for name in kernels) == 4
    parameters, data = random_parameters(only), np.random.default_rng(0).standard_normal((1, 3, 17, 21), "float32")
    found = tvm_shufflenet.load(built.path)(data)
    assert 1e-5 < relative_error(found, output_of(only, parameters, data)) < 2e-2
    assert np.array_equal(tvm_shufflenet.load(built.path, 2, oversubscribe=True)(data), found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_family_agrees_with_pytorch(name, tmp_path):
    held_against_pytorch(of_backbone(name), tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_refused(precision, tmp_path):
    with pytest.raises(UserError, match="chooses its regions by scores"):
        build_library(BuildOptions(NAMES[0], "cortex-a76", SIZE, CLASSES, precision=precision, output=tmp_path / "x"))
    assert not (tmp_path / "x").exists()
