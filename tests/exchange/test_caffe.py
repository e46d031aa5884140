"""Caffe models, written here with the messages of Caffe, give networks that compute what plain PyTorch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tvm_shufflenet.cli import build, convert
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Reading, load_network
from tvm_shufflenet.exchange.caffe_text import parse
from tvm_shufflenet.exchange.caffe_weights import net_parameter, read_caffemodel
from tvm_shufflenet.library.loading import load

from ..conftest import picture, relative_error, twin_logits

EPS = 1e-5


class Model:
    """A Caffe model that is written layer by layer, and computed beside it by functions of PyTorch.

    `tensors` holds each blob's value for one picture; `old`: weights as of 2014, with shapes of four numbers.
    """

    def __init__(self, data: np.ndarray, seed: int = 0, old: bool = False):
        self.rng, self.old = np.random.default_rng(seed), old
        self.tensors = {"data": torch.from_numpy(data)}
        dims = " ".join(f"dim: {n}" for n in data.shape)
        self.text = 'name: "model"\n'
        self.layer("data", "Input", [], f"input_param {{ shape {{ {dims} }} }}")
        self.net = net_parameter(Path("test"))

    def layer(self, name, kind, bottoms, settings="", top=None):
        lines = [f'name: "{name}"', f'type: "{kind}"', *(f'bottom: "{b}"' for b in bottoms), f'top: "{top or name}"']
        self.text += f"layer {{ {' '.join(lines)} {settings} }}\n"

    def blobs(self, name, *arrays):
        entry = (self.net.layers if self.old else self.net.layer).add(name=name)
        for array in arrays:
            blob = entry.blobs.add()
            if self.old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel().tolist())

    def random(self, *shape, scale=1.0, around=0.0):
        return (around + scale * self.rng.standard_normal(shape)).astype("float32")

    def conv(self, name, bottom, outputs, kernel, stride=1, pad=0, group=1, bias=True):
        x = self.tensors[bottom]
        weight = self.random(
            outputs, x.shape[1] // group, kernel, kernel, scale=(2 * group / x.shape[1]) ** 0.5 / kernel
        )
        shift = self.random(outputs, scale=0.1) if bias else None
        self.layer(name, "Convolution", [bottom], f"param {{ lr_mult: 1 }} convolution_param {{ num_output: {outputs} "
                   f"kernel_size: {kernel} stride: {stride} pad: {pad} group: {group} bias_term: {str(bias).lower()} "
                   "weight_filler { type: 'xavier' } }")  # fmt: skip
        self.blobs(name, weight, *([shift] if bias else []))
        shift = torch.from_numpy(shift) if bias else None
        self.tensors[name] = F.conv2d(x, torch.from_numpy(weight), shift, stride, pad, groups=group)
        return name

    def dense(self, name, bottom, units):
        x = self.tensors[bottom].flatten(1)
        weight, bias = self.random(units, x.shape[1], scale=(2 / x.shape[1]) ** 0.5), self.random(units, scale=0.1)
        self.layer(name, "InnerProduct", [bottom], f"inner_product_param {{ num_output: {units} }}")
        self.blobs(name, weight, bias)
        self.tensors[name] = F.linear(x, torch.from_numpy(weight), torch.from_numpy(bias))
        return name

    def relu(self, bottom):
        """In place, as Caffe's models have it."""
        self.layer(f"relu_{bottom}", "ReLU", [bottom], top=bottom)
        self.tensors[bottom] = F.relu(self.tensors[bottom])
        return bottom

    def pool(self, name, bottom, kernel, stride, pad=0, kind="MAX"):
        self.layer(name, "Pooling", [bottom], f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} "
                   f"pad: {pad} }}")  # fmt: skip
        function = F.max_pool2d if kind == "MAX" else F.avg_pool2d
        self.tensors[name] = function(self.tensors[bottom], kernel, stride, pad, ceil_mode=True)
        return name

    def lrn(self, name, bottom):
        self.layer(name, "LRN", [bottom], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
        self.tensors[name] = F.local_response_norm(self.tensors[bottom], 5, 1e-4, 0.75, 1.0)
        return name

    def norm(self, bottom, scale=True):
        """BatchNorm, whose statistics are times a factor, and Scale, both in place."""
        channels, factor = self.tensors[bottom].shape[1], 3.7
        mean, variance = self.random(channels, scale=0.2), self.rng.uniform(0.5, 1.5, channels).astype("float32")
        self.layer(f"bn_{bottom}", "BatchNorm", [bottom], "batch_norm_param { use_global_stats: true }", bottom)
        self.blobs(f"bn_{bottom}", factor * mean, factor * variance, np.float32([factor]))
        x, statistics = self.tensors[bottom], (torch.from_numpy(mean), torch.from_numpy(variance))
        self.tensors[bottom] = F.batch_norm(x, *statistics, eps=EPS)
        return self.scale(bottom) if scale else bottom

    def scale(self, bottom):
        channels = self.tensors[bottom].shape[1]
        gain, shift = self.random(channels, scale=0.3, around=1), self.random(channels, scale=0.2)
        self.layer(f"scale_{bottom}", "Scale", [bottom], "scale_param { bias_term: true }", bottom)
        self.blobs(f"scale_{bottom}", gain, shift)
        gain, shift = (torch.from_numpy(array)[None, :, None, None] for array in (gain, shift))
        self.tensors[bottom] = self.tensors[bottom] * gain + shift
        return bottom

    def concat(self, name, *bottoms):
        self.layer(name, "Concat", bottoms)
        self.tensors[name] = torch.cat([self.tensors[b] for b in bottoms], 1)
        return name

    def negated(self, name, bottom):
        self.layer(name, "Power", [bottom], "power_param { power: 1 scale: -1.0 shift: 0 }")
        self.tensors[name] = -self.tensors[bottom]
        return name

    def added(self, name, *bottoms):
        self.layer(name, "Eltwise", bottoms, "eltwise_param { operation: SUM coeff: 1 coeff: 1 }")
        self.tensors[name] = self.tensors[bottoms[0]] + self.tensors[bottoms[1]]
        return name

    def dropout(self, bottom):
        self.layer(f"drop_{bottom}", "Dropout", [bottom], "dropout_param { dropout_ratio: 0.4 }", bottom)
        return bottom

    def softmax(self, bottom):
        self.layer("prob", "Softmax", [bottom])
        self.tensors["prob"] = F.softmax(self.tensors[bottom], 1)
        return "prob"

    def save(self, folder):
        (folder / "net.prototxt").write_text(self.text)
        (folder / "net.caffemodel").write_bytes(self.net.SerializeToString())
        return folder / "net.caffemodel", folder / "net.prototxt"


def alexnet(m: Model) -> str:
    """models/bvlc_alexnet/deploy.prototxt, whose fully connected layers are narrower here."""
    x = m.pool("pool1", m.lrn("norm1", m.relu(m.conv("conv1", "data", 96, 11, 4))), 3, 2)
    x = m.pool("pool2", m.lrn("norm2", m.relu(m.conv("conv2", x, 256, 5, 1, 2, 2))), 3, 2)
    x = m.relu(m.conv("conv3", x, 384, 3, 1, 1))
    x = m.relu(m.conv("conv4", x, 384, 3, 1, 1, 2))
    x = m.pool("pool5", m.relu(m.conv("conv5", x, 256, 3, 1, 1, 2)), 3, 2)
    x = m.dropout(m.relu(m.dense("fc6", x, 128)))
    return m.softmax(m.dense("fc8", m.dropout(m.relu(m.dense("fc7", x, 64))), 10))


MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def googlenet(m: Model) -> str:
    """models/bvlc_googlenet/deploy.prototxt."""
    x = m.lrn("pool1/norm1", m.pool("pool1/3x3_s2", m.relu(m.conv("conv1/7x7_s2", "data", 64, 7, 2, 3)), 3, 2))
    x = m.relu(m.conv("conv2/3x3", m.relu(m.conv("conv2/3x3_reduce", x, 64, 1)), 192, 3, 1, 1))
    x = m.pool("pool2/3x3_s2", m.lrn("conv2/norm2", x), 3, 2)
    for name, (one, reduce3, three, reduce5, five, pooled) in MODULES.items():
        if name in ("4a", "5a"):
            x = m.pool(f"pool{int(name[0]) - 1}/3x3_s2", x, 3, 2)
        p = f"inception_{name}"
        parts = [
            m.relu(m.conv(f"{p}/1x1", x, one, 1)),
            m.relu(m.conv(f"{p}/3x3", m.relu(m.conv(f"{p}/3x3_reduce", x, reduce3, 1)), three, 3, 1, 1)),
            m.relu(m.conv(f"{p}/5x5", m.relu(m.conv(f"{p}/5x5_reduce", x, reduce5, 1)), five, 5, 1, 2)),
            m.relu(m.conv(f"{p}/pool_proj", m.pool(f"{p}/pool", x, 3, 1, 1), pooled, 1)),
        ]
        x = m.concat(f"{p}/output", *parts)
    kernel = m.tensors[x].shape[2]
    return m.softmax(m.dense("loss3/classifier", m.dropout(m.pool("pool5", x, kernel, 1, kind="AVE")), 10))


def squeezenet(m: Model, pad: int = 0) -> str:
    """SqueezeNet_v1.1/deploy.prototxt; version 1.0 has a padding of 1 in conv10."""
    x = m.relu(m.conv("conv1", "data", 64, 3, 2))
    for fire, width in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        if fire in (2, 4, 6):
            x = m.pool(f"pool{fire - 1}", x, 3, 2)
        p = f"fire{fire}"
        x = m.relu(m.conv(f"{p}/squeeze1x1", x, width, 1))
        parts = (
            m.relu(m.conv(f"{p}/expand1x1", x, 4 * width, 1)),
            m.relu(m.conv(f"{p}/expand3x3", x, 4 * width, 3, 1, 1)),
        )
        x = m.concat(f"{p}/concat", *parts)
    x = m.relu(m.conv("conv10", m.dropout(x), 10, 1, pad=pad))
    m.layer("pool10", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    m.tensors["pool10"] = m.tensors[x].mean((2, 3), keepdim=True)
    return m.softmax("pool10")


def crelu(m: Model, name, x, channels, kernel, stride=1, pad=0) -> str:
    z = m.norm(m.conv(f"{name}/conv", x, channels, kernel, stride, pad, bias=False), scale=False)
    return m.relu(m.scale(m.concat(name, z, m.negated(f"{name}/neg", z))))


def pvanet(m: Model) -> str:
    """pvanet_obsolete/imagenet/original.pt of sanghoon/pva-faster-rcnn, with the head of the list."""

    def conv(name, x, channels, kernel=1, stride=1):
        return m.norm(m.conv(name, x, channels, kernel, stride, kernel // 2, bias=False))

    def added(name, x, y, project, stride, channels):
        return m.added(name, conv(f"{name}/proj", x, channels, 1, stride) if project else x, y)

    x = m.pool("pool1", crelu(m, "conv1_1", "data", 16, 7, 2, 3), 3, 2)
    for stage, (one, middle, outputs, count) in {2: (24, 24, 64, 3), 3: (48, 48, 128, 4)}.items():
        for unit in range(1, count + 1):
            name, stride = f"conv{stage}_{unit}", 2 if (stage, unit) == (3, 1) else 1
            y = crelu(m, f"{name}/2", m.relu(conv(f"{name}/1", x, one, 1, stride)), middle, 3, 1, 1)
            x = added(name, x, conv(f"{name}/3", y, outputs), unit == 1, stride, outputs)
    plans = {4: (64, 48, 64, 128, 24, 48, 256), 5: (64, 96, 96, 192, 32, 64, 384)}
    for stage, (one, reduced, reduce3, three, reduce5, five, outputs) in plans.items():
        for unit in range(1, 5):
            name, first = f"conv{stage}_{unit}", unit == 1
            stride = 2 if first else 1
            a = m.relu(conv(f"{name}/incep/0", x, one, 1, stride))
            b = m.relu(conv(f"{name}/incep/1_reduce", x, reduced if first else reduce3, 1, stride))
            b = m.relu(conv(f"{name}/incep/1_0", b, three, 3))
            c = m.relu(conv(f"{name}/incep/2_reduce", x, reduce5, 1, stride))
            c = m.relu(conv(f"{name}/incep/2_1", m.relu(conv(f"{name}/incep/2_0", c, five, 3)), five, 3))
            parts = [a, b, c]
            if first:
                parts.append(m.relu(conv(f"{name}/incep/poolproj", m.pool(f"{name}/pool", x, 3, 2), 128)))
            y = conv(f"{name}/out", m.concat(f"{name}/incep", *parts), outputs)
            x = added(name, x, y, first, stride, outputs)
    return m.dense("fc8", m.relu(m.dense("fc6", m.pool("pool5", x, 2, 2), 64)), 10)


@pytest.mark.parametrize("make,size,old,listed", [
    (alexnet, (99, 115), False, None), (alexnet, (99, 115), True, None), (googlenet, (224, 224), False, "googlenet"),
    (googlenet, (224, 224), True, "googlenet"), (squeezenet, (63, 99), False, "squeezenet-1.1"),
    (lambda m: squeezenet(m, 1), (63, 99), False, None), (pvanet, (64, 96), False, None),
])  # fmt: skip
def test_caffe_models(tmp_path, make, size, old, listed):
    data = picture(size, 1)
    model = Model(data, old=old)
    result = make(model)
    expected = model.tensors[result]
    if listed:  # those of the list give logits
        expected = model.tensors["pool10" if listed == "squeezenet-1.1" else "loss3/classifier"]
    expected = expected.flatten(1).numpy()
    weights, prototxt = model.save(tmp_path)
    found = load_network(weights, listed, reading=Reading(prototxt=prototxt))
    assert found.style == "Caffe" and found.network.classes == 10 and found.network.size == size
    assert (found.network.name, "softmax prob" in " ".join(found.notes)) == (listed or "net", bool(listed))
    assert expected.std() > 1e-3
    assert relative_error(twin_logits(found.network, found.parameters, data), expected) < 1e-5
    assert found.preprocessing == {"channels": "BGR", "scale": 1.0, "mean": (104.0, 117.0, 123.0), "std": (1.0,) * 3}


def test_crelu_becomes_what_the_networks_of_the_list_have(tmp_path):
    """conv, BatchNorm, negation, concatenation and Scale: two batch norms on one convolution, and nothing else."""
    model = Model(picture((16, 16)))
    model.dense("fc", crelu(model, "c", "data", 4, 3), 10)
    weights, prototxt = model.save(tmp_path)
    net = load_network(weights, reading=Reading(prototxt=prototxt)).network
    assert [layer.op for layer in net.layers] == [
        "input", "conv", "batch_norm", "batch_norm", "concat", "relu", "flatten", "dense"
    ]  # fmt: skip
    assert [layer.inputs for layer in net.layers[2:5]] == [(1,), (1,), (2, 3)]


def test_units_whose_normalisation_comes_first(tmp_path):
    """As in PVANET 9.1: BatchNorm, Scale and ReLU of a tensor that the shortcut reads, too; Slice, Bias and PROD."""
    data = picture((12, 12), 3)
    m = Model(data)
    raw = m.conv("conv", "data", 6, 3, 1, 1)
    m.layer("copy", "Power", [raw], "power_param { scale: 2 shift: 0.5 }")
    m.tensors["copy"] = 2 * m.tensors[raw] + 0.5
    y = m.conv("unit", m.relu(m.norm("copy")), 6, 1)
    x = m.added("sum", raw, y)
    m.layer("cut", "Slice", [x], "slice_param { axis: 1 slice_point: 2 }", 'a" top: "b')
    first, second = m.tensors[x][:, :2], m.tensors[x][:, 2:]
    m.layer("bias", "Bias", ["a"])
    shift = m.random(2)
    m.blobs("bias", shift)
    m.tensors["whole"] = torch.cat((second, first + torch.from_numpy(shift)[None, :, None, None]), 1)
    m.layer("whole", "Concat", ["b", "bias"], "concat_param { axis: 1 }")
    m.layer("square", "Eltwise", ["whole", "whole"], "eltwise_param { operation: PROD }")
    m.layer("soft", "Sigmoid", ["square"])
    m.tensors["soft"] = torch.sigmoid(m.tensors["whole"] ** 2)
    result = m.dense("ip", "soft", 7)
    weights, prototxt = m.save(tmp_path)
    found = load_network(weights, reading=Reading(prototxt=prototxt))
    assert relative_error(twin_logits(found.network, found.parameters, data), m.tensors[result].numpy()) < 1e-5
    build.main(["--weights", str(weights), "--prototxt", str(prototxt), "--target", "native", "-o", str(tmp_path)])
    library = load(tmp_path / "net-native-12x12.so")
    assert relative_error(library(data), m.tensors[result].numpy()) < 1e-5


def test_a_library_from_a_caffe_model(tmp_path, capsys):
    data = picture((64, 96), 2)
    model = Model(data)
    result = pvanet(model)
    weights, prototxt = model.save(tmp_path)
    convert.main([str(weights), str(tmp_path / "out.safetensors"), "--prototxt", str(prototxt)])
    assert "pictures as for BVLC's models, as the .prototxt does not say it: BGR, shorter" in capsys.readouterr().out
    for source, options in (("net.caffemodel", ["--prototxt", str(prototxt)]), ("out.safetensors", [])):
        build.main(["--weights", str(tmp_path / source), "--target", "native", "-o", str(tmp_path), *options])
        library = load(tmp_path / "net-native-64x96.so")
        assert relative_error(library(data), model.tensors[result].numpy()) < 1e-5
        assert library.manifest["preprocessing"]["channels"] == "BGR"
        assert library.manifest["preprocessing"]["mean"] == [104.0, 117.0, 123.0]
        (tmp_path / "net-native-64x96.so").unlink()


OLD = """
name: "old" # of 2014
input: "data" input_dim: 10 input_dim: 3 input_dim: 12 input_dim: 12
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 weight_decay: 0
  convolution_param < num_output: 4 kernel_h: 3 kernel_w: 5 pad_h: 1 stride: [2, 1] > }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" relu_param { negative_slope: .25f } }
layers { name: 'ip' type: INNER_PRODUCT bottom: "conv" top: "ip";
  inner_product_param: { num_output: 5, bias_term: false } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" include: { phase: TRAIN } }
"""


def test_the_old_format_and_the_forms_of_the_text(tmp_path):
    model = Model(picture((12, 12)), old=True)
    weight, matrix = model.random(4, 3, 3, 5), model.random(5, 4 * 6 * 8)
    bias = model.random(4)
    model.blobs("conv", weight, bias)
    model.blobs("ip", matrix)
    model.blobs("aux", bias)
    model.text = OLD
    weights, prototxt = model.save(tmp_path)
    found = load_network(weights, reading=Reading(prototxt=prototxt))
    x = model.tensors["data"]
    x = F.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), (2, 1), (1, 0))
    expected = F.linear(F.leaky_relu(x, 0.25).flatten(1), torch.from_numpy(matrix)).numpy()
    assert relative_error(twin_logits(found.network, found.parameters, picture((12, 12))), expected) < 1e-5
    notes = "; ".join(found.notes)
    assert "its batch is fixed to 10" in notes and "1 layers of the .caffemodel are none of the .prototxt's" in notes


def test_the_network_of_the_phase_test_and_its_pictures(tmp_path):
    model = Model(picture((20, 20)))
    model.text = ""
    for phase, crop in (("TRAIN", 99), ("TEST", 20)):
        model.text += (
            f'layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }} transform_param '
            f"{{ mirror: false crop_size: {crop} mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 }} "
            'data_param { source: "somewhere" batch_size: 50 backend: LMDB } }\n'
        )
    model.dense("ip", model.pool("pool", "data", 3, 2, 1, "AVE"), 6)
    model.layer("accuracy", "Accuracy", ["ip", "label"], "include { phase: TEST } accuracy_param { top_k: 5 }")
    weights, prototxt = model.save(tmp_path)
    found = load_network(weights, reading=Reading(prototxt=prototxt))
    assert found.network.size == (20, 20)
    assert found.preprocessing["mean"] == (5, 10, 15) and found.preprocessing["scale"] == 0.5
    data = picture((20, 20))
    assert relative_error(twin_logits(found.network, found.parameters, data), model.tensors["ip"].numpy()) < 1e-5
    assert load_network(weights, reading=Reading((21, 21), prototxt=prototxt)).network.size == (21, 21)


def tiny(tmp_path, change=lambda text: text, drop=()):
    model = Model(picture((12, 12)))
    x = model.relu(model.norm(model.conv("conv", "data", 4, 3)))
    model.dense("ip", model.pool("pool", x, 3, 2), 5)
    kept = [layer for layer in model.net.layer if layer.name not in drop]
    del model.net.layer[:]
    model.net.layer.extend(kept)
    model.text = change(model.text)
    return model.save(tmp_path)


def replaced(old, new):
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize("change,message", [
    (replaced('"Pooling"', '"PReLU"'), "layer pool is a PReLU, expected BatchNorm, Bias, "),
    (replaced("pool: MAX", "pool: STOCHASTIC"), "layer pool: pooling STOCHASTIC"),
    (replaced("kernel_size: 3 stride: 2", "kernel_size: 3 dilation: 2 stride: 2"), "field dilation is not supported"),
    (replaced("kernel_size: 3 stride: 2", "kernel_size: 1 stride: 10"), "its last window lies outside of the 10x10"),
    (replaced("num_output: 5", "num_output: 6"), "layer ip: a blob has the shape 5x100, expected 6x100"),
    (replaced("use_global_stats: true", "use_global_stats: false"), "its use_global_stats is false, expected true"),
    (replaced('bottom: "pool"', 'bottom: "nothing"'), "no layer before it gives its input nothing"),
    (replaced("num_output: 5", "num_output: many"), "its num_output is 'many', expected an integer"),
    (replaced("num_output: 5", "num_output: 5 num_output: 5"), "2 values of num_output, expected one"),
    (replaced("num_output: 5", "num_output: 5 axis: 2"), "its axis is 2, expected 1"),
    (replaced("bias_term: true } }", "bias_term: true }"), "ends within a message|where a"),
    (replaced("layer {", "layer }"), "line 2: '}' where a colon should be"),
    (replaced("kernel_size", "kernel_size:"), "where a value should be"),
    (replaced("name", "\\"), "is no text of protobuf"),
    (replaced('"Pooling"', '"Pool\x1eing"'), "x1eing\"' holds a control character"),
    (lambda text: "", "has no layers that give something"),
    (replaced("dim: 12 }", "}"), "its input has the shape"),
    (replaced("dim: 12 }", "dim: 2 }"), "too small|kernel|x"),
])  # fmt: skip
def test_what_is_not_supported_is_refused_in_one_line(tmp_path, change, message):
    weights, prototxt = tiny(tmp_path, change)
    with pytest.raises(UserError, match=message) as error:
        load_network(weights, reading=Reading(prototxt=prototxt))
    assert "\n" not in str(error.value)


def test_files_and_options_that_do_not_fit_are_refused(tmp_path):
    weights, prototxt = tiny(tmp_path)
    with pytest.raises(UserError, match="a Caffe model is two files: name the .caffemodel, and with --prototxt"):
        load_network(weights)
    with pytest.raises(UserError, match="a Caffe model is two files"):
        load_network(prototxt, reading=Reading(prototxt=prototxt))
    with pytest.raises(UserError, match="says itself what --eps would: leave that out"):
        load_network(weights, reading=Reading(prototxt=prototxt, eps=1e-3))
    with pytest.raises(UserError, match="is no text, expected a .prototxt"):
        load_network(weights, reading=Reading(prototxt=weights))
    with pytest.raises(UserError, match="is truncated, corrupt or no .caffemodel"):
        read_caffemodel(prototxt)
    with pytest.raises(UserError, match="does not exist"):
        load_network(tmp_path / "none.caffemodel", reading=Reading(prototxt=prototxt))
    weights, prototxt = tiny(tmp_path, drop=("conv",))
    with pytest.raises(UserError, match="layer conv: it has 0 blobs in the .caffemodel, expected 2"):
        load_network(weights, reading=Reading(prototxt=prototxt))


def test_damaged_files_are_refused_in_one_line(tmp_path):
    """Bytes changed and cut at random, seeded: a result or one line."""
    weights, prototxt = tiny(tmp_path)
    rng, contents = np.random.default_rng(0), {path: path.read_bytes() for path in (weights, prototxt)}
    for path, data in contents.items():
        for _ in range(150):
            damaged = bytearray(data[: rng.integers(len(data)) if rng.random() < 0.3 else None])
            for place in rng.integers(0, max(1, len(damaged)), 2):
                damaged[place : place + 1] = bytes([rng.integers(256)])
            path.write_bytes(damaged)
            try:
                load_network(weights, reading=Reading(prototxt=prototxt))
            except UserError as error:
                assert "\n" not in str(error)
        path.write_bytes(data)


def test_the_text_format():
    message = parse('a: 1 b { c: "x\\"y" d: [true, false] } b { } # end', "text")
    first, second = message.messages("b")
    assert (message.integer("a", 0), first.text("c"), first.texts("d"), second.text("c", "none")) == (
        1, 'x"y', ["true", "false"], "none"
    )  # fmt: skip
    message.check()
