"""No network touches anything but its arrays, nor depends on what its workspace held; see fences.c."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_shufflenet.architectures import model_names, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.interface import Port
from tvm_shufflenet.library.link import COMPILE, ZIG_TARGETS, link
from tvm_shufflenet.targets import resolve

from .. import fences
from ..conftest import STRUCTURES, picture, relative_error, same_boxes, twin_boxes, twin_logits

NATIVE = resolve("native")
SAMPLE = [
    ("shufflenet-v1-0.5x-g3", (97, 131)), ("shufflenet-v1-0.25x-g8-noshuffle", (64, 64)),
    ("mobilenet-v1-0.25", (97, 131)), ("ssdlite-shufflenet-v2-0.5x", (97, 131)),
    pytest.param("alexnet", (64, 64), marks=pytest.mark.slow),
]  # fmt: skip


# ------------------------------------------------------------------------- the harness itself

# A network of two outputs, for which FAULT stands between its results and its end.
NETWORK = """
#include <stdint.h>
typedef struct { int32_t type, padding; union { int64_t bits; float **tensor; }; } Any;
int __tvm_ffi_main(void *self, const Any *arguments, int32_t count, Any *result) {
  const float *x = *arguments[0].tensor;
  float *y = *arguments[1].tensor, *z = *arguments[2].tensor, *w = *arguments[3].tensor;
  volatile float seen = 0, before = y[6];
  for (int i = 0; i < 20; ++i) w[60 + i] = 2 * x[i];
  for (int i = 0; i < 7; ++i) y[i] = w[60 + i];
  for (int i = 0; i < 18; ++i) z[i] = w[79 - i];
  FAULT;
  return count != 4;
}
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """broken(fault, spec) makes a library that does it."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "network.c").write_text(NETWORK)

    def make(fault: str, spec=NATIVE) -> Path:
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", ZIG_TARGETS[spec.arch], *COMPILE]
        made = [f"-DFAULT={fault}", "-c", str(folder / "network.c"), "-o", str(folder / "network.o")]
        subprocess.run([*compiler, *made], check=True)
        arrays = {
            "inputs": [Port("x", (1, 4, 5, 1), "float32", "NHWC")],
            "outputs": [Port("y", (1, 7), "float32", "NC"), Port("z", (1, 2, 3, 3), "float32", "NCHW")],
        }
        link(folder / "network.o", [], {}, **arrays, workspace_bytes=320, spec=spec, output=folder / "model.so")
        return folder / "model.so"

    return make


# What it does, and what is said of it.
FAULTS = {
    "seen = x[20]": "tsn_run_outputs, fences behind .*, workspace full of NaN: it touched byte 80 of the input",
    "seen = x[-1]": "fences in front of .*: it touched byte -4 of the input, which has 80",
    "seen = w[80]": "fences behind .*: it touched byte 320 of the workspace, which has 320",
    "seen = w[-8]": "fences in front of .*: it touched byte -32 of the workspace",
    "seen = y[7]": "fences behind .*: it touched byte 28 of the output 0",
    "seen = z[-9]": "fences in front of .*: it touched byte -36 of the output 1",
    "z[18] = 0": "fences in front of .*: it wrote to byte 72 of the output 1, which has 72",
    "*(float *)&x[3] = 0": "fences in front of .*: it touched byte 12 of the input",
    "y[1] += w[5]": "workspace full of zeros: number 1 of the output 0 is",
    "z[17] = w[0] > 0 ? 1 : 2": "workspace full of huge numbers: number 17 of the output 1 is",
    "y[6] = before": "workspace full of zeros: number 6 of the output 0 is",  # as if it were not written
    "return 1": "it returned -3",
    "seen = *(volatile float *)64": "signal 11 at 0x40, which is near no array",
    "(void)0": None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(broken, fault):
    if FAULTS[fault] is None:
        fences.check(broken(fault))
        return
    with pytest.raises(AssertionError) as caught:
        fences.check(broken(fault))
    said = str(caught.value).splitlines()[0]
    assert said.startswith("model.so: tsn_") and re.search(FAULTS[fault], said), said


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm", "armv7"])
def test_faults_are_found_in_the_emulator(broken, target):
    fences.check(broken("(void)0", resolve(target)))
    with pytest.raises(AssertionError, match="fences behind .*: it touched byte 80 of the input, which has 80"):
        fences.check(broken("seen = x[20]", resolve(target)))


# ---------------------------------------------------------------------------- every network


def check(build, name: str, size: tuple[int, int], target: str = "native") -> None:
    """The library keeps to its arrays, and what it gives between fences is what PyTorch gives."""
    net = network(name, size, 10)
    path, image = build(name, target=target, size=size, classes=10).path, picture(size)
    try:
        results = fences.check(path, image)
    finally:
        path.unlink()
    if net.detector:
        assert same_boxes(results, twin_boxes(net, random_parameters(net), image))
        return
    (found,) = results
    assert relative_error(found, twin_logits(net, random_parameters(net), image)) < 1e-5


@pytest.mark.parametrize("name,size", SAMPLE)
def test_sample(build, name, size):
    check(build, name, size)


@pytest.mark.parametrize(
    "index,name",
    [
        pytest.param(index, name, id=name, marks=pytest.mark.slow if name in STRUCTURES else pytest.mark.full)
        for index, name in enumerate(model_names())
    ],
)
def test_every_network(build, index, name):
    """Each at the next one of the four sizes that it takes; `python -m tests.fences` goes through all."""
    sizes = fences.SIZES[index % 4 :] + fences.SIZES[: index % 4]
    check(build, name, next(size for size in sizes if takes(name, size)))


def takes(name: str, size: tuple[int, int]) -> bool:
    try:
        network(name, size)
    except UserError:
        return False
    return True


@pytest.mark.emulator
@pytest.mark.parametrize(
    "name,target,size",
    [
        ("shufflenet-v1-0.5x-g3", "arm", (97, 131)),
        ("shufflenet-v1-0.25x-g8-noshuffle", "armv7", (64, 64)),
        ("mobilenet-v1-0.25", "cortex-a53", (97, 131)),
        ("ssdlite-shufflenet-v2-0.5x", "cortex-a72", (64, 64)),
        pytest.param("ssdlite-shufflenet-v1-0.5x-g3", "armv7", (97, 131), marks=pytest.mark.slow),
        pytest.param("alexnet", "cortex-a72", (64, 64), marks=pytest.mark.slow),
    ],
)
def test_on_arm(build, name, target, size):
    check(build, name, size, target)
