"""The last step of every int8 kernel: from sums of 32 bits to bytes, the same to the bit on every processor.

    byte = min(max(round(sum * scale + zero), low), high)         rounded to the nearest, ties to even

Adding 1.5 * 2^23 + zero by a fused multiply-add rounds to an integer, in the low bits of the float: of larger results
too, bits are in the order of the numbers.  So a clamp of the bits is one of the result, and its last byte is the byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

from .functions import ROUND

_BITS = int(np.float32(ROUND).view(np.int32))
LIMITS = 4  # numbers of `limits`


def limits(zero: int, low: int, high: int, border: int = 0) -> np.ndarray:
    """What kernels of bytes are given: the output's zero point, its least and largest byte, the input's zero point."""
    return np.array([_BITS + zero, _BITS + low, _BITS + high, border], np.int32)


def examples(shapes: Sequence[tuple[int, ...]], weight: np.ndarray | None = None) -> list[np.ndarray]:
    """Arrays of these shapes to try a kernel with: limits where they have that shape, else ones; `weight` is first."""
    arrays = [limits(0, 0, 127) if shape == (LIMITS,) else np.ones(shape, np.int32) for shape in shapes]
    return arrays if weight is None else [weight, *arrays[1:]]


def requantised(value: tirx.Expr, scale: tirx.Expr, bounds: tirx.Var, dtype: str) -> tirx.Expr:
    """The byte of a number: int32, or float32, which is rounded once; `bounds` is a buffer of `limits`."""
    return tirx.Cast(dtype, requantised_bits(tirx.Cast("float32", value), scale, bounds))


def requantised_bits(value: tirx.Expr, scale: tirx.Expr, bounds: tirx.Var) -> tirx.Expr:
    """An int32 whose last byte is that of a float32."""
    rounded = tirx.call_intrin("float32", "tirx.fma", value, scale, T.reinterpret("float32", bounds[0]))
    return T.min(T.max(T.reinterpret("int32", rounded), bounds[1]), bounds[2])


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
