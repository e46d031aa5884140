"""COCO's average precision of boxes, as pycocotools computes it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..library.detection import Detected
from .boxes import BoxedPictures


@dataclass(frozen=True)
class Found:
    """The boxes that a detector found in picture number `index`, in pixels of that picture."""

    index: int
    boxes: Detected


@dataclass(frozen=True)
class Precision:
    """Means over the classes that have boxes: `mean` over overlaps of 0.5 to 0.95, `at_half` at 0.5.

    `classes` has both for each class, by name; None for a class without boxes.
    """

    mean: float
    at_half: float
    classes: dict[str, tuple[float, float] | None]


def require_pycocotools() -> None:
    """`UserError` where it is not installed."""
    try:
        import pycocotools  # noqa: F401
    except ImportError:
        raise UserError("pycocotools is needed to measure a detector: run `pip install -e .[train]`") from None


def average_precision(found: list[Found], truth: BoxedPictures) -> Precision:
    """The precision over the pictures that `found` names, also those in which nothing was found or nothing is."""
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = [each.index for each in found]
    annotations: list[dict] = []
    for index in numbers:
        boxes = truth.boxes[index]
        for sides, label, crowd in zip(boxes.sides.tolist(), boxes.labels.tolist(), boxes.crowd.tolist()):
            annotations.append({
                "id": len(annotations) + 1, "image_id": index, "category_id": label, "iscrowd": int(crowd),
                "bbox": _by_extent(sides), "area": (sides[2] - sides[0]) * (sides[3] - sides[1]),
            })  # fmt: skip
    results = [
        {"image_id": each.index, "category_id": int(label), "bbox": _by_extent(sides), "score": float(score),
         "area": (sides[2] - sides[0]) * (sides[3] - sides[1])}
        for each in found
        for sides, score, label in zip(each.boxes.sides.tolist(), each.boxes.scores, each.boxes.labels)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        coco = COCO()
        coco.dataset = {
            "images": [{"id": index} for index in numbers], "annotations": annotations,
            "categories": [{"id": index, "name": name} for index, name in enumerate(truth.class_names)],
        }  # fmt: skip
        coco.createIndex()
        answers = COCO()
        answers.dataset = {**coco.dataset, "annotations": [
            {**result, "id": number, "iscrowd": 0} for number, result in enumerate(results, 1)
        ]}  # fmt: skip
        answers.createIndex()
        judge = COCOeval(coco, answers, "bbox")
        judge.evaluate()
        judge.accumulate()
    # Overlaps x recalls x classes x areas x most boxes: of all areas, and at most 100 boxes.
    table = judge.eval["precision"][:, :, :, 0, -1]
    classes: dict[str, tuple[float, float] | None] = {}
    for index, name in enumerate(truth.class_names):
        of_class = table[:, :, index]
        classes[name] = (float(of_class.mean()), float(of_class[0].mean())) if (of_class > -1).all() else None
    mean, at_half = np.mean([pair for pair in classes.values() if pair is not None] or [(0.0, 0.0)], 0)
    return Precision(float(mean), float(at_half), classes)


def _by_extent(sides: list[float]) -> list[float]:
    left, top, right, bottom = sides
    return [left, top, right - left, bottom - top]
