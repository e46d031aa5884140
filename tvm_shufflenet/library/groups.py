"""Any number of pictures with a library that takes a fixed number in a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Picture = TypeVar("Picture")


def groups(pictures: Sequence[Picture], size: int) -> list[list[Picture]]:
    """The pictures in groups of `size`, of which the last may have fewer."""
    return [list(pictures[start : start + size]) for start in range(0, len(pictures), size)]


def filled(pictures: Sequence[np.ndarray], size: int) -> np.ndarray:
    """The input of a call: 1 to `size` arrays (1, ...), and the last one again in the places that are left."""
    return np.concatenate([*pictures, *[pictures[-1]] * (size - len(pictures))])


def run_in_groups(
    run: Callable[[np.ndarray], np.ndarray], size: int, pictures: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What `run`, which takes (size, ...) and gives (size, ...), gives for each of the arrays (1, ...): (1, ...)."""
    found: list[np.ndarray] = []
    for group in groups(pictures, size):
        found += np.split(run(filled(group, size)), size)[: len(group)]
    return found
