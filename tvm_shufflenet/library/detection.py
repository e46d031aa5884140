"""What a detector's library gives: boxes, scores, labels and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
        """From the outputs of `NetworkBuilder.detector`, one behind the other, of an input of (height, width)."""
        best, count = len(row) // 6, int(row[-1])
        sides, scores, labels = row[: 4 * best].reshape(-1, 4), row[4 * best : 5 * best], row[5 * best : 6 * best]
        return Detected(sides[:count], scores[:count], labels[:count].astype(np.int64), (crop[1], crop[0]))

    @staticmethod
    def joined(outputs: Sequence[np.ndarray], crop: Sequence[int]) -> Detected:
        """From the outputs of a detector's library, as they come."""
        return Detected.of(np.concatenate([output.ravel() for output in outputs]), crop)

    def on(self, size: tuple[int, int]) -> Detected:
        """On the whole picture, of (width, height), that was stretched to the input."""
        scale = np.array([size[0] / self.size[0], size[1] / self.size[1]] * 2)
        return Detected(self.sides * scale, self.scores, self.labels, size)

    def above(self, least: float) -> Detected:
        """Those with a score of more than `least`."""
        kept = self.scores > least
        return Detected(self.sides[kept], self.scores[kept], self.labels[kept], self.size)
