"""Checkpoints in the styles of others give networks that compute what the original modules compute."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tvm_shufflenet import pipeline
from tvm_shufflenet.architectures import model_names, network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint, torch_module
from tvm_shufflenet.cli import build, convert, profile
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, Reading, load_network, save_network
from tvm_shufflenet.exchange.canonical import shuffled
from tvm_shufflenet.library.loading import load
from tvm_shufflenet.lowering.verify import InvalidProgram

from .. import foreign
from ..conftest import EARLIER, STRUCTURES, picture, relative_error, twin_logits

STYLES = {
    "megvii": foreign.Megvii, "pytorchcv": foreign.PytorchCV, "jaxony": foreign.Jaxony,
    "mmpretrain": foreign.MMPretrain, "pytorch-cifar": foreign.Cifar, "pytorch-cifar100": foreign.Cifar100,
}  # fmt: skip
PAPER_1X = {"channels": (24, 240, 480, 960), "repeats": (4, 8, 4)}


def logits(module: nn.Module, data: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return getattr(module, "logits", module)(torch.from_numpy(data)).numpy()


def agrees(found: Imported, module: nn.Module) -> None:
    """The imported network's twin computes what the module does."""
    data = picture(found.network.size, 1)
    expected = logits(module, data)
    assert expected.std() > 1e-3
    assert relative_error(twin_logits(found.network, found.parameters, data), expected) < 1e-5


def saved(module: nn.Module, path, prefix: str = "") -> None:
    state = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_recognised_by_its_names(tmp_path, style, suffix):
    module, path = foreign.randomised(STYLES[style]()), tmp_path / f"net{suffix}"
    saved(module, path)
    found = load_network(path, reading=Reading(size=(64, 64)))
    assert found.style == f"ShuffleNet v1, {style} style" and not found.mapping
    assert (found.network.name, found.network.size, found.network.classes) == ("net", (64, 64), 10)
    agrees(found, module)
    assert load_network(path).network.size == ((32, 32) if "cifar" in style else (224, 224))


@pytest.mark.parametrize("groups,channels", [
    (1, (12, 48, 96, 192)), (2, (12, 72, 144, 288)), (3, (12, 60, 120, 240)), (4, (16, 96, 192, 384)),
    (8, (16, 192, 384, 768)), (8, (16, 96, 192, 384)),
])  # fmt: skip
@pytest.mark.parametrize("style", ["megvii", "pytorchcv"])
def test_both_shuffles_with_every_number_of_groups(tmp_path, style, groups, channels):
    """Groups of 3, 6 and 12 channels: of 4 or 8 groups, some shuffles by (n, g) are no shuffle by (g, n)."""
    module, path = foreign.randomised(STYLES[style](channels, groups)), tmp_path / "net.pth"
    saved(module, path)
    found = load_network(path, reading=Reading(size=(64, 64)))
    agrees(found, module)
    shuffles = {layer.attrs["groups"] for layer in found.network.layers if layer.op == "shuffle"}
    if style == "pytorchcv" or groups <= 3:
        assert shuffles <= {groups}
    else:
        assert shuffles - {groups}


@pytest.mark.parametrize("style", ["megvii", "mmpretrain"])
def test_the_papers_network_is_recognised(tmp_path, style):
    module, path = foreign.randomised(STYLES[style](groups=3, classes=7, **PAPER_1X)), tmp_path / "x.pth"
    saved(module, path)
    found = load_network(path, reading=Reading(size=(64, 64)))
    assert found.network == network("shufflenet-v1-1x-g3", (64, 64), 7)
    assert list(found.parameters) == list(found.network.parameters())
    agrees(found, module)
    assert load_network(path, "shufflenet-v1-1x-g3").network.name == "shufflenet-v1-1x-g3"
    with pytest.raises(UserError, match="holds shufflenet-v1-1x-g3 .*expected shufflenet-v1-2x-g3"):
        load_network(path, "shufflenet-v1-2x-g3")
    with pytest.raises(UserError, match="use --classes 7"):
        load_network(path, classes=10)


@pytest.mark.parametrize("style", ["megvii", "jaxony"])
def test_the_other_shuffle_and_prefixes(tmp_path, style):
    """A style's names with the other shuffle need --shuffle; DataParallel and a surrounding module do not matter."""
    other = {"megvii": "gn", "jaxony": "ng"}[style]
    module = STYLES[style](groups=3)
    for part in module.modules():
        if hasattr(part, "shuffle"):
            part.shuffle = getattr(foreign, f"shuffle_{other}")
    foreign.randomised(module)
    path = tmp_path / "net.pth"
    saved(module, path, "module.net.")
    found = load_network(path, reading=Reading(size=(64, 64), shuffle=other))
    agrees(found, module)
    with pytest.raises(AssertionError):
        agrees(load_network(path, reading=Reading(size=(64, 64))), module)


