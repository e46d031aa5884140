"""Real Arm code: AArch64 through TVM's tracker and RPC server in an emulated AArch64, and ARMv7."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.library.interface import main_shapes

from .. import emulator, foreign
from ..conftest import ROOT, picture, relative_error, twin_logits

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def board():
    """A session with an emulated board behind a real tracker."""
    from tvm_shufflenet.boards import rpc

    with emulator.tracker() as tracker, emulator.rpc_server(tracker, key="arm"):
        with rpc.connect(f"{tracker[0]}:{tracker[1]}", "arm", timeout=600) as session:
            yield session


def run_on(board, path, manifest, data) -> np.ndarray:
    import tvm

    from tvm_shufflenet.boards import rpc

    module = rpc.upload(board, path)
    device = board.cpu(0)
    buffers = [tvm.runtime.empty(shape, "float32", device) for shape in main_shapes(manifest)[1:]]
    module["main"](tvm.runtime.tensor(data, device), *buffers)
    return buffers[0].numpy()


def test_aarch64_agrees_with_an_imported_module(board, build, tmp_path):
    """A shuffle by (n, g) that is no shuffle by (g, n) with other weights: g = 8, 3 channels a group."""
    import torch

    module = foreign.randomised(foreign.Megvii((16, 96, 192, 384), 8))
    torch.save(module.state_dict(), tmp_path / "megvii.pth")
    built = build(None, target="arm", size=(64, 64), weights=tmp_path / "megvii.pth")
    data = picture((64, 64))
    with torch.inference_mode():
        expected = module(torch.from_numpy(data)).numpy()
    assert relative_error(run_on(board, built.path, built.manifest, data), expected) < 1e-5


@pytest.mark.parametrize(
    "name,target,size",
    [
        pytest.param("shufflenet-v1-1x-g3", "arm", (224, 224), marks=pytest.mark.slow),
        ("shufflenet-v1-0.5x-g3", "cortex-a53", (224, 224)),
        pytest.param("shufflenet-v1-1x-g8", "cortex-a72", (224, 224), marks=pytest.mark.slow),
        ("shufflenet-v1-1x-g8-noshuffle", "snapdragon-820", (97, 131)),
        pytest.param("mobilenet-v1-1.0", "cortex-a76", (224, 224), marks=pytest.mark.slow),
        ("alexnet", "arm", (224, 224)),
    ],
)
def test_aarch64_agrees_with_pytorch(board, build, name, target, size):
    net = network(name, size)
    built = build(name, target=target, size=size)
    data = picture(size)
    found = run_on(board, built.path, built.manifest, data)
    assert relative_error(found, twin_logits(net, random_parameters(net), data)) < 1e-5
    built.path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    ["cortex-a55", "cortex-a510", "cortex-a57", "cortex-a73", "cortex-a78"]
    + [f"snapdragon-{name}" for name in ("835", "845", "855", "888", "8gen2")],
)
def test_every_target_runs(board, build, target):
    net = network("shufflenet-v1-0.25x-g4", (96, 96))
    built = build(net.name, target=target, size=(96, 96), team=True)  # as the command builds
    data = picture((96, 96))
    expected = twin_logits(net, random_parameters(net), data)
    assert relative_error(run_on(board, built.path, built.manifest, data), expected) < 1e-5


@pytest.mark.parametrize(
    "target,triple,arch", [("arm", "aarch64-linux-gnu", "aarch64"), ("armv7", "arm-linux-gnueabihf", "armhf")]
)
def test_from_plain_c(build, tmp_path, target, triple, arch):
    """The C example, without TVM or Python, on 64 and 32 bits; its best class is PyTorch's."""
    net = network("shufflenet-v1-0.5x-g3")
    built = build(net.name, target=target)
    program, raw = tmp_path / "classify", tmp_path / "picture.raw"
    source = ROOT / "examples" / "c" / "classify.c"
    header = ["-I", str(built.path.parent)]  # `build` puts it beside the library
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-O2"]
    subprocess.run([*compiler, *header, str(source), "-o", str(program), "-ldl", "-lpthread"], check=True)
    data = picture((224, 224))
    data.tofile(raw)
    command = emulator.command(str(program), str(built.path), str(raw), arch=arch)
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    expected = twin_logits(net, random_parameters(net), data)[0]
    best = np.argsort(expected)[::-1][:5]
    rows = [line.split() for line in text.splitlines() if line.strip()]
    found = {int(row[0]): float(row[1]) for row in rows if row[0].isdigit()}
    assert list(found) == list(best)
    assert np.allclose(list(found.values()), expected[best], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "target,triple,arch", [("arm", "aarch64-linux-gnu", "aarch64"), ("armv7", "arm-linux-gnueabihf", "armhf")]
)
def test_a_team_from_plain_c(build, tmp_path, target, triple, arch):
    """Four threads of the C example's pool: all digits of the numbers are those of one thread."""
    built = build("shufflenet-v1-0.25x-g4", target=target, size=(96, 96), team=True)
    program, raw = tmp_path / "classify", tmp_path / "picture.raw"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-O2"]
    options = ["-I", str(built.path.parent), str(ROOT / "examples/c/classify.c"), "-o", str(program)]
    subprocess.run([*compiler, *options, "-ldl", "-lpthread"], check=True)
    picture((96, 96)).tofile(raw)

    def classified(*threads):
        command = emulator.command(str(program), str(built.path), str(raw), *threads, arch=arch)
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout

    assert len(classified().splitlines()) == 5
    assert classified("4") == classified("3") == classified()


def test_the_same_file_everywhere(build):
    """No system library is named, so one file loads on Linux and Android."""
    from tvm_shufflenet.library.elf import read_elf

    elf = read_elf(build("shufflenet-v1-0.25x-g3", target="arm").path)
    assert elf.arch == "aarch64" and not elf.needed
