"""What no tensor tells must be said: options, names that decide, files that are not what their suffix says."""

from __future__ import annotations

import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tvm_shufflenet.bridge.checkpoints import read_checkpoint, save_checkpoint
from tvm_shufflenet.cli import build, convert
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network
from tvm_shufflenet.library.loading import load

from .. import foreign
from ..conftest import ROOT, picture, relative_error, twin_logits
from .test_import import agrees, logits, saved

CASES = ROOT / "tests" / "cases"
SHAPE = {"channels": (24, 48, 96, 192), "groups": 3, "repeats": (4, 8, 4)}
OPEN = Reading((32, 32), "gn", stem=1, strides=(1, 2, 2), pool=(1, 2, 2), concat="pooled-first")


def logits_of_mobilenet(path, activation, data, prefix="model.{}.{}", bn=None):
    """MobileNet v1 by functions of PyTorch, from the tensors of the file."""
    arrays = {name: torch.from_numpy(array) for name, array in read_checkpoint(path).arrays.items()}

    def layer(x, conv, norm, **options):
        x = F.conv2d(x, arrays[f"{conv}.weight"], **options)
        own = (arrays[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return activation(F.batch_norm(x, *own))

    timm = "conv_stem.weight" in arrays
    names = ("conv_stem", "bn1") if timm else ("model.0.0", "model.0.1")
    x = layer(torch.from_numpy(data), *names, stride=2, padding=1)
    units = [(s, u) for s, count in enumerate((1, 2, 2, 6, 2)) for u in range(count)]
    for index, ((_, stride), (s, u)) in enumerate(zip(foreign.BLOCKS, units), 1):
        one, *rest = (f"blocks.{s}.{u}.{part}" for part in ("conv_dw", "bn1", "conv_pw", "bn2")) if timm else (
            f"model.{index}.{part}" for part in (0, 1, 3, 4)
        )  # fmt: skip
        x = layer(x, one, rest[0], stride=stride, padding=1, groups=x.shape[1])
        x = layer(x, *rest[1:])
    last = "classifier" if timm else "fc"
    return F.linear(x.mean((2, 3)), arrays[f"{last}.weight"], arrays[f"{last}.bias"]).numpy()


@pytest.mark.parametrize("name,said,activation", [
    ("mobilenet_relu6_conv_dw_names.pth", None, F.relu),
    ("mobilenet_relu6_conv_dw_names.pth", "relu6", F.relu6),
    ("mobilenet_relu6_conv_dw_names.pth", "leaky:0.1", lambda x: F.leaky_relu(x, 0.1)),
    ("mobilenet_thop_total_ops.pth", None, F.relu),
    ("mobilenet_timm_names_sorted.safetensors", None, F.relu6),
])  # fmt: skip
def test_mobilenets_of_the_cases(name, said, activation):
    found = load_network(CASES / name, reading=Reading((64, 64), activation=said))
    data = 4 * picture((64, 64), 1)
    expected = logits_of_mobilenet(CASES / name, activation, data)
    assert relative_error(twin_logits(found.network, found.parameters, data), expected) < 1e-5
    notes = "; ".join(found.notes)
    assert ("ReLU assumed" in notes) == (said is None and "timm" not in name)
    assert ("tensors of a profiler ignored (total_ops)" in notes) == ("thop" in name)


class Gconv(foreign.Net):
    """For 32x32: stage 2 without stride, its input concatenated as it is or pooled by 3x3; `windows` of each stage."""

    class Unit(nn.Module):
        def __init__(self, net, inputs, outputs, first, down):
            super().__init__()
            own, middle = outputs - inputs if down else outputs, outputs // 4
            self.down, self.groups, self.stride, self.window = down, first, 1, 1
            self.gconv1, self.bn1 = foreign.conv_bn(inputs, middle, groups=first)
            self.dwconv, self.bn = foreign.conv_bn(middle, middle, 3, 1, middle)
            self.gconv2, self.bn2 = foreign.conv_bn(middle, own, groups=net.groups)

        def forward(self, x):
            y = foreign.shuffle_gn(F.relu(self.bn1(self.gconv1(x))), self.groups)
            y = self.bn2(self.gconv2(self.bn(self.dwconv(y))))
            if not self.down:
                return F.relu(x + y)
            x = F.avg_pool2d(x, self.window, self.stride, self.window // 2 if self.window % 2 else 0)
            return F.relu(torch.cat((x, y), 1))

    windows = (1, 2, 2)

    def build(self, *channels_repeats_classes):
        *channels, repeats, classes = channels_repeats_classes
        self.conv1, self.bn1 = foreign.conv_bn(3, channels[0], 3)
        self.fc = nn.Linear(channels[-1], classes)  # stands before the stages
        for index, units in enumerate(self.units(channels, repeats, lambda *a: self.Unit(self, *a)), 2):
            stride = 1 if index == 2 else 2
            units[0].stride, units[0].window, units[0].dwconv.stride = stride, self.windows[index - 2], (stride, stride)
            self.add_module(f"stage{index}", nn.Sequential(*units))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.stage4(self.stage3(self.stage2(x))).mean((2, 3)))


def test_names_that_tell_the_order_alone():
    path = CASES / "shufflenet_gconv1_dwconv_gconv2_fc_first.pth"
    with pytest.raises(
        UserError, match="names such as conv1.weight are used by several .*--shuffle .*--strides .*--concat"
    ):
        load_network(path, reading=Reading((32, 32), stem=1))
    found, module = load_network(path, reading=OPEN), Gconv(**SHAPE).eval()
    module.load_state_dict(torch.load(path, weights_only=True))
    agrees(found, module)
    assert not found.mapping


@pytest.mark.parametrize("windows", [(1, 2, 2), (3, 3, 3)])
def test_unknown_names_need_stride_pooling_and_order(windows):
    path = CASES / "shufflenet_unknown_names_stage2_stride1.pth"
    with pytest.raises(UserError, match="--strides .*--pool .*--concat"):
        load_network(path, reading=Reading((32, 32), "gn", stem=1))
    with pytest.raises(UserError, match="--pool 3: a stage has stride 1"):
        load_network(path, reading=Reading((32, 32), "gn", stem=1, strides=(1, 2, 2), pool=(3,), concat="pooled-first"))
    found = load_network(path, reading=Reading((32, 32), "gn", None, 1, None, (1, 2, 2), windows, "pooled-first"))
    module = type("Windows", (Gconv,), {"windows": windows})(**SHAPE).eval()
    theirs = {name: t for name, t in module.state_dict().items() if not name.startswith("fc")} | module.fc.state_dict(
        prefix="fc."
    )
    tensors = torch.load(path, weights_only=True).values()
    module.load_state_dict(dict(zip(theirs, tensors, strict=True)))
    agrees(found, module)


def test_content_decides_and_not_the_suffix(tmp_path):
    module = foreign.randomised(foreign.Megvii())
    for suffix in (".pth.tar", ".pkl", ".bin", ".ckpt", ".onnx", ".safetensors", ""):
        torch.save({"epoch": 1, "model": {"state_dict": module.state_dict()}}, tmp_path / f"net{suffix}")
        assert load_network(tmp_path / f"net{suffix}").style == "ShuffleNet v1, megvii style"
    saved(module, tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "a.pth")
    agrees(load_network(tmp_path / "a.pth", reading=Reading((64, 64))), module)


def test_of_several_state_dicts_the_first_is_taken_and_said(tmp_path):
    state = foreign.randomised(foreign.Megvii()).state_dict()
    torch.save({"model_ema": state, "state_dict": state}, tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth").notes[0] == "of state_dict, model_ema in the file the first was taken"


def test_more_memory_than_a_file_explains_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(1 << 31)}, tmp_path / "expanded.pth")
    with pytest.raises(UserError, match="with tensor a its tensors take 8.0 GiB, but the file has"):
        load_network(tmp_path / "expanded.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 27))
    with pytest.raises(UserError, match="but unpacks into 0.1 GiB"):
        load_network(tmp_path / "bomb.pth")


def test_sorted_numbers_are_not_taken_as_the_order(tmp_path):
    tensors = [t for n, t in foreign.MobileNet().state_dict().items() if not n.endswith("num_batches_tracked")]
    names = sorted(f"arr_{i}" for i in range(len(tensors)))
    torch.save({name: tensors[int(name[4:])] for name in names}, tmp_path / "net.pth")
    with pytest.raises(UserError, match="are sorted by name, expected the order of execution"):
        load_network(tmp_path / "net.pth", reading=Reading(stem=2))


def padded_as_tensorflow(module: nn.Module) -> nn.Module:
    """The module with SAME padding: windows of 3x3 with stride 2 are padded on the right and below alone."""

    def pad(conv, inputs):
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in
                 zip(inputs[0].shape[2:], conv.stride, conv.kernel_size)]  # fmt: skip
        (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in total)
        return F.pad(inputs[0], (left, right, top, bottom))

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.padding = (0, 0)
            part.register_forward_pre_hook(pad)
    return module


@pytest.mark.parametrize("size", ["33x50", pytest.param("64", marks=pytest.mark.slow)])
def test_same_padding(tmp_path, size):
    """It differs from the symmetric one where a window of stride 2 meets an even extent; so does the library."""
    module = foreign.randomised(foreign.MobileNet())
    saved(module, tmp_path / "tf.pth")
    convert.main([str(tmp_path / "tf.pth"), str(tmp_path / "same.safetensors"), "--padding", "same", "--size", size])
    build.main(["--weights", str(tmp_path / "same.safetensors"), "--target", "native", "-o", str(tmp_path)])
    (path,) = tmp_path.glob("*.so")
    height, _, width = size.partition("x")
    data = picture((int(height), int(width or height)), 3)
    symmetric, same = logits(module, data), logits(padded_as_tensorflow(module), data)
    assert relative_error(load(path)(data), same) < 1e-5
    assert relative_error(symmetric, same) > 1e-2
    found = load_network(tmp_path / "tf.pth", reading=Reading(data.shape[2:], padding="same"))
    assert relative_error(twin_logits(found.network, found.parameters, data), same) < 1e-5
    assert "SAME padding as TensorFlow's, as --padding says" in found.notes


@pytest.mark.parametrize("options,message", [
    (["--strides", "1,9"], "--strides 1,9: expected numbers of 1, 2"), (["--pool", "x"], "--pool x: expected"),
    (["--activation", "gelu"], "--activation gelu: expected relu"), (["--mean", "1"], "has mean .*expected three"),
    (["--std", "0,1,1"], "has std .* above 0"), (["--scale", "nan"], "has scale nan"),
    (["--strides", "1,2"], "--strides has 2 numbers, expected one, or one for each of the 3"),
])  # fmt: skip
def test_options_are_checked(tmp_path, options, message):
    saved(foreign.Megvii(), tmp_path / "net.pth")
    with pytest.raises(UserError, match=message):
        convert.main([str(tmp_path / "net.pth"), str(tmp_path / "out.pth"), *options])
    assert not (tmp_path / "out.pth").exists()


def test_preprocessing_travels_with_the_weights(tmp_path):
    saved(foreign.randomised(foreign.MMPretrain()), tmp_path / "net.pth")
    out = tmp_path / "out.safetensors"
    convert.main([str(tmp_path / "net.pth"), str(out), "--mean", "0,0,0", "--channels", "bgr", "--scale", "1"])
    found = load_network(out)
    assert found.preprocessing == {"channels": "BGR", "mean": [0, 0, 0], "scale": 1}
    assert found.metadata["origin"].startswith("ShuffleNet v1, mmpretrain style\nno tensor tells")


def test_damaged_files_are_refused_in_one_line(tmp_path):
    """Bytes changed and cut at random, seeded: a result or one line."""
    saved(foreign.MobileNet(), tmp_path / "net.pth")
    saved(foreign.MobileNet(), tmp_path / "net.safetensors")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"a": [1.0]}, 2))
    rng = np.random.default_rng(0)
    for source in list(tmp_path.iterdir()):
        data = source.read_bytes()
        for _ in range(20):
            damaged = bytearray(data[: rng.integers(len(data)) if rng.random() < 0.3 else None])
            for place in rng.integers(0, max(1, len(damaged)), 4):
                place = place % 400 if rng.random() < 0.5 else place
                damaged[place : place + 1] = bytes([rng.integers(256)])
            (tmp_path / f"bad{source.suffix}").write_bytes(damaged)
            try:
                load_network(tmp_path / f"bad{source.suffix}")
            except UserError as error:
                assert "\n" not in str(error)


def test_a_header_whose_length_looks_like_a_pickle_is_safetensors(tmp_path):
    """0x380 bytes: the first two bytes of the file are those of a pickle of protocol 3."""
    path = tmp_path / "x.safetensors"
    for length in range(600, 900):
        save_checkpoint(path, {"a": np.zeros(1, "float32")}, {"note": "x" * length})
        if path.read_bytes()[:2] == b"\x80\x03":
            break
    assert path.read_bytes()[:2] == b"\x80\x03"
    assert read_checkpoint(path).metadata["note"] == "x" * length
