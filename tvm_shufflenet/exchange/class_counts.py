"""How many classes the shapes of a network's parameters, under our names, say that it has."""

from __future__ import annotations

from collections.abc import Mapping

from ..architectures.nanodet import BINS

CLASSIFIERS = ("classifier.weight", "fc8.weight", "conv10.conv.weight")  # of the networks of the list
HEADS = ("scores0.conv2.weight", "boxes0.conv2.weight")  # of its detectors
REGION_SCORES = "head.scores.weight"  # of those that look at regions
DISTANCES = "head0.out.weight"  # of those without default boxes: scores, and of each edge `BINS` shares


def class_count(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The number of classes; of a detector without the background.  None for shapes that say none."""
    return next((shapes[name][0] for name in CLASSIFIERS if shapes.get(name)), _of_boxes(shapes))


def _of_boxes(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The classes of a detector: a default box has a number for each, and (but for `DISTANCES`) for the background."""
    if DISTANCES in shapes:
        return shapes[DISTANCES][0] - 4 * BINS
    if REGION_SCORES in shapes:
        return shapes[REGION_SCORES][0] - 1
    logits, boxes = (shapes.get(name, (0,))[0] for name in HEADS)
    return 4 * logits // boxes - 1 if boxes >= 4 and logits >= boxes // 2 else None
