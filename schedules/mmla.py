"""Products of 2 x 8 and 8 x 2 matrices of bytes (Armv8.6, smmla), of words of eight bytes, int64:

    mmla(kind, acc, weight, data)     four sums and the products of two words of weights and two of data
    zip8(a, ..., h)                   the word of eight bytes
    row_of_pairs(first, second, r)    of sums by `mmla` those of weights number r, one behind the other

Dot products of words of four bytes are in `dot4.py`.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir.prim import expr as _expr

from .dot4 import dtype_of_lanes, joined, lanes_of_vector, register, zipped

OCTET = 8  # bytes of a word
PAIR = 2  # words of weights, or of data, that one instruction multiplies
_MMLA, _ZIP8, _ROW = "tirx.tsn_mmla_", "tirx.tsn_zip8", "tirx.tsn_row_of_pairs"


def mmla(kind: str, acc: tirx.Expr, weight: tirx.Expr, data: tirx.Expr) -> tirx.Expr:
    """acc[2 * r + p] + sum over j < 8 of byte j of word r of `weight` * byte j of word p of `data`.

    acc and the result are int32x4; `weight` and `data` are vectors of 16 signed bytes, of any dtype.
    """
    return tirx.call_intrin("int32x4", _MMLA + kind, acc, weight, data)


def zip8(*parts: tirx.Expr) -> tirx.Expr:
    """The int64 whose byte j is `parts[j]`."""
    return tirx.call_intrin("int64", _ZIP8, *parts)


def row_of_pairs(first: tirx.Expr, second: tirx.Expr, row: tirx.Expr) -> tirx.Expr:
    """The L sums of row 0 or 1, of two vectors of L sums each as `mmla` gives them, one behind the other.

    Both vectors are loads that the loop around them makes vectors; `row` is a number by then.
    """
    return tirx.call_intrin("int32", _ROW, first, second, row)


def _zip8(call):
    """Bytes, then halves, then words are zipped, vector by vector: of larger shuffles LLVM makes tables."""
    lanes = lanes_of_vector(call.args[0])
    rows = [[part] for part in call.args]
    for dtype in ("int8", "int16", "int32"):
        rows = [zipped(*rows[n : n + 2], dtype) for n in range(0, len(rows), 2)]
    return tirx.reinterpret(dtype_of_lanes("int64", lanes), joined(rows[0]))


def _row(call):
    first, second, row = call.args
    start = PAIR * int(row.value if isinstance(row, _expr.Broadcast) else row)
    order = [tirx.IntImm("int32", 4 * (i // PAIR) + start + i % PAIR) for i in range(lanes_of_vector(first))]
    return tirx.Shuffle([first, second], order)


def _smmla(call):
    acc, *pairs = call.args
    operands = (tirx.reinterpret("int8x16", pair) for pair in pairs)
    return tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", acc, *operands)


def _plain_mmla(call):
    """Byte by byte."""
    acc, weight, data = call.args
    operands = [(tirx.reinterpret("int8x16", weight), (0, 0, 1, 1)), (tirx.reinterpret("int8x16", data), (0, 1, 0, 1))]
    for j in range(OCTET):
        numbers = [
            tirx.Cast("int32x4", tirx.Shuffle([value], [tirx.IntImm("int32", OCTET * word + j) for word in order]))
            for value, order in operands
        ]
        acc = acc + numbers[0] * numbers[1]
    return acc


register(_ZIP8, _zip8)
register(_ROW, _row)
register(_MMLA + "smmla", _smmla)
register(_MMLA + "plain", _plain_mmla)
