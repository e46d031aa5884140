"""Every operator of `NetworkBuilder` as ONNX and back: the reference of the onnx package computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.exchange import Imported, load_network, save_network
from tvm_shufflenet.exchange.onnx_writer import onnx_model

from ..evaluation import evaluate

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402


def random(net):
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1.5, shape).astype("f4")
        if name.endswith("var")
        else rng.normal(0, 0.5, shape).astype("f4")
        for name, shape in net.parameters().items()
    }


OPERATORS = {
    "conv": lambda n: n.conv("y", 0, 8, (3, 1), (1, 2), (1, 0, 2, 1), 2, True, (2, 1)),
    "batch_norm": lambda n: n.batch_norm("y", 0),
    "relu": lambda n: n.relu("y", 0),
    "clip": lambda n: n.clip("y", 0, -0.5, 0.7),
    "leaky_relu": lambda n: n.leaky_relu("y", 0, 0.2),
    "sigmoid": lambda n: n.sigmoid("y", 0),
    "hard_sigmoid": lambda n: n.hard_sigmoid("y", 0),
    "hard_swish": lambda n: n.hard_swish("y", 0),
    "softmax": lambda n: n.softmax("y", 0),
    "log_softmax": lambda n: n.softmax("y", n.global_avg_pool("p", 0), True),
    "shuffle": lambda n: n.shuffle("y", 0, 2),
    "slice": lambda n: n.slice("y", 0, 1, 4, 2),
    "gather": lambda n: n.gather("y", 0, (3, 0, 0, 2)),
    "max_pool": lambda n: n.max_pool("y", 0, (2, 3), 2, (0, 1, 1, 1)),
    "max_pool_ceil": lambda n: n.max_pool("y", 0, 2, 2, ceil=True),
    "avg_pool": lambda n: n.avg_pool("y", 0, 3, 2, 1),
    "valid_avg_pool": lambda n: n.valid_avg_pool("y", 0, 3, 2, 1),
    "global_avg_pool": lambda n: n.global_avg_pool("y", 0),
    "global_max_pool": lambda n: n.global_max_pool("y", 0),
    "lrn": lambda n: n.lrn("y", 0, 3, 0.1, 0.75, 2.0),
    "lrn_even": lambda n: n.lrn("y", 0, 2, 0.1, 0.75, 2.0),
    "add": lambda n: n.add("y", 0, n.sigmoid("s", 0)),
    "multiply": lambda n: n.multiply("y", 0, n.global_avg_pool("p", 0)),
    "concat": lambda n: n.concat("y", 0, n.relu("r", 0), 0),
    "pad": lambda n: n.pad("y", 0, (1, 0, -2, 3), (1, 0), "constant", 0.5),
    "pad_reflect": lambda n: n.pad("y", 0, (1, 2, 2, 1), mode="reflect"),
    "depth_to_space": lambda n: n.depth_to_space("y", 0, 2, "CRD"),
    "resize": lambda n: n.resize("y", 0, (14, 10)),
    "resize_bilinear": lambda n: n.resize("y", 0, (14, 10), "bilinear", "half_pixel"),
    "resize_rounded": lambda n: n.resize("y", 0, (3, 6), "nearest", "align_corners", "ceil"),
    "adaptive_avg_pool": lambda n: n.adaptive_avg_pool("y", 0, (1, 5)),
    "adaptive_avg_pool_unequal": lambda n: n.adaptive_avg_pool("y", 0, (3, 8)),
    "flatten": lambda n: n.flatten("y", 0),
    "reshape": lambda n: n.reshape("y", 0, (1, 2, 14, 5)),
    "dense": lambda n: n.dense("y", n.flatten("f", 0), 3),
    "dropout": lambda n: n.dropout("y", 0, 0.5),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_operators(tmp_path, kind, layout):
    builder = NetworkBuilder((7, 5), 4, layout)
    y = OPERATORS[kind](builder)
    net = builder.network("net", outputs=[y, builder.relu("second", builder.leaky_relu("z", 0, 0.3))])
    parameters, path = random(net), tmp_path / "net.onnx"
    save_network(path, Imported(net, parameters, ""))
    model = onnx.load(path)
    onnx.checker.check_model(model)
    data = np.random.default_rng(1).standard_normal((1, 4, 7, 5) if layout == "NCHW" else (1, 7, 5, 4)).astype("f4")
    expected = evaluate(net, parameters, data)
    found = load_network(path)
    assert [found.network.layers[i].name for i in found.network.outputs] == ["y", "second"]
    assert found.network.layers[0].attrs == {"layout": layout}
    again = evaluate(found.network, found.parameters, data)
    # The reference takes the number of pictures for that of LRN's channels, and cuts nothing off by negative padding.
    known = kind not in ("lrn", "lrn_even", "pad")
    reference = ReferenceEvaluator(model).run(None, {"input": data}) if known else again
    for a, b, c in zip(expected, again, reference):
        assert np.abs(a - b.reshape(a.shape)).max() < 1e-5 * np.abs(a).max()
        assert np.abs(a - c.reshape(a.shape)).max() < 1e-5 * np.abs(a).max()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_output_that_is_the_input(tmp_path, layout):
    builder = NetworkBuilder((7, 5), 4, layout)
    net = builder.network("net", outputs=[builder.relu("y", 0), 0])
    save_network(tmp_path / "net.onnx", Imported(net, {}, ""))
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"))
    data = np.random.default_rng(1).standard_normal((1, 4, 7, 5) if layout == "NCHW" else (1, 7, 5, 4)).astype("f4")
    found = load_network(tmp_path / "net.onnx")
    for a, b in zip(evaluate(net, {}, data), evaluate(found.network, found.parameters, data), strict=True):
        assert np.array_equal(a, b)


def test_adaptive_pooling_and_resizing_for_any_number_of_pictures(tmp_path):
    """The reference runs the file with three pictures at once."""
    builder = NetworkBuilder((10, 9), 3)
    pooled = builder.adaptive_avg_pool("pooled", 0, (3, 4))
    net = builder.network("net", outputs=[builder.resize("resized", pooled, (4, 5)), pooled])
    (tmp_path / "net.onnx").write_bytes(onnx_model(net, {}, "N"))
    data = np.random.default_rng(1).standard_normal((3, 3, 10, 9)).astype("f4")
    found = ReferenceEvaluator(onnx.load(tmp_path / "net.onnx")).run(None, {"input": data})
    for number in range(3):
        for a, b in zip(evaluate(net, {}, data[number : number + 1]), found, strict=True):
            assert np.abs(a - b[number : number + 1]).max() < 1e-5 * np.abs(a).max()
