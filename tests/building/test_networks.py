"""Whole networks on this machine: compiled output against the PyTorch twin."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters

from ..conftest import EARLIER, STRUCTURES, picture, relative_error, twin_logits

# Even, odd and prime; wide and tall; whole and broken vectors in every stage.
SIZES = [(224, 224), (480, 640), (161, 227), (96, 128)]
# Of the paper's main tables the quick tests take each number of groups and each size, with and without shuffle.
QUICK = [
    "shufflenet-v1-0.25x-g1-noshuffle", "shufflenet-v1-0.25x-g8", "shufflenet-v1-0.5x-g2", "shufflenet-v1-0.5x-g3",
    "shufflenet-v1-1x-g3", "shufflenet-v1-1x-g4", "mobilenet-v1-0.5", "alexnet",
]  # fmt: skip


def check(build, name: str, size: tuple[int, int], classes: int = 1000) -> None:
    net = network(name, size, classes)
    built = build(name, size=size, classes=classes)
    library = tvm_shufflenet.load(built.path)
    built.path.unlink()  # the folder would grow to gigabytes
    data = picture(size)
    expected = twin_logits(net, random_parameters(net), data)
    assert relative_error(library(data), expected) < 1e-5
    assert relative_error(library(data), expected) < 1e-5  # the workspace is used again, uncleaned


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow if index % 4 == 0 else pytest.mark.full)
        for index, name in enumerate(EARLIER)
    ],
)
def test_agrees_with_pytorch(build, name):
    """The networks of the paper's main tables, each at one of the sizes in turn, both with and without shuffle."""
    index = EARLIER.index(name)
    check(build, name, SIZES[(index + index // 2) % len(SIZES)], classes=10 + index)


@pytest.mark.parametrize("name", [*STRUCTURES, "shufflenet-v2-plus-small", "mobilenet-v3-large-reduced"])
def test_every_structure_agrees_with_pytorch(build, name):
    """`make full` goes through every other network."""
    check(build, name, (64, 64), classes=10)


@pytest.mark.full
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("name", [n for n in EARLIER if "noshuffle" not in n])
def test_agrees_with_pytorch_at_every_size(build, name, size):
    check(build, name, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shufflenet-v1-1x-g3", "shufflenet-v1-1x-g8", "mobilenet-v1-1.0", "alexnet"])
def test_agrees_with_pytorch_at_the_papers_largest_size(build, name):
    check(build, name, (720, 1280))


@pytest.mark.parametrize("lanes", [4, 8], ids=["sse", "avx2"])
def test_agrees_with_pytorch_on_narrower_vectors(build, lanes):
    """The same machine with older instructions: other tiles, other paddings."""
    import json

    from tvm_shufflenet.targets import resolve

    native = resolve("native")
    if native.arch != "x86_64" or native.lanes < lanes:
        pytest.skip("needs an x86-64 processor with AVX2")
    cpu = {4: "x86-64-v2", 8: "haswell"}[lanes]
    target = json.dumps({"kind": "llvm", "mtriple": native.tvm["mtriple"], "mcpu": cpu, "num-cores": 2})
    assert resolve(target).lanes == lanes
    net = network("shufflenet-v1-0.5x-g3")
    library = tvm_shufflenet.load(build(net.name, target=target).path)
    data = picture((224, 224))
    assert relative_error(library(data), twin_logits(net, random_parameters(net), data)) < 1e-5


def test_two_threads_with_their_own_workspaces(build):
    library = tvm_shufflenet.load(build("shufflenet-v1-0.25x-g3", classes=10).path)
    pictures = [picture((224, 224), seed) for seed in range(2)]
    alone = [library(data).copy() for data in pictures]
    wrong = []

    def work(index: int) -> None:
        for _ in range(50):
            if not np.array_equal(library(pictures[index]), alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and not np.array_equal(alone[0], alone[1])


@pytest.mark.parametrize("name", ["shufflenet-v1-0.5x-g3", "mobilenet-v1-0.25"])
def test_input_and_output_need_no_alignment(build, name):
    """As floats from malloc, or in the middle of an array: only the workspace must be aligned."""
    import ctypes

    path = build(name).path
    run, data = ctypes.CDLL(str(path)).tsn_run, picture((224, 224))
    expected = tvm_shufflenet.load(path)(data)
    workspace = np.empty(tvm_shufflenet.load(path).workspace_bytes + 64, np.uint8)
    aligned = workspace.ctypes.data + -workspace.ctypes.data % 64
    for shift in (1, 3, 5):
        source, target = np.empty(data.size + shift, "float32")[shift:], np.empty(1000 + shift, "float32")[shift:]
        source[:] = data.ravel()
        pointers = [ctypes.c_void_p(p) for p in (source.ctypes.data, target.ctypes.data, aligned)]
        assert run(*pointers) == 0 and np.array_equal(target[None], expected)
    assert run(*pointers[:2], ctypes.c_void_p(aligned + 4)) == -2


def test_loads_in_tvm(build):
    import tvm

    built = build("shufflenet-v1-0.5x-g8")
    data = picture((224, 224))
    module = tvm.runtime.load_module(str(built.path))
    output = tvm.runtime.tensor(np.empty((1, 1000), "float32"))
    workspace = tvm.runtime.tensor(np.empty(built.manifest["workspace_bytes"] // 4, "float32"))
    module["main"](tvm.runtime.tensor(data), output, workspace)
    assert np.array_equal(output.numpy(), tvm_shufflenet.load(built.path)(data))
