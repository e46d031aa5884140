"""Libraries for macOS and iOS: what is in the files.  None was loaded: docs/what-was-run.md."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
from pathlib import Path

import pytest

from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.building.apple import apple_options, write_xcframework
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.cli import inspect as inspect_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT, FUNCTIONS_OF, MANIFEST, TEAM_FUNCTIONS_OF, TVM_FUNCTION
from tvm_shufflenet.library.macho import read_macho
from tvm_shufflenet.library.symbols import HEADER, renamed
from tvm_shufflenet.measure.packing import PackOptions, pack
from tvm_shufflenet.zig import zig

EXPORTED = {*FUNCTIONS_OF[FORMAT], *TEAM_FUNCTIONS_OF[FORMAT], MANIFEST, TVM_FUNCTION}
LINKERS = {"_mh_dylib_header", "__dso_handle"}  # Zig's linker adds both
# Of libSystem, which every program has.
SYSTEM = {"dlsym", "memcpy", "memmove", "memset", "bzero", "dyld_stub_binder"}


def toy(folder: Path, target: str, **options):
    """A small network with all that a library has: threads, pictures, labels, a kernel of each kind."""
    net = NetworkBuilder((16, 16))
    x = net.conv("conv", 0, 8, 3, pad=1)
    network = net.network("toy", outputs=[net.dense("fc", net.global_avg_pool("pool", x), 7)])
    return build_library(
        BuildOptions(target=target, network=network, output=folder, team=True, records=None, **options)
    )


@pytest.fixture(scope="module")
def dylib(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("dylib"), "apple-macos", name="libtoy")


def members(archive: Path, folder: Path) -> list:
    folder.mkdir()
    subprocess.run([zig(), "ar", "x", archive], cwd=folder, check=True)
    return [read_macho(each) for each in sorted(folder.iterdir())]


def test_shared_library_for_macos(dylib):
    assert dylib.path.name == "libtoy.dylib" and dylib.described.name == "libtoy.json"
    found = read_macho(dylib.path)
    assert found.shared and found.signed and (found.system, found.least) == ("macos", (11, 0))
    assert found.name == "@rpath/libtoy.dylib"
    assert found.needed == ("/usr/lib/libSystem.B.dylib",)  # the loader of macOS asks for it
    assert set(found.exported) - LINKERS == EXPORTED
    assert set(found.undefined) <= SYSTEM
    data = dylib.path.read_bytes()
    at = data.index(b'{"format":')
    about = json.loads(data[at : data.index(b"\0", at)])
    assert about == dylib.manifest and about["arch"] == "aarch64" and about["needs"] == []


def test_equal_builds_are_equal_to_the_byte(dylib, tmp_path):
    folder = tmp_path / "another folder"
    assert toy(folder, "apple-macos", name="libtoy").path.read_bytes() == dylib.path.read_bytes()
    archives = [toy(tmp_path / name, "apple-ios", emit="static").path.read_bytes() for name in ("a", "b c")]
    assert archives[0] == archives[1]


def test_archive_for_ios(tmp_path):
    built = toy(tmp_path, "apple-ios", emit="static", prefix="my_dogs")
    assert built.path.suffix == ".a" and built.header.name == "my_dogs.h"
    found = members(built.path, tmp_path / "members")
    assert {(each.system, each.least, each.shared) for each in found} == {("ios", (13, 0), False)}
    exported = {name for each in found for name in each.exported}
    assert exported == {renamed(name, "my_dogs") for name in EXPORTED}
    private = {name for each in found for name in each.private}
    assert all(name.startswith("my_dogs_own") for name in private)
    assert {name for each in found for name in each.undefined} - exported - private <= SYSTEM


def test_a_program_for_macos_links_two_archives(tmp_path):
    """Hidden functions of both have names of their own.  Linked, never run."""
    archives = [toy(tmp_path, "apple-macos", emit="static", prefix=name, name=name).path for name in ("one", "two")]
    (tmp_path / "main.c").write_text(
        '#include "one.h"\n#include "two.h"\nint main(void) { return one_run(0, 0, 0) + two_run(0, 0, 0); }\n'
    )
    argv = [zig(), "cc", "-target", "aarch64-macos.11.0", f"-I{tmp_path}", tmp_path / "main.c", *archives]
    subprocess.run([*argv, "-o", tmp_path / "program"], check=True)
    assert (tmp_path / "program").read_bytes().count(b'{"format":') == 2


def test_several_sizes(tmp_path):
    argv = ["shufflenet-v1-0.25x-g3", "--size", "32", "--size", "64", "--target", "apple-macos", "--one-thread"]
    build_command.main([*argv, "--default-schedules", "--name", "two", "-o", str(tmp_path)])
    exported = set(read_macho(tmp_path / "two.dylib").exported)
    assert {"tsn_run", "tsn_64x64_run"} <= exported and not [name for name in exported if "own" in name]


def test_half_precision_where_every_processor_has_it(tmp_path):
    with pytest.raises(UserError, match="--precision fp16: target apple-ios lacks fullfp16"):
        toy(tmp_path, "apple-ios", emit="static", precision="fp16")
    built = toy(tmp_path, "apple-macos", precision="fp16")
    assert built.manifest["needs"] == ["asimdhp"]
    assert set(read_macho(built.path).undefined) <= SYSTEM


@pytest.mark.parametrize("argv, message", [
    (["--target", "apple-ios"], "apps of iOS link a static library, add --emit static"),
    (["--target", "apple-macos", "--emit", "object"], "is several objects, take --emit static"),
    (["--target", "apple-macos", "--cc", "cc"], "ziglang links for apple-macos, leave it out"),
])  # fmt: skip
def test_refused(tmp_path, argv, message):
    with pytest.raises(UserError, match=message):
        build_command.main(["shufflenet-v1-0.25x-g3", *argv, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_program_for_boards_is_refused(tmp_path):
    with pytest.raises(UserError, match="--target apple-macos: the program is one for Linux or Android"):
        pack(PackOptions(("shufflenet-v1-0.25x-g3",), "apple-macos", output=tmp_path / "program"))


def test_commands_for_linux_tell_a_dylib(dylib):
    with pytest.raises(UserError, match="is not an ELF library"):
        inspect_command.main([str(dylib.path)])


def test_other_files_are_no_macho(tmp_path, dylib):
    path, good = tmp_path / "file", dylib.path.read_bytes()
    for data in (b"", b"\x7fELF" + bytes(100), good[:20], good[:400], good[: len(good) // 2]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="is no Mach-O file of 64-bit Arm"):
            read_macho(path)
    with pytest.raises(UserError, match="cannot read"):
        read_macho(tmp_path / "nothing")


def arguments(text: str, start: int) -> int:
    """The number of arguments between the bracket that ends before `start` and the one that closes it."""
    depth, commas, at = 1, 0, start
    while depth:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[at], 0)
        commas += text[at] == "," and depth == 1
        at += 1
    return commas + 1 if text[start : at - 1].strip() else 0


def check_swift(source: Path, framework: Path) -> None:
    """Names and numbers of arguments in Swift against the headers of C: no compiler of Swift is there."""
    text = re.sub(r"^ *//.*$", "", source.read_text(), flags=re.M)
    (headers,) = {path.parent for path in framework.glob("ios-*/Headers/*/dogs.h")}
    functions, common = ((headers / name).read_text() for name in ("dogs.h", HEADER.name))
    takes = {}
    for each in re.finditer(r"\b(dogs_\w+)\(", functions):
        nothing = functions[each.end() :].startswith("void)")
        takes[each[1]] = 0 if nothing else arguments(functions, each.end())
    called = {(each[1], arguments(text, each.end())) for each in re.finditer(r"\b(dogs_\w+)\(", text)}
    assert len(called) == 9 and called <= set(takes.items())
    constants = {word: int(value) for word, value in re.findall(r"#define TSN_(\w+) \(?(-?\d+)\)?", common)}
    assert set(re.findall(r"\bTSN_(\w+)", text)) <= set(constants)
    formats = re.search(r"enum PixelFormat: Int32 \{\s*case (.*)", text)[1].split(", ")
    assert len(formats) == 7
    for name, number in (each.split(" = ") for each in formats):
        assert constants[name.upper()] == int(number)
    structure = re.search(r"typedef struct \{(.*?)\} tsn_image;", common, re.S)[1]
    assert set(re.findall(r"\bimage\.(\w+)", text)) <= set(re.findall(r"(\w+)[;,]", structure))
    assert "import dogs\n" in text and "module dogs {" in (headers / "module.modulemap").read_text()
    assert "inputShape: [Int] = [1, 3, 8, 8]" in text and "outputShapes: [[Int]] = [[1, 7]]" in text
    assert "$" not in text and text.count("{") == text.count("}")


def test_xcframework(tmp_path):
    """Clang reads the module and its headers for both systems, as Objective-C imports them; Swift takes the same."""
    network = NetworkBuilder((8, 8))
    x = network.conv("conv", 0, 5, 3, pad=1)
    network = network.network("toy", outputs=[network.dense("fc", network.global_avg_pool("pool", x), 7)])
    options = BuildOptions(network=network, name="dogs", records=None)
    built = {system: build_library(each) for system, each in apple_options(options, tmp_path / "made").items()}
    for _ in range(2):  # the second in the place of the first
        path = write_xcframework(built, "dogs", tmp_path / "out")
    assert sorted(each.name for each in path.parent.iterdir()) == ["Package.swift", "Sources", "dogs.xcframework"]
    check_swift(path.parent / "Sources" / "dogsNetwork" / "Network.swift", path)
    text = (tmp_path / "out" / "Package.swift").read_text()
    assert '.binaryTarget(name: "dogs", path: "dogs.xcframework")' in text and '.macOS("11.0"), .iOS("13.0")' in text
    assert 'targets: ["dogs", "dogsNetwork"]' in text and '.target(name: "dogsNetwork", dependencies: ["dogs"])' in text
    about = plistlib.loads((path / "Info.plist").read_bytes())
    assert [each["SupportedPlatform"] for each in about["AvailableLibraries"]] == ["ios", "macos"]
    (tmp_path / "main.m").write_text("@import dogs;\nint main(void) { return dogs_run(0, 0, 0) + TSN_ABI; }\n")
    for each in about["AvailableLibraries"]:
        place = path / each["LibraryIdentifier"]
        assert (place / each["LibraryPath"]).read_bytes() == built[each["SupportedPlatform"]].path.read_bytes()
        target = f"arm64-apple-{each['SupportedPlatform']}13.0"
        argv = [zig(), "clang", "-target", target, "-ffreestanding", "-fmodules", f"-fmodules-cache-path={tmp_path}"]
        argv += [f"-I{Path(zig()).parent / 'lib' / 'include'}", f"-I{place / each['HeadersPath']}", "-fsyntax-only"]
        subprocess.run([*argv, "-Werror", tmp_path / "main.m"], check=True)


@pytest.mark.parametrize("argv, message", [
    (["--target", "cortex-a72"], "leave --target out"),
    (["--prefix", "dogs"], "leave --prefix out"),
    (["--name", "two-dogs"], "--name two-dogs: of an XCFramework"),
    (["--package"], "--apple goes with neither --package nor --android"),
    (["alexnet"], "--apple is of one network, but 2 are named"),
])  # fmt: skip
def test_refused_of_an_xcframework(tmp_path, argv, message):
    with pytest.raises(UserError, match=message):
        build_command.main(["shufflenet-v1-0.25x-g3", *argv, "--apple", "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
