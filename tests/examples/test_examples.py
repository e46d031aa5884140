"""The examples in C++ and Rust, and what CMake and pkg-config read, each compiled and run on this machine.

`examples/c` is tested in tests/library/.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tvm_shufflenet
from tvm_shufflenet.building.package import write_package
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import FORMAT
from tvm_shufflenet.library.preprocess import probabilities

from ..conftest import ROOT

EXAMPLES = ROOT / "examples"
MODEL = "shufflenet-v1-0.25x-g3"


def tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"there is no {name}")


@pytest.fixture(scope="module")
def shared(build):
    built = build(MODEL, size=(64, 64), name="network")
    write_package(built)
    return built.path


@pytest.fixture(scope="module")
def archive(build):
    built = build(MODEL, size=(64, 64), name="network", emit="static")
    write_package(built)
    return built.path


@pytest.fixture(scope="module")
def ppm(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "picture.ppm"
    with Image.open(EXAMPLES / "pictures" / "parachute.jpg") as opened:
        opened.convert("RGB").save(path)
    return path


def assert_classes(text: str, shared: Path, ppm: Path) -> None:
    """What a program printed is what Python says of the picture."""
    library = tvm_shufflenet.load(shared)
    with Image.open(ppm) as opened:
        shares = probabilities(library.run_image(np.asarray(opened))[0])
    best = np.argsort(-shares, kind="stable")[:5]
    rows = [line.split(" ", 1) for line in text.splitlines()]
    assert [float(share) for share, _ in rows] == pytest.approx(shares[best].tolist(), abs=1e-4)
    assert [name for _, name in rows] == [f"class {index}" for index in best]  # random weights know no names


def failed(*argv) -> str:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    return done.stderr


@pytest.mark.parametrize("emit", ["shared", "archive"])
def test_cpp_through_cmake(request, shared, emit, ppm, tmp_path):
    cmake, library = tool("cmake"), request.getfixturevalue(emit)
    tool("c++")
    moved = shutil.copytree(library.parent, tmp_path / "moved")  # the files name no folder
    prefix = f"-DCMAKE_PREFIX_PATH={moved}"
    strict = "-DCMAKE_CXX_FLAGS=-Werror"
    subprocess.run([cmake, "-S", EXAMPLES / "cpp", "-B", tmp_path / "out", prefix, strict], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run([cmake, "--build", tmp_path / "out"], check=True, stdout=subprocess.DEVNULL)
    program = tmp_path / "out" / "classify"
    assert_classes(subprocess.check_output([program, ppm], text=True), shared, ppm)
    assert "expected a PPM file" in failed(program, library)
    assert "usage" in failed(program)


def test_cmake_refuses_an_old_library(shared, tmp_path):
    cmake = tool("cmake")
    newer = f"cmake_minimum_required(VERSION 3.18)\nproject(x NONE)\nfind_package(network {FORMAT + 1} CONFIG REQUIRED)"
    (tmp_path / "CMakeLists.txt").write_text(newer)
    argv = [cmake, "-S", tmp_path, "-B", tmp_path / "out", f"-DCMAKE_PREFIX_PATH={shared.parent}"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode and f"version: {FORMAT}" in done.stderr


@pytest.mark.parametrize("emit", ["shared", "archive"])
def test_cpp_through_pkg_config(request, shared, emit, ppm, tmp_path):
    library, compiler = request.getfixturevalue(emit), tool("c++")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(library.parent)}
    argv = [tool("pkg-config"), "--cflags", "--libs", f"network >= {FORMAT}"]
    options = shlex.split(subprocess.check_output(argv, env=environment, text=True))
    source = EXAMPLES / "cpp" / "classify.cpp"
    subprocess.run([compiler, "-std=c++20", "-O1", source, *options, "-o", tmp_path / "classify"], check=True)
    done = subprocess.run([tmp_path / "classify", ppm], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_classes(done.stdout, shared, ppm)


def test_rust(shared, archive, ppm, tmp_path):
    environment = {**os.environ, "NETWORK_DIR": str(archive.parent), "CARGO_TARGET_DIR": str(tmp_path / "out")}
    crate = shutil.copytree(EXAMPLES / "rust", tmp_path / "rust")  # cargo writes a file beside Cargo.toml
    argv = [tool("cargo"), "build", "--offline", "--quiet", "--manifest-path", crate / "Cargo.toml"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    program = tmp_path / "out" / "debug" / "classify"
    assert_classes(subprocess.check_output([program, ppm], text=True), shared, ppm)
    assert "expected a PPM file" in failed(program, archive.with_name("network.a.json"))


def test_an_object_file_has_no_package():
    with pytest.raises(UserError, match="--package describes a library: --emit so or --emit static"):
        build_command.main([MODEL, "--package", "--emit", "object"])


# ------------------------------------------------------------------------------------- the unit


def unit(section: str) -> dict[str, str]:
    lines = (EXAMPLES / "board" / "tvm-rpc.service").read_text().split(f"[{section}]")[1].split("\n[")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_unit_starts_a_server():
    """The command of the unit, with this Python and a free port, is a server that a session reaches."""
    from tvm import rpc

    tool("taskset")
    service = unit("Service")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = dict(word.split("=", 1) for word in service["Environment"].split())
    assert given.keys() == {"CORE", "KEY", "PORT"}
    given |= {"CORE": str(min(os.sched_getaffinity(0))), "PORT": str(port)}
    words = re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], service["ExecStart"]).split()
    words = [sys.executable if word == "/opt/tvm/bin/python" else word for word in words]
    argv = [*words, "--port-end", str(port + 1)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for attempt in range(100):
            try:
                session = rpc.connect("127.0.0.1", port, key=given["KEY"])
                break
            except Exception:
                assert attempt < 99 and server.poll() is None, "no server came up"
                time.sleep(0.2)
        assert session.cpu().exist
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def test_the_unit_is_sound():
    analyze = tool("systemd-analyze")
    done = subprocess.run([analyze, "verify", EXAMPLES / "board" / "tvm-rpc.service"], capture_output=True, text=True)
    wrong = [line for line in done.stderr.splitlines() if "tvm-rpc" in line and "not executable" not in line]
    assert not wrong