@pytest.mark.parametrize("eps", [1e-3, 1e-7])
def test_another_epsilon(tmp_path, eps):
    module, path = foreign.randomised(foreign.PytorchCV(), eps=eps), tmp_path / "net.pth"
    saved(module, path)
    agrees(load_network(path, reading=Reading(size=(64, 64), eps=eps)), module)


@pytest.mark.parametrize("stem", [4, 2, 1])
def test_stems_without_pooling_and_stride(tmp_path, stem):
    """The same names with another stem, as who trains on small pictures changes it."""

    class Changed(foreign.Megvii):
        def forward(self, x):
            self.first_conv[0].stride = (2, 2) if stem > 1 else (1, 1)
            x = self.first_conv(x)
            x = nn.functional.max_pool2d(x, 3, 2, 1) if stem == 4 else x
            return self.classifier(self.features(x).mean((2, 3)))

    module, path = foreign.randomised(Changed()), tmp_path / "net.pth"
    saved(module, path)
    agrees(load_network(path, reading=Reading(size=(32, 32), stem=stem)), module)
    found = load_network(path)
    assert found.preprocessing == {"channels": "BGR", "scale": 1, "mean": (0, 0, 0), "std": (1, 1, 1)}
    assert found.notes[1].startswith("pictures as for megvii's weights: BGR, shorter side 256 for a crop of 224, ")
    assert found.notes[0] == (
        "no tensor tells: ReLU, stride 2 and max pooling in the stem, stages of stride 2 beside 3x3 pooling, pooled "
        "input before the branch, shuffle ng behind the depthwise convolution, no activation behind the depthwise "
        "convolution, eps 1e-05; as the code of megvii, whose names these are, has it"
    )


def test_our_names_with_another_stem(tmp_path):
    module = torch_module("shufflenet-v1-0.25x-g3", 10)
    module.stem.conv.stride, module.stem.pool = (1, 1), nn.Identity()
    foreign.randomised(module)
    saved(module, tmp_path / "net.pth")
    found = load_network(tmp_path / "net.pth", reading=Reading(size=(32, 32), stem=1))
    agrees(found, module)
    assert found.network.name == "net" and found.style == "ShuffleNet v1, own style"
    for path in ("ours.pth", "ours.onnx"):
        save_network(tmp_path / path, found)
        with pytest.raises(UserError, match="says itself what --shuffle would"):
            load_network(tmp_path / path, reading=Reading(shuffle="ng"))


