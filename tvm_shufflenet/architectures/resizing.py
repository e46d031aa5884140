"""Which pixels each pixel of a resized plane is made of, as ONNX's Resize says, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def resize_tables(
    size_in: Sequence[int],
    size_out: Sequence[int],
    mode: str,
    coordinates: str,
    rounding: str = "floor",
    scales: Sequence[float] | None = None,
) -> list:
    """Tables for `schedules.Resize`, first those of the rows, then those of the columns; sizes are (height, width).

    Nearest: an int32 array of indices for each side.  Bilinear: lower and upper index, int32, and the float32 weight of
    the upper one, for each side; no antialiasing.  Indices are limited to the plane.

    `coordinates`: half_pixel, pytorch_half_pixel, align_corners or asymmetric; `rounding`, for nearest: floor, ceil,
    round_prefer_floor or round_prefer_ceil.  `scales`: output by input, where they are not the quotients of the sizes.
    """
    tables = []
    for extent, count, scale in zip(size_in, size_out, scales or (None, None)):
        where = _positions(extent, count, coordinates, scale)
        if mode == "nearest":
            tables.append(_limited(_NEAREST[rounding](where), extent))
        elif mode == "bilinear":
            below = np.floor(where)
            tables += [_limited(below, extent), _limited(below + 1, extent), (where - below).astype(np.float32)]
        else:
            raise ValueError(f"no resizing {mode}")
    return tables


def _positions(extent: int, count: int, coordinates: str, scale: float | None) -> np.ndarray:
    """Where in the input the centres of `count` pixels lie."""
    x = np.arange(count, dtype=np.float64)

    def by_scale(x):
        # Of the sizes themselves, for whole positions to come out whole.
        return x * extent / count if scale is None or scale == count / extent else x / scale

    match coordinates:
        case "asymmetric":
            return by_scale(x)
        case "align_corners":
            return x * (extent - 1) / max(count - 1, 1)
        case "pytorch_half_pixel" if count == 1:
            return np.zeros(1)
        case "half_pixel" | "pytorch_half_pixel":
            return by_scale(x + 0.5) - 0.5
    raise ValueError(f"no coordinates {coordinates}")


def _limited(indices: np.ndarray, extent: int) -> np.ndarray:
    return np.clip(indices, 0, extent - 1).astype(np.int32)
