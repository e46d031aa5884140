"""ONNX both ways: what is written is what the network computes, and what is read is what the model computes.

Models are executed by `onnx_torch.execute`, independent of the reader; and by ONNX Runtime where it is installed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tvm_shufflenet.architectures import NetworkBuilder, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.cli import build, convert
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, Reading, load_network, save_network
from tvm_shufflenet.exchange.onnx_writer import onnx_model
from tvm_shufflenet.library.loading import load

from .. import foreign
from ..conftest import picture, relative_error, twin_logits
from ..evaluation import evaluate

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from ..onnx_torch import execute, with_random_constants  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_shufflenet.onnx"


def computes(found: Imported, expected: np.ndarray, data: np.ndarray) -> None:
    assert expected.std() > 1e-3
    assert relative_error(twin_logits(found.network, found.parameters, data), expected) < 1e-5


NETWORKS = [
    "shufflenet-v1-0.25x-g1", "shufflenet-v1-0.25x-g3", "shufflenet-v1-0.25x-g8", "shufflenet-v1-0.25x-g4-noshuffle",
    "mobilenet-v1-0.25", pytest.param("alexnet", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_ours_to_onnx_and_back(tmp_path, name):
    net = network(name, classes=2) if name == "alexnet" else network(name, (80, 64), 10)
    parameters = random_parameters(net)
    path = tmp_path / "net.onnx"
    save_network(path, Imported(net, parameters, "", [f"c{i}" for i in range(net.classes)]))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    pictures = np.concatenate([picture(net.size, seed) for seed in (0, 1)])
    expected = np.concatenate([twin_logits(net, parameters, p[None]) for p in pictures])
    assert relative_error(execute(model, pictures), expected) < 1e-5
    found = load_network(path, name)
    assert found.network == net and found.class_names[1] == "c1" and not found.notes
    assert list(found.parameters) == list(parameters)
    assert all(np.array_equal(found.parameters[n], parameters[n]) for n in parameters)


@pytest.mark.parametrize("name", ["shufflenet-v1-0.5x-g3", "mobilenet-v1-0.25"])
def test_onnx_runtime_computes_the_same(tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = network(name, (64, 64), 10)
    save_network(tmp_path / "net.onnx", Imported(net, random_parameters(net), ""))
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    data = picture(net.size, 3)
    (found,) = session.run(None, {"input": np.concatenate([data, data])})
    assert relative_error(found[1:], twin_logits(net, random_parameters(net), data)) < 1e-5


def test_the_real_graph_of_the_onnx_package(tmp_path, capsys):
    """ShuffleNet with g = 4 from Caffe2: Sum, Softmax, averages without padding, a grouped first convolution.

    In the file every weight is 0.02, by ConstantOfShape, so that all classes come out alike.
    """
    found = load_network(LIGHT)
    assert not found.notes and found.network.gives_probabilities
    assert (found.network.classes, found.network.size) == (1000, (224, 224))
    kinds = [layer.op for layer in found.network.layers]
    assert (kinds.count("shuffle"), kinds.count("valid_avg_pool"), kinds.count("conv")) == (16, 3, 49)
    data = picture((224, 224))
    logits = twin_logits(found.network, found.parameters, data)
    expected = execute(onnx.load(LIGHT), data)
    assert relative_error(logits, expected) < 1e-5

    build.main(["--weights", str(LIGHT), "--target", "native", "-o", str(tmp_path)])
    compiled = load(tmp_path / "light_shufflenet-native.so")(data)
    assert relative_error(compiled, expected) < 1e-5

    path = tmp_path / "random.onnx"
    model = with_random_constants(onnx.load(LIGHT))
    onnx.save(model, path)
    expected = execute(model, data)
    build.main(["--weights", str(path), "--target", "native", "-o", str(tmp_path)])
    assert "124.7 M multiply-adds" in capsys.readouterr().out
    logits = load(tmp_path / "random-native.so")(data)
    assert logits.std() > 1e-5
    assert relative_error(logits, expected) < 1e-5


@pytest.mark.parametrize("original", [False, True])
def test_onnx_runtime_agrees_on_the_real_graph(tmp_path, original):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = onnx.load(LIGHT) if original else with_random_constants(onnx.load(LIGHT), 1)
    onnx.save(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    found, data = load_network(tmp_path / "net.onnx"), picture((224, 224), 1)
    (expected,) = session.run(None, {session.get_inputs()[0].name: data})
    assert relative_error(twin_logits(found.network, found.parameters, data), expected) < 1e-5


def exported(net, parameters, change=lambda graph: None, batch=1):
    """A model of ours whose graph was changed."""
    model = onnx.load_from_string(onnx_model(net, parameters, batch))
    change(model.graph)
    return model


def small(name="shufflenet-v1-0.25x-g3"):
    net = network(name, (64, 64), 10)
    return net, random_parameters(net)


def test_folded_batch_norms_are_those_of_the_list_again(tmp_path):
    """As PyTorch's exporter writes it: batch norms in the weights, a ReduceMean, MatMul and Add at the end."""
    net, parameters = small()
    model = exported(net, parameters)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes, renamed = [], {}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "BatchNormalization":
            conv = nodes[-1]
            gamma, beta, mean, var = (values[name].astype("f8") for name in node.input[1:])
            scale = gamma / np.sqrt(var + 1e-5)
            values[conv.input[1]] = (values[conv.input[1]] * scale[:, None, None, None]).astype("f4")
            values[f"{conv.name}.bias"] = (beta - mean * scale).astype("f4")
            conv.input.append(f"{conv.name}.bias")
            conv.output[0] = node.output[0]
        elif node.op_type == "GlobalAveragePool":
            node.op_type = "ReduceMean"
            node.attribute.extend([helper.make_attribute("axes", [-1, -2]), helper.make_attribute("keepdims", 0)])
            nodes.append(node)
        elif node.op_type == "Flatten":
            renamed[node.output[0]] = node.input[0]
        elif node.op_type == "Gemm":
            values["matrix"] = values[node.input[1]].T.copy()
            nodes.append(helper.make_node("MatMul", [node.input[0], "matrix"], ["product"]))
            nodes.append(helper.make_node("Add", [node.input[2], "product"], [node.output[0]]))
        else:
            nodes.append(node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    onnx.save(model, tmp_path / "folded.onnx")
    found, data = load_network(tmp_path / "folded.onnx"), picture(net.size)
    assert found.network == net
    computes(found, execute(model, data), data)
    computes(found, twin_logits(net, parameters, data), data)


@pytest.mark.parametrize("module", [foreign.Megvii, foreign.Jaxony, foreign.Cifar])
def test_shuffles_wherever_they_stand(tmp_path, module):
    """(n, g) and (g, n), behind the depthwise convolution or before the ReLU, with g = 8 and 3 channels a group."""
    channels, groups = ((16, 96, 192, 384), 8) if module is foreign.Megvii else ((12, 60, 120, 240), 3)
    module = foreign.randomised(module(channels, groups))
    torch.save(module.state_dict(), tmp_path / "net.pth")
    convert.main([str(tmp_path / "net.pth"), str(tmp_path / "net.onnx"), "--size", "64"])
    model = onnx.load(tmp_path / "net.onnx")
    for index, node in enumerate(list(model.graph.node)):
        if node.op_type == "Reshape" and model.graph.node[index - 1].op_type == "Relu":
            relu, split, swap, join = model.graph.node[index - 1 : index + 3]
            chain = [relu.input[0], split.output[0], swap.output[0], join.input[0], join.output[0]]
            split.input[0], join.output[0], relu.input[0] = chain[0], f"shuffled{index}", f"shuffled{index}"
            relu.output[0] = chain[4]
            moved = [onnx.NodeProto.FromString(n.SerializeToString()) for n in (split, swap, join, relu)]
            for offset, new in enumerate(moved):
                model.graph.node[index - 1 + offset].CopyFrom(new)
    onnx.save(model, tmp_path / "moved.onnx")
    data = picture((64, 64), 4)
    with torch.inference_mode():
        expected = getattr(module, "logits", module)(torch.from_numpy(data)).numpy()
    assert relative_error(execute(model, data), expected) < 1e-5
    for name in ("net", "moved"):
        found = load_network(tmp_path / f"{name}.onnx")
        computes(found, expected, data)
    literal = load_network(tmp_path / "net.pth", reading=Reading(size=(64, 64)))
    assert [layer.op for layer in found.network.layers] == [layer.op for layer in literal.network.layers]


def test_open_batch_height_and_width(tmp_path):
    net, parameters = small("mobilenet-v1-0.25")

    def opened(graph):
        for index, dim in enumerate(graph.input[0].type.tensor_type.shape.dim):
            if index != 1:
                dim.dim_param = f"d{index}"

    path = tmp_path / "open.onnx"
    onnx.save(exported(net, parameters, opened), path)
    with pytest.raises(UserError, match="height and width of its input input are open: give --size"):
        load_network(path)
    assert load_network(path, reading=Reading(size=(64, 64))).network == net
    shuffled, parameters = small()
    onnx.save(exported(shuffled, parameters, batch="batch"), tmp_path / "batch.onnx")
    found = load_network(tmp_path / "batch.onnx", reading=Reading(size=(96, 64)))
    assert found.network == network(shuffled.name, (96, 64), 10)


def test_shapes_that_are_computed_on_the_way(tmp_path):
    """Exporters read the batch with Shape and Gather, and put it into the shape of a Reshape."""
    net, parameters = small()

    def computed(graph):
        (flatten,) = [node for node in graph.node if node.op_type == "Flatten"]
        index = list(graph.node).index(flatten)
        name, result = flatten.input[0], flatten.output[0]
        nodes = [
            helper.make_node("Shape", [name], ["shape"]),
            helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array([0]))),
            helper.make_node("Constant", [], ["rest"], value=numpy_helper.from_array(np.array([-1]))),
            helper.make_node("Gather", ["shape", "zero"], ["first"], axis=0),
            helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
            helper.make_node("Reshape", [name, "target"], [result]),
        ]
        rest = list(graph.node)[index + 1 :]
        del graph.node[index:]
        graph.node.extend([*nodes, *rest])

    onnx.save(exported(net, parameters, computed), tmp_path / "net.onnx")
    assert load_network(tmp_path / "net.onnx").network == net


