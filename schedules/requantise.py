"""The last step of every int8 kernel: from sums of 32 bits to bytes, the same to the bit on every processor.

    byte = min(max(round(sum * scale + zero), low), high)         rounded to the nearest, ties to even

Adding 1.5 * 2^23 + zero by a fused multiply-add rounds to an integer, in the low bits of the float: of larger results
too, bits are in the order of the numbers.  So a clamp of the bits is one of the result, and its last byte is the byte.

Short sums, of 22 bits, need no conversion to floats: with the bits of 1.5 * 2^23 in the bias a sum is the bits of
1.5 * 2^23 + sum.  What the multiplication makes of that number is taken back by what is added, of each channel another:

    byte = min(max(round((1.5 * 2^23 + sum) * scale + start), low), high)

`short_sums` finds the numbers.  Such results are of 16 bits, so NEON narrows them before they are clamped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .dot4 import NEON
from .functions import ROUND

_BITS = int(np.float32(ROUND).view(np.int32))
LIMITS = 4  # numbers of `limits`
SHORT_SUM, SHORT_RESULT = 2**22, 2**15 - 2**8  # short sums are less, and so are their products with the scale
SHORT_SCALE = 2.0**-5  # at most: half of it is by how much results are off at most
NEGLIGIBLE = 2.0**-10  # of a byte
NEIGHBOURS = 16  # floats above and below a scale, of which one is taken


def limits(zero: int, low: int, high: int, border: int = 0) -> np.ndarray:
    """What kernels of bytes are given: the output's zero point, its least and largest byte, the input's zero point."""
    return np.array([_BITS + zero, _BITS + low, _BITS + high, border], np.int32)


def examples(shapes: Sequence[tuple[int, ...]], weight: np.ndarray | None = None) -> list[np.ndarray]:
    """Arrays of these shapes to try a kernel with: limits where they have that shape, else ones; `weight` is first.

    Of short sums the bias and the factors behind it, which are pairs, are such that the sums are not all clamped.
    """
    arrays = [limits(0, 0, 127) if shape == (LIMITS,) else np.ones(shape, np.int32) for shape in shapes]
    for place, shape in enumerate(shapes[2:], 2):
        if len(shape) == 2 and shape[1] == 2 and shapes[place - 1] == shape[:1]:
            scales = np.full(shape[0], 2.0**-7, np.float32)
            starts = (ROUND - ROUND * scales).astype(np.float32)
            arrays[place - 1 : place + 1] = bias_of(arrays[place - 1], starts), factors_of(scales, starts)
    return arrays if weight is None else [weight, *arrays[1:]]


def requantised(value: tirx.Expr, scale: tirx.Expr, bounds: tirx.Var, dtype: str) -> tirx.Expr:
    """The byte of a number: int32, or float32, which is rounded once; `bounds` is a buffer of `limits`."""
    return tirx.Cast(dtype, requantised_bits(tirx.Cast("float32", value), scale, bounds))


def requantised_bits(value: tirx.Expr, scale: tirx.Expr, bounds: tirx.Var) -> tirx.Expr:
    """An int32 whose last byte is that of a float32."""
    rounded = tirx.call_intrin("float32", "tirx.fma", value, scale, T.reinterpret("float32", bounds[0]))
    return T.min(T.max(T.reinterpret("int32", rounded), bounds[1]), bounds[2])


def bias_of(bias: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
    """Biases as kernels have them: where there are `starts`, with the bits of 1.5 * 2^23."""
    return (bias if starts is None else bias + _BITS).astype(np.int32)


def factors_of(scale: np.ndarray, starts: np.ndarray | None) -> np.ndarray:
    """Factors as kernels have them, float32: (n,) scales, or (n, 2) with the starts beside them."""
    return scale if starts is None else np.stack([scale, starts], 1)


def requantised_sum(
    value: tirx.Expr, factors: tirx.Buffer, place: tuple, bounds: tirx.Var, dtype: str, short: bool, dot: str = ""
) -> tirx.Expr:
    """The byte of the sum of a channel, int32, whose factor is at that place of `factors_of`.

    `short`: whether sums are; `dot` is the kind by which they were made.
    """
    if not short:
        return requantised(value, factors[place], bounds, dtype)
    number, scale, start = T.reinterpret("float32", value), factors[(*place, 0)], factors[(*place, 1)]
    bits = T.reinterpret("int32", tirx.call_intrin("float32", "tirx.fma", number, scale, start))
    low, high = bounds[1], bounds[2]
    if dot in NEON:
        bits, low, high = (T.Cast("int16", part) for part in (bits, low, high))
    return tirx.Cast(dtype, T.min(T.max(bits, low), high))


def short_sums(
    scale: np.ndarray, bias: np.ndarray, low: np.ndarray, high: np.ndarray, zero: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Scale, bias and start of each channel whose sums, less the bias, are from `low` to `high`; None of longer ones.

    Arrays are (channels,): scales float32, all others integers.  The scale is one of the next floats, and the bias
    changes by less than 1 / scale: the product of 1.5 * 2^23 then is whole to within a small part of a scale.
    """
    near = scale.view(np.int32)[:, None] + np.arange(-NEIGHBOURS, NEIGHBOURS + 1, dtype=np.int32)
    scales = near.view(np.float32).astype(np.float64)
    products = ROUND * scales
    rest = products - np.rint(products)
    moved = np.where(np.abs(rest) > NEGLIGIBLE, np.rint(rest / scales), 0)
    best = np.arange(len(scale)), np.abs(rest - moved * scales).argmin(1)
    bias = bias - moved[best].astype(np.int64)
    largest = np.maximum(np.abs(bias + low), np.abs(bias + high))
    if scale.max() > SHORT_SCALE or largest.max() >= SHORT_SUM or (largest * scales[best]).max() >= SHORT_RESULT:
        return None
    return scales[best].astype(np.float32), bias, (ROUND + zero - np.rint(products[best])).astype(np.float32)


def short_arrays(sums: np.ndarray, scale: np.ndarray, starts: np.ndarray, low: int, high: int) -> np.ndarray:
    """`requantised_sum` of short sums in numpy, as int64: `starts` are of the bytes that `low` and `high` are of."""
    rounded = fma_arrays((ROUND + sums).astype(np.float32), scale, starts)
    return np.clip(rounded.astype(np.int64) - int(ROUND), low, high)


def fma_arrays(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of float32, rounded once.

    The product is exact in float64.  The sum is rounded to odd there, so that the second rounding is the only one that
    shows (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    """
    product, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + addend
    part = total - product
    rest = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    even = (rest != 0) & (bits % 2 == 0)
    return (bits + np.where(even, np.where((rest > 0) == (total > 0), 1, -1), 0)).view(np.float64).astype(np.float32)


def requantised_arrays(value: np.ndarray, scale: np.ndarray, zero: int, low: int, high: int) -> np.ndarray:
    """The same in numpy, exactly, as int64; `value` is of integers or float32, `scale` of float32."""
    exact = value.astype(np.float32).astype(np.float64) * scale.astype(np.float64)  # of 48 bits at most
    exact = np.clip(exact, -(2.0**31), 2.0**31)
    whole = np.floor(exact)
    rest = exact - whole
    odd = (whole + zero) % 2 != 0  # ties are those of the sum with the zero point
    rounded = whole + ((rest > 0.5) | ((rest == 0.5) & odd))
    return np.clip(rounded + zero, low, high).astype(np.int64)