def test_names_of_one_style_with_the_structure_of_another(tmp_path):
    module = foreign.randomised(foreign.MMPretrain())
    state, renamed = module.state_dict(), {}
    members = {"g_conv_1x1_compress": "1", "depthwise_conv3x3_bn": "2", "g_conv_1x1_expand": "3"}
    for name, tensor in state.items():  # as pytorch-cifar calls them
        name = name.replace("backbone.conv1.conv", "conv1").replace("backbone.conv1.bn", "bn1")
        for stage in range(3):
            name = name.replace(f"backbone.layers.{stage}.", f"layer{stage + 1}.").replace("head.fc", "linear")
        for member, number in members.items():
            name = name.replace(f"{member}.conv", f"conv{number}").replace(f"{member}.bn", f"bn{number}")
        renamed[name] = tensor
    torch.save(renamed, tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth").style == "ShuffleNet v1, pytorch-cifar style"
    agrees(load_network(tmp_path / "net.pth", reading=Reading(size=(64, 64), style="mmpretrain")), module)


def test_a_convolution_as_the_classifier(tmp_path):
    module = foreign.randomised(foreign.PytorchCV())
    state = module.state_dict()
    state["output.weight"] = state["output.weight"][:, :, None, None]
    torch.save({"net": state, "acc": 90.0, "epoch": 3}, tmp_path / "net.pth")
    agrees(load_network(tmp_path / "net.pth", reading=Reading(size=(64, 64))), module)


@pytest.mark.parametrize("make,style,size", [
    (foreign.MobileNet, "conv_dw", 224), (foreign.CifarMobileNet, "pytorch-cifar", 32),
])  # fmt: skip
def test_mobilenet(tmp_path, make, style, size):
    module, path = foreign.randomised(make()), tmp_path / "mobile.pth"
    saved(module, path, "module.")
    found = load_network(path)
    assert found.style == f"MobileNet v1, {style} style" and found.network.size == (size, size)
    agrees(load_network(path, reading=Reading(size=(64, 64))), module)
    if style == "conv_dw":
        assert found.network == network("mobilenet-v1-0.25", classes=10)


@pytest.mark.parametrize("names", ["numbers", "words"])
def test_a_flat_list_is_mapped_by_order_and_shape(tmp_path, capsys, names):
    module, path = foreign.randomised(foreign.Megvii()), tmp_path / "flat.pth"
    tensors = {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    word = (lambda i, n: str(i)) if names == "numbers" else (lambda i, n: f"net.op{i}.{n.rpartition('.')[2]}")
    torch.save({word(i, name): tensor for i, (name, tensor) in enumerate(tensors.items())}, path)
    with pytest.raises(
        UserError,
        match="of no known style, and no tensor tells .* --shuffle gn.* --strides .* --pool .* --concat .*or --style",
    ):
        load_network(path)
    found = load_network(path, reading=Reading(size=(64, 64), style="megvii"))
    agrees(found, module)
    assert [ours for ours, _ in found.mapping][:3] == ["stem.conv", "stage2.0.conv1", "stage2.0.conv2"]
    assert sum(len(theirs.split(", ")) for _, theirs in found.mapping) == len(tensors)
    convert.main([str(path), str(tmp_path / "out.pth"), "--style", "megvii"])
    said = capsys.readouterr().out
    assert "taken by order and shape" in said and f"stem.conv            {found.mapping[0][1]}\n" in said


def test_a_flat_mobilenet_needs_its_stem_only(tmp_path):
    module = foreign.randomised(foreign.MobileNet())
    tensors = [t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")]
    torch.save({f"arr_{i}": t for i, t in enumerate(tensors)}, tmp_path / "flat.pth")
    with pytest.raises(
        UserError, match="of no known style, and no tensor tells what these options would: --stem 4|2|1. Say"
    ):
        load_network(tmp_path / "flat.pth")
    found = load_network(tmp_path / "flat.pth", reading=Reading(size=(64, 64), stem=2))
    assert found.network.name == "mobilenet-v1-0.25" and len(found.mapping) == 28
    agrees(found, module)


@pytest.mark.parametrize("name", [n for n in (*EARLIER, *STRUCTURES) if "0.25" in n or n in ("alexnet", *STRUCTURES)])
def test_our_own_files_say_which_network_they_are(tmp_path, name):
    net = network(name, classes=3)
    parameters = random_parameters(net)
    save_checkpoint(tmp_path / "bare.safetensors", parameters)
    size = (64, 96) if name == "pvanet" else (65, 97)
    full = Imported(network(name, size, 3), parameters, "", ["a", "b", "c"], metadata={"recipe": "small"})
    save_network(tmp_path / "full.safetensors", full)
    bare, full = (load_network(tmp_path / f"{kind}.safetensors") for kind in ("bare", "full"))
    assert full.network == network(name, size, 3) and full.class_names == ["a", "b", "c"] and not full.notes
    assert full.metadata == {"recipe": "small"}
    same = [n for n in model_names() if network(n, classes=3).parameters() == net.parameters()]
    assert bare.network == network(same[0], classes=3) and len(bare.notes) == (len(same) > 1)
    assert all(n in bare.notes[0] for n in same if len(same) > 1)
    named = load_network(tmp_path / "bare.safetensors", name, 3)
    assert named.network == net and all(np.array_equal(named.parameters[n], parameters[n]) for n in parameters)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".onnx"])
def test_a_network_outside_the_list_goes_through_every_format(tmp_path, suffix):
    module = foreign.randomised(foreign.Cifar((24, 200, 400, 800), 2))
    saved(module, tmp_path / "cifar.pth")
    found = load_network(tmp_path / "cifar.pth")
    save_network(tmp_path / f"again{suffix}", found)
    again = load_network(tmp_path / f"again{suffix}")
    assert again.network.size == (32, 32)
    agrees(again, module)
    if suffix != ".onnx":
        assert again.network == found.network
        assert load_network(tmp_path / f"again{suffix}", reading=Reading(size=(64, 48))).network.size == (64, 48)


@pytest.mark.parametrize("style,options", [
    ("megvii", {"groups": 8, "channels": (16, 96, 192, 384)}), ("pytorch-cifar", {}), ("jaxony", {}),
])  # fmt: skip
def test_foreign_files_are_built_into_libraries(tmp_path, capsys, style, options):
    module, path = foreign.randomised(STYLES[style](**options)), tmp_path / f"{style}.pth"
    saved(module, path)
    build.main(["--weights", str(path), "--target", "native", "--size", "40x56", "-o", str(tmp_path)])
    said = capsys.readouterr().out
    library = load(tmp_path / f"{style}-native-40x56.so")
    weights = library.manifest["weights"]
    assert library.manifest["model"] == style and weights["source"] == f"{path.name} (ShuffleNet v1, {style} style)"
    assert weights["notes"] and f"  weights: {weights['source']}" in said
    assert [f"    {note}" for note in weights["notes"]] == [line for line in said.splitlines() if line[:4] == "    "]
    data = picture((40, 56), 2)
    assert relative_error(library(data), logits(module, data)) < 1e-5
    if style == "megvii":  # the library says what its network is, wherever its weights are now
        profile.main([str(library.path), "--rounds", "1"])
        assert "shuffle" in capsys.readouterr().out


def test_a_file_called_like_a_network_of_the_list_does_not_take_its_name(tmp_path):
    path = tmp_path / "shufflenet-v1-1x-g3.pth"
    saved(foreign.randomised(foreign.Jaxony()), path)
    assert load_network(path).network.name == "shufflenet-v1-1x-g3-imported"


def test_convert_command(tmp_path, capsys):
    module, path = foreign.randomised(foreign.Megvii()), tmp_path / "found.pth"
    saved(module, path)
    out = tmp_path / "ours.safetensors"
    convert.main([str(path), str(out), "--size", "64", "--json", str(tmp_path / "found.json")])
    said = capsys.readouterr().out
    assert "ShuffleNet v1, megvii style" in said and f"{out} written" in said and "input 1x3x64x64, 10 classes" in said
    about = json.loads((tmp_path / "found.json").read_text())
    assert about["style"] == "ShuffleNet v1, megvii style" and about["size"] == [64, 64] and not about["mapping"]
    again = load_network(out)
    assert again.network.size == (64, 64) and again.style == "ours"
    agrees(again, module)


def test_convert_refuses_what_build_cannot_compile(tmp_path, monkeypatch):
    """Both ask the compiler, whose verifier has the last word; nothing is written."""
    path = tmp_path / "found.pth"
    saved(foreign.randomised(foreign.Megvii()), path)

    def faulty(program, plan):
        raise InvalidProgram("layer conv1: its kernel reads what nothing wrote")

    monkeypatch.setattr(pipeline, "verify_plan", faulty)
    for command in (lambda: convert.main([str(path), str(tmp_path / "out.onnx"), "--size", "64"]),
                    lambda: build.main(["--weights", str(path), "--size", "64", "-o", str(tmp_path)])):  # fmt: skip
        with pytest.raises(UserError, match="found cannot be compiled, which is a fault of this compiler: layer conv1"):
            command()
    assert os.listdir(tmp_path) == ["found.pth"]


def test_shuffled_is_the_papers_shuffle():
    x = torch.arange(12.0).reshape(1, 12, 1, 1)
    assert shuffled(12, 3).tolist() == foreign.shuffle_gn(x, 3).flatten().tolist()
    assert shuffled(12, 4).tolist() == foreign.shuffle_ng(x, 3).flatten().tolist()


def changed(tmp_path, change, module=foreign.Megvii, name="bad.pth"):
    state = foreign.randomised(module()).state_dict()
    result = change(state)
    torch.save(result if isinstance(result, dict) else state, tmp_path / name)
    return tmp_path / name


UNIT = "features.1.branch_main_1.0.weight"


@pytest.mark.parametrize("change,message", [
    (lambda s: s.update({UNIT: s[UNIT][:, :7]}), f"tensor {UNIT} has the shape 15x7x1x1, which fits no number of gr"),
    (lambda s: s.update({UNIT: torch.cat((s[UNIT],) * 2, 1)[:, :30]}), f"tensor {UNIT} has the shape 15x30x1x1"),
    (lambda s: s.pop("features.1.branch_main_1.0.weight"), "does not fit|expected the bias"),
    (lambda s: s.pop("first_conv.1.running_var"), "3 vectors follow tensor first_conv.0.weight"),
    (lambda s: s.update(extra=torch.zeros(3)), "looks like ShuffleNet v1 of megvii, but tensor extra belongs to none"),
    (lambda s: s.update({"first_conv.0.weight": torch.zeros(12, 1, 3, 3)}), "expected 3 inputs, RGB"),
    (lambda s: s.pop("classifier.0.weight"), "is no classifier|expected the bias"),
    (lambda s: s.update({"classifier.0.weight": torch.zeros(10, 100)}), "classifier.0.weight has the shape 10x100"),
    (lambda s: s["first_conv.1.running_var"].neg_(), "first_conv.1.running_var holds a negative variance"),
    (lambda s: s["first_conv.0.weight"].fill_(float("nan")), "tensor first_conv.0.weight holds NaN"),
    (lambda s: s.update({UNIT: torch.zeros(15, 20, 1, 1, dtype=torch.int8)}), f"tensor {UNIT} is int8"),
    (lambda s: nn.Linear(3, 4).state_dict(), "it has 1 layers with weights, fewer than any network here"),
    (lambda s: {}, "it has 0 layers"),
    (lambda s: nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(9))).state_dict(), "no classifier"),
    (lambda s: nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(9)), nn.Linear(3, 2)).state_dict(), "fit neither"),
    (lambda s: {"a": torch.zeros(3)}, "tensor a has 3 numbers: expected"),
    (lambda s: {"a": torch.zeros(3, 3, 3)}, "tensor a has the shape 3x3x3, which belongs to no layer"),
])  # fmt: skip
def test_state_dicts_that_fit_no_network_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as error:
        load_network(changed(tmp_path, change))
    assert str(error.value).startswith("checkpoint ") and "\n" not in str(error.value)


