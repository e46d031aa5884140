"""`inspect`: what it says of each kind of file, and that it agrees with what the compiler did."""

from __future__ import annotations

import copy
import json

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.building.plan import plan_of
from tvm_shufflenet.cli import inspect as command
from tvm_shufflenet.cli.inspection import MISSING, library_view
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.manifest_checks import wrong
from tvm_shufflenet.library.plan import sound
from tvm_shufflenet.pipeline import compile_network
from tvm_shufflenet.reporting.facts import facts
from tvm_shufflenet.targets import resolve

from ..conftest import ROOT
from .test_commands import call, refused

NAME = "shufflenet-v1-0.25x-g3"
MOST = 20_000  # bytes that a plan may add to a library


@pytest.fixture(scope="module")
def built(build):
    return build(NAME, target="arm", size=(64, 64), classes=10)


def test_a_library_says_its_kernels_calls_and_memory(built):
    found = facts(built.path)
    net, target = network(NAME, (64, 64), 10), resolve("arm")
    compiled = compile_network(net, random_parameters(net, 0), target)
    plan = found["plan"]
    assert [row["kernel"] for row in plan["kernels"]] == [kernel.name for kernel in compiled.kernels]
    assert [row["knobs"] for row in plan["kernels"]] == [kernel.knobs for kernel in compiled.kernels]
    assert [row["layer"] for row in plan["calls"]] == [each.layer for each in compiled.program.calls]
    assert sum(row["multiply_adds"] for row in plan["calls"]) == net.multiply_adds()
    assert {row["root"]: row["offset"] for row in plan["memory"] if row["planes"]} == {
        root.name: offset for root, offset in compiled.plan.offsets.items()
    }
    assert len(json.dumps(built.manifest["plan"], separators=(",", ":"))) < MOST


def test_places_that_are_alive_at_once_do_not_overlap(built):
    rows = facts(built.path)["plan"]["memory"]
    assert all(row["offset"] + row["bytes"] <= built.manifest["workspace_bytes"] for row in rows)
    for one in rows:
        for other in rows:
            # An output may take the place of an input that dies in its call.
            both_alive = one is not other and one["first"] < other["last"] and other["first"] < one["last"]
            overlap = (
                one["offset"] < other["offset"] + other["bytes"] and other["offset"] < one["offset"] + one["bytes"]
            )
            assert not (both_alive and overlap), (one, other)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["shufflenet-v1-1x-g3", "shufflenet-v2-1x", "googlenet"])
def test_the_plan_of_a_large_network_is_small(model):
    net = network(model)
    compiled = compile_network(net, random_parameters(net, 0), resolve("native"))
    plan = plan_of(compiled.program, compiled.plan, compiled.kernels)
    assert len(json.dumps(plan, separators=(",", ":"))) < MOST


@pytest.mark.parametrize("form", [1, 2])
def test_an_old_library_has_no_plan_and_says_so(built, tmp_path, form):
    elf, manifest = read_elf(built.path), {**built.manifest, "format": form}
    text = elf.contents(elf.exported["tsn_manifest"])
    del manifest["plan"]
    if form == 1:
        manifest |= {"input_shape": [1, 3, 64, 64], "output_shape": [1, 10]}
        for key in ("inputs", "outputs", "probabilities"):
            del manifest[key]
    written = json.dumps(manifest, separators=(",", ":")).encode()
    path = tmp_path / "old.so"
    path.write_bytes(built.path.read_bytes().replace(text, written.ljust(len(text) - 1) + b"\0"))
    found = facts(path)
    assert found["format"] == form and found["plan"] == dict.fromkeys(("kernels", "calls", "memory"))
    lines = [part for part in library_view(found) if isinstance(part, str)]
    assert any(MISSING in line for line in lines)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: plan.pop("memory"),
        lambda plan: plan["calls"]["rows"].append([]),
        lambda plan: plan["calls"]["columns"].remove("kernel"),
        lambda plan: plan["memory"]["rows"][0].__setitem__(1, -1),
        lambda plan: plan["memory"]["rows"][0].__setitem__(1, True),
        lambda plan: plan["kernels"]["rows"][0].__setitem__(1, {"rows": "many"}),
        lambda plan: plan["calls"].__setitem__("rows", None),
    ],
)
def test_a_damaged_plan_is_refused(built, damage):
    plan = copy.deepcopy(built.manifest["plan"])
    assert sound(plan)
    damage(plan)
    assert not sound(plan) and wrong({**built.manifest, "plan": plan}) == "plan"


