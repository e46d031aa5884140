"""Models of public code give networks of the list that compute what the original modules compute."""

from __future__ import annotations

import json

import pytest
import torch

from tvm_shufflenet.architectures import network
from tvm_shufflenet.cli import build, convert
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network
from tvm_shufflenet.exchange.public_models import MODELS, expanded
from tvm_shufflenet.library.loading import load

from .. import foreign, public, public_detectors
from ..conftest import picture, relative_error
from .test_import import agrees, logits, saved
from .test_public_detectors import CASES as DETECTORS

V2_1X, V2_2X = {"channels": (116, 232, 464)}, {"channels": (244, 488, 976), "last": 2048}
HALF_WIDTH = {"stem": 16, "widths": (8, 16, 16, 32, 48, 80, 160)}
RAW = {"channels": "BGR", "scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
WIDER = {"resize_shorter_side_ratio": 232 / 224}
# What is made, its style, the network of the list (None: outside it), and the pictures' preparation if unusual.
CASES = {
    "tv-v2-0.5": (public.ShuffleNetV2, {}, "torchvision", "shufflenet-v2-0.5x-torchvision", None),
    "tv-v2-1": (public.ShuffleNetV2, V2_1X, "torchvision", "shufflenet-v2-1x-torchvision", None),
    "tv-v2-2": (public.ShuffleNetV2, V2_2X, "torchvision", "shufflenet-v2-2x-torchvision", WIDER),
    "tv-v2-odd": (public.ShuffleNetV2, {"channels": (20, 44, 70), "last": 99, "stem": 9}, "torchvision", None, None),
    "tv-mobilenet-v2": (public.MobileNetV2, {}, "torchvision", "mobilenet-v2-1.0", None),
    "tv-mobilenet-v2-0.5": (public.MobileNetV2, HALF_WIDTH, "torchvision", "mobilenet-v2-0.5", None),
    "tv-mobilenet-v3": (public_detectors.MobileNetV3, {}, "torchvision", "mobilenet-v3-large", None),
    "tv-mobilenet-v3-reduced": (
        public_detectors.MobileNetV3, {"share": 2}, "torchvision", "mobilenet-v3-large-reduced", None
    ),
    "tv-squeezenet1_0": (public.SqueezeNet, {}, "torchvision", "squeezenet-1.0", None),
    "tv-squeezenet1_1": (public.SqueezeNet, {"version": "1.1"}, "torchvision", "squeezenet-1.1", None),
    "tv-googlenet": (public.GoogLeNet, {}, "torchvision", "googlenet-torchvision", GREY),
    "tv-vgg16": (public.VGG16, {}, "torchvision", "vgg16", None),
    "tv-vgg16_bn": (public.VGG16, {"norms": True}, "torchvision", "vgg16-bn", None),
    "tv-alexnet": (public.AlexNet, {}, "torchvision", "alexnet-torchvision", None),
    "tv-resnet50": (public.ResNet50, {}, "torchvision", "resnet-50-torchvision", None),
    "megvii-v2-0.5": (public.MegviiV2, {}, "megvii", "shufflenet-v2-0.5x", RAW),
    "megvii-v2-1": (public.MegviiV2, V2_1X, "megvii", "shufflenet-v2-1x", RAW),
    "megvii-v2-odd": (public.MegviiV2, {"channels": (36, 44, 70), "last": 99, "stem": 10}, "megvii", None, RAW),
    "megvii-plus-small": (public.MegviiV2Plus, {}, "megvii", "shufflenet-v2-plus-small", RAW),
    "megvii-plus-medium": (
        public.MegviiV2Plus, {"channels": (48, 128, 256, 512)}, "megvii", "shufflenet-v2-plus-medium", RAW
    ),
    "megvii-plus-large": (
        public.MegviiV2Plus, {"channels": (68, 168, 336, 672)}, "megvii", "shufflenet-v2-plus-large", RAW
    ),
    "cadene-senet154": (public.CadeneSENet154, {}, "Cadene", "senet-154", None),
    "cv-senet154": (public.PytorchCVSENet154, {}, "pytorchcv", None, None),
    "mm-v2-1": (public.MMPretrainV2, V2_1X, "mmpretrain", "shufflenet-v2-1x-torchvision", None),
    "mm-mobilenet-v2": (public.MMPretrainMobileNetV2, {}, "mmpretrain", "mobilenet-v2-1.0", None),
    "cv-v2-0.5": (public.PytorchCVV2, {}, "pytorchcv", None, None),
    "cv-v2-1.5": (public.PytorchCVV2, {"channels": (176, 352, 704), "last": 1553}, "pytorchcv", None, None),
    "cv-squeezenet1_0": (public.PytorchCVSqueezeNet, {}, "pytorchcv", "squeezenet-1.0", None),
    "cv-squeezenet1_1": (public.PytorchCVSqueezeNet, {"version": "1.1"}, "pytorchcv", "squeezenet-1.1", None),
    "hf-mobilenet": (public.TransformersMobileNet, {}, "transformers", None, GREY),
}  # fmt: skip


def made(tmp_path, name, prefix=""):
    make, options, *_ = CASES[name]
    module = foreign.randomised(make(**options))
    saved(module, tmp_path / "net.pth", prefix)
    return module, tmp_path / "net.pth"


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_recognised_and_computes_the_same(tmp_path, name):
    module, path = made(tmp_path, name)
    _, _, style, listed, pictures = CASES[name]
    size = (65, 97) if name[:2] in ("cv", "hf") else (64, 96)
    shared = name.startswith("cv-squeezenet")
    found = load_network(path, listed if shared else None, reading=Reading(size))
    assert found.style.endswith(f", {style} style") and not found.mapping
    assert found.network.name == (listed or "net") and found.network.classes == 10
    if listed:
        assert found.network == network(listed, size, 10)
    assert found.preprocessing == pictures
    assert found.notes[-2].startswith("no tensor tells: ") and f"pictures as for {style}'s weights" in found.notes[-1]
    agrees(found, module)


def test_every_model_of_the_table_is_tried():
    tried = {(style, listed) for _, _, style, listed, _ in (*CASES.values(), *DETECTORS.values())}
    for model in MODELS:
        assert any(style == model.name and (listed in model.networks or model.plan) for style, listed in tried)


def test_prefixes_epsilon_and_a_convolution_as_the_classifier(tmp_path):
    module = foreign.randomised(public.ShuffleNetV2(), eps=1e-3)
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    state["module.fc.weight"] = state["module.fc.weight"][:, :, None, None]
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "net.pth")
    found = load_network(tmp_path / "net.pth", reading=Reading((64, 64), eps=1e-3))
    assert "eps 0.001; as the code of torchvision, whose names these are, has it, but --eps as said" in found.notes[0]
    agrees(found, module)


