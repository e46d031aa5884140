"""A whole library under the address sanitizer, its kernels included: a program of random pictures, fuzz_camera.c.

    program = sanitized.build("shufflenet-v1-0.25x-g3", (64, 64), folder)
    subprocess.run([program, "100", "1"])  # 100 pictures, seed 1

TVM's LLVM code gets what makes Clang put a check in front of every load and store; the C sources get GCC's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building.manifest import manifest
from tvm_shufflenet.building.origin import Origin
from tvm_shufflenet.library.interface import ports
from tvm_shufflenet.library.link import link
from tvm_shufflenet.library.symbols import HEADER
from tvm_shufflenet.pipeline import compile_network
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.zig import zig

SOURCE = Path(__file__).with_name("fuzz_camera.c")
SANITIZE = "-fsanitize=address"
# `link` says -fno-sanitize=all, which the last word overrides.
COMPILER = """\
#!/bin/sh
exec {gcc} "$@" -fsanitize=address -g
"""


def build(model: str, size: tuple[int, int], folder: Path) -> Path:
    """The program; its test is skipped where there is no GCC with an address sanitizer."""
    gcc = shutil.which("gcc") or pytest.skip("there is no gcc")
    spec = resolve("native")
    if spec.arch != "x86_64":
        pytest.skip("Clang's checks and GCC's library are known to agree on x86-64")
    _check(gcc, folder)
    net = network(model, size)
    parameters = random_parameters(net)
    compiled = compile_network(net, parameters, spec, None)
    kernels, library = folder / "kernels.o", folder / "network.o"
    _instrument(compiled.code.inspect_source("ll"), kernels)
    (compiler := folder / "compiler").write_text(COMPILER.format(gcc=gcc))
    compiler.chmod(0o755)
    taken, given = ports(net)
    about = manifest(compiled, parameters, Origin("random, seed 0"), None)
    link(
        kernels, compiled.weights, about, inputs=taken, outputs=given,
        workspace_bytes=compiled.plan.bytes, spec=spec, output=library, cc=str(compiler), emit="object",
    )  # fmt: skip
    return link_program(folder, size, given[0].bytes // 4)


def link_program(folder: Path, size: tuple[int, int], outputs: int) -> Path:
    """The program of the library that `build` left in the folder, with so many floats of memory for its output."""
    program = folder / f"fuzz-{outputs}"
    macros = [f"-DHEIGHT={size[0]}", f"-DWIDTH={size[1]}", f"-DOUTPUTS={outputs}"]
    argv = [folder / "compiler", "-O1", "-Wall", *macros, f"-I{HEADER.parent}", SOURCE, folder / "network.o"]
    subprocess.run([*argv, "-o", program], check=True)
    return program


def _check(gcc: str, folder: Path) -> None:
    (folder / "none.c").write_text("int main(void) { return 0; }\n")
    if subprocess.run([gcc, SANITIZE, folder / "none.c", "-o", folder / "none"], capture_output=True).returncode:
        pytest.skip("gcc has no address sanitizer")


def _instrument(code: str, output: Path) -> None:
    """Compiles LLVM code with a check of each access; its globals are texts of TVM's, which nothing here reads."""
    marked, count = re.subn(r"^(attributes #\d+ = \{)", r"\1 sanitize_address", code, flags=re.M)
    assert count
    source = output.with_suffix(".ll")
    source.write_text(marked)
    target = ["-target", "x86_64-linux-gnu", "-Wno-override-module", "-mllvm", "-asan-globals=0"]
    argv = [zig(), "clang", *target, "-O1", "-fPIC", SANITIZE, "-c", "-x", "ir", source, "-o", output]
    subprocess.run(argv, check=True)
    assert b"__asan_report_load" in output.read_bytes()