def test_mobilenets_of_unknown_strides_are_refused(tmp_path):
    path = changed(tmp_path, lambda s: {n: t for n, t in s.items() if not n.startswith("model.13.")}, foreign.MobileNet)
    with pytest.raises(UserError, match="are not MobileNet v1's: its strides are unknown"):
        load_network(path)


@pytest.mark.parametrize("name,content,message", [
    ("x.pth", b"", "truncated, corrupt or no .pth file"),
    ("x.safetensors", b"\x08" * 40, "truncated, corrupt or no .safetensors file"),
    ("x.bin", b"", "truncated, corrupt or no .bin file"),
    ("x.pth", b"\x7fELF" + bytes(40), "is a library or program"),
    ("x.ckpt", b"\x89HDF\r\n\x1a\n" + bytes(40), "is an HDF5 file"),
    ("x.pth", None, "does not exist"),
])  # fmt: skip
def test_files_that_are_none_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_network(tmp_path / name)


HEAD = '"size": [64, 64], "note": "", "name": '


@pytest.mark.parametrize("damage", [
    "{", "[]", "{}", f'{{{HEAD} "x", "layers": [["exec", "a", [0], {{}}]]}}',
    f'{{{HEAD} "x", "layers": [["relu", "a", [9], {{}}]]}}', f'{{{HEAD} "../x", "layers": []}}',
    f'{{{HEAD} "alexnet", "layers": []}}',
])  # fmt: skip
def test_damaged_descriptions_are_refused(tmp_path, damage):
    save_checkpoint(tmp_path / "x.safetensors", {"a": np.zeros(1, np.float32)}, {"network": damage})
    with pytest.raises(UserError, match="its description of the network is damaged"):
        load_network(tmp_path / "x.safetensors")


def test_options_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "flat.pth"
    torch.save({str(i): t for i, t in enumerate(foreign.Megvii().state_dict().values())}, path)
    with pytest.raises(UserError, match="--style caffe: expected own, megvii"):
        load_network(path, reading=Reading(style="caffe"))
    with pytest.raises(UserError, match="name one with --weights"):
        build.main(["--shuffle", "gn"])
    with pytest.raises(UserError, match="--eps 2: expected"):
        convert.main([str(path), "x.pth", "--eps", "2"])
    with pytest.raises(UserError, match="unknown suffix '.tflite'"):
        convert.main([str(tmp_path / "unread"), str(tmp_path / "x.tflite")])  # before anything is read
    with pytest.raises(UserError, match="there is no such folder"):
        convert.main([str(tmp_path / "unread"), str(tmp_path / "none" / "x.onnx")])
    with pytest.raises(UserError, match="unknown model 'shufflenet'"):
        load_network(path, "shufflenet")