def test_a_checkpoint(tmp_path):
    net = network(NAME, (64, 64), 10)
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, random_parameters(net, 3), {"model": NAME, "size": "64x64", "recipe": "none"})
    found = facts(path)
    assert (found["kind"], found["model"], found["classes"]) == ("safetensors", NAME, 10)
    assert sum(row["multiply_adds"] for row in found["layers"]) == net.multiply_adds() == found["multiply_adds"]
    assert found["metadata"] == {"recipe": "none"}


def test_an_onnx_model():
    pytest.importorskip("onnx")
    found = facts(ROOT / "tests" / "cases" / "sn_batch4_17.onnx")
    assert found["kind"] == "ONNX" and found["operators"]["Conv"] == 49 and found["opsets"] == {"ai.onnx": 17}
    assert found["model"] == "shufflenet-v1-0.5x-g3"


def test_a_checkpoint_that_is_refused_still_shows_its_tensors():
    found = facts(ROOT / "tests" / "cases" / "shufflenet_unknown_names_stage2_stride1.pth")
    assert "--shuffle" in found["refused"] and found["tensors"][0]["shape"] == [24, 3, 3, 3]


def test_records():
    found = command.record_facts(ROOT / "tuning_logs" / "native")
    assert found["kernels"] and found == command.record_facts(ROOT / "tuning_logs" / "native" / "records.jsonl") | {
        "file": found["file"]
    }


@pytest.mark.parametrize("what", ["library", "records"])
def test_the_command(built, tmp_path, what):
    path = built.path if what == "library" else ROOT / "tuning_logs" / "native"
    done = call("inspect", path, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "found.json").read_text())["kind"] == what
    rule = [line for line in done.stdout.splitlines() if line.startswith("─")]
    assert rule and all(len(line) <= 100 for line in rule)


def test_refusals(tmp_path, built):
    (tmp_path / "empty.jsonl").touch()
    picture = ROOT / "examples" / "pictures" / "parachute.jpg"
    line = refused("inspect", tmp_path / "missing.so")
    assert line == f"error: {tmp_path / 'missing.so'}: no such file"
    (tmp_path / "text.so").write_text("no library")
    for name, said in ((str(tmp_path / "text.so"), "is not an ELF library"), (NAME, f"build {NAME}` makes a library")):
        with pytest.raises(UserError, match=said):
            command.main([name])
    assert "records.jsonl" in refused("inspect", tmp_path)
    for path, said in ((tmp_path / "empty.jsonl", "no tuning records"), (picture, "a picture")):
        with pytest.raises(UserError, match=said):
            command.main([str(path)])
    with pytest.raises(UserError, match="compiled already: leave out --style"):
        command.main([str(built.path), "--style", "own"])
    with pytest.raises(UserError, match="is built for .*, not 97x97"):
        command.main([str(built.path), "--size", "97"])
    with pytest.raises(UserError, match="no such folder"):
        command.main([str(built.path), "--json", str(tmp_path / "no" / "file.json")])


def test_an_archive_is_told_from_a_checkpoint(build):
    built = build("shufflenet-v1-0.25x-g3", size=(64, 64), emit="static", prefix="first", team=True)
    with pytest.raises(UserError, match="is a static archive: link it into a program"):
        command.main([str(built.path)])