def test_heads_of_training_are_left_out_and_said(tmp_path):
    module, path = made(tmp_path, "tv-googlenet")
    found = load_network(path)
    count = sum(name.startswith("aux") and "num_batches" not in name for name in module.state_dict())
    assert found.notes[0] == f"{count} tensors that only training needs ignored, such as aux1.conv.conv.weight"
    state = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("aux")}
    torch.save(state, path)
    assert "only training" not in " ".join(load_network(path, "googlenet-torchvision").notes)


def test_two_models_with_the_same_tensors(tmp_path):
    """pytorchcv's squeezeresnet has the tensors of its squeezenet: only the user knows."""
    _, path = made(tmp_path, "cv-squeezenet1_1")
    with pytest.raises(UserError, match=r"and of its squeezeresnet.*name it \(convert --model squeezenet-1.1, build"):
        load_network(path)
    with pytest.raises(UserError, match="if it is squeezenet-1.1, name it"):
        load_network(path, "squeezenet-1.0")
    convert.main([str(path), str(tmp_path / "out.safetensors"), "--model", "squeezenet-1.1", "--size", "64"])
    assert load_network(tmp_path / "out.safetensors").network.name == "squeezenet-1.1"


@pytest.mark.parametrize("name", ["megvii-v2-0.5", "tv-v2-2", "tv-googlenet"])
def test_pictures_travel_into_the_library(tmp_path, capsys, name):
    _, _, style, listed, pictures = CASES[name]
    module, path = made(tmp_path, name)
    convert.main([str(path), str(tmp_path / "net.safetensors"), "--size", "64"])
    assert f"pictures as for {style}'s weights: " in capsys.readouterr().out
    assert json.dumps(load_network(tmp_path / "net.safetensors").preprocessing) == json.dumps(pictures)
    options = ["--target", "native", "--one-thread", "-o", str(tmp_path)]
    build.main(["--weights", str(tmp_path / "net.safetensors"), *options])
    library = load(tmp_path / f"{listed}-native-64x64.so")
    assert json.loads(json.dumps(pictures)).items() <= library.manifest["preprocessing"].items()
    data = picture((64, 64), 2)
    assert relative_error(library(data), logits(module, data)) < 1e-5


