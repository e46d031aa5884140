"""Libraries of several sizes: each is the library of that size alone, to the bit, and weights are there once."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess

import numpy as np
import pytest

from tvm_shufflenet import load
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.android import android_options
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.cli import classify, compare, evaluate, inspect
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.estimates import estimate
from tvm_shufflenet.library import FUNCTIONS_OF
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.link import ZIG_TARGETS
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.measure import profiling
from tvm_shufflenet.pipeline import any_calibration
from tvm_shufflenet.reporting.subjects import from_library
from tvm_shufflenet.targets.cores import core
from tvm_shufflenet.zig import zig

from .. import emulator, fences
from ..conftest import ROOT, picture

MODEL = "shufflenet-v1-0.25x-g3"
FIRST, SECOND = (64, 64), (96, 80)
PREFIX = "tsn_96x80"
PHOTOGRAPH = str(ROOT / "examples" / "pictures" / "parachute.jpg")


def made(build, target="native", **options):
    return build(MODEL, target, classes=10, size=FIRST, further=(SECOND,), **options)


@pytest.fixture(scope="module")
def both(build):
    return made(build, team=True)


@pytest.fixture(scope="module")
def alone(build):
    """The library of each size."""
    return {size: build(MODEL, classes=10, size=size, team=True) for size in (FIRST, SECOND)}


def bits(outputs) -> list:
    return [np.asarray(output).view("uint32").tolist() for output in outputs]


def assert_as_alone(built, single):
    """`single` are the libraries of one size."""
    for size, library in single.items():
        data = np.concatenate([picture(size, seed) for seed in range(load(library.path).batch)])
        assert bits(load(built.path, size=size).run(data)) == bits(load(library.path).run(data))


def test_each_size_is_as_alone(both, alone):
    assert_as_alone(both, alone)
    for size, library in alone.items():
        data = picture(size)
        for threads in (2, 5):
            team = load(both.path, threads, oversubscribe=True, size=size)
            assert bits(team.run(data)) == bits(load(library.path).run(data))


@pytest.mark.parametrize("options", [
    pytest.param({"precision": "int8", "batch": 2}, marks=pytest.mark.slow),
    pytest.param({"precision": "fp16"}, marks=pytest.mark.slow),
    *(pytest.param(each, marks=pytest.mark.full)
      for each in ({"batch": 3}, {"weights_precision": "fp16"}, {"precision": "int8"})),
], ids=str)  # fmt: skip
def test_with_other_options(build, options):
    if options.get("precision") == "int8":
        net = network(MODEL, FIRST, 10)
        options = {**options, "calibration": any_calibration(net, random_parameters(net))}
    single = {size: build(MODEL, classes=10, size=size, **options) for size in (FIRST, SECOND)}
    assert_as_alone(made(build, **options), single)


@pytest.mark.parametrize("model", [
    pytest.param("shufflenet-v2-0.5x", marks=pytest.mark.slow),
    *(pytest.param(name, marks=pytest.mark.full) for name in ("squeezenet-1.1", "ssdlite-shufflenet-v2-0.5x")),
])  # fmt: skip
def test_other_networks(build, model):
    sizes = (64, 64), (96, 128)
    single = {size: build(model, size=size) for size in sizes}
    assert_as_alone(build(model, size=sizes[0], further=sizes[1:]), single)


def test_weights_are_there_once(both, alone):
    first, second = both.manifest["entries"]
    assert first == {"size": [64, 64], "prefix": "tsn", "weight_bytes": first["weight_bytes"], "shared_weight_bytes": 0}
    assert second["prefix"] == PREFIX and second["size"] == [96, 80]
    # Some kernel for the few pixels of the smaller picture packs otherwise.
    shared = second["shared_weight_bytes"]
    assert 200_000 < 0.9 * second["weight_bytes"] < shared <= second["weight_bytes"]
    sizes = [library.path.stat().st_size for library in alone.values()]
    assert abs(both.path.stat().st_size - (sum(sizes) - shared)) < 0.1 * shared
    assert "-64x64-96x80" in both.path.name


def test_one_memory_serves_all(both, alone):
    manifests = [read_manifest(both.path, size) for size in alone]
    largest = max(library.manifest["workspace_bytes"] for library in alone.values())
    assert {about["workspace_bytes"] for about in manifests} == {largest}
    teams = [max(each) for each in zip(*(library.manifest["team_bytes"] for library in alone.values()))]
    assert [about["team_bytes"] for about in manifests] == [teams, teams]
    library = ctypes.CDLL(str(both.path))
    for prefix in ("tsn", PREFIX):
        workspace, team = (getattr(library, f"{prefix}_{name}") for name in ("workspace_bytes", "team_bytes"))
        workspace.restype = team.restype = ctypes.c_size_t
        assert workspace() == largest and team(3) == teams[0] + 2 * teams[1]


@pytest.mark.parametrize("size", [FIRST, SECOND])
def test_nothing_outside_is_touched(both, alone, size):
    data = picture(size)
    assert bits(fences.check(both.path, data, size=size)) == bits(load(alone[size].path).run(data))


def test_the_manifest_names_the_entry_points(both, capsys):
    exported = read_elf(both.path).exported
    assert {name.replace("tsn_", f"{PREFIX}_", 1) for name in FUNCTIONS_OF[4]} < set(exported)
    about = read_manifest(both.path, SECOND)
    assert about["prefix"] == PREFIX and about["entries"] == both.manifest["entries"] and both.further == (about,)
    assert "prefix" not in read_manifest(both.path)
    inspect.main([str(both.path)])
    said = capsys.readouterr().out
    assert "96x80: tsn_96x80_run; " in said and "MB of them those of earlier sizes" in said and "1x3x64x64" in said
    inspect.main([str(both.path), "--size", "96x80"])
    assert "1x3x96x80" in capsys.readouterr().out


PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {{
  float *picture = malloc({floats} * sizeof(float)), logits[10];
  void *workspace = aligned_alloc(TSN_ALIGNMENT, {first}_workspace_bytes()), *team;
  if (fread(picture, sizeof(float), {floats}, stdin) != {floats}) return 2;
  for (int i = 0; i < 2; ++i) {{
    if (i ? {second}_run(picture, logits, workspace) : {first}_run(picture, logits, workspace)) return 3;
    fwrite(logits, sizeof logits, 1, stdout);
  }}
  team = aligned_alloc(TSN_ALIGNMENT, {first}_team_bytes(1));
  if ({first}_team_init(team, 1) || {second}_run_team(picture, logits, workspace, team, 0)) return 4;
  fwrite(logits, sizeof logits, 1, stdout);
  return 0;
}}
"""


