"""Which taps of a window lie inside a plane, whatever the plane, and planes whose rows are one."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.script import tirx as T

from .common import Plane


def positions_of(
    tap: tirx.Expr, extent: int, outputs: int, stride: int, pad: int, dilation: int
) -> tuple[tirx.Expr, tirx.Expr]:
    """(first, behind the last) of the `outputs` positions of which `tap` lies inside a side of `extent` pixels.

    At position p, tap t lies at p * stride - pad + t * dilation.  There are none if first >= behind.
    """
    first = T.floordiv(T.max(pad - tap * dilation, 0) + stride - 1, stride)
    return first, T.min(outputs, T.floordiv(extent - 1 + pad - tap * dilation, stride) + 1)


def taps_at(
    position: tirx.Expr | int, extent: int, taps: int, stride: int, pad: int, dilation: int
) -> tuple[tirx.Expr, tirx.Expr]:
    """(first, behind the last) of the `taps` that lie inside at a position; as `positions_of`, also of a number."""
    at_most, at_least = (min, max) if isinstance(position, int) else (T.min, T.max)
    start = position * stride - pad
    first = (at_least(-start, 0) + dilation - 1) // dilation
    return first, at_most(taps, (extent - 1 - start) // dilation + 1)


def taps_inside(
    before: Plane, after: Plane, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int],
    dilation: tuple[int, int], width: int,
) -> tuple[Callable, Callable]:  # fmt: skip
    """Functions `rows(y)` and `columns(kx, x)` for kernels that go through rows in pieces of `width` pixels.

    `rows` are (first, behind the last) of the taps down the window that lie inside in row y of the output, `columns` of
    the pixels, counted from x, at which tap kx across it does.  There are none if first >= behind.  `pad`: (top, left).
    """

    def rows(y: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        return taps_at(y, before.height, kernel[0], stride[0], pad[0], dilation[0])

    def columns(kx: tirx.Expr, x: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
        first, behind = positions_of(kx, before.width, after.width, stride[1], pad[1], dilation[1])
        return T.max(first - x, 0), T.min(behind - x, width)

    return rows, columns


def as_one_row(*planes: Plane) -> tuple[Plane, ...]:
    """The planes, of the same height and width, as single rows where no padding lies between their rows.

    Rows of few pixels leave no vectors.
    """
    if any(plane.pitch != plane.width for plane in planes):
        return planes
    return tuple(Plane(1, p.height * p.width, p.height * p.width, p.size) for p in planes)