BRANCH = "stage2.0.branch1.0.weight"


@pytest.mark.parametrize("change,message", [
    (lambda s: s.pop("fc.weight"), "looks like ShuffleNet v2 of torchvision, but has no tensor fc.weight"),
    (lambda s: s.pop("conv1.1.running_var"), "but has no tensor conv1.1.running_var"),
    (lambda s: s.update({"stage2.4.branch2.0.weight": s[BRANCH]}), "stage2.4.branch2.0.weight belongs to none of it"),
    (lambda s: s.update({"conv1.0.bias": torch.zeros(24)}), "tensor conv1.0.bias belongs to none of it"),
    (lambda s: s.update({BRANCH: s[BRANCH][:23]}), f"tensor {BRANCH} has the shape 23x1x3x3, expected 24x1x3x3 as of"),
    (lambda s: s.update({BRANCH: s[BRANCH].flatten()}), f"tensor {BRANCH} has the shape 216, expected of 4 dimensions"),
    (lambda s: s.update({"fc.weight": s["fc.weight"][:0]}), "fc.weight has the shape 0x1024, expected one class or"),
    (lambda s: s.update({"fc.bias": torch.zeros(11)}), "fc.bias has the shape 11, expected 10"),
    (lambda s: s["conv1.1.running_var"].neg_(), "tensor conv1.1.running_var holds a negative variance"),
    (lambda s: s["fc.weight"].fill_(float("nan")), "tensor fc.weight holds NaN"),
    (lambda s: s.update({"stage2.0.branch2.0.weight": torch.zeros(0, 24, 1, 1)}), "expected 1|has the shape"),
])  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(tmp_path, change, message):
    state = foreign.randomised(public.ShuffleNetV2()).state_dict()
    change(state)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=message) as error:
        load_network(tmp_path / "bad.pth")
    assert str(error.value).startswith("checkpoint ") and "\n" not in str(error.value)


@pytest.mark.parametrize("reading,option", [
    (Reading(shuffle="ng"), "--shuffle"), (Reading(activation="relu6"), "--activation"), (Reading(stem=2), "--stem"),
    (Reading(style="megvii"), "--style"), (Reading(padding="same"), "--padding"),
])  # fmt: skip
def test_options_that_the_code_settles_are_refused(tmp_path, reading, option):
    _, path = made(tmp_path, "tv-v2-0.5")
    with pytest.raises(UserError, match=f"ShuffleNet v2 of torchvision, whose code settles what {option} says"):
        load_network(path, reading=reading)


@pytest.mark.parametrize("text,words", [
    ("a", ["a"]), ("a{1..3}", ["a1", "a2", "a3"]), ("{a,b}{1,2}", ["a1", "a2", "b1", "b2"]),
    ("x{1.{a,b},2}.c d", ["x1.a.c", "x1.b.c", "x2.c", "d"]), ("{{a,b}{1,2},c}", ["a1", "a2", "b1", "b2", "c"]),
])  # fmt: skip
def test_braces_expand_as_in_a_shell(text, words):
    assert expanded(text) == words