def from_c(built, first, folder, run, *compiler) -> list:
    """What a program of PROGRAM, linked with the library, gives for both sizes, and with a team of one."""
    second, source, program = f"{first}_96x80", folder / "main.c", folder / "main"
    headers = f'#include "{built.header.name}"\n#include "{second}.h"\n'
    source.write_text(headers + PROGRAM.format(floats=3 * 96 * 80, first=first, second=second))
    subprocess.run([*compiler, "-I", built.path.parent, source, built.path, "-o", program], check=True)
    data = picture(SECOND)
    output = subprocess.run(run(str(program)), input=data.tobytes(), capture_output=True, check=True).stdout
    return bits(np.split(np.frombuffer(output, "float32"), 3))


def expected_from_c(libraries) -> list:
    data = picture(SECOND)
    first = np.ascontiguousarray(data.ravel()[: 3 * 64 * 64]).reshape(1, 3, *FIRST)
    (one,), (other,) = (load(libraries[size].path).run(each) for size, each in ((FIRST, first), (SECOND, data)))
    return bits([one[0], other[0], other[0]])


@pytest.mark.parametrize("emit,prefix", [
    ("so", "tsn"), ("static", "fast"), pytest.param("object", "tsn", marks=pytest.mark.slow),
])  # fmt: skip
def test_from_c(build, both, alone, tmp_path, emit, prefix):
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler")
    built = both if emit == "so" else made(build, team=True, emit=emit, prefix=prefix)
    rpath = [f"-Wl,-rpath,{built.path.parent}"] if emit == "so" else []
    assert from_c(
        built, prefix, tmp_path, lambda *argv: argv, compiler, "-std=c11", "-Wall", "-Werror", *rpath
    ) == expected_from_c(alone)


@pytest.mark.emulator
@pytest.mark.parametrize("target,arch", [
    pytest.param("arm", "aarch64", marks=pytest.mark.slow), pytest.param("armv7", "arm", marks=pytest.mark.full),
])  # fmt: skip
def test_on_arm(build, tmp_path, target, arch):
    """A program in the emulator, with a static library: each size gives the bits of its own library."""
    single = {size: build(MODEL, target, classes=10, size=size) for size in (FIRST, SECOND)}
    built = made(build, target, team=True, emit="static", name="net")
    compiler = [zig(), "cc", "-target", ZIG_TARGETS[arch], "-std=c11"]
    found = from_c(built, "tsn", tmp_path, lambda *argv: emulator.command(*argv, arch=fences.EMULATED[arch]), *compiler)
    data = picture(SECOND)
    first = np.ascontiguousarray(data.ravel()[: 3 * 64 * 64]).reshape(1, 3, *FIRST)
    (one,), (other,) = (fences.check(single[size].path, each) for size, each in ((FIRST, first), (SECOND, data)))
    assert found == bits([one[0], other[0], other[0]])


# ------------------------------------------------------------------------------ what commands do with them


