"""How well libraries and checkpoints of detectors find boxes, and how far two of them agree.

All see a picture as `detect` would: prepared by the library's manifest, which a checkpoint follows too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..library.detection import Detected, same
from ..library.preprocess import WHOLE
from .average_precision import Found, Precision, average_precision
from .boxes import BoxedPictures, checked_sizes
from .evaluation import Subject, answers

SURE, SAME = 0.3, 0.99  # score from which on boxes are compared, and overlap from which on two are the same


@dataclass(frozen=True)
class Agreement:
    """How many boxes of each of two subjects have a score above `SURE`, and how many pairs of these are the same."""

    first: int
    second: int
    same: int


@dataclass(frozen=True)
class BoxScore:
    """Precision of a subject on `images` pictures."""

    precision: Precision
    images: int


def evaluate_boxes(
    subjects: list[Subject], boxed: BoxedPictures, workers: int, on_picture: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> tuple[list[BoxScore], Agreement | None, int]:  # fmt: skip
    """The precision of each subject, the agreement of the first two, and how many pictures could not be read.

    Raises `UserError` where the pictures have classes that a subject does not know, where an annotation is of another
    picture, or none can be read.
    """
    truths = [boxed.named(subject.names or _numbered(subject, boxed), str(subject.path)) for subject in subjects]
    sizes = checked_sizes(boxed)
    found: list[list[Found]] = [[] for _ in subjects]
    skipped = 0
    with contextlib.closing(answers(subjects, boxed.pictures, workers)) as results:
        for index, answer in results:
            if isinstance(answer, str):
                say(f"picture skipped: {answer}")
                skipped += 1
            else:
                for subject, row, kept in zip(subjects, answer, found):
                    boxes = Detected.of(row.ravel(), subject.how["crop"])
                    kept.append(Found(index, boxes.on(sizes[index], subject.how.get("resize", WHOLE))))
            on_picture()
    if not found[0]:
        raise UserError(f"{boxed.root}: no picture can be read")
    scores = [BoxScore(average_precision(each, truth), len(each)) for each, truth in zip(found, truths)]
    return scores, _agreement(*found[:2]) if len(found) > 1 else None, skipped


def _numbered(subject: Subject, boxed: BoxedPictures) -> tuple[str, ...]:
    """The names of the classes by their order, for a subject that does not name its classes."""
    if len(boxed.class_names) != subject.classes:
        raise UserError(f"{boxed.root} has {len(boxed.class_names)} classes, {subject.path} has {subject.classes}")
    return boxed.class_names


def _agreement(one: list[Found], other: list[Found]) -> Agreement:
    counts = np.zeros(3, np.int64)
    for first, second in zip(one, other, strict=True):
        a, b = (each.boxes.above(SURE) for each in (first, second))
        counts += len(a), len(b), same(a, b, SAME)
    return Agreement(*counts.tolist())
