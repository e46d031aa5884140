"""Damaged files: each reader gives a result or one line, whatever the damage; commands leave nothing behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.library.manifest_checks import wrong

from ..conftest import ROOT
from ..fuzz_readers import READERS, damaged, failure

COUNT = 300


@pytest.mark.parametrize("name", ["records", "target", "elf", "manifest", "prototxt", "caffemodel"])
def test_readers_refuse_in_one_line(tmp_path, name):
    """The same damage every time: `python -m tests.fuzz_readers` goes on where this ends."""
    reader = READERS[name]
    seeds, path = reader.seeds(), tmp_path / f"file{reader.suffix}"
    for seed in seeds:
        path.write_bytes(seed)
        assert failure(reader, path) is None
        reader.read(path)
    for number in range(COUNT):
        path.write_bytes(damaged(name, seeds, number))
        assert failure(reader, path) is None, number


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads(READERS["manifest"].seeds()[0])


def port(**changes) -> dict:
    return {"name": "input", "shape": [1, 3, 64, 64], "dtype": "float32", "layout": "NCHW", **changes}


@pytest.mark.parametrize("key, value", [
    ("inputs", []), ("inputs", {}), ("inputs", [port(shape=[1, 3, 0, 64])]), ("inputs", [port(shape="1")]),
    ("inputs", [port(shape=[1, 3, 1 << 20, 1 << 20])]), ("inputs", [port(shape=[2, 3, 64, 64])]),
    ("inputs", [port(name=1)]),
    ("inputs", [port(layout=None)]), ("inputs", [port(), {"name": "second"}]), ("outputs", [port(shape=[])]),
    ("outputs", [port(shape=[1, True])]), ("outputs", [port(dtype="float64")]), ("outputs", None), ("probabilities", 1),
    ("workspace_bytes", -64), ("workspace_bytes", 65), ("workspace_bytes", 1 << 50), ("workspace_bytes", 64.0),
    ("model", None), ("features", "+neon"), ("features", [1]), ("class_names", {}), ("class_names", ["a", 1]),
    ("preprocessing", {}), ("weights", {"source": 1, "sha256": "0" * 64}), ("weights", {"source": "", "sha256": "x"}),
    ("multiply_adds", -1), ("multiply_adds", 1e6), ("kernels", []), ("versions", {"a": 1}),
    ("note", "\ud800"), ("network", {}),
])  # fmt: skip
def test_manifests_that_make_no_sense(manifest, key, value):
    assert wrong(manifest) is None
    assert wrong({**manifest, key: value}) == key


@pytest.mark.parametrize(
    "key", ["model", "weights", "kernels", "inputs", "outputs", "probabilities", "workspace_bytes"]
)
def test_manifests_that_miss_something(manifest, key):
    assert wrong({name: value for name, value in manifest.items() if name != key}) == key


def test_commands_refuse_a_damaged_library_in_one_line(tmp_path):
    """Its manifest: the code of a library that is damaged elsewhere cannot be told from good code."""
    (good,) = READERS["elf"].seeds()
    path = tmp_path / "net.so"
    path.write_bytes(re.sub(rb'"workspace_bytes":\d', b'"workspace_bytes":-', good, count=1))  # as long as before
    with pytest.raises(UserError, match="is damaged"):
        read_manifest(path)
    picture = ROOT / "examples" / "pictures" / "parachute.jpg"
    for command in (["classify", path, picture], ["compare", path], ["profile", path],
                    ["evaluate", path, "--data", "x"],
                    ["estimate", path]):  # fmt: skip
        argv = [sys.executable, "-m", f"tvm_shufflenet.{command[0]}", *map(str, command[1:])]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: "), (
            command,
            done,
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.so"]
