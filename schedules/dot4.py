"""Sums of four products of bytes, the one instruction of int8 kernels: a word of four bytes is an int32.

    dot4(kind, acc, data, weight)     acc + sum over j < 4 of byte j of data * byte j of weight
    dot2(acc, data, weight)           the same of two numbers of 16 bits each
    zip4(a, b, c, d)                  the word of four bytes
    zip2(a, b)                        the word of two bytes, widened
    window4(kind, load)               the word of the four bytes from that one on

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
# The dtype of activations for each kind: vpdpbusd multiplies unsigned bytes by signed ones.
KINDS = {
    "vnni512": "uint8", "vnni256": "uint8", "sdot": "int8", "smull": "int8", "maddwd": "int8", "plain": "int8",
    "smmla": "int8",
}  # fmt: skip
NEON = ("sdot", "smull", "smmla")  # kinds of AArch64


def lanes_of(kind: str) -> int:
    """How many sums are in the vector to which one instruction of that kind adds."""
    return {"vnni512": 16, "vnni256": 8, "maddwd": 8}.get(kind, 4)


def of_words(kind: str) -> str:
    """The kind that multiplies words of four bytes where products of pairs are of no use."""
    return "sdot" if kind == "smmla" else kind  # of Armv8.4 and newer, where there is smmla


def in_word(kind: str) -> int:
    """Channels of a word where all are widened before: 2 for `dot2` and `zip2`, 4 for `dot4` and `zip4`."""
    return 2 if kind == "maddwd" else WORD


def in_window(kind: str, stride: int = 1) -> int:
    """Numbers of a word of windows: by smull 1, of 16 bits, where it fills vectors without picking numbers apart."""
    return 1 if kind == "smull" and stride == 1 else WORD


def dtype_in_window(numbers: int) -> str:
    """Of words of windows of so many numbers."""
    return "int16" if numbers == 1 else "int32"


def dot_window(kind: str, acc: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """`dot4` of words of windows; of one number each the product."""
    if str(data.ty.dtype).startswith("int16"):
        return acc + tirx.Cast("int32", data) * tirx.Cast("int32", weight)
    return dot4(kind, acc, data, weight)


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


def zip4_apart(*parts: tirx.Expr) -> tirx.Expr:
    """Of vectors of L bytes the words of a vector for `dot4_apart`: all pairs of a and b, then those of c and d."""
    return tirx.call_intrin("int32", _ZIP_APART, *parts)


def dot4_apart(acc: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """`dot4` by smull, of a whole vector of `zip4_apart`; `weight` is one word for all lanes.

    Pairs that lie apart are multiplied and added in 16 bits by two instructions, where words take three.
    """
    return tirx.call_intrin("int32", _APART, acc, data, weight)


def window4(kind: str, load: tirx.Expr) -> tirx.Expr:
    """The int32 of the byte that `load` names and the three behind.

    NEON loads each vector of four words anew: from one load LLVM would put some together byte by byte.

    Of lanes that are `stride` bytes apart, up to 63 bytes behind the first are read: the caller answers for their being
    there.
    """
    return tirx.call_intrin("int32", _WINDOWS if kind in NEON else _WINDOW, load)


def window_words(weight: np.ndarray, numbers: int) -> np.ndarray:
    """int8 (..., n)  =>  (..., n / numbers, rounded up), words of windows of so many numbers."""
    return weight.astype(np.int16) if numbers == 1 else words(weight)


def words(weight: np.ndarray, count: int = WORD) -> np.ndarray:
    """int8 (..., n)  =>  int32 (..., n / count rounded up), each of 4 bytes or 2 int16; zeros behind the last."""
    padding = [(0, 0)] * (weight.ndim - 1) + [(0, -weight.shape[-1] % count)]
    return np.ascontiguousarray(np.pad(weight.astype(f"<i{4 // count}"), padding)).view("<i4")


_NAME, _PAIRS, _ZIP, _WINDOW = "tirx.tsn_dot4_", "tirx.tsn_dot2", "tirx.tsn_zip", "tirx.tsn_window4"
_WINDOWS = "tirx.tsn_windows4"
_ZIP_APART, _APART = "tirx.tsn_zip_apart", "tirx.tsn_dot4_apart"


def lanes_of_vector(value: tirx.Expr) -> int:
    return int(getattr(value.ty.dtype, "lanes", 1))


def dtype_of_lanes(name: str, lanes: int) -> str:
    return name if lanes == 1 else f"{name}x{lanes}"


def _part(value: tirx.Expr, start: int, lanes: int) -> tirx.Expr:
    if isinstance(value, _expr.Broadcast):
        return _expr.Broadcast(value.value, lanes)
    if lanes_of_vector(value) == lanes:
        return value
    return tirx.Shuffle([value], [tirx.IntImm("int32", start + i) for i in range(lanes)])


def joined(parts: list[tirx.Expr]) -> tirx.Expr:
    if len(parts) == 1:
        return parts[0]
    count = sum(map(lanes_of_vector, parts))
    return tirx.Shuffle(parts, [tirx.IntImm("int32", i) for i in range(count)])


def _in_pieces(sizes: tuple[int, ...], compute: Callable, plain: Callable) -> Callable:
    """Cuts vectors into pieces of these sizes for `compute(acc, data, weight)`; `plain` takes what is left over."""

    def lower(call):
        lanes = lanes_of_vector(call.args[0])
        size = next((size for size in sizes if lanes % size == 0), 0)
        if not size:
            return plain(*call.args)
        return joined([compute(*(_part(value, start, size) for value in call.args)) for start in range(0, lanes, size)])

    return lower


def _bytes(word: tirx.Expr) -> tirx.Expr:
    return tirx.reinterpret(dtype_of_lanes("int8", WORD * lanes_of_vector(word)), word)


def _vnni(acc, data, weight):
    bits = 32 * lanes_of_vector(acc)
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


def _zip_apart(call):
    lanes = lanes_of_vector(call.args[0])
    pairs = [zipped([call.args[n]], [call.args[n + 1]], "int8") for n in (0, 2)]
    return tirx.reinterpret(dtype_of_lanes("int32", lanes), joined([*pairs[0], *pairs[1]]))


def _dot4_apart(call):
    """Two products fit into 16 bits, as in `_smull`."""
    acc, data, weight = call.args
    lanes, data, word = lanes_of_vector(acc), _bytes(data), weight.value
    halves = [_expr.Broadcast(tirx.Cast("int16", part), 8) for part in (word, word >> 16)]
    halves = [tirx.reinterpret("int8x16", half) for half in halves]
    found = []
    for start in range(0, lanes, 4):
        first, second = (
            tirx.call_llvm_pure_intrin(
                "int16x8", "llvm.aarch64.neon.smull.v8i16", _part(data, place, 8), _part(half, place % 16, 8)
            )
            for place, half in zip((2 * start, 2 * (lanes + start)), halves)
        )
        found.append(
            _part(acc, start, 4)
            + tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", first + second)
        )
    return joined(found)


def _pairs(acc, data, weight):
    """Sums of products of words that hold two int16 each."""
    lanes = lanes_of_vector(acc)
    name = {8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}[lanes]
    halves = (tirx.reinterpret(dtype_of_lanes("int16", 2 * lanes), word) for word in (data, weight))
    return acc + tirx.call_llvm_pure_intrin(dtype_of(acc), name, *halves)


def _maddwd(acc, data, weight):
    """Bytes 0 and 2, then 1 and 3, each widened where it is."""
    sixteen = dtype_of_lanes("int16", 2 * lanes_of_vector(acc))
    eight = tirx.const(8, sixteen)

    def widened(word):
        word = tirx.reinterpret(sixteen, word)
        return [tirx.reinterpret(dtype_of(acc), half) for half in ((word << eight) >> eight, word >> eight)]

    for halves in zip(widened(data), widened(weight)):
        acc = _pairs(acc, *halves)
    return acc


def _plain(acc, data, weight, dtype, count=WORD):
    """`dtype` is that of the numbers of a word of data, of which there are `count`."""
    lanes, bits = lanes_of_vector(acc), 32 // count

    def number(word, j, signed):
        shifted = word if j == count - 1 else word << tirx.const(32 - bits - bits * j, dtype_of(word))
        if signed:
            return shifted >> tirx.const(32 - bits, dtype_of(word))
        unsigned = dtype_of_lanes("uint32", lanes)
        shifted = tirx.reinterpret(unsigned, shifted) >> tirx.const(32 - bits, unsigned)
        return tirx.reinterpret(dtype_of(word), shifted)

    for j in range(count):
        acc = acc + number(data, j, not dtype.startswith("u")) * number(weight, j, True)
    return acc


def _zip(call):
    lanes, count = lanes_of_vector(call.args[0]), len(call.args)
    if lanes == 1:
        return tirx.reinterpret("int32", tirx.Shuffle(list(call.args), [tirx.IntImm("int32", i) for i in range(count)]))
    order = [tirx.IntImm("int32", j * lanes + i) for i in range(lanes) for j in range(count)]
    parts = [_expr.Broadcast(part.value, lanes) if isinstance(part, _expr.Broadcast) else part for part in call.args]
    return tirx.reinterpret(dtype_of_lanes("int32", lanes), tirx.Shuffle(parts, order))


def zipped(low: list[tirx.Expr], high: list[tirx.Expr], dtype: str) -> list[tirx.Expr]:
    """Vectors of twice the length: each number of a vector of `low` in front of its partner of `high`."""
    found = []
    for pair in zip(low, high):
        size = lanes_of_vector(pair[0]) * itemsize(dtype_of(pair[0])) // itemsize(dtype)
        vectors = [tirx.reinterpret(dtype_of_lanes(dtype, size), vector) for vector in pair]
        for start in (0, size // 2):
            order = [tirx.IntImm("int32", half * size + start + i) for i in range(size // 2) for half in range(2)]
            found.append(tirx.Shuffle(vectors, order))
    return found


def _window(call, words=None):
    """With loads of so many words each, or one for all."""
    (load,) = call.args
    ramp = load.indices[-1]
    stride, lanes = (int(ramp.stride), int(ramp.lanes)) if isinstance(ramp, _expr.Ramp) else (1, 1)
    base = ramp.base if isinstance(ramp, _expr.Ramp) else ramp
    if words and lanes % words == 0:
        parts = [_bytes_from(load, base + stride * start, stride, words) for start in range(0, lanes, words)]
    else:
        parts = [_bytes_from(load, base, stride, lanes)]
    return joined([tirx.reinterpret(dtype_of_lanes("int32", lanes // len(parts)), part) for part in parts])


def _bytes_from(load, base, stride, lanes):
    """The bytes of `lanes` words, the first from `base` on, in one load."""
    count = WORD
    while count < stride * (lanes - 1) + WORD:
        count *= 2
    loaded = tirx.BufferLoad(load.source, [*load.indices[:-1], tirx.Ramp(base, 1, count)])
    if count == WORD:
        return loaded
    order = [tirx.IntImm("int32", stride * i + j) for i in range(lanes) for j in range(WORD)]
    return tirx.Shuffle([loaded] * -(-len(order) // count), order)  # TVM wants as many lanes as it gives


def register(name: str, lower: Callable) -> None:
    _op._ffi_api.RegisterOp(name, "arithmetic of bytes in words")
    _op.register_op_attr(name, "TCallEffectKind", 1)  # pure
    _op.register_op_attr(name, "TVectorizable", True)
    _op.register_op_attr(name, "TScriptPrinterName", name.removeprefix("tirx."))
    tirx.op.register_intrin_lowering(name, "llvm", f=lower)


for _kind, _sizes, _compute in (
    ("vnni512", (16, 8, 4), _vnni), ("vnni256", (8, 4), _vnni), ("sdot", (4,), _sdot), ("smull", (4,), _smull),
    ("maddwd", (8, 4), _maddwd), ("plain", (), _plain),
):  # fmt: skip
    register(_NAME + _kind, _in_pieces(_sizes, _compute, functools.partial(_plain, dtype=KINDS[_kind])))
register(_PAIRS, _in_pieces((8, 4), _pairs, functools.partial(_plain, dtype="int16", count=2)))
register(_ZIP, _zip)
register(_ZIP_APART, _zip_apart)
register(_APART, _dot4_apart)
register(_WINDOW, _window)
register(_WINDOWS, functools.partial(_window, words=4))