def first(graph, kind):
    return next(node for node in graph.node if node.op_type == kind)


def attribute(kind, name, value):
    def change(graph):
        node = first(graph, kind)
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def operator(kind, new, domain=""):
    def change(graph):
        node = first(graph, kind)
        node.op_type, node.domain = new, domain
        del node.attribute[:]

    return change


def constant(name, change):
    def apply(graph):
        tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))

    return apply


def dimension(index, value):
    return lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[index], "dim_value", value)


@pytest.mark.parametrize("change,message", [
    (operator("Relu", "Erf"), r"node stem.relu.Relu1 \(Erf\): no network here has this operator"),
    (operator("Relu", "Relu", "com.example"), r"node stem.relu.Relu1 \(Relu\): no network here"),
    (operator("Add", "Loop"), r"\(Loop\): no network here has this operator"),
    (attribute("Conv", "dilations", [0, 2]), r"node stem.conv.Conv1 \(Conv\): its dilations is \[0, 2\]"),
    (attribute("Conv", "auto_pad", "SAME"), "its auto_pad is 'SAME'"),
    (attribute("Conv", "pads", [0, 0, -1, 1]), r"its pads are \[0, 0, -1, 1\], expected four numbers"),
    (attribute("Conv", "strides", "two"), "its attribute strides is no list of integers"),
    (attribute("MaxPool", "kernel_shape", [3]), r"its kernel_shape is \[3\], expected two"),
    (attribute("Transpose", "perm", [0, 2, 2, 4, 3]), r"its perm is \[0, 2, 2, 4, 3\], expected each of 5"),
    (attribute("BatchNormalization", "training_mode", 1), "it is in training mode"),
    (attribute("Concat", "axis", 2), "along axis 2, expected the channels"),
    (attribute("Gemm", "alpha", [2.0]), r"\(Gemm\): its attribute alpha is no number"),
    (attribute("Conv", "group", 2), "in 2 groups do not fit 3 channels"),
    (constant("stage2.1.shuffle.split", lambda a: a + 1), "does not fit into"),
    (constant("stem.bn.running_var", lambda a: -a), "a variance is negative"),
    (constant("stem.bn.weight", lambda a: a * np.float32("nan")), "hold NaN or infinite numbers"),
    (constant("classifier.weight", lambda a: a[:, 1:].copy()), "a matrix of the shape .* does not fit"),
    (dimension(1, 1), r"weights of the shape 12x3x3x3 in 1 groups do not fit 1 channels"),
    (lambda graph: graph.node[0].input.__setitem__(1, "nothing"), "its input nothing is not known"),
    (lambda graph: graph.node.pop(), "its output output does not depend on its input"),
    (lambda graph: graph.input.append(helper.make_tensor_value_info("more", 1, [1])), "has 2 inputs and 1 outputs"),
    (lambda graph: graph.initializer[0].CopyFrom(onnx.TensorProto(name=graph.initializer[0].name, data_type=1,
     dims=[12, 3, 3, 3], raw_data=b"\0" * 8)), "its tensor 'stem.conv.weight' is incomplete"),
])  # fmt: skip
def test_what_is_not_supported_is_refused_by_its_node(tmp_path, change, message):
    onnx.save(exported(*small(), change), tmp_path / "net.onnx")
    with pytest.raises(UserError, match=message) as error:
        load_network(tmp_path / "net.onnx")
    assert "\n" not in str(error.value) and "net.onnx" in str(error.value)


