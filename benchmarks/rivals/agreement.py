"""Whether an engine computes what ours computes."""

from __future__ import annotations

import numpy as np

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.detection import Detected, unlike
from tvm_shufflenet.measure.entries import DIFFERING
from tvm_shufflenet.targets.precision import PRECISIONS

from . import FP32

# Relative to the largest logit of fp32: in fp32 Winograd's transformation costs some digits.
TOLERANCES = {name: precision.tolerance for name, precision in PRECISIONS.items()}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of the largest expected value; infinite where the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check_boxes(found: np.ndarray, expected: np.ndarray, size: tuple[int, int], what: str) -> float:
    """Of a detector for inputs of (height, width): the share of boxes that differ; `UserError` where it is too large.

    Both are rows as of `joined_outputs`.  Which of two boxes of nearly equal scores comes first, or stays, is rounding.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise UserError(f"{what}: it gives other numbers of boxes than ours: one of the two is wrong")
    differs = unlike(Detected.of(found, size), Detected.of(expected, size), TOLERANCES[FP32])
    if differs > DIFFERING:
        raise UserError(
            f"{what}: {100 * differs:.0f} % of the boxes are not ours, expected at most {100 * DIFFERING:.0f} %: one "
            "of the two is wrong"
        )
    return differs


def check(found: np.ndarray, expected: np.ndarray, what: str, precision: str = FP32) -> float:
    """The difference; `UserError` where it is too large, `what` names engine, place and network.

    `expected` are the logits of fp32, `precision` is that of the engine.
    """
    differs = difference(found, expected)
    if not differs < (tolerance := TOLERANCES[precision]):  # also where it is not a number
        whose = "ours" if precision == FP32 else "ours in fp32"
        raise UserError(
            f"{what}: the logits differ from {whose} by {differs:.1e} of the largest, expected less than "
            f"{tolerance:g}: one of the two is wrong"
        )
    return differs
