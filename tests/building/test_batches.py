"""Libraries of several pictures a call: each picture's result is that of a library of one, to the bit."""

from __future__ import annotations

import ctypes
import json

import numpy as np
import pytest

from tvm_shufflenet import load
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.cli import build as build_command
from tvm_shufflenet.cli import classify, compare, evaluate, inspect
from tvm_shufflenet.cli.classify import write_raw
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.estimates import estimate
from tvm_shufflenet.library.camera import Image
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.measure import clocked, profiling
from tvm_shufflenet.pipeline import any_calibration
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.cores import core

from .. import fences
from ..conftest import ROOT

MODEL, SMALL = "shufflenet-v1-0.25x-g3", {"classes": 10, "size": (64, 64)}
PICTURES = 3
PHOTOGRAPH = ROOT / "examples" / "pictures" / "parachute.jpg"
NO_PICTURES = -6  # TSN_ERROR_PICTURES


@pytest.fixture(scope="module")
def one(build):
    return build(MODEL, team=True, **SMALL).path


@pytest.fixture(scope="module")
def several(build):
    return build(MODEL, team=True, batch=PICTURES, **SMALL).path


def pictures(path) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(read_manifest(path)["inputs"][0]["shape"], "float32")


def bits(rows) -> list:
    return [np.asarray(row).view("uint32").tolist() for row in rows]


def assert_as_alone(one, several):
    """Between fences, each picture's result is that of the library of one picture."""
    data = pictures(several)
    (found,) = fences.check(several, data)
    alone = [fences.check(one, data[i : i + 1])[0][0] for i in range(len(data))]
    assert len(found) == len(data) and bits(found) == bits(alone)


def test_each_picture_is_as_alone(one, several):
    assert_as_alone(one, several)


@pytest.mark.parametrize("model", [
    "shufflenet-v2-0.5x",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("shufflenet-v1-0.25x-g3-se", "mobilenet-v1-0.25")),
    *(pytest.param(name, marks=pytest.mark.full) for name in ("googlenet", "alexnet", "squeezenet-1.1")),
])  # fmt: skip
def test_each_picture_is_as_alone_in_every_family(build, model):
    size = (224, 224) if model == "alexnet" else (64, 64)
    assert_as_alone(*(build(model, size=size, classes=10, batch=batch).path for batch in (1, PICTURES)))


@pytest.mark.skipif(resolve("native").arch == "arm", reason="no precision but fp32 is for 32-bit processors")
def test_each_picture_is_as_alone_in_int8(build):
    """Also with threads; the classifier's weights are read once."""
    net = network(MODEL, SMALL["size"], SMALL["classes"])
    scales = any_calibration(net, random_parameters(net))
    options = {"precision": "int8", "calibration": scales, "team": True, **SMALL}
    one, several = (build(MODEL, batch=batch, **options) for batch in (1, PICTURES))
    assert_as_alone(one.path, several.path)
    assert several.manifest["plan"]["kernels"]["rows"][-1][0].startswith("int8_batched_dense")
    data = pictures(several.path)
    assert bits(load(several.path, 3, oversubscribe=True)(data)) == bits(load(several.path)(data))


@pytest.mark.full
@pytest.mark.parametrize("batch", [2, 61, 64])
def test_any_number_of_pictures(build, one, batch):
    assert_as_alone(one, build(MODEL, batch=batch, **SMALL).path)


def test_threads_share_the_work_of_a_batch(several):
    data = pictures(several)
    (expected,) = load(several).run(data)
    for threads in (2, 3):
        assert bits(load(several, threads, oversubscribe=True).run(data)[0]) == bits(expected)


@pytest.mark.emulator
def test_on_arm(build):
    assert_as_alone(*(build(MODEL, "arm", batch=batch, **SMALL).path for batch in (1, PICTURES)))


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("target,precision", [("armv7", "fp32"), ("cortex-a55", "fp16")])
def test_on_other_arms(build, target, precision):
    assert_as_alone(*(build(MODEL, target, batch=n, precision=precision, **SMALL).path for n in (1, PICTURES)))


def test_arrays_say_how_many(several, one):
    manifest = read_manifest(several)
    assert manifest["inputs"][0]["shape"] == [PICTURES, 3, 64, 64] and manifest["outputs"][0]["shape"] == [PICTURES, 10]
    assert manifest["batch"]["pictures"] == PICTURES and "batch" not in read_manifest(one)
    assert load(several).batch == PICTURES and "batch3" in several.name


def test_inspect_says_where_pictures_part(several, capsys):
    inspect.main([str(several)])
    head = read_manifest(several)["batch"]["head"]
    assert f"3 pictures a call: one after the other through the first {head} calls" in capsys.readouterr().out


# ----------------------------------------------------------------------------------- what commands do with them


def classes_of(path, tmp_path, count) -> list:
    classify.main([str(path), *[str(PHOTOGRAPH)] * count, "--json", str(tmp_path / "classes.json")])
    return json.loads((tmp_path / "classes.json").read_text())["pictures"]


