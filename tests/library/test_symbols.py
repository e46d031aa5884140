"""Several libraries in one program: prefixes, static libraries and object files; and the number of the interface."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.build_library import BuildOptions, build_library, described_beside
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT, FUNCTIONS_OF, MANIFEST, TEAM_FUNCTIONS_OF, TVM_FUNCTION, link
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.library.symbols import HEADER, header_of, renamed, tvm_name

from .. import emulator
from ..conftest import picture, relative_error, twin_logits
from .test_library import EMULATED, IMAGE, NATIVE, SPECS, WEIGHTS, ZIG, assert_right, toy  # noqa: F401

EXPORTED = [*FUNCTIONS_OF[FORMAT], MANIFEST, TVM_FUNCTION]

# Reads the input, and writes the first output of either network.
TWO = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "first.h"
#include "second.h"
int main(int argc, char **argv) {
  size_t inputs = (size_t)atol(argv[1]), outputs = (size_t)atol(argv[2]);
  float *input = malloc(4 * inputs), *output = malloc(4 * outputs);
  if (argc != 3 || fread(input, 4, inputs, stdin) != inputs) return 1;
  if (first_abi() != TSN_ABI || second_abi() != TSN_ABI || !strstr(second_describe(), "\\"second\\"")) return 2;
  if (first_run(input, output, aligned_alloc(64, first_workspace_bytes()))) return 3;
  fwrite(output, 4, outputs, stdout);
  memset(output, 0, 4 * outputs);
  if (second_run(input, output, aligned_alloc(64, second_workspace_bytes()))) return 4;
  return fwrite(output, 4, outputs, stdout) != outputs;
}
"""


