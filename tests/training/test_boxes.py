"""Pictures with boxes: what is read and refused, how views move boxes, how detectors learn and are measured."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.cli import evaluate, train
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import Imported, load_network, save_network
from tvm_shufflenet.library.detection import Detected
from tvm_shufflenet.library.processors import allowed_processors
from tvm_shufflenet.training.average_precision import Found, average_precision
from tvm_shufflenet.training.box_loader import random_view, whole_view
from tvm_shufflenet.training.box_loss import matched, ssd_loss
from tvm_shufflenet.training.boxes import Boxes, checked_sizes, find_boxes

pytest.importorskip("pycocotools")
NAME, SIDE = "ssdlite-shufflenet-v2-0.5x", 64
COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}


def sheet(objects, size=(80, 60)) -> str:
    """An XML file of Pascal VOC's."""
    found = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
        f"<ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in objects
    )
    extents = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{extents}{found}</annotation>"


@pytest.fixture
def squares(tmp_path) -> Path:
    """A folder with train/ and val/: pictures of 80x60 pixels with a red or a blue square, and their XML files."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        folder = tmp_path / "squares" / split
        folder.mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(90, 160, (60, 80, 3), np.uint8)
            name, (x, y) = ("red", "blue")[index % 2], rng.integers(0, 36, 2)
            pixels[y : y + 24, x : x + 32] = COLOURS[name]
            Image.fromarray(pixels).save(folder / f"{index}.png")
            (folder / f"{index}.xml").write_text(sheet([(name, (x, y, x + 32, y + 24))]))
    return tmp_path / "squares"


@pytest.mark.slow
@pytest.mark.skipif(allowed_processors() < 2, reason="two threads need two processors")
def test_threads_find_the_same_boxes(build, squares, tmp_path):
    """Of a library of several outputs, evaluated with one thread and with two, and in two processes of one thread."""
    net = network(NAME, (SIDE, SIDE), 2)
    save_network(tmp_path / "d.safetensors", Imported(net, random_parameters(net), "ours", ["blue", "red"]))
    library = build(None, weights=tmp_path / "d.safetensors", team=True).path
    arguments, results = [str(library), "--data", str(squares), "--json", str(tmp_path / "found.json")], []
    for options in (["--workers", "0"], ["--workers", "0", "--threads", "2"], ["--workers", "2"]):
        evaluate.main([*arguments, *options])
        results.append(json.loads((tmp_path / "found.json").read_text()))
    assert results[0] == results[1] == results[2] and results[0]["images"] == 4


# --------------------------------------------------------------------------------- reading


def test_folder_tar_and_coco_are_the_same(squares, tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        archive.add(squares / "train", "train")
    folder, tar = find_boxes(squares, "train"), find_boxes(tmp_path / "train.tar", "train")
    document = {
        "images": [{"id": 7 + i, "file_name": f"{i}.png", "width": 80, "height": 60} for i in range(8)],
        "categories": [{"id": 9, "name": "red"}, {"id": 3, "name": "blue"}, {"id": 12, "name": "green"}],
        "annotations": [
            {"image_id": 7 + i, "category_id": 9 if i % 2 == 0 else 3, "iscrowd": 0,
             "bbox": [*map(float, b.sides[0, :2]), 32.0, 24.0]}
            for i, b in enumerate(folder.boxes)
        ],
    }  # fmt: skip
    coco = tmp_path / "coco"
    shutil.copytree(squares / "train", coco / "images", ignore=shutil.ignore_patterns("*.xml"))
    (coco / "train.json").write_text(json.dumps(document))
    third = find_boxes(coco, "train")
    assert folder.class_names == tar.class_names == ("blue", "red") and third.class_names == ("blue", "red", "green")
    assert third.notices == ("the class green has no box",) and folder.notices == tar.notices == ()
    for one, other, last in zip(folder.boxes, tar.boxes, third.boxes):
        assert np.array_equal(one.sides, other.sides) and np.array_equal(one.sides, last.sides)
        assert one.labels == other.labels == last.labels and one.size == (80, 60) == last.size
    assert folder.pictures.read(3) == tar.pictures.read(3) == third.pictures.read(3)
    assert checked_sizes(third) == [(80, 60)] * 8


def test_annotations_in_a_folder_of_their_own(squares):
    (squares / "Annotations").mkdir()
    (squares / "JPEGImages").mkdir()
    for file in (squares / "train").iterdir():
        file.rename(squares / ("Annotations" if file.suffix == ".xml" else "JPEGImages") / file.name)
    shutil.rmtree(squares / "val")
    shutil.rmtree(squares / "train")
    assert len(find_boxes(squares, "train")) == 8


def test_what_is_odd_is_said(squares):
    folder = squares / "train"
    (folder / "0.xml").write_text(sheet([("red", (-5, 10, 20, 70)), ("red", (90, 5, 120, 20)), ("red", (5, 5, 5, 9))]))
    (folder / "1.xml").write_text(sheet([]))
    found = find_boxes(squares, "train")
    assert found.boxes[0].sides.tolist() == [[0, 10, 20, 60]] and len(found.boxes[1]) == 0
    assert [notice.split(",")[0] for notice in found.notices] == [
        "2 boxes reach out of their pictures and were cut off",
        "2 boxes have no area within their pictures and were left out",
        "1 pictures have no boxes: all of each is background",
    ]
    assert found.notices[0].endswith("first in train/0.png")


@pytest.mark.parametrize(
    "content,message",
    [
        ("<annotation><object>", "1.xml is no whole XML file: "),
        ("<html></html>", "1.xml: its root is <html>, expected Pascal VOC's <annotation>"),
        ("<annotation><object></object></annotation>", "1.xml: its object 1 has no <name>"),
        ("<annotation><object><name>red</name></object></annotation>", "no <bndbox> of four numbers"),
        (sheet([("red", (1, 2, "x", 4))]), "1.xml: its object 1 has no <bndbox> of four numbers"),
        (sheet([("red", (1, 2, "nan", 4))]), "1.xml: its object 1 has no <bndbox> of four numbers"),
        (None, "1.png has no annotation, and 0 more: expected 1.xml"),
    ],
)
def test_broken_xml_is_named(squares, content, message):
    file = squares / "train" / "1.xml"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(UserError, match=message):
        find_boxes(squares, "train")


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda d: d.pop("images"), "no whole JSON file of COCO's: its entry 'images' is missing"),
        (lambda d: d["annotations"][0].update(image_id=5), "its entry 5 is missing"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2]), "no whole JSON file"),
        (lambda d: d["images"][0].update(file_name="z.png"), "names z.png, of which there is none"),
        (lambda d: d["categories"].append({"id": 2, "name": "red"}), "two categories have one name"),
    ],
)
def test_broken_json_is_named(squares, change, message):
    for file in (squares / "train").glob("*.xml"):
        file.unlink()
    document = {
        "images": [{"id": 0, "file_name": "0.png"}], "categories": [{"id": 1, "name": "red"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40]}],
    }  # fmt: skip
    file = squares / "train" / "boxes.json"
    file.write_text(json.dumps(document))
    (notice,) = find_boxes(squares, "train").notices
    assert "7 pictures that train/boxes.json does not name are left out" in notice
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        find_boxes(squares, "train")


def test_other_faults_are_named(squares, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        find_boxes(tmp_path / "empty", "train")
    with pytest.raises(UserError, match="no such folder"):
        find_boxes(tmp_path / "missing", "train")
    (squares / "train" / "0.xml").write_text(sheet([("red", (1, 2, 30, 40))], size=(640, 480)))
    with pytest.raises(UserError, match=r"0.png: the picture has 80x60 pixels, its annotation says 640x480"):
        checked_sizes(find_boxes(squares, "train"))
    with pytest.raises(UserError, match="mine knows no class blue"):
        find_boxes(squares, "train").named(["red"], "mine")
    for file in (squares / "train").glob("*.xml"):
        file.write_text(sheet([]))
    with pytest.raises(UserError, match="have no box at all"):
        find_boxes(squares, "train")
    for file in (squares / "train").glob("*.xml"):
        file.unlink()
    with pytest.raises(UserError, match="holds no annotations"):
        find_boxes(squares, "train")


# ----------------------------------------------------------------------------------- views


def test_boxes_move_with_what_they_are_around():
    """The box in the view is where the square is; what is mostly outside has none."""
    rng, kept = np.random.default_rng(0), 0
    for seed in range(60):
        x, y = rng.integers(0, 160, 2)
        pixels = np.zeros((240, 240, 3), np.uint8)
        pixels[y : y + 60, x : x + 80] = 255
        boxes = Boxes(np.array([[x, y, x + 80, y + 60]], np.float32), np.zeros(1, np.int64), np.zeros(1, bool))
        view, moved = random_view(Image.fromarray(pixels), boxes, 96, 0.3, np.random.default_rng(seed))
        where = np.argwhere(view[..., 0] > 127)
        if len(moved):
            kept += 1
            (top, left), (bottom, right) = where.min(0), where.max(0) + 1
            np.testing.assert_allclose(moved.sides[0], [left, top, right, bottom], atol=1.5)
        assert len(where) > 0 or not len(moved)
    assert kept > 30


def test_a_whole_view_is_stretched():
    picture = Image.new("RGB", (80, 60))
    boxes = Boxes(np.array([[8, 6, 40, 30]], np.float32), np.zeros(1, np.int64), np.zeros(1, bool))
    view, moved = whole_view(picture, boxes, 160)
    assert view.shape == (160, 160, 3)
    np.testing.assert_allclose(moved.sides, [[16, 16, 80, 80]])


# -------------------------------------------------------------------------------- learning


def test_default_boxes_stand_for_boxes():
    defaults = torch.tensor([[10.0, 10, 10, 10], [30, 10, 10, 10], [50, 10, 10, 10]])
    boxes = torch.tensor([[5.0, 5, 15, 16], [44, 4, 46, 7], [70, 70, 80, 80]])
    assert matched(boxes, defaults).tolist() == [0, -1, 1]  # the second overlaps the third a little, the last none
    assert matched(boxes[:0], defaults).tolist() == [-1, -1, -1]


def test_loss_is_small_where_all_is_right():
    anchors, size = [[(0.5, 0.5)]], (32, 32)
    boxes, labels = [torch.tensor([[0.0, 0, 16, 16]])], [torch.tensor([1])]
    logits = torch.full((1, 3, 2, 2), -20.0)
    logits[0, 0], logits[0, 0, 0, 0], logits[0, 2, 0, 0] = 20, -20, 20
    right = ssd_loss([logits, torch.zeros(1, 4, 2, 2)], anchors, 2, size, boxes, labels)
    wrong = ssd_loss([-logits, torch.zeros(1, 4, 2, 2)], anchors, 2, size, boxes, labels)
    assert right < 1e-6 and wrong > 10
    empty = ssd_loss([logits, torch.zeros(1, 4, 2, 2)], anchors, 2, size, [boxes[0][:0]], [labels[0][:0]])
    assert empty == 0


def test_precision_is_coco_s(squares):
    boxed = find_boxes(squares, "val")
    sizes = [(80, 60)] * len(boxed)

    def found(index: int, shift: float = 0.0, score: float = 0.9) -> Found:
        boxes = boxed.boxes[index]
        return Found(index, Detected(boxes.sides + shift, np.array([score]), boxes.labels, sizes[index]))

    every = [found(index) for index in range(4)]
    result = average_precision(every, boxed)
    assert result.mean == result.at_half == pytest.approx(1)
    # Moved by 4 pixels the overlap is 28 * 20 of 32 * 24 * 2 - 28 * 20: 0.574, so half of the ten thresholds at most.
    result = average_precision([found(index, 4) for index in range(4)], boxed)
    assert result.at_half == pytest.approx(1) and result.mean == pytest.approx(0.2)
    one = average_precision([found(0), *(Found(i, every[i].boxes.above(1)) for i in (1, 2, 3))], boxed)
    assert one.classes["red"] == pytest.approx((0.5, 0.5), abs=0.01) and one.classes["blue"] == (0, 0)


def test_train_resume_and_evaluate(squares, tmp_path, capsys):
    """A run that is broken off ends with the weights of one that is not; the same library and PyTorch find the same."""
    body = network("shufflenet-v2-0.5x", classes=10)
    save_network(tmp_path / "body.safetensors", Imported(body, random_parameters(body), "ours"))
    options = [
        NAME, "--data", str(squares), "--size", str(SIDE), "--batch", "4", "--backbone",
        str(tmp_path / "body.safetensors"), "--workers", "0", "--device", "cpu",
    ]  # fmt: skip
    train.main([*options, "--epochs", "2", "--out", str(tmp_path / "whole.safetensors")])
    said = capsys.readouterr().err
    assert "8 pictures of 2 classes, 4 iterations of 4" in said and "mean average precision" in said
    assert (tmp_path / "whole.csv").read_text().splitlines()[0].split(",")[-4:] == ["map", "ap50", "images", "seconds"]
    found = load_network(tmp_path / "whole.safetensors")
    assert found.network.name == NAME and found.network.size == (SIDE, SIDE) and found.class_names == ["blue", "red"]

    from tvm_shufflenet.training import trainer

    saved = trainer.Trainer._end_epoch
    try:
        trainer.Trainer._end_epoch = lambda self, held_out: (saved(self, held_out), self._on_signal(2, None))[0]
        with pytest.raises(KeyboardInterrupt):
            train.main([*options, "--epochs", "2", "--out", str(tmp_path / "broken.safetensors")])
    finally:
        trainer.Trainer._end_epoch = saved
    train.main(["--resume", str(tmp_path / "broken.pth"), "--data", str(squares), "--workers", "0"])
    other = load_network(tmp_path / "broken.safetensors")
    assert all(np.array_equal(a, other.parameters[name]) for name, a in found.parameters.items())

    capsys.readouterr()
    file = tmp_path / "result.json"
    checkpoint = str(tmp_path / "whole.safetensors")
    evaluate.main([checkpoint, checkpoint, "--data", str(squares), "--workers", "0", "--json", str(file)])
    said, result = capsys.readouterr().out, json.loads(file.read_text())
    assert "mAP, %" in said and "precision as COCO's" in said and result["images"] == 4
    assert result["agreement"]["first"] == result["agreement"]["second"] == result["agreement"]["same"]


def test_bad_options_of_detectors(squares, tmp_path, labelled_pictures):
    body = network("shufflenet-v1-0.5x-g3", classes=10)
    save_network(tmp_path / "body.safetensors", Imported(body, random_parameters(body), "ours"))
    common = ["--data", str(squares), "--size", str(SIDE), "--out", str(tmp_path / "x.safetensors"), "--workers", "0"]
    with pytest.raises(UserError, match="tensor stem.conv.weight|is missing.*the body of .* is shufflenet-v2-0.5x"):
        train.main([NAME, *common, "--backbone", str(tmp_path / "body.safetensors")])
    with pytest.raises(UserError, match="shufflenet-v2-0.5x is no detector"):
        train.main(["shufflenet-v2-0.5x", *common, "--backbone", str(tmp_path / "body.safetensors")])
    with pytest.raises(UserError, match="holds no annotations"):
        train.main([NAME, "--data", str(labelled_pictures), *common[2:]])
    net = network(NAME, (SIDE, SIDE), 2)
    save_network(tmp_path / "d.safetensors", Imported(net, random_parameters(net), "ours", ["red", "green"]))
    with pytest.raises(UserError, match="d.safetensors knows no class blue"):
        evaluate.main([str(tmp_path / "d.safetensors"), "--data", str(squares), "--workers", "0"])
    files = [str(tmp_path / name) for name in ("d.safetensors", "body.safetensors")]
    with pytest.raises(UserError, match="body.safetensors is a classifier, the other a detector"):
        evaluate.main([*files, "--data", str(squares), "--workers", "0", "--size", "64"])
