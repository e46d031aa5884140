"""Sums of four products of bytes, the one instruction of int8 kernels: a word of four bytes is an int32.

    dot4(kind, acc, data, weight)     acc + sum over j < 4 of byte j of data * byte j of weight
    dot2(acc, data, weight)           the same of two numbers of 16 bits each
    zip4(a, b, c, d)                  the word of four bytes
    zip2(a, b)                        the word of two bytes, widened
    window4(load)                     the word of the four bytes from that one on

and of pairs, with words of eight bytes, int64:

    mmla(kind, acc, weight, data)     four sums and the products of two words of weights and two of data
    zip8(a, ..., h)                   the word of eight bytes
    row_of_pairs(first, second, r)    of sums by `mmla` those of weights number r, one behind the other

So schedules of fp32 kernels serve: their products are dot products, and their channels are groups of four.  `KINDS`
says by which instruction; each kind sums exactly, in 32 bits.  Weights are signed bytes from -127 to 127.

AVX2 multiplies pairs of 16 bits ("maddwd").  Words of four bytes are widened in registers, where few products read
them; a kernel with many products for each word widens before (`in_word`), and its weights lie in memory as 16 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of
from .workload import itemsize

WORD = 4  # bytes
OCTET = 8  # bytes of a word of `mmla`
PAIR = 2  # words of weights, or of data, that it multiplies
# The dtype of activations for each kind: vpdpbusd multiplies unsigned bytes by signed ones.
KINDS = {
    "vnni512": "uint8", "vnni256": "uint8", "sdot": "int8", "smull": "int8", "maddwd": "int8", "plain": "int8",
    "smmla": "int8",
}  # fmt: skip


def lanes_of(kind: str) -> int:
    """How many sums are in the vector to which one instruction of that kind adds."""
    return {"vnni512": 16, "vnni256": 8, "maddwd": 8}.get(kind, 4)


def of_words(kind: str) -> str:
    """The kind that multiplies words of four bytes where products of pairs are of no use."""
    return "sdot" if kind == "smmla" else kind  # of Armv8.4 and newer, where there is smmla


def in_word(kind: str) -> int:
    """Channels of a word where all are widened before: 2 for `dot2` and `zip2`, 4 for `dot4` and `zip4`."""
    return 2 if kind == "maddwd" else WORD


def dot4(kind: str, acc: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """All are int32; of `data` the bytes are of the kind's dtype, of `weight` signed."""
    return tirx.call_intrin("int32", _NAME + kind, acc, data, weight)


