"""Bytes from a table of 256 of them.

    lookup(byte, table[0], kind)     table[byte & 255]

One byte is a load.  Of vectors `KINDS` says by which instruction:

tbl   NEON, 16 bytes: `tbl` looks into 64 entries and gives 0 for what lies behind them; `tbx` leaves such bytes as they
      are.  So four of them, each for indices less 64, look into all.
vbmi  AVX-512 VBMI, 64 bytes: `vpermi2b` looks into 128 entries, by the lower 7 bits.  So two of them look into all, and
      bit 7 chooses.
avx2  32 bytes: `vpshufb` looks into 16 entries, a row, by the lower 4 bits, and gives 0 where bit 7 is set.  An index
      from which 16 was taken r times, less than 0 from then on, finds row r xor the row before.  So the xor of what is
      found up to its own row is its entry.  Rows 8 to 15 are a second half, whose indices have bit 7 turned.
"""

from __future__ import annotations

import functools

import numpy as np
from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of

ENTRIES = 256
KINDS = {"tbl": 16, "vbmi": 64, "avx2": 32}  # bytes of the vector that each looks up
PLAIN = "plain"  # byte by byte
_NAME = "tirx.tsn_lookup"
_REGISTERS = 4  # of a table of `tbl`


def lookup(byte: tirx.Expr, first: tirx.Expr, kind: str) -> tirx.Expr:
    """An entry, of the dtype of `byte` and of the table, whose entry 0 the load `first` names.

    Vectors are of as many bytes as `KINDS` says, or a multiple; of kind `PLAIN` there are none.
    """
    return tirx.call_intrin(dtype_of(byte), _name(kind), byte, first)


def _name(kind: str) -> str:
    """Scheduled code of the first kind, which records are found by, has the name without a kind."""
    return f"{_NAME}_{kind}" if kind != "tbl" and kind in KINDS else _NAME


def _lower(call, kind: str):
    index, first = call.args
    load = first.value if isinstance(first, _expr.Broadcast) else first
    lanes, size = int(getattr(index.ty.dtype, "lanes", 1)), KINDS[kind]
    if lanes == 1:
        place = tirx.bitwise_and(tirx.Cast("int32", index), tirx.IntImm("int32", ENTRIES - 1))
        return tirx.BufferLoad(load.source, [place])
    if lanes % size:
        raise ValueError(f"{lanes} bytes are no vectors of {size}")
    parts = [_VECTORS[kind](load, _part(index, start, size)) for start in range(0, lanes, size)]
    if len(parts) == 1:
        return parts[0]
    return tirx.Shuffle(parts, [tirx.IntImm("int32", i) for i in range(lanes)])


def _part(index: tirx.Expr, start: int, size: int) -> tirx.Expr:
    if int(index.ty.dtype.lanes) == size:
        return index
    return tirx.Shuffle([index], [tirx.IntImm("int32", start + i) for i in range(size)])


def _table(load: tirx.BufferLoad, start: int, size: int, count: int) -> list[tirx.Expr]:
    """`count` vectors of the table, from entry `start` on."""
    return [tirx.BufferLoad(load.source, [tirx.Ramp(start + size * i, 1, size)]) for i in range(count)]


def _vbmi(load: tirx.BufferLoad, index: tirx.Expr) -> tirx.Expr:
    dtype, size = dtype_of(index), KINDS["vbmi"]
    tables = _table(load, 0, size, ENTRIES // size)
    low, high = (
        tirx.call_llvm_pure_intrin(dtype, "llvm.x86.avx512.vpermi2var.qi.512", first, index, second)
        for first, second in (tables[:2], tables[2:])
    )
    signed = tirx.reinterpret(f"int8x{size}", index)
    return tirx.Select(signed >= tirx.const(0, f"int8x{size}"), low, high)


def _avx2(load: tirx.BufferLoad, index: tirx.Expr) -> tirx.Expr:
    size, row = KINDS["avx2"], 16
    dtype, twice = f"int8x{size}", [tirx.IntImm("int32", i % row) for i in range(size)]
    rows = [tirx.reinterpret(dtype, tirx.Shuffle([part, part], twice)) for part in _table(load, 0, row, ENTRIES // row)]
    byte, found = tirx.reinterpret(dtype, index), tirx.const(0, dtype)
    for half, place in ((rows[:8], byte), (rows[8:], tirx.bitwise_xor(byte, tirx.const(-128, dtype)))):
        before = tirx.const(0, dtype)
        for entries in half:
            changed = tirx.bitwise_xor(entries, before)
            there = tirx.call_llvm_pure_intrin(dtype, "llvm.x86.avx2.pshuf.b", changed, place)
            found, before = tirx.bitwise_xor(found, there), entries
            place = tirx.call_llvm_pure_intrin(dtype, "llvm.ssub.sat.v32i8", place, tirx.const(row, dtype))
    return tirx.reinterpret(dtype_of(index), found)


def _tbl(load: tirx.BufferLoad, index: tirx.Expr) -> tirx.Expr:
    dtype, size = dtype_of(index), KINDS["tbl"]
    found: list[tirx.Expr] = []
    for start in range(0, ENTRIES, size * _REGISTERS):
        table = _table(load, start, size, _REGISTERS)
        place = index - tirx.const(np.uint8(start).astype(np.dtype(dtype.partition("x")[0])).item(), dtype)
        name = f"llvm.aarch64.neon.{'tbx4' if found else 'tbl4'}.v16i8"
        found = [tirx.call_llvm_pure_intrin(dtype, name, *found, *table, place)]
    return found[0]


_VECTORS = {"tbl": _tbl, "vbmi": _vbmi, "avx2": _avx2}
for _kind in KINDS:
    _op._ffi_api.RegisterOp(_name(_kind), "bytes from a table")
    _op.register_op_attr(_name(_kind), "TCallEffectKind", 1)  # pure
    _op.register_op_attr(_name(_kind), "TVectorizable", True)
    _op.register_op_attr(_name(_kind), "TScriptPrinterName", _name(_kind).removeprefix("tirx."))
    tirx.op.register_intrin_lowering(_name(_kind), "llvm", f=functools.partial(_lower, kind=_kind))
