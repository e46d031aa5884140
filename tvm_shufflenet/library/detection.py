"""What a detector's library gives: boxes, scores, labels and how many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .preprocess import WHOLE, room


@dataclass(frozen=True)
class Detected:
    """Boxes in one picture, the surest first.

    `sides` float (N, 4) is left, top, right and bottom in pixels of a picture of `size` = (width, height); `scores`
    from 0 to 1; `labels` are numbers of classes.
    """

    sides: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def of(row: np.ndarray, crop: Sequence[int]) -> Detected:
        """The boxes in the outputs of a detector, one behind the other, for an input of (height, width)."""
        best, count = len(row) // 6, int(row[-1])
        sides, scores, labels = row[: 4 * best].reshape(-1, 4), row[4 * best : 5 * best], row[5 * best : 6 * best]
        return Detected(sides[:count], scores[:count], labels[:count].astype(np.int64), (crop[1], crop[0]))

    def on(self, size: tuple[int, int], resize: str = WHOLE) -> Detected:
        """The boxes on the whole picture, (width, height), brought to the input as `resize` of "preprocessing" says."""
        left, top, width, height = (0, 0, *self.size) if resize == WHOLE else room(size, self.size[::-1])
        sides = (self.sides - [left, top] * 2) * np.array([size[0] / width, size[1] / height] * 2)
        return Detected(sides if resize == WHOLE else sides.clip(0, [*size] * 2), self.scores, self.labels, size)

    def above(self, least: float) -> Detected:
        """The boxes with a score of more than `least`."""
        kept = self.scores > least
        return Detected(self.sides[kept], self.scores[kept], self.labels[kept], self.size)


def joined_outputs(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """All outputs of each picture, one behind the other: (pictures, numbers)."""
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def split_outputs(rows: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The inverse of `joined_outputs`, for outputs of these shapes."""
    ends = np.cumsum([math.prod(shape[1:]) for shape in shapes])
    parts = np.split(rows, ends[:-1], axis=1)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection by union of two boxes; 0 for two of no area."""
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)) if shared > 0 else 0.0


def same(a: Detected, b: Detected, least: float, tolerance: float = 1.0) -> int:
    """Pairs of one label that overlap by more than `least`, each box in one pair at most.

    Their scores differ by no more than `tolerance`.
    """
    left = list(range(len(b)))
    for sides, score, label in zip(a.sides, a.scores, a.labels):
        for index in left:
            near = b.labels[index] == label and abs(b.scores[index] - score) <= tolerance
            if near and overlap(sides, b.sides[index]) > least:
                left.remove(index)
                break
    return len(b) - len(left)


def unlike(a: Detected, b: Detected, tolerance: float) -> float:
    """The share of boxes that the other does not have, up to rounding; scores may differ by `tolerance`."""
    most = max(len(a), len(b))
    return 1 - same(a, b, 0.9, tolerance) / most if most else 0.0
