"""`convert` to ONNX: each node says which kernel does its layer, and how long it takes."""

from __future__ import annotations

import json

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.cli import convert
from tvm_shufflenet.cli import profile as profile_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.reporting.kernel_notes import FREE

onnx = pytest.importorskip("onnx")
NAME = "shufflenet-v1-0.25x-g3"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("notes") / "small.safetensors"
    save_checkpoint(path, random_parameters(network(NAME, (64, 64))), {"model": NAME, "size": "64x64"})
    return path


def notes(path) -> dict[str, dict[str, str]]:
    """The metadata of nodes, by the layer that their names begin with."""
    model = onnx.load(path)
    onnx.checker.check_model(model)
    return {
        node.name.rpartition(".")[0]: {
            prop.key.removeprefix("tvm_shufflenet."): prop.value for prop in node.metadata_props
        }
        for node in model.graph.node
    }


def test_nodes_name_their_kernels(checkpoint, tmp_path):
    path = tmp_path / "small.onnx"
    convert.main([str(checkpoint), str(path), "--target", "cortex-a72"])
    found = notes(path)
    assert all(note["target"] == "cortex-a72" for note in found.values())
    assert found["stage2.1.conv1"]["kernel"].startswith("pointwise_") and "rows=" in found["stage2.1.conv1"]["knobs"]
    assert found["stage2.1.bn1"]["kernel"] == "none of its own: done in the kernel of stage2.1.conv1"
    assert found["stage2.1.add"]["kernel"] == "none of its own: done in the kernel of stage2.1.conv3"
    assert found["stage2.2.relu"]["kernel"] == "none of its own: done in the kernel of stage2.2.conv3"
    assert found["stage2.1.shuffle"]["kernel"] == found["stage2.0.concat"]["kernel"] == FREE
    assert not any("microseconds" in note for note in found.values())


def test_nodes_have_the_times_of_a_profile(checkpoint, tmp_path):
    path, profile = tmp_path / "small.onnx", tmp_path / "profile.json"
    profile_command.main([NAME, "--size", "64", "--rounds", "1", "--json", str(profile)])
    convert.main([str(checkpoint), str(path), "--profile", str(profile)])
    found, rows = notes(path), json.loads(profile.read_text())["calls"]
    times = {row["layers"][0]: 0.0 for row in rows}
    for row in rows:
        times[row["layers"][0]] += 1e3 * row["ms"]
    assert {
        name: float(note["microseconds"]) for name, note in found.items() if "microseconds" in note
    } == pytest.approx(times, abs=0.01)


def test_refusals(checkpoint, tmp_path):
    profile, path = tmp_path / "profile.json", tmp_path / "small.onnx"
    with pytest.raises(UserError, match="leave them out"):
        convert.main([str(checkpoint), str(tmp_path / "small.pth"), "--target", "arm"])
    profile.write_text("{}")
    with pytest.raises(UserError, match="no profile"):
        convert.main([str(checkpoint), str(path), "--profile", str(profile)])
    profile_command.main([NAME, "--size", "96", "--rounds", "1", "--json", str(profile)])
    with pytest.raises(UserError, match="whose layers are not those"):
        convert.main([str(checkpoint), str(path), "--profile", str(profile)])
    with pytest.raises(UserError, match="leave out --target"):
        convert.main([str(checkpoint), str(path), "--profile", str(profile), "--target", "arm"])
    assert not path.exists()
