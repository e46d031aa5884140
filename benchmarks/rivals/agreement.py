"""Whether an engine computes what ours computes."""

from __future__ import annotations

import numpy as np

from tvm_shufflenet.errors import UserError

TOLERANCE = 1e-4  # relative to the largest logit: Winograd's transformation in fp32 costs some digits


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of the largest expected value; infinite where the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check(found: np.ndarray, expected: np.ndarray, what: str) -> float:
    """The difference; `UserError` where it is too large, `what` names engine, place and network."""
    differs = difference(found, expected)
    if not differs < TOLERANCE:  # also where it is not a number
        raise UserError(
            f"{what}: the logits differ from ours by {differs:.1e} of the largest, expected less than "
            f"{TOLERANCE:.0e}: one of the two is wrong"
        )
    return differs
