"""Bytes from a table of 256 of them.

    lookup(byte, table[0], kind)     table[byte & 255]

One byte is a load.  Of vectors `KINDS` says by which instruction:

tbl   NEON, 16 bytes: `tbl` looks into 64 entries and gives 0 for what lies behind them; `tbx` leaves such bytes as they
      are.  So four of them, each for indices less 64, look into all.
vbmi  AVX-512 VBMI, 64 bytes: `vpermi2b` looks into 128 entries, by the lower 7 bits.  So two of them look into all, and
      bit 7 chooses.
"""

from __future__ import annotations

import functools

import numpy as np
from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of

ENTRIES = 256
KINDS = {"tbl": 16, "vbmi": 64}  # bytes of the vector that each looks up
PLAIN = "plain"  # byte by byte
_NAME = "tirx.tsn_lookup"
_REGISTERS = 4  # of a table of `tbl`


def lookup(byte: tirx.Expr, first: tirx.Expr, kind: str) -> tirx.Expr:
    """An entry, of the dtype of `byte` and of the table, whose entry 0 the load `first` names.

    Vectors are of as many bytes as `KINDS` says, or a multiple; of kind `PLAIN` there are none.
    """
    return tirx.call_intrin(dtype_of(byte), _name(kind), byte, first)


def _name(kind: str) -> str:
    return f"{_NAME}_{kind}" if kind == "vbmi" else _NAME


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
    """So many vectors of the table, from entry `start` on."""
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


def _tbl(load: tirx.BufferLoad, index: tirx.Expr) -> tirx.Expr:
    dtype, size = dtype_of(index), KINDS["tbl"]
    found: list[tirx.Expr] = []
    for start in range(0, ENTRIES, size * _REGISTERS):
        table = _table(load, start, size, _REGISTERS)
        place = index - tirx.const(np.uint8(start).astype(np.dtype(dtype.partition("x")[0])).item(), dtype)
        name = f"llvm.aarch64.neon.{'tbx4' if found else 'tbl4'}.v16i8"
        found = [tirx.call_llvm_pure_intrin(dtype, name, *found, *table, place)]
    return found[0]


_VECTORS = {"tbl": _tbl, "vbmi": _vbmi}
for _kind in KINDS:
    _op._ffi_api.RegisterOp(_name(_kind), "bytes from a table")
    _op.register_op_attr(_name(_kind), "TCallEffectKind", 1)  # pure
    _op.register_op_attr(_name(_kind), "TVectorizable", True)
    _op.register_op_attr(_name(_kind), "TScriptPrinterName", _name(_kind).removeprefix("tirx."))
    tirx.op.register_intrin_lowering(_name(_kind), "llvm", f=functools.partial(_lower, kind=_kind))