def test_classify_fills_the_last_group(one, several, tmp_path):
    found = classes_of(several, tmp_path, PICTURES + 1)
    assert len(found) == PICTURES + 1 and found == classes_of(one, tmp_path, PICTURES + 1)


def test_a_raw_picture_fills_a_call(one, several, tmp_path):
    for path in (one, several):
        write_raw(load(path).manifest, str(PHOTOGRAPH), str(tmp_path / path.stem))
    assert (tmp_path / several.stem).read_bytes() == PICTURES * (tmp_path / one.stem).read_bytes()


@pytest.fixture(scope="module")
def of_three_classes(build, tmp_path_factory):
    """Libraries of one picture and of four."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    names = json.dumps(["tench", "English springer", "weather"])
    parameters = random_parameters(network(MODEL, (64, 64), 3), 5)
    save_checkpoint(checkpoint, parameters, {"model": MODEL, "size": "64", "class_names": names})
    return [build(MODEL, size=(64, 64), classes=3, weights=checkpoint, batch=batch).path for batch in (1, 4)]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluate_takes_groups(of_three_classes, labelled_pictures, tmp_path, workers):
    """Nine pictures: the last group has one."""
    arguments = [*map(str, of_three_classes), "--data", str(labelled_pictures), "--workers", str(workers)]
    evaluate.main([*arguments, "--json", str(tmp_path / "score.json")])
    found = json.loads((tmp_path / "score.json").read_text())
    assert found["images"] == 9 and found["difference"]["logits"] == 0
    assert found["top1"] == found["others"][0]["top1"]


def test_compare_counts_pictures(one, several, tmp_path, capsys):
    compare.main([str(one), str(several), "--rounds", "2", "--json", str(tmp_path / "times.json")])
    found = json.loads((tmp_path / "times.json").read_text())
    assert found["batch"] == [1, PICTURES]
    for row, batch in zip(found["networks"], (1, PICTURES)):
        assert row["batch"] == batch
        assert row["pictures_per_second"] == pytest.approx(batch / (1e-3 * row["minimum_ms"]))
        assert row["multiply_adds_per_second"] == pytest.approx(row["multiply_adds"] * row["pictures_per_second"])
    assert "batch 1 and 3, ms of a call" in capsys.readouterr().out


def test_profile_gives_times_of_one_picture(several, monkeypatch):
    """Where everything that is executed takes a second."""
    ticks = []
    monkeypatch.setattr(profiling, "seconds_of", lambda turns, steps: ticks.append(turns[0].shape[1]) or (
        np.ones((len(turns), steps)), np.full(len(turns), steps), np.zeros(len(turns))))  # fmt: skip
    found = profiling.profile(profiling.ProfileOptions(str(several), rounds=2))
    manifest = read_manifest(several)
    head, calls = manifest["batch"]["head"], len(manifest["plan"]["calls"]["rows"])
    assert found.batch == PICTURES and not found.differences and head == calls - 1 == len(found.calls) - 1
    assert [call.minimum for call in found.calls] == pytest.approx([1.0] * head + [1 / PICTURES])
    assert found.twin_seconds == pytest.approx([head + 1 / PICTURES] * 2)
    assert ticks == [PICTURES * head + 1 + 1 + clocked.PAIRS]
    assert sum(call.multiply_adds for call in found.calls) == manifest["multiply_adds"]
    classifier = found.calls[-1]
    assert classifier.kernel == "batched_dense_1" and classifier.weight_bytes == (10 * 240 + 10) * 4 // PICTURES


def test_images_of_a_camera_are_prepared_one_by_one(one, several):
    alone, library = load(one), load(several)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), "uint8")
    with pytest.raises(UserError, match="takes 3 pictures a call, run_image one: build it without --batch"):
        library.run_image(pixels)
    prepared = library.prepare_image(pixels)
    assert np.array_equal(prepared, alone.prepare_image(pixels))
    result, image = np.empty((PICTURES, 10), "float32"), Image.of(pixels)
    workspace = library.workspace_for(image).ctypes.data
    assert library.functions.tsn_run_image(ctypes.byref(image), result.ctypes.data, workspace) == NO_PICTURES
    (rows,) = library.run(np.concatenate([prepared] * PICTURES))
    best = (ctypes.c_int32 * 1)()
    for row in rows:
        assert library.functions.tsn_top_k(ctypes.c_void_p(row.ctypes.data), 1, best) == 1
        assert best[0] == alone.run_image(pixels)[0].argmax()


def test_what_does_not_take_several_pictures_says_so(several):
    data = pictures(several)
    for call, message in (
        (lambda: load(several).run(data[:1]), r"expected .*float32 of shape \(3, 3, 64, 64\)"),
        (lambda: estimate(several, core("cortex-a72")), "takes 3 pictures a call, the estimate one"),
    ):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.parametrize("arguments,message", [
    ([MODEL, "--batch", "0"], "--batch 0: expected 1 to 64"),
    ([MODEL, "--batch", "65"], "--batch 65: expected 1 to 64"),
    ([MODEL, "--size", "8192x8192", "--batch", "64"], "bytes of an array, expected at most"),
])  # fmt: skip
def test_what_cannot_be_built_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        build_command.main([*arguments, "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
