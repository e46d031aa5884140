"""Libraries: how they are linked, what is in them, and every way to call one.

A toy network stands for all: it copies its input to the workspace and multiplies it by a matrix.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import tirx as T
from tvm.target import Target

import tvm_shufflenet
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import elf, link
from tvm_shufflenet.runtime.library import read_manifest
from tvm_shufflenet.targets import resolve

try:
    from tests import emulator
except ImportError:
    emulator = None

PROJECT = Path(__file__).resolve().parent.parent
SPECS = {"x86_64": "native", "aarch64": "arm", "arm": "armv7"}
EMULATED = {"aarch64": "aarch64", "arm": "armhf"}
EXPORTED = {"tsn_describe", "tsn_workspace_bytes", "tsn_run", "tsn_manifest", "__tvm_ffi_main"}
RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((7, 60), dtype=np.float32)
IMAGE = RNG.standard_normal((1, 3, 4, 5), dtype=np.float32)
NATIVE = resolve("native")


@I.ir_module(check_well_formed=False)
class Toy:
    @T.prim_func(s_tir=True)
    def main(
        x: T.Buffer((1, 3, 4, 5), "float32"),
        y: T.Buffer((1, 7), "float32"),
        workspace: T.Buffer((70,), "float32"),
    ):
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        data: T.let[T.handle] = T.call_extern("handle", "tsn_weights")
        weights = T.decl_buffer((7, 60), "float32", data=data)
        for i in range(70):
            workspace[i] = T.float32(0)
        for i in range(60):
            workspace[i] = x[0, i // 20, i // 5 % 4, i % 5]
        for k in range(7):
            y[0, k] = T.float32(0)
            for i in range(60):
                y[0, k] = y[0, k] + weights[k, i] * workspace[i]


def expected(image, weights=WEIGHTS):
    return image.reshape(1, 60) @ weights.T


def assert_close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Makes libraries: toy(spec), with other options for link()."""
    folder = tmp_path_factory.mktemp("toy")

    def make(spec, output=None, weights=WEIGHTS, manifest=None, cc=None):
        made = folder / f"{spec.name}.o"
        if not made.exists():
            tvm.tirx.build(Toy, target=Target(spec.tvm), pipeline="s_tir").write_to_file(str(made), "o")
        output = output or folder / f"{spec.name}-{len(list(folder.iterdir()))}.so"
        shapes = {"input_shape": (1, 3, 4, 5), "output_shape": (1, 7), "workspace_floats": 70}
        link.link(made, weights, manifest or {"name": "toy"}, **shapes, spec=spec, output=output, cc=cc)
        return output

    return make


@pytest.fixture(scope="session")
def libraries(toy):
    specs = {"x86_64": resolve("arm"), "aarch64": resolve("arm"), "arm": resolve("armv7")}
    return {arch: toy(NATIVE if arch == NATIVE.arch else spec) for arch, spec in specs.items() if _wanted(arch)}


def _wanted(arch):
    return arch in ("aarch64", "arm", NATIVE.arch)