def dot2(acc: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """All are int32; `data` and `weight` hold two int16 each."""
    return tirx.call_intrin("int32", _PAIRS, acc, data, weight)


def zip2(*parts: tirx.Expr) -> tirx.Expr:
    """The int32 whose 16 bits number j are the int8 `parts[j]`."""
    return tirx.call_intrin("int32", _ZIP, *(tirx.Cast("int16", part) for part in parts))


def zip4(*parts: tirx.Expr) -> tirx.Expr:
    """The int32 whose byte j is `parts[j]`."""
    return tirx.call_intrin("int32", _ZIP, *parts)


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


def window4(load: tirx.Expr) -> tirx.Expr:
    """The int32 of the byte that `load` names and the three behind.

    Of lanes that are `stride` bytes apart, up to 63 bytes behind the first are read: the caller answers for their being
    there.
    """
    return tirx.call_intrin("int32", _WINDOW, load)


def words(weight: np.ndarray, count: int = WORD) -> np.ndarray:
    """int8 (..., n)  =>  int32 (..., n / count rounded up), each of 4 bytes or 2 int16; zeros behind the last."""
    padding = [(0, 0)] * (weight.ndim - 1) + [(0, -weight.shape[-1] % count)]
    return np.ascontiguousarray(np.pad(weight.astype(f"<i{4 // count}"), padding)).view("<i4")


_NAME, _PAIRS, _ZIP, _WINDOW = "tirx.tsn_dot4_", "tirx.tsn_dot2", "tirx.tsn_zip", "tirx.tsn_window4"
_MMLA, _ZIP8, _ROW = "tirx.tsn_mmla_", "tirx.tsn_zip8", "tirx.tsn_row_of_pairs"


def _lanes(value: tirx.Expr) -> int:
    return int(getattr(value.ty.dtype, "lanes", 1))


def _dtype(name: str, lanes: int) -> str:
    return name if lanes == 1 else f"{name}x{lanes}"


def _part(value: tirx.Expr, start: int, lanes: int) -> tirx.Expr:
    if isinstance(value, _expr.Broadcast):
        return _expr.Broadcast(value.value, lanes)
    if _lanes(value) == lanes:
        return value
    return tirx.Shuffle([value], [tirx.IntImm("int32", start + i) for i in range(lanes)])


def _joined(parts: list[tirx.Expr]) -> tirx.Expr:
    if len(parts) == 1:
        return parts[0]
    count = sum(map(_lanes, parts))
    return tirx.Shuffle(parts, [tirx.IntImm("int32", i) for i in range(count)])


def _in_pieces(sizes: tuple[int, ...], compute: Callable, plain: Callable) -> Callable:
    """Cuts vectors into pieces of these sizes for `compute(acc, data, weight)`; `plain` takes what is left over."""

    def lower(call):
        lanes = _lanes(call.args[0])
        size = next((size for size in sizes if lanes % size == 0), 0)
        if not size:
            return plain(*call.args)
        return _joined(
            [compute(*(_part(value, start, size) for value in call.args)) for start in range(0, lanes, size)]
        )

    return lower


def _bytes(word: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret(_dtype("int8", WORD * _lanes(word)), word)


def _vnni(acc, data, weight):
    bits = 32 * _lanes(acc)
    return tirx.call_llvm_pure_intrin(
        dtype_of(acc), f"llvm.x86.avx512.vpdpbusd.{bits}", acc, _bytes(data), _bytes(weight)
    )


def _sdot(acc, data, weight):
    return tirx.call_llvm_pure_intrin(
        "int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", acc, _bytes(data), _bytes(weight)
    )


def _smull(acc, data, weight):
    """Armv8.0: two products fit into 16 bits, since no weight is -128: 2 * 127 * 128 = 32,512."""
    halves = [
        tirx.call_llvm_pure_intrin(
            "int16x8", "llvm.aarch64.neon.smull.v8i16",
            *(_part(_bytes(value), start, 8) for value in (data, weight))
        )
        for start in (0, 8)
    ]  # fmt: skip
    pairs = tirx.call_llvm_pure_intrin("int16x8", "llvm.aarch64.neon.addp.v8i16", *halves)
    return acc + tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", pairs)


def _pairs(acc, data, weight):
    """Sums of products of words that hold two int16 each."""
    lanes = _lanes(acc)
    name = {8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}[lanes]
    halves = (tirx.reinterpret(_dtype("int16", 2 * lanes), word) for word in (data, weight))
    return acc + tirx.call_llvm_pure_intrin(dtype_of(acc), name, *halves)


def _maddwd(acc, data, weight):
    """Bytes 0 and 2, then 1 and 3, each widened where it is."""
    sixteen = _dtype("int16", 2 * _lanes(acc))
    eight = tirx.const(8, sixteen)

    def widened(word):
        word = tirx.reinterpret(sixteen, word)
        return [tirx.reinterpret(dtype_of(acc), half) for half in ((word << eight) >> eight, word >> eight)]

    for halves in zip(widened(data), widened(weight)):
        acc = _pairs(acc, *halves)
    return acc


def _plain(acc, data, weight, dtype, count=WORD):
    """`dtype` is that of the numbers of a word of data, of which there are `count`."""
    lanes, bits = _lanes(acc), 32 // count

    def number(word, j, signed):
        shifted = word if j == count - 1 else word << tirx.const(32 - bits - bits * j, dtype_of(word))
        if signed:
            return shifted >> tirx.const(32 - bits, dtype_of(word))
        unsigned = _dtype("uint32", lanes)
        shifted = tirx.reinterpret(unsigned, shifted) >> tirx.const(32 - bits, unsigned)
        return tirx.reinterpret(dtype_of(word), shifted)

    for j in range(count):
        acc = acc + number(data, j, not dtype.startswith("u")) * number(weight, j, True)
    return acc


def _zip(call):
    lanes, count = _lanes(call.args[0]), len(call.args)
    if lanes == 1:
        return tirx.reinterpret("int32", tirx.Shuffle(list(call.args), [tirx.IntImm("int32", i) for i in range(count)]))
    order = [tirx.IntImm("int32", j * lanes + i) for i in range(lanes) for j in range(count)]
    parts = [_expr.Broadcast(part.value, lanes) if isinstance(part, _expr.Broadcast) else part for part in call.args]
    return tirx.reinterpret(_dtype("int32", lanes), tirx.Shuffle(parts, order))


def _zip8(call):
    """Bytes, then halves, then words are zipped, vector by vector: of larger shuffles LLVM makes tables."""
    lanes = _lanes(call.args[0])
    rows = [[part] for part in call.args]
    for dtype in ("int8", "int16", "int32"):
        rows = [_zipped(*rows[n : n + 2], dtype) for n in range(0, len(rows), 2)]
    return tirx.reinterpret(_dtype("int64", lanes), _joined(rows[0]))


def _zipped(low: list[tirx.Expr], high: list[tirx.Expr], dtype: str) -> list[tirx.Expr]:
    """Vectors of twice the length: each number of a vector of `low` in front of its partner of `high`."""
    found = []
    for pair in zip(low, high):
        size = _lanes(pair[0]) * itemsize(dtype_of(pair[0])) // itemsize(dtype)
        vectors = [tirx.reinterpret(_dtype(dtype, size), vector) for vector in pair]
        for start in (0, size // 2):
            order = [tirx.IntImm("int32", half * size + start + i) for i in range(size // 2) for half in range(2)]
            found.append(tirx.Shuffle(vectors, order))
    return found


def _row(call):
    first, second, row = call.args
    start = PAIR * int(row.value if isinstance(row, _expr.Broadcast) else row)
    order = [tirx.IntImm("int32", 4 * (i // PAIR) + start + i % PAIR) for i in range(_lanes(first))]
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


def _window(call):
    (load,) = call.args
    ramp = load.indices[-1]
    stride, lanes = (int(ramp.stride), int(ramp.lanes)) if isinstance(ramp, _expr.Ramp) else (1, 1)
    base = ramp.base if isinstance(ramp, _expr.Ramp) else ramp
    count = WORD
    while count < stride * (lanes - 1) + WORD:
        count *= 2
    loaded = tirx.BufferLoad(load.source, [*load.indices[:-1], tirx.Ramp(base, 1, count)])
    if count > WORD:
        order = [tirx.IntImm("int32", stride * i + j) for i in range(lanes) for j in range(WORD)]
        loaded = tirx.Shuffle([loaded] * -(-len(order) // count), order)  # TVM wants as many lanes as it gives
    return tirx.reinterpret(_dtype("int32", lanes), loaded)


def _register(name: str, lower: Callable) -> None:
    _op._ffi_api.RegisterOp(name, "arithmetic of bytes in words")
    _op.register_op_attr(name, "TCallEffectKind", 1)  # pure
    _op.register_op_attr(name, "TVectorizable", True)
    _op.register_op_attr(name, "TScriptPrinterName", name.removeprefix("tirx."))
    tirx.op.register_intrin_lowering(name, "llvm", f=lower)


for _kind, _sizes, _compute in (
    ("vnni512", (16, 8, 4), _vnni), ("vnni256", (8, 4), _vnni), ("sdot", (4,), _sdot), ("smull", (4,), _smull),
    ("maddwd", (8, 4), _maddwd), ("plain", (), _plain),
):  # fmt: skip
    _register(_NAME + _kind, _in_pieces(_sizes, _compute, functools.partial(_plain, dtype=KINDS[_kind])))
_register(_PAIRS, _in_pieces((8, 4), _pairs, functools.partial(_plain, dtype="int16", count=2)))
_register(_ZIP, _zip)
_register(_ZIP8, _zip8)
_register(_ROW, _row)
_register(_MMLA + "smmla", _smmla)
_register(_MMLA + "plain", _plain_mmla)
_register(_WINDOW, _window)
