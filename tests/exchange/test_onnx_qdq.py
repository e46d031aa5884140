"""Quantised ONNX files: their scales and weights are taken as they are, or the node is named that has others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.rivals import qdq
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.bridge.parameters import digest
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import OURS, Imported, load_network, save_network
from tvm_shufflenet.graph.byte_tensors import tensors_of
from tvm_shufflenet.library.loading import load, read_manifest
from tvm_shufflenet.measure.clocked import clocked_copy
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.pipeline import byte_graph
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.calibration import calibration_in
from tvm_shufflenet.training.calibration import float_network, integer_network

from ..conftest import picture, relative_error
from ..int8_graphs import network_of
from ..quantised_onnx import quantised


@pytest.fixture
def files(tmp_path):
    """`files(network, parameters, edit)` writes it quantised, once `edit(model)` has changed it, and gives the path."""

    def write(net, parameters, edit=lambda model: None, **options):
        source, path = tmp_path / "floats.onnx", tmp_path / "bytes.onnx"
        save_network(source, Imported(net, parameters, OURS))
        model = quantised(onnx.load(source), **options)
        edit(model)
        onnx.save(model, path)
        return path

    return write


def integers(found: Imported):
    return integer_network(
        found.network, found.parameters, calibration_in(found.metadata, digest(found.parameters), "file")
    )


SMALL = "shufflenet-v1-0.25x-g3"


@pytest.mark.parametrize("unsigned", [True, False])
def test_a_file_has_its_own_scales_and_weights(files, unsigned):
    net = network(SMALL, (64, 64), 10)
    path = files(net, random_parameters(net), unsigned=unsigned)
    found = load_network(path)
    assert found.style == "quantised ONNX" and found.network.name == "bytes"
    tensors = calibration_in(found.metadata, digest(found.parameters), "file").tensors
    model = onnx.load(path).graph
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.initializer}
    scales = {float(array) for name, array in given.items() if name.endswith(".scale") and array.ndim == 0}
    assert tensors["input"] == (pytest.approx(0.03), 128)
    assert len(tensors) > 40 and {scale for scale, _ in tensors.values()} <= scales
    bytes_ = [array for name, array in given.items() if name.endswith(".weight.bytes")]
    for name, array in found.parameters.items():
        if name.endswith(".weight") and array.ndim > 1:
            steps = np.abs(array).reshape(len(array), -1).max(1).reshape(-1, *(1,) * (array.ndim - 1)) / 127
            found_bytes = np.rint(array / steps)
            assert any(np.array_equal(found_bytes, other) for other in bytes_ if other.shape == array.shape), name


ATTENTION = "shufflenet-v1-0.25x-g3-se"


def built_from(path, folder, net):
    return build_library(
        BuildOptions(weights=path, target="native", output=folder, precision="int8", size=net.size, team=True)
    )


@pytest.mark.parametrize(
    "net",
    [network_of(3), network(ATTENTION, (64, 64), 10),
     *(pytest.param(network_of(seed), marks=pytest.mark.slow) for seed in (0, 2, 21, 33, 35))],
    ids=lambda net: net.name,
)  # fmt: skip
def test_a_library_computes_with_them(files, tmp_path, net):
    """Of the slow ones each has channel attention, one behind a convolution, one twice."""
    path, data = files(net, random_parameters(net)), picture(net.size, 2)
    found = load_network(path)
    built = built_from(path, tmp_path, net)
    for threads in (1, 2):
        assert np.array_equal(load(built.path, threads)(data).ravel(), integers(found)(data).ravel())
    assert built.manifest["calibration"]["observer"] == "the file's QuantizeLinear"
    again = tmp_path / "again.safetensors"
    save_network(again, found)
    assert np.array_equal(integers(load_network(again))(data), integers(found)(data))


def test_floats_are_those_of_the_bytes(files):
    net = network_of(3)
    parameters, data = random_parameters(net), picture(net.size, 1)
    found = load_network(files(net, parameters))
    error = relative_error(float_network(found.network, found.parameters)(data), float_network(net, parameters)(data))
    assert 1e-5 < error < 0.05


def change(name: str, value):
    def edit(model):
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    return edit


def leave_out(kind: str):
    """The first node of that kind; who reads it reads what it read."""

    def edit(model):
        index = [node.op_type for node in model.graph.node].index(kind)
        node = model.graph.node[index]
        for other in model.graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
        del model.graph.node[index]

    return edit


FAULTS = [
    (change("input.scale", np.float32(0)), r"node input.q \(QuantizeLinear\): its scale is damaged"),
    (change("input.scale", np.float32(np.nan)), "its scale is damaged: expected float32 numbers above zero"),
    (change("input.scale", np.ones(3, np.float32)), "has 3 scales for one tensor, expected one"),
    (change("input.zero", np.uint16(7)), r"its bytes are of the type uint16, expected uint8 or int8: quantise with"),
    (leave_out("QuantizeLinear"), r"node input.dq \(DequantizeLinear\): reads what no QuantizeLinear gives"),
    (leave_out("DequantizeLinear"), "reads the bytes 'input.bytes', expected a DequantizeLinear between"),
    (change("WEIGHT.scale", np.ones(2, np.float32)), r"has 2 scales along axis 0 of constants"),
    (change("WEIGHT.zero", np.ones(1, np.int8)), "its constants are int8 with a zero point, expected signed ones"),
]  # fmt: skip


@pytest.mark.parametrize("edit,message", FAULTS)
def test_other_schemes_are_refused_by_node(files, edit, message):
    net = network_of(3)

    def edited(model):
        weight = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
        for tensor in model.graph.initializer:  # whatever the writer calls the first weights
            tensor.name = tensor.name.replace(weight.removesuffix(".floats"), "WEIGHT")
        for node in model.graph.node:
            node.input[:] = [name.replace(weight.removesuffix(".floats"), "WEIGHT") for name in node.input]
            node.output[:] = [name.replace(weight.removesuffix(".floats"), "WEIGHT") for name in node.output]
        edit(model)

    with pytest.raises(UserError, match=message):
        load_network(files(net, random_parameters(net), edited))


def test_a_tensor_without_a_scale_is_named(files):
    net = network_of(3)

    def without(model):
        for kind in ("QuantizeLinear", "DequantizeLinear"):  # the input's
            leave_out(kind)(model)

    with pytest.raises(UserError, match="layer input gives floats that no QuantizeLinear reads"):
        load_network(files(net, random_parameters(net), without))


def test_each_part_of_attention_has_its_own_scale(files):
    """What the means are of, the means, both layers, the sigmoid and the product."""
    net = network(ATTENTION, (64, 64), 10)
    path = files(net, random_parameters(net))
    found = load_network(path)
    scales = calibration_in(found.metadata, digest(found.parameters), "file")
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    own = [node.output[0] for node in onnx.load(path).graph.node if node.op_type in ("Mul", "Sigmoid")]
    assert all(scales.tensors[name][0] == given[f"{name}.scale"] for name in own)
    graph = byte_graph(found.network, found.parameters, parts=True)
    names, products = tensors_of(graph), [node for node in graph.nodes if node.op == "multiply"]
    assert scales.parts and len(products) == sum(layer.op == "multiply" for layer in net.layers)
    for node in products:
        assert [node.inputs[1].op, node.inputs[1].inputs[0].op] == ["activation", "dense"]
        assert len({scales.tensors[names[part]] for part in (node, *node.inputs, node.inputs[1].inputs[0])}) == 4


def test_a_library_of_parts_can_be_profiled(files, tmp_path):
    """Its copy with clocks has the same kernels."""
    net = network(ATTENTION, (32, 32), 10)
    built = built_from(files(net, random_parameters(net)), tmp_path, net)
    entry = Entry("parts", built.path, read_manifest(built.path))
    assert clocked_copy(entry, resolve("native"), tmp_path).differences(entry) == []


@pytest.mark.parametrize(
    "name",
    [SMALL, ATTENTION, *(pytest.param(name, marks=pytest.mark.slow) for name in (
        "shufflenet-v2-0.5x", "shufflenet-v1-0.25x-g8-se", "shufflenet-v2-0.5x-se", "mobilenet-v3-large"
    ))],
)  # fmt: skip
def test_what_onnx_runtime_writes(tmp_path, name):
    """Both are as near to the floats; ONNX Runtime rounds the sums of units twice."""
    onnxruntime = pytest.importorskip("onnxruntime")
    net = network(name, (64, 64), 10)
    parameters, data = random_parameters(net), picture((64, 64), 4)
    qdq.write(net, parameters, tmp_path / "bytes.onnx")
    found = load_network(tmp_path / "bytes.onnx")
    theirs = onnxruntime.InferenceSession(str(tmp_path / "bytes.onnx")).run(None, {"input": data})[0]
    ours, floats = integers(found)(data), float_network(net, parameters)(data)
    assert relative_error(ours, theirs) < 0.08 and relative_error(ours, floats) < 0.08
