"""What every attribute of a layer must be: one line for each that is not, before anything is computed or allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

from ..errors import UserError

# Of one tensor: indices into a tensor are 32-bit integers in compiled code, and a workspace holds several tensors.
ELEMENTS = 1 << 28
# Of all parameters together: a shared library addresses at most 2 GiB.
PARAMETERS = 1 << 29
NAME = 200  # characters


def integer(layer: str, what: str, value: object, low: int, high: int = 1 << 24) -> int:
    """`value` as an int within [low, high]; True, 3.0 and "3" are no integers."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"layer {layer}: {what} is {_shown(value)}, expected an integer")
    number = int(value)
    if not low <= number <= high:
        raise UserError(f"layer {layer}: {what} is {_shown(value)}, expected {low} to {high}")
    return number


def integers(layer: str, what: str, value: object, count: int, low: int, high: int = 1 << 24) -> tuple[int, ...]:
    """`count` integers; one number stands for all of them, two for (height, width) of (top, left, bottom, right)."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return (integer(layer, what, value, low, high),) * count
    values = tuple(value) * 2 if (count, len(value)) == (4, 2) else tuple(value)
    if len(values) != count:
        raise UserError(f"layer {layer}: {what} has {len(values)} numbers, expected {count}")
    return tuple(integer(layer, what, number, low, high) for number in values)


def number(layer: str, what: str, value: object, low: float = -3e38, high: float = 3e38) -> float:
    """`value` as a finite float within [low, high]."""
    # An integer may be too large for a float, but not for a comparison with one.
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:  # type: ignore[operator]
        raise UserError(f"layer {layer}: {what} is {_shown(value)}, expected a number from {low:g} to {high:g}")
    return float(value)


def anchors(layer: str, value: object, maps: int) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Default boxes of `maps` maps: for each map (width, height) of each box, as shares of the input's."""
    if not isinstance(value, Sequence) or len(value) != maps or not all(isinstance(m, Sequence) and m for m in value):
        raise UserError(f"layer {layer}: its default boxes are {_shown(value)}, expected those of {maps} maps")
    for box in (box for boxes in value for box in boxes):
        if not isinstance(box, Sequence) or len(box) != 2:
            raise UserError(f"layer {layer}: a default box is {_shown(box)}, expected width and height")

    def side(share: object) -> float:
        return number(layer, "a side of a default box", share, 1e-6, 1e3)

    return tuple(tuple((side(width), side(height)) for width, height in boxes) for boxes in value)


def flag(layer: str, what: str, value: object) -> bool:
    """`value` as a bool; 0 and 1 are taken for one, too."""
    if isinstance(value, bool) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise UserError(f"layer {layer}: {what} is {_shown(value)}, expected true or false")


def choice(layer: str, what: str, value: object, choices: Sequence[str]) -> str:
    """`value`, which must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"layer {layer}: {what} is {_shown(value)}, expected {' or '.join(choices)}")
    return value


def name(value: object) -> str:
    """A layer's name: text that can be printed, part of the names of its tensors."""
    if not isinstance(value, str) or not value or len(value) > NAME or not value.isprintable():
        raise UserError(f"a layer has the name {_shown(value)}, expected 1 to {NAME} printable characters")
    return value


def elements(layer: str, what: str, shape: Sequence[int]) -> None:
    """`UserError` for a tensor of more than `ELEMENTS` elements."""
    if math.prod(shape) > ELEMENTS:
        gigabytes = 4 * math.prod(shape) / 2**30
        raise UserError(
            f"layer {layer}: {what} of {'x'.join(map(str, shape))} takes {gigabytes:.1f} GiB, "
            f"expected at most {4 * ELEMENTS / 2**30:g}: use a smaller --size or --classes"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
