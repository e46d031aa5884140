"""Format 2 of libraries, several outputs and other layouts included; and that format 1 is still read."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import tirx as T
from tvm.target import Target

import tvm_shufflenet
from tvm_shufflenet.architectures.builder import NetworkBuilder
from tvm_shufflenet.cli import classify
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FUNCTIONS_OF
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.interface import Port, inputs, main_shapes, normalised, outputs, ports
from tvm_shufflenet.library.link import ZIG_TARGETS, link
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.measure.comparison import CompareOptions, compare
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.measure.profiling import ProfileOptions, profile
from tvm_shufflenet.targets import resolve

from .. import fences
from ..conftest import ROOT, picture

NATIVE = resolve("native")
ARRAYS = {
    "inputs": [Port("picture", (1, 4, 5, 2), "float32", "NHWC")],
    "outputs": [
        Port("scores", (1, 5), "float32", "NC"),
        Port("doubled", (1, 2, 4, 5), "float32", "NCHW"),
        Port("sum", (1, 1), "float32", "NC"),
    ],
}
IMAGE = np.random.default_rng(0).standard_normal((1, 4, 5, 2), "float32")


@I.ir_module
class Several:
    @T.prim_func(s_tir=True)
    def main(
        x: T.Buffer((1, 4, 5, 2), "float32", align=4),
        scores: T.Buffer((1, 5), "float32", align=4),
        doubled: T.Buffer((1, 2, 4, 5), "float32", align=4),
        total: T.Buffer((1, 1), "float32", align=4),
        workspace: T.Buffer((48,), "float32"),
    ):
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        for i in range(40):
            workspace[i] = 2.0 * x[0, i // 10, i // 2 % 5, i % 2]
        for i in range(5):
            scores[0, i] = workspace[i] + 1.0
        for i in range(40):
            doubled[0, i // 20, i // 5 % 4, i % 5] = workspace[i % 20 * 2 + i // 20]
        total[0, 0] = 0.0
        for i in range(40):
            total[0, 0] = total[0, 0] + x[0, i // 10, i // 2 % 5, i % 2]


def assert_right(found):
    scores, doubled, total = found
    np.testing.assert_array_equal(scores, 2 * IMAGE.reshape(1, 40)[:, :5] + 1)
    np.testing.assert_array_equal(doubled, 2 * IMAGE.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(total, [[IMAGE.sum()]], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A library of three outputs."""
    folder = tmp_path_factory.mktemp("several")
    tvm.tirx.build(Several, target=Target(NATIVE.tvm), pipeline="s_tir").write_to_file(str(folder / "made.o"), "o")
    link(folder / "made.o", [], {}, **ARRAYS, workspace_bytes=192, spec=NATIVE, output=folder / "several.so")
    return folder / "several.so"


# ------------------------------------------------------------------------------ several outputs


def test_the_manifest_of_several_outputs(several):
    manifest = read_manifest(several)
    assert manifest["outputs"][1] == {"name": "doubled", "shape": [1, 2, 4, 5], "dtype": "float32", "layout": "NCHW"}
    assert manifest["inputs"] == [{"name": "picture", "shape": [1, 4, 5, 2], "dtype": "float32", "layout": "NHWC"}]
    assert manifest["workspace_bytes"] == 192 + 192 + 64  # room for the second output and the third
    assert inputs(manifest) == tuple(ARRAYS["inputs"]) and outputs(manifest) == tuple(ARRAYS["outputs"])
    assert inputs(manifest)[0].size == outputs(manifest)[1].size == (4, 5)
    assert main_shapes(manifest) == [(1, 4, 5, 2), (1, 5), (1, 2, 4, 5), (1, 1), (48,)]


def test_several_outputs_from_python(several):
    network = tvm_shufflenet.load(several)
    found = network(IMAGE)
    assert isinstance(found, tuple)
    assert [output.name for output in network.outputs] == ["scores", "doubled", "sum"]
    assert_right(found)
    with pytest.raises(
        UserError, match=r"float32 of shape \(1, 4, 5, 2\) \(NHWC\), got float32 of shape \(1, 2, 4, 5\)"
    ):
        network(IMAGE.transpose(0, 3, 1, 2))


