"""Which kernels the listed networks get at 224x224: no generic ones, and copies only where `COPIES` says why."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_shufflenet.architectures import model_names, network
from tvm_shufflenet.graph import Graph
from tvm_shufflenet.lowering.select_kernels import select_kernels
from tvm_shufflenet.lowering.verify import verify
from tvm_shufflenet.pipeline import lower_graph
from tvm_shufflenet.schedules import Copy, GenericConv, GenericLRN, GenericPool, GlobalPool
from tvm_shufflenet.targets import resolve

from ..conftest import STRUCTURES

# 16 lanes, as machines with AVX-512 have that others build `native` for, and 4.
TARGETS = [resolve('{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512"}'), resolve("cortex-a72")]
GENERIC = GenericConv, GenericLRN, GenericPool, GlobalPool
QUICK = [
    "shufflenet-v1-0.25x-g3-se", "shufflenet-v2-0.5x", "mobilenet-v2-0.35", "squeezenet-1.1",
    "ssdlite-shufflenet-v2-0.5x", "light-head-rcnn-shufflenet-v2-0.5x-star",
    "resnet-like-38m",  # whose planes leave its 3x3 convolutions no room behind their pixels
]  # fmt: skip
# One of each family and structure; `make full` takes every network.
SAMPLED = [*STRUCTURES, "shufflenet-v1-1x-g8", "pvanet-body", "shufflenet-v2-plus-small", "resnet-50"]
# Its result is planes, which the last pointwise kernel computes with more floats than the caller's buffer has.
COPIES = {"pvanet-body": ["conv5_4.convout"]}
# Boxes, scores, labels and count are parts of one result.
FOUND = [f"output{index}" for index in range(4)]
# A multiplication that no convolution does stores its planes side by side; who reads every other channel gathers them.
GATHERED = "shufflenet-v2-plus-", ("stage4.", "stage5.", "last.conv")


def graph_of(name: str) -> tuple[Graph, str]:
    """What kernels are selected for, and the layout of the picture; it is the same for every target."""
    net, left = network(name), {}
    parameters = {key: np.full(shape, 0.5, "float32") for key, shape in net.parameters().items()}

    def keep(value, phase):
        left[phase] = value
        return value

    lower_graph(net, parameters, TARGETS[0], keep)
    return left["fuse_epilogues"], net.layout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow if name in SAMPLED else pytest.mark.full)
        for name in model_names()
    ],
)
def test_listed_networks_need_no_generic_kernel_and_no_other_copy(name):
    graph, layout = graph_of(name)
    for target in TARGETS:
        program = select_kernels(graph, target.machine, layout)
        verify(program)
        assert [call.layer for call in program.calls if isinstance(call.workload, GENERIC)] == []
        copied = [call.layer for call in program.calls if isinstance(call.workload, Copy)]
        if network(name).detector:
            assert copied == FOUND
        elif name.startswith(GATHERED[0]):
            assert copied and all(layer.startswith(GATHERED[1]) for layer in copied)
        else:
            assert copied == COPIES.get(name, [])


def test_lanes_of_the_targets():
    assert [target.lanes for target in TARGETS] == [16, 4]