def run_two(folder: Path, compiler: list, archives: list, given: np.ndarray, outputs: int, arch=None) -> np.ndarray:
    """What a C program of both archives computes of `given`: (2, outputs).  `arch` is the emulator's word."""
    (folder / "two.c").write_text(TWO)
    for prefix in ("first", "second"):
        (folder / f"{prefix}.h").write_text(header_of(prefix, team=False))
    argv = [*compiler, "-Wall", "-Werror", f"-I{folder}", f"-I{HEADER.parent}", folder / "two.c", *archives]
    subprocess.run([*argv, "-o", folder / "two"], check=True)
    command = [folder / "two", str(given.size), str(outputs)]
    command = emulator.command(*command, arch=arch) if arch else command
    done = subprocess.run(command, input=given.tobytes(), capture_output=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return np.frombuffer(done.stdout, np.float32).reshape(2, outputs)


def symbols(path: Path) -> tuple[set[str], set[str]]:
    """The global symbols that an object file or an archive defines, and those that it looks for."""
    nm = shutil.which("nm") or pytest.skip("there is no nm")
    rows = [line.split() for line in subprocess.check_output([nm, "-g", path], text=True).splitlines()]
    kinds = [(row[-2], row[-1]) for row in rows if len(row) >= 2]
    return {name for kind, name in kinds if kind not in "Uw"}, {name for kind, name in kinds if kind in "Uw"}


# ------------------------------------------------------------------------------- the number


def test_the_number_of_the_interface(toy):  # noqa: F811
    assert f"#define TSN_ABI {FORMAT} " in HEADER.read_text()
    library = tvm_shufflenet.load(toy())
    assert library.functions.tsn_abi() == library.manifest["format"] == FORMAT


def test_each_number_adds_to_the_one_before():
    for number in range(2, FORMAT + 1):
        assert FUNCTIONS_OF[number][: len(FUNCTIONS_OF[number - 1])] == FUNCTIONS_OF[number - 1]
        table = re.search(rf"^ \* +{number}   (?:of teams: )?(.*)$", HEADER.read_text(), re.M)
        before = FUNCTIONS_OF[number - 1] + TEAM_FUNCTIONS_OF[number - 1]
        added = [name for name in FUNCTIONS_OF[number] + TEAM_FUNCTIONS_OF[number] if name not in before]
        assert table and table[1].split(", ") == added


def test_symbols_carry_no_versions(toy):  # noqa: F811
    """As docs/abi.md promises: neither what the library has nor what it looks for."""
    contents = toy().read_bytes()
    assert b".gnu.hash\0" in contents and b".gnu.version" not in contents


# -------------------------------------------------------------------------------- prefixes


def test_names():
    assert renamed("tsn_run", "dogs") == "dogs_run" and renamed("tsn_run", "tsn") == "tsn_run"
    assert renamed("__tvm_ffi_main", "dogs") == "__tvm_ffi_dogs_main" and tvm_name("team", "dogs") == "dogs_team"


def test_a_header_declares_all_functions():
    text = header_of("dogs", team=True)
    declared = set(re.findall(r"\b(dogs_\w+)\(", text))
    expected = {*FUNCTIONS_OF[FORMAT], *(name for name in TEAM_FUNCTIONS_OF[FORMAT] if name.startswith("tsn_"))}
    assert declared == {renamed(name, "dogs") for name in expected}
    assert "team" not in header_of("dogs", team=False)


def test_a_shared_library_with_a_prefix(toy):  # noqa: F811
    import tvm

    path = toy(prefix="dogs", manifest={"name": "dogs"})
    assert set(read_elf(path).exported) == {renamed(name, "dogs") for name in EXPORTED}
    assert read_manifest(path)["prefix"] == "dogs"
    library = tvm_shufflenet.load(path)
    assert_right(library(IMAGE))
    arrays = [tvm.runtime.tensor(IMAGE), *(tvm.runtime.empty(shape, "float32") for shape in ((1, 7), (80,)))]
    tvm.runtime.load_module(str(path))["dogs_main"](*arrays)
    assert_right(arrays[1].numpy())


def test_a_prefix_and_a_manifest_that_differ(toy, tmp_path):  # noqa: F811
    path = tmp_path / "renamed.so"
    path.write_bytes(toy(prefix="dogs").read_bytes().replace(b'"prefix":"dogs"', b'"prefix":"cats"'))
    with pytest.raises(UserError, match="its functions are called dogs_, its manifest says otherwise"):
        read_manifest(path)


def test_measuring_a_library_with_a_prefix(build):
    """`compare`'s way in, TVM's function, on one thread and on a team's."""
    from tvm_shufflenet.measure.entries import Entry
    from tvm_shufflenet.measure.place import Place

    built = build("shufflenet-v1-0.25x-g3", size=(64, 64), prefix="dogs", team=True)
    entry = Entry("dogs", built.path, read_manifest(built.path))
    expected = tvm_shufflenet.load(built.path)(entry.arguments[0])
    for threads in (1, 2):
        function = Place(NATIVE.arch, threads=threads).load_network(built.path, entry.manifest, *entry.arguments)
        np.testing.assert_array_equal(function.run(result=1), expected)
    assert built.header.name == "dogs.h" and "dogs_run_team" in built.header.read_text()


# ------------------------------------------------------------- static libraries and object files


@pytest.mark.parametrize("arch", SPECS)
@pytest.mark.parametrize("emit", ["static", "object"])
def test_only_the_interface_is_global(toy, arch, emit):  # noqa: F811
    path = toy(SPECS[arch], emit=emit, prefix="dogs")
    defined, missing = symbols(path)
    assert defined == {renamed(name, "dogs") for name in EXPORTED}
    assert missing == {"TVMFFIErrorSetRaisedFromCStr", "dlsym"}
    assert toy(SPECS[arch], emit=emit, prefix="dogs").read_bytes() == path.read_bytes()
    with pytest.raises(UserError, match="is a static archive: link it" if emit == "static" else "it is not shared"):
        read_manifest(path)


def test_two_networks_in_one_program(build, tmp_path):
    """Real networks, whose kernels have the same names, beside the C library's own memcpy."""
    names = {"first": "shufflenet-v1-0.25x-g3", "second": "shufflenet-v2-0.5x"}
    archives = [
        build(model, size=(64, 64), emit="static", prefix=prefix, team=prefix == "first").path
        for prefix, model in names.items()
    ]
    given = picture((64, 64))
    found = run_two(tmp_path, [shutil.which("cc") or pytest.skip("there is no C compiler")], archives, given, 1000)
    for logits, model in zip(found, names.values()):
        net = network(model, (64, 64))
        assert relative_error(logits, twin_logits(net, random_parameters(net), given)[0]) < 1e-4


@pytest.mark.emulator
@pytest.mark.parametrize("arch", EMULATED)
@pytest.mark.parametrize("emit", ["static", "object"])
def test_two_networks_in_one_program_in_the_emulator(toy, tmp_path, arch, emit):  # noqa: F811
    archives = [
        toy(SPECS[arch], emit=emit, prefix=prefix, weights=weights)
        for prefix, weights in (("first", WEIGHTS), ("second", 2 * WEIGHTS))
    ]
    compiler = [*ZIG, "cc", "-target", link.ZIG_TARGETS[arch]]
    first, second = run_two(tmp_path, compiler, archives, IMAGE, 7, EMULATED[arch])
    assert_right(first)
    assert_right(second, weights=2 * WEIGHTS)


def test_another_compiler_joins_too(toy, tmp_path):  # noqa: F811
    compiler = shutil.which("gcc") or pytest.skip("there is no gcc")
    archives = [toy(emit="static", prefix=prefix, cc=compiler) for prefix in ("first", "second")]
    for logits in run_two(tmp_path, [compiler], archives, IMAGE, 7):
        assert_right(logits)


def test_objects_that_cannot_be_joined(toy):  # noqa: F811
    """As of a compiler that keeps code for a later step."""
    compiler = shutil.which("gcc") or pytest.skip("there is no gcc")
    with pytest.raises(
        UserError, match="the compiler made objects that cannot be joined: __gnu_lto_slim has no section"
    ):
        toy(emit="object", prefix="dogs", cc=f"{compiler} -flto -fno-fat-lto-objects -flinker-output=rel")


# --------------------------------------------------------------------------------- the command


def test_names_of_files(tmp_path, build):
    built = build("shufflenet-v1-0.25x-g3", size=(64, 64), name="network")
    assert built.path.name == "network.so" and built.described.name == "network.json" and built.described.exists()
    assert b"\0network.so\0" in built.path.read_bytes()  # the SONAME
    archive = build("shufflenet-v1-0.25x-g3", size=(64, 64), emit="static", prefix="first", team=True)
    assert archive.path.suffix == ".a" and archive.described == described_beside(archive.path)
    assert archive.described.name.endswith(".a.json") and archive.described.exists()


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--prefix", "2dogs"], "--prefix 2dogs: expected the beginning of names in C"),
        (["--prefix", "my-dogs"], "--prefix my-dogs: expected the beginning of names in C"),
        (["--prefix", "_dogs"], "--prefix _dogs: expected the beginning of names in C"),
        (["--prefix", "tvm_shufflenet"], "libraries without --prefix have that name"),
        (["--name", "a/b"], "--name 'a/b': expected a file's name without its ending"),
        (["--name", ""], "--name '': expected a file's name"),
        (["--name", "..x"], "--name '..x': expected a file's name"),
        (["alexnet", "vgg-16", "--name", "x"], "--name x is of one network, but 2 are named"),
        (["alexnet", "vgg-16", "--prefix", "x"], "--prefix x is of one network, but 2 are named"),
    ],
)
def test_names_that_make_no_sense(tmp_path, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build_command.main([*argv, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_other_files_than_there_are(tmp_path):
    with pytest.raises(UserError, match="--emit dll: expected so, static, object"):
        build_library(BuildOptions(emit="dll", output=tmp_path / "out"))