def test_commands_take_a_size(both, alone, tmp_path, capsys):
    for size, library in alone.items():
        asked = ["--size", "x".join(map(str, size))]
        classes = []
        for path, options in ((both.path, asked), (library.path, [])):
            classify.main([str(path), PHOTOGRAPH, *options, "--json", str(tmp_path / "classes.json")])
            classes.append(json.loads((tmp_path / "classes.json").read_text())["pictures"])
        assert classes[0] == classes[1]
        compare.main([str(both.path), *asked, "--rounds", "1", "--json", str(tmp_path / "times.json")])
        assert json.loads((tmp_path / "times.json").read_text())["networks"][0]["size"] == list(size)
        assert from_library(both.path, size).memory == from_library(library.path).memory
    capsys.readouterr()


@pytest.mark.slow
def test_evaluate_takes_a_size(build, labelled_pictures, tmp_path):
    both = build(MODEL, classes=3, size=FIRST, further=(SECOND,)).path
    single = build(MODEL, classes=3, size=SECOND).path
    arguments = [str(both), str(single), "--data", str(labelled_pictures), "--workers", "0"]
    evaluate.main([*arguments, "--size", "96x80", "--json", str(tmp_path / "score.json")])
    assert json.loads((tmp_path / "score.json").read_text())["difference"]["logits"] == 0


@pytest.mark.slow
def test_the_command_builds_it(tmp_path, capsys):
    sizes = ["--size", "64", "--size", "96x80", "--classes", "10", "--target", "native", "--one-thread"]
    options = ["--package", "--name", "net", "-o", str(tmp_path), "--debug-dump", str(tmp_path / "dump")]
    build_command.main([MODEL, *sizes, *options])
    assert {"net.so", "net.json", "net.pc", "netConfig.cmake", "tvm_shufflenet.h", "tsn_96x80.h"} <= {
        path.name for path in tmp_path.iterdir()
    }
    dumps = [{path.name for path in (tmp_path / "dump" / size).iterdir()} for size in ("64x64", "96x80")]
    assert dumps[0] == dumps[1] and "01_relax.py" in dumps[0]
    said = capsys.readouterr().out
    assert "64x64: tsn_run; " in said and "96x80: tsn_96x80_run; " in said
    described = json.loads((tmp_path / "net.json").read_text())
    assert [entry["prefix"] for entry in described["entries"]] == ["tsn", PREFIX]


@pytest.mark.slow
def test_profile_finds_the_kernels_of_a_size(both):
    for size in (FIRST, SECOND):
        found = profiling.profile(profiling.ProfileOptions(str(both.path), rounds=1, size=size))
        assert not found.differences and found.manifest["inputs"][0]["shape"][2:] == list(size)


@pytest.mark.slow
@pytest.mark.emulator
def test_estimate_counts_a_size(build):
    both = made(build, "cortex-a72").path
    single = build(MODEL, "cortex-a72", classes=10, size=SECOND).path
    one, other = (estimate(path, core("cortex-a72"), False, size) for path, size in ((both, SECOND), (single, None)))
    assert one.network.vector_fma == other.network.vector_fma


# ------------------------------------------------------------------------------ what cannot be


def test_sizes_that_a_library_has_not(both, alone):
    for path, message in ((both.path, "is built for 64x64 and 96x80, not 32x32"),
                          (alone[FIRST].path, "is built for 64x64, not 32x32")):  # fmt: skip
        for call in (load, read_manifest):
            with pytest.raises(UserError, match=message):
                call(path, size=(32, 32))
    with pytest.raises(UserError, match="expected a numpy array, float32 of shape"):
        load(both.path, size=SECOND).run(picture(FIRST))


@pytest.mark.parametrize("arguments,message", [
    ([MODEL, "--size", "64", "--size", "64x64"], "--size 64x64 is given twice"),
    ([MODEL, "--size", "64", "--size", "x"], "--size x: expected pixels"),
    ([MODEL, "--size", "64", "--size", "96", "--prefix", "p" * 60], "--prefix p+_96x96: expected the beginning"),
])  # fmt: skip
def test_what_cannot_be_built_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        build_command.main([*arguments, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_weights_that_depend_on_the_size_are_refused(monkeypatch, tmp_path):
    """No network of the list has any; an imported one may."""
    monkeypatch.setattr(
        "tvm_shufflenet.building.build_library.random_parameters", lambda net, seed: random_parameters(net, net.size[0])
    )
    with pytest.raises(UserError, match=f"--size 96x80: {MODEL} has other weights there than at 64x64"):
        build_library(BuildOptions(MODEL, size=FIRST, further=(SECOND,), output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_aar_has_one_size():
    with pytest.raises(UserError, match="the class of an AAR runs one size"):
        android_options(BuildOptions(MODEL, size=FIRST, further=(SECOND,)), "com.example.dogs")


def test_a_network_built_in_code_has_one_size():
    with pytest.raises(UserError, match="was built in code, for one size"):
        build_library(BuildOptions(network=network(MODEL, FIRST), further=(SECOND,)))
