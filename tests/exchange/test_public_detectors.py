"""Detectors of public code give networks of the list with the same raw heads and the same boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import torch_module
from tvm_shufflenet.cli import build, convert, detect
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network
from tvm_shufflenet.library.loading import load

from .. import foreign
from .. import public_detectors as public
from ..conftest import picture, relative_error, same_boxes, twin_boxes
from .test_import import saved

GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
NANODET = {"channels": "BGR", "scale": 1.0, "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}
WIDE = {"channels": (176, 352, 704), "width": 128}
# What is made, its style, the network of the list (None: outside it), and the pictures' preparation.
CASES = {
    "ssdlite": (public.SSDLite, {}, "torchvision", "ssdlite-mobilenet-v3-large-reduced", GREY),
    "ssdlite-whole": (public.SSDLite, {"share": 1}, "torchvision", None, GREY),
    "nanodet-0.5x": (public.NanoDet, {}, "nanodet", "nanodet-m-0.5x", NANODET | {"resize": "fit"}),
    "nanodet-1x": (
        public.NanoDet, {"channels": (116, 232, 464)}, "nanodet", "nanodet-m", NANODET | {"resize": "fit"}
    ),
    "nanodet-1.5x": (public.NanoDet, WIDE, "nanodet", "nanodet-m-1.5x", NANODET | {"resize": "fit"}),
    "nanodet-odd": (
        public.NanoDet, {"channels": (20, 44, 70), "width": 36}, "nanodet", None, NANODET | {"resize": "fit"}
    ),
    "nanodet-plus-1x": (public.NanoDetPlus, {"channels": (116, 232, 464)}, "nanodet", "nanodet-plus-m", NANODET),
    "nanodet-plus-1.5x": (public.NanoDetPlus, WIDE, "nanodet", "nanodet-plus-m-1.5x", NANODET),
    "nanodet-plus-odd": (public.NanoDetPlus, {"channels": (20, 44, 70), "width": 36}, "nanodet", None, NANODET),
}  # fmt: skip


def made(tmp_path, name):
    make, options, *_ = CASES[name]
    module = foreign.randomised(make(**options))
    saved(module, tmp_path / "net.pth")
    return module, tmp_path / "net.pth"


def multiply_adds(module, data) -> int:
    """Those of its convolutions and fully connected layers that are run."""
    found = []
    for part in module.modules():
        if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear)):
            part.register_forward_hook(lambda p, inputs, output: found.append(output.numel() * p.weight[0].numel()))
    with torch.inference_mode():
        module(torch.from_numpy(data))
    return sum(found)


def heads_agree(found, module, data) -> None:
    """The maps in front of the post-processing, in the order of the public code."""
    twin = torch_module(found.network.heads()).eval()
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in found.parameters.items()}, strict=False)
    with torch.inference_mode():
        maps, expected = twin(torch.from_numpy(data)), module(torch.from_numpy(data))
    half = len(maps) // 2
    for part, wanted in zip((maps[:half], maps[half:]), expected):
        rows = [m.unflatten(1, (-1, wanted.shape[1])).permute(0, 3, 4, 1, 2).reshape(-1, wanted.shape[1]) for m in part]
        assert relative_error(torch.cat(rows).numpy(), wanted.numpy()) < 1e-5


def theirs(module, data, best: int) -> list[np.ndarray]:
    """The module's boxes as our outputs have them."""
    with torch.inference_mode():
        boxes, scores, labels = module.boxes(torch.from_numpy(data))
    found = [np.zeros(shape, "float32") for shape in ((1, best, 1, 4), (1, best), (1, best), (1, 1))]
    count = len(scores)
    found[0][0, :count, 0], found[1][0, :count] = boxes.numpy(), scores
    found[2][0, :count], found[3][:] = labels, count
    return found


@pytest.mark.parametrize("name", CASES)
def test_heads_and_boxes_are_those_of_the_module(tmp_path, name):
    module, path = made(tmp_path, name)
    _, _, style, listed, pictures = CASES[name]
    size, classes = (64, 96), module.classes
    found = load_network(path, reading=Reading(size))
    assert found.style.endswith(f", {style} style") and not found.mapping
    assert found.network.name == (listed or "net") and found.network.classes == classes
    assert listed is None or found.network == network(listed, size, classes)
    assert found.preprocessing == pictures
    data = picture(size, 1)
    assert found.network.multiply_adds() == multiply_adds(module, data)
    heads_agree(found, module, data)
    expected = theirs(module, data, module.best)
    assert expected[3].item() > 20 and same_boxes(twin_boxes(found.network, found.parameters, data), expected)


