"""Which weights commands take: random ones for a network that is called by its name, trained ones when asked for."""

from __future__ import annotations

import json

import pytest

from tvm_shufflenet.bridge.shipped import FOLDER, shipped, trained
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.cli import classify, compare, profile
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.interface import outputs
from tvm_shufflenet.words import weights_line

from ..conftest import ROOT

TRAINED = "shufflenet-v1-0.5x-g3"  # a network of which weights/ has a file
RANDOM = "weights: random, seed 0; 1000 classes"


def test_a_name_alone_is_the_same_network_everywhere(tmp_path, capsys):
    """Although weights/ has a file for it."""
    small = ["--size", "64", "--target", "native", "--json", str(tmp_path / "told.json")]

    def told():
        assert RANDOM in capsys.readouterr().out
        return json.loads((tmp_path / "told.json").read_text())

    build_command.main([TRAINED, *small, "-o", str(tmp_path)])
    (built,) = told()
    assert outputs(built)[0].shape == (1, 1000) and built["class_names"] is None
    compare.main([TRAINED, *small, "--rounds", "1"])
    (compared,) = told()["networks"]
    profile.main([TRAINED, *small, "--rounds", "1"])
    profiled = told()["manifest"]
    by_function = build_library(BuildOptions(TRAINED, "native", (64, 64), output=tmp_path / "function")).manifest
    assert built["weights"] == compared["weights"] == profiled["weights"] == by_function["weights"]


def test_trained_weights_recognise_the_photograph(tmp_path, capsys):
    build_command.main([TRAINED, "--target", "native", "-o", str(tmp_path), "--weights", "trained"])
    said = capsys.readouterr().out
    assert f"weights: {TRAINED}.safetensors" in said and "; 10 classes: tench, " in said
    picture = str(ROOT / "examples" / "pictures" / "parachute.jpg")
    classify.main([str(tmp_path / f"{TRAINED}-native.so"), picture, "--json", str(tmp_path / "classes.json")])
    (found,) = json.loads((tmp_path / "classes.json").read_text())["pictures"]
    assert found["classes"][0]["name"] == "parachute"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["alexnet", "--weights", "trained"], f"no trained weights of alexnet .* only of: {TRAINED}"),
        ([TRAINED, "alexnet", "--weights", "trained"], "no trained weights of alexnet"),
        ([TRAINED, "--weights", "trained", "--classes", "1000"], "use --classes 10"),
        ([TRAINED, "--weights", "trained", "--seed", "1"], "--seed 1 is of random weights"),
        ([TRAINED, "--weights", "trained", "--stem", "4"], "--stem say how to read a checkpoint"),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit(tmp_path, arguments, said):
    with pytest.raises(UserError, match=said):
        build_command.main([*arguments, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_every_file_of_the_folder_is_found():
    files = set(FOLDER.glob("*.safetensors"))
    assert files and {trained(path.stem) for path in files} == files
    assert shipped("alexnet") is None


@pytest.mark.parametrize(
    "names, shapes, said",
    [
        (None, [[1, 1000]], "; 1000 classes"),
        (None, [[1, 1, 1, 1]], "; 1 class"),
        (["a", "b"], [[1, 2]], "; 2 classes: a, b"),
        (list("abcdefg"), [[1, 7]], "; 7 classes: a, b, c, d, e, ..."),
        (None, [[1, 8, 7, 7]], ""),
        (None, [[1]], ""),
        (None, [[1, 5], [1, 5]], ""),
    ],
)
def test_the_line_says_what_the_outputs_are(names, shapes, said):
    manifest = {"class_names": names, "outputs": [{"shape": s} for s in shapes], "weights": {"source": "a file"}}
    assert weights_line(manifest) == f"weights: a file{said}"