def test_several_outputs_from_c(several):
    library = ctypes.CDLL(str(several))
    assert library.tsn_workspace_bytes() == 448
    memory = np.full(448 // 4 + 16, np.nan, "float32")
    workspace = memory[-memory.ctypes.data % 64 // 4 :][: 448 // 4]
    arrays = [np.full(output.shape, np.nan, "float32") for output in ARRAYS["outputs"]]
    picture, place = ctypes.c_void_p(IMAGE.ctypes.data), ctypes.c_void_p(workspace.ctypes.data)

    def run(*addresses):
        return library.tsn_run_outputs(picture, (ctypes.c_void_p * 3)(*addresses), place)

    addresses = [array.ctypes.data for array in arrays]
    assert run(*addresses) == 0
    assert_right(arrays)
    arrays[0][:] = np.nan
    assert library.tsn_run(picture, ctypes.c_void_p(addresses[0]), place) == 0
    assert_right((arrays[0], workspace[48:88].reshape(1, 2, 4, 5), workspace[96:97].reshape(1, 1)))  # the others
    for index in range(3):
        assert run(*addresses[:index], None, *addresses[index + 1 :]) == -1
        assert run(*addresses[:index], addresses[index] + 2, *addresses[index + 1 :]) == -2
    assert library.tsn_run_outputs(picture, None, place) == library.tsn_run(picture, None, place) == -1
    fences.check(several)


def test_several_outputs_from_tvm(several):
    from tvm_shufflenet.measure.place import Place

    entry = Entry("several", several, read_manifest(several))
    function = Place(NATIVE.arch).load(several, "main", IMAGE, *entry.arguments[1:])
    assert_right([function.run(result=index) for index in (1, 2, 3)])


def test_ports_of_a_network():
    builder = NetworkBuilder((4, 6), channels=5, layout="NHWC")
    features = builder.conv("features", 0, 3, (1, 1))
    scores = builder.flatten("scores", features)
    (taken,), given = ports(builder.network("two", outputs=(scores, features)))
    assert (taken.shape, taken.layout, taken.size) == ((1, 4, 6, 5), "NHWC", (4, 6))
    assert given == (Port("scores", (1, 72), "float32", "NC"), Port("features", (1, 3, 4, 6), "float32", "NCHW"))


# --------------------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [(0, 0, 0, 0), (0, 2, 1, 1), (0, 3, 4, 1)])
def test_a_picture_that_is_not_finite(several, value, index):
    network, image = tvm_shufflenet.load(several), IMAGE.copy()
    image[index] = value
    with pytest.raises(UserError) as caught:
        network(image)
    assert str(caught.value) == f"the image holds {image[index]} at {index}, expected finite numbers"
    assert len(network(image, check=False)) == 3
    check = ctypes.CDLL(str(several)).tsn_check_input
    assert check(ctypes.c_void_p(image.ctypes.data)) == -4


def test_finite_pictures(several):
    check = ctypes.CDLL(str(several)).tsn_check_input
    extremes = np.finfo("float32")
    for value in (0, -0.0, extremes.max, extremes.min, extremes.tiny, extremes.smallest_subnormal):
        image = np.full(IMAGE.shape, value, "float32")
        assert check(ctypes.c_void_p(image.ctypes.data)) == 0
        tvm_shufflenet.load(several)(image)
    assert check(None) == -1 and check(ctypes.c_void_p(IMAGE.ctypes.data + 1)) == -2


# ---------------------------------------------------------------------------------- format 1

FORMAT_1 = {
    "format": 1, "input_shape": [1, 3, 2, 2], "output_shape": [1, 4], "workspace_bytes": 64, "arch": NATIVE.arch,
    "input": "float32, NCHW", "output": "float32, logits",
}  # fmt: skip
# As libraries of that format were: three functions, and the manifest beside them.
SOURCE = """
#include <stddef.h>
const char tsn_manifest[] = MANIFEST;
const char *tsn_describe(void) { return tsn_manifest; }
size_t tsn_workspace_bytes(void) { return 64; }
int tsn_run(const float *input, float *output, void *workspace) {
  for (int i = 0; i < 4; ++i) output[i] = input[i] + input[4 + i] + input[8 + i];
  return !workspace;
}
"""


@pytest.fixture
def old(tmp_path):
    """old(manifest) makes a library of three functions."""

    def make(manifest: dict) -> Path:
        (tmp_path / "old.c").write_text(SOURCE.replace("MANIFEST", json.dumps(json.dumps(manifest))))
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", ZIG_TARGETS[NATIVE.arch], "-shared", "-fPIC"]
        # Else its own manifest would be that of a library that another test has loaded for all to see.
        subprocess.run(
            [*compiler, "-Wl,-Bsymbolic", str(tmp_path / "old.c"), "-o", str(tmp_path / "old.so")], check=True
        )
        return tmp_path / "old.so"

    return make


def test_format_1(old):
    path = old(FORMAT_1)
    assert set(FUNCTIONS_OF[2]) - set(read_elf(path).exported) == {"tsn_run_outputs", "tsn_check_input"}
    manifest = read_manifest(path)
    assert manifest == {
        "format": 1,
        "inputs": [{"name": "input", "shape": [1, 3, 2, 2], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [{"name": "output", "shape": [1, 4], "dtype": "float32", "layout": "NC"}],
        "probabilities": False, "workspace_bytes": 64, "arch": NATIVE.arch,
    }  # fmt: skip
    assert normalised(manifest | {"format": 2}) == manifest | {"format": 2}  # nothing is left to do
    network = tvm_shufflenet.load(path)
    data = picture((2, 2))
    np.testing.assert_allclose(network(data), data.sum(axis=1).reshape(1, 4), rtol=1e-5)
    data[0, 1, 1, 0] = np.nan
    with pytest.raises(UserError, match=r"holds nan at \(0, 1, 1, 0\)"):
        network(data)
    with pytest.raises(UserError, match="old.so has format 1, and no tsn_run_image: compile it anew"):
        network.run_image(np.zeros((2, 2, 3), np.uint8))
    fences.check(path)


def test_format_2_promises_more_functions(old):
    path = old(normalised(FORMAT_1) | {"format": 2})
    for read in (read_manifest, tvm_shufflenet.load):
        with pytest.raises(UserError, match="old.so is not a library of .*: it does not export tsn_run_outputs"):
            read(path)


ARRAY = {"name": "x", "shape": [1, 3, 2, 2], "dtype": "float32", "layout": "NCHW"}
GOOD = {"format": 2, "inputs": [ARRAY], "outputs": [ARRAY], "workspace_bytes": 64}


@pytest.mark.parametrize(
    "wrong",
    [
        *({"inputs": value} for value in (None, [], [ARRAY, ARRAY], {}, [None], ["x"], [{}], "x", 1)),
        *({"outputs": value} for value in (None, [], {}, [None], [[]], 7)),
        *({"outputs": [ARRAY | {"shape": value}]} for value in (
            None, 1, "1322", [], [1, 4], [1, 3, 2, -2], [1, 3, 2, 0], [1, 3, 2, True], [1, 3, 2, 2.0], [[1], 3, 2, 2],
            [1, 3, 10**9, 10**9], [1, 1, 1, 10**400],
        )),
        *({"inputs": [ARRAY | {key: value}]} for key, value in (
            ("layout", "NC"), ("layout", "HWCN"), ("layout", None), ("layout", []), ("dtype", "float16"), ("name", 3),
        )),
        *({"workspace_bytes": value} for value in (None, 0, -64, 32, 64.0, True, "64", [64], 2**60)),
        {"outputs": [ARRAY] * 3},  # the workspace is too small for their room
        {"format": 1},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_malformed_manifests(wrong):
    normalised(GOOD)
    with pytest.raises((ValueError, LookupError, TypeError)):
        normalised(GOOD | wrong)


@pytest.mark.parametrize("manifest", [GOOD | {"inputs": 1}, GOOD | {"format": {}}, [], 7, {}, "x"], ids=json.dumps)
def test_malformed_manifests_in_libraries(old, manifest):
    path = old(manifest)
    for read in (read_manifest, tvm_shufflenet.load):
        with pytest.raises(UserError, match=f"{path} is damaged: its manifest is malformed"):
            read(path)


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory):
    """A real network of which the manifest is written as format 1 had it, and the same as it is."""
    from tvm_shufflenet.building.build_library import BuildOptions, build_library

    folder = tmp_path_factory.mktemp("rewritten")
    new = build_library(BuildOptions("shufflenet-v1-0.25x-g3", "native", (64, 64), 10, output=folder)).path
    elf, manifest = read_elf(new), read_manifest(new)
    text = elf.contents(elf.exported["tsn_manifest"])
    rest = {
        key: value for key, value in manifest.items() if key not in ("format", "inputs", "outputs", "probabilities")
    }
    former = {"format": 1, "input_shape": [1, 3, 64, 64], "output_shape": [1, 10], **rest}
    written = json.dumps(former, separators=(",", ":")).encode()
    (folder / "old.so").write_bytes(new.read_bytes().replace(text, written.ljust(len(text) - 1) + b"\0"))
    return folder / "old.so", new


def test_commands_take_format_1(rewritten, tmp_path, capsys):
    old, new = rewritten
    assert read_manifest(old)["format"] == 1
    result = compare(CompareOptions((str(old), str(new)), rounds=1))
    assert [entry.size for entry in result.entries] == [(64, 64)] * 2
    found = profile(ProfileOptions(str(old), rounds=1))
    assert found.differences == [] and found.manifest["inputs"][0]["shape"] == [1, 3, 64, 64]
    data = picture((64, 64))
    np.testing.assert_array_equal(tvm_shufflenet.load(old)(data), tvm_shufflenet.load(new)(data))
    photograph = str(ROOT / "examples" / "pictures" / "parachute.jpg")
    assert classify.classify(tvm_shufflenet.load(old), photograph) == classify.classify(
        tvm_shufflenet.load(new), photograph
    )