def test_a_constant_behind_a_relu_becomes_a_batch_norm(tmp_path):
    net = NetworkBuilder((8, 8))
    x = net.relu("relu", net.conv("conv", 0, 4, bias=True))
    net.dense("fc", net.global_avg_pool("pool", x), 2)
    net = net.network("tiny")
    model = exported(net, random_parameters(net))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "more"))
    relu = first(model.graph, "Relu")
    model.graph.node.insert(2, helper.make_node("Add", [relu.output[0], "more"], ["sum"], name="bias"))
    first(model.graph, "GlobalAveragePool").input[0] = "sum"
    onnx.save(model, tmp_path / "net.onnx")
    found, data = load_network(tmp_path / "net.onnx"), picture((8, 8))
    assert [layer.op for layer in found.network.layers][1:4] == ["conv", "relu", "batch_norm"]
    assert relative_error(evaluate(found.network, found.parameters, data)[0], execute(model, data)) < 1e-5


def test_damaged_files_are_refused(tmp_path):
    model = exported(*small())
    data, path = model.SerializeToString(), tmp_path / "net.onnx"
    for damaged in (b"", data[: len(data) // 2], b"\x07garbage" * 50):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="net.onnx is truncated, corrupt or no .onnx file"):
            load_network(path)
    with pytest.raises(UserError, match="none.onnx does not exist"):
        load_network(tmp_path / "none.onnx")
    for opset in (5, 99):
        model.opset_import[0].version = opset
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UserError, match=f"is of opset {opset}, expected 6 to"):
            load_network(path)


def test_weights_in_another_file(tmp_path):
    net, parameters = small()
    model = exported(net, parameters)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert load_network(tmp_path / "net.onnx").network == net
    content = (tmp_path / "net.data").read_bytes()
    (tmp_path / "net.data").write_bytes(content[:100])
    with pytest.raises(UserError, match="net.onnx"):
        load_network(tmp_path / "net.onnx")
    (tmp_path / "net.data").unlink()
    with pytest.raises(UserError, match="has its weights in 'net.data', which is not beside it or too short"):
        load_network(tmp_path / "net.onnx")


def test_float16_weights_become_float32(tmp_path):
    net, parameters = small()
    onnx.save(exported(net, parameters, constant("stem.conv.weight", lambda a: a.astype("f2"))), tmp_path / "net.onnx")
    found = load_network(tmp_path / "net.onnx").parameters["stem.conv.weight"]
    assert found.dtype == np.float32 and np.array_equal(found, parameters["stem.conv.weight"].astype("f2"))
    assert TensorProto.FLOAT16 in {t.data_type for t in onnx.load(tmp_path / "net.onnx").graph.initializer}