@pytest.mark.slow
def test_boxes_are_those_of_torchvision(tmp_path):
    """Where it is installed: its own model, whose pictures of 320x320 pixels are not resized."""
    detection = pytest.importorskip("torchvision.models.detection")
    module = foreign.randomised(detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))
    saved(module, tmp_path / "net.pth")
    found = load_network(tmp_path / "net.pth")
    assert found.network == network("ssdlite320_mobilenet_v3_large")
    image = torch.rand(3, 320, 320, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        (said,) = module([image])
    count = len(said["scores"])
    expected = [said["boxes"].reshape(1, count, 1, 4), said["scores"][None], said["labels"][None] - 1]
    expected = [array.numpy().astype("float32") for array in (*expected, torch.tensor([[count]]))]
    data = ((image - 0.5) / 0.5)[None].numpy()
    assert count == 300 and same_boxes(twin_boxes(found.network, found.parameters, data), expected)


def test_the_averages_of_training_are_taken(tmp_path):
    """As in checkpoints of PyTorch Lightning: the last weights as `model.`, their averages as `avg_model.`."""
    module = foreign.randomised(public.NanoDet())
    state = {f"model.{name}": tensor + 1 for name, tensor in module.state_dict().items()}
    for both_there in (True, False):
        both = {**(state if both_there else {}), **{f"avg_model.{k}": v for k, v in module.state_dict().items()}}
        torch.save({"epoch": 3, "state_dict": both}, tmp_path / "net.pth")
        found = load_network(tmp_path / "net.pth", reading=Reading((64, 64)))
        assert ("the averages of training taken, avg_model.*" in found.notes) == both_there
        assert np.array_equal(found.parameters["head0.out.weight"], module.head.gfl_cls[0].weight.detach().numpy())
    torch.save({"state_dict": {k: v - 1 for k, v in state.items()}}, tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth").network.size == (320, 320)


def test_what_is_wrong_is_refused_in_one_line(tmp_path):
    whole = foreign.randomised(public.NanoDet()).state_dict()
    for change, message in (
        (lambda s: s.update({"head.reg_convs.0.0.depthwise.bias": torch.zeros(96)}), "belongs to none of it"),
        (lambda s: s.pop("head.gfl_cls.1.bias"), "NanoDet of nanodet, but has no tensor head.gfl_cls.1.bias"),
        (lambda s: s.update({"head.gfl_cls.0.weight": torch.zeros(32, 96, 1, 1)}), "expected one class or more"),
        (lambda s: s.update({"fpn.lateral_convs.0.conv.weight": torch.zeros(0, 48, 1, 1)}), "expected|has the shape"),
    ):
        state = dict(whole)
        change(state)
        torch.save(state, tmp_path / "bad.pth")
        with pytest.raises(UserError, match=message) as error:
            load_network(tmp_path / "bad.pth")
        assert str(error.value).startswith("checkpoint ") and "\n" not in str(error.value)


def test_a_library_of_a_checkpoint_sees_pictures_as_its_code_does(tmp_path, capsys):
    """NanoDet keeps a picture's shape: black beside it, and boxes come back to the picture."""
    module, path = made(tmp_path, "nanodet-0.5x")
    convert.main([str(path), str(tmp_path / "net.safetensors"), "--size", "64x96"])
    said = capsys.readouterr().out
    assert "BGR, scaled as far as the input has room, black beside it, pixels times 1, mean 103.53, 116.28" in said
    options = ["--one-thread", "--target", "native", "-o", str(tmp_path)]
    build.main(["--weights", str(tmp_path / "net.safetensors"), *options])
    library = load(tmp_path / "nanodet-m-0.5x-native-64x96.so")
    assert library.manifest["preprocessing"]["resize"] == "fit"
    pixels = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)  # half as wide as high
    inner = np.zeros((64, 96, 3), np.uint8)
    shrunk = Image.fromarray(pixels)
    inner[:, 32:64] = np.asarray(shrunk.resize((32, 64), Image.Resampling.BILINEAR))
    data = (inner[..., ::-1].astype("float32") - np.float32(NANODET["mean"])) / np.float32(NANODET["std"])
    boxes, scores, _, _ = theirs(module, np.ascontiguousarray(data.transpose(2, 0, 1)[None]), 100)
    found = detect.detect(library, shrunk, 0.3)
    assert len(found) == (scores > 0.3).sum() > 5
    expected = ((boxes[0, :, 0] - [32, 0, 32, 0]) * 2).clip(0, [64, 128, 64, 128])[: len(found)]
    assert (np.abs(found.sides - expected).max(1) < 0.05).mean() > 0.95


def test_a_user_says_how_pictures_are_resized(tmp_path):
    _, path = made(tmp_path, "nanodet-0.5x")
    out = tmp_path / "net.safetensors"
    convert.main([str(path), str(out), "--size", "64", "--resize", "stretch"])
    assert load_network(out).preprocessing == json.loads(json.dumps(NANODET | {"resize": "stretch"}))
    for options, message in (
        (["--resize", "1.1"], "a detector sees whole pictures"), (["--resize", "crop"], "expected a number such as"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            convert.main([str(path), str(out), "--size", "64", *options])
    saved(foreign.randomised(public.MobileNetV3()), path)
    with pytest.raises(UserError, match="a classifier sees the middle of a picture"):
        convert.main([str(path), str(out), "--size", "64", "--resize", "fit"])
