"""Functions of floats as TIR expressions: polynomials and arithmetic on bits, where others call a C library.

Every function is free of branches and of calls, so that LLVM makes vectors of the loop around it.  An argument
is evaluated once, however often a function needs it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from tvm import tirx
from tvm.script import tirx as T


def dtype_of(value: tirx.Expr) -> str:
    return str(value.ty.dtype)


def cast(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """The value as that dtype; itself if it is of that."""
    return value if dtype_of(value) == dtype else tirx.Cast(dtype, value)


def least(dtype: str) -> float:
    """The least value of a dtype."""
    return -math.inf if dtype.startswith("float") else int(np.iinfo(dtype).min)


# Added to a float of less than 2^22, it leaves the nearest integer in the low bits.
ROUND = 1.5 * 2.0**23
# Exponents of normal floats.
LOWEST, HIGHEST = -126, 127
ROOT_HALF, MANTISSA_BITS = 0x3F3504F3, 23  # the bits of sqrt(1/2)
LOG2 = math.log(2)


def _short(number: float) -> float:
    """The number, rounded to 15 bits: its product with an exponent is exact."""
    fraction, exponent = math.frexp(number)
    return math.ldexp(round(math.ldexp(fraction, 15)), exponent - 15)


def _fitted(function, degree: int, low: float, high: float) -> list[float]:
    """Coefficients, the highest first, of the polynomial through the Chebyshev points: near the best there is."""
    return list(Chebyshev.interpolate(function, degree, [low, high]).convert(kind=Polynomial).coef[::-1])


# Both of smaller errors than the arithmetic itself.
_EXP = _fitted(np.exp, 6, -0.51 * LOG2, 0.51 * LOG2)
_LOG = _fitted(lambda f: np.where(f == 0, 1, np.log1p(f) / np.where(f == 0, 1, f)), 11, 0.5**0.5 - 1, 2**0.5 - 1)


def exp(x: tirx.Expr) -> tirx.Expr:
    """e^x of any finite x: to 3e-7 of it where it is a normal float, else the least or largest of those, about."""
    low, high = LOWEST * LOG2 + 1e-3, (HIGHEST + 0.5) * LOG2 - 1e-3

    def of_limited(x):
        return _let(x * T.float32(1 / LOG2) + T.float32(ROUND), lambda rounded: of_parts(x, rounded))

    def of_parts(x, rounded):
        rest = _let(rounded - T.float32(ROUND), lambda n: x - n * T.float32(_short(LOG2)) - n * T.float32(_LOG2_REST))
        return _scaled(_polynomial(_EXP, rest), rounded)

    return _let(T.min(T.max(x, T.float32(low)), T.float32(high)), of_limited)


def log(x: tirx.Expr) -> tirx.Expr:
    """The natural logarithm of a positive normal float, to 3e-7 of it."""
    return _apart(x, lambda e, rest: e * T.float32(_short(LOG2)) + (e * T.float32(_LOG2_REST) + rest))


def power(x: tirx.Expr, exponent: float) -> tirx.Expr:
    """x^exponent of a positive normal float, to 3e-7 of it times |exponent| if more than 1; it saturates as `exp`."""
    high = _short(exponent)

    def of_parts(e, rest):  # x^exponent = 2^(whole + part)
        part = e * T.float32(exponent - high) + rest * T.float32(exponent / LOG2)
        return _let(e * T.float32(high), lambda whole: _let(part, lambda part: of_sum(whole, part)))

    def of_sum(whole, part):
        return _let(whole + part + T.float32(ROUND), lambda rounded: of_rounded(whole, part, rounded))

    def of_rounded(whole, part, rounded):
        rest = (whole - (rounded - T.float32(ROUND)) + part) * T.float32(LOG2)
        limited = T.min(T.max(rounded, T.float32(ROUND + LOWEST + 1)), T.float32(ROUND + HIGHEST))
        return _scaled(_polynomial(_EXP, rest), limited)

    return _apart(x, of_parts)


_LOG2_REST = LOG2 - _short(LOG2)


def _apart(x, use):
    """`use(e, log(m))` of x = 2^e * m, sqrt(1/2) <= m < sqrt(2); e is a float."""

    def of_bits(bits):
        e = T.shift_right(bits - T.int32(ROOT_HALF), T.int32(MANTISSA_BITS))
        return _let(e, lambda e: of_exponent(bits, e), "int32")

    def of_exponent(bits, e):
        mantissa = T.reinterpret("float32", bits - T.shift_left(e, T.int32(MANTISSA_BITS)))
        above_one = mantissa - T.float32(1)
        logarithm = _let(above_one, lambda f: f * _polynomial(_LOG, f))
        return _let(T.Cast("float32", e), lambda e: _let(logarithm, lambda rest: use(e, rest)))

    return _let(T.reinterpret("int32", x), of_bits, "int32")


def _scaled(value, rounded):
    """value * 2^n, where `rounded` is ROUND + n."""
    shifted = T.shift_left(T.reinterpret("int32", rounded), T.int32(MANTISSA_BITS))
    return T.reinterpret("float32", T.reinterpret("int32", value) + shifted)


def _polynomial(coefficients, x):
    def horner(x):
        value = T.float32(coefficients[0])
        for coefficient in coefficients[1:]:
            value = value * x + T.float32(coefficient)
        return value

    return _let(x, horner)


def _let(value, use, dtype: str = "float32"):
    """`use(v)`, v being `value`, which is computed once."""
    variable = tirx.Var("v", dtype)
    return tirx.Let(variable, value, use(variable))
