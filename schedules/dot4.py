"""Sums of four products of bytes, the one instruction of int8 kernels: a word of four bytes is an int32.

    dot4(kind, acc, data, weight)     acc + sum over j < 4 of byte j of data * byte j of weight
    zip4(a, b, c, d)                  the word of four bytes
    window4(load)                     the word of the four bytes from that one on

So schedules of fp32 kernels serve: their products are dot products, and their channels are groups of four.  `KINDS`
says by which instruction; each kind sums exactly, in 32 bits.  Weights are signed bytes from -127 to 127.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of

WORD = 4  # bytes
# The dtype of activations for each kind: vpdpbusd multiplies unsigned bytes by signed ones.
KINDS = {"vnni512": "uint8", "vnni256": "uint8", "sdot": "int8", "smull": "int8", "plain": "int8"}


def lanes_of(kind: str) -> int:
    """Sums of the vector that one instruction of that kind adds to."""
    return {"vnni512": 16, "vnni256": 8}.get(kind, 4)


def dot4(kind: str, acc: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """All are int32; of `data` the bytes are of the kind's dtype, of `weight` signed."""
    return tirx.call_intrin("int32", _NAME + kind, acc, data, weight)


def zip4(*parts: tirx.Expr) -> tirx.Expr:
    """The int32 whose byte j is `parts[j]`."""
    return tirx.call_intrin("int32", _ZIP, *parts)


def window4(load: tirx.Expr) -> tirx.Expr:
    """The int32 of the byte that `load` names and the three behind.

    Of lanes that are `stride` bytes apart, up to 63 bytes behind the first are read: the caller answers for their being
    there.
    """
    return tirx.call_intrin("int32", _WINDOW, load)


def words(weight: np.ndarray) -> np.ndarray:
    """int8 (..., n)  =>  int32 (..., n / 4 rounded up), zeros behind the last byte."""
    padding = [(0, 0)] * (weight.ndim - 1) + [(0, -weight.shape[-1] % WORD)]
    return np.ascontiguousarray(np.pad(weight.astype(np.int8), padding)).view("<i4")


_NAME, _ZIP, _WINDOW = "tirx.tsn_dot4_", "tirx.tsn_zip4", "tirx.tsn_window4"


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


def _in_pieces(kind: str, sizes: tuple[int, ...], compute: Callable) -> Callable:
    """To `compute(acc, data, weight)` of vectors of these sizes; what they do not divide, to plain arithmetic."""

    def lower(call):
        lanes = _lanes(call.args[0])
        size = next((size for size in sizes if lanes % size == 0), 0)
        if not size:
            return _plain(*call.args, KINDS[kind])
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


def _plain(acc, data, weight, dtype):
    """`dtype` is that of the bytes of data."""
    lanes = _lanes(acc)

    def byte(word, j, kind):
        shifted = word if j == 3 else word << tirx.const(24 - 8 * j, dtype_of(word))
        if kind == "int8":
            return shifted >> tirx.const(24, dtype_of(word))
        unsigned = _dtype("uint32", lanes)
        shifted = tirx.reinterpret(unsigned, shifted) >> tirx.const(24, unsigned)
        return tirx.reinterpret(dtype_of(word), shifted)

    for j in range(WORD):
        acc = acc + byte(data, j, dtype) * byte(weight, j, "int8")
    return acc


def _zip(call):
    lanes = _lanes(call.args[0])
    if lanes == 1:
        return tirx.reinterpret("int32", tirx.Shuffle(list(call.args), [tirx.IntImm("int32", i) for i in range(WORD)]))
    order = [tirx.IntImm("int32", j * lanes + i) for i in range(lanes) for j in range(WORD)]
    parts = [_expr.Broadcast(part.value, lanes) if isinstance(part, _expr.Broadcast) else part for part in call.args]
    return tirx.reinterpret(_dtype("int32", lanes), tirx.Shuffle(parts, order))


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
    ("plain", (), _plain),
):  # fmt: skip
    _register(_NAME + _kind, _in_pieces(_kind, _sizes, _compute))
_register(_ZIP, _zip)
_register(_WINDOW, _window)
