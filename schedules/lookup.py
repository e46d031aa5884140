"""Bytes from a table of 256 of them.

    lookup(byte, table[0])     table[byte & 255]

One byte is a load.  Of vectors of 16 NEON's `tbl` looks into 64 entries and gives 0 for what lies behind them; `tbx`
leaves such bytes as they are.  So four of them, each for indices less 64, look into all.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of

ENTRIES = 256
_NAME = "tirx.tsn_lookup"
_LANES, _REGISTERS = 16, 4  # of a vector; of a table of one instruction


def lookup(byte: tirx.Expr, first: tirx.Expr) -> tirx.Expr:
    """An entry, of the dtype of `byte` and of the table, whose entry 0 the load `first` names.

    Only AArch64 has vectors of it, of a multiple of 16 bytes.
    """
    return tirx.call_intrin(dtype_of(byte), _NAME, byte, first)


def _lower(call):
    index, first = call.args
    load = first.value if isinstance(first, _expr.Broadcast) else first
    lanes = int(getattr(index.ty.dtype, "lanes", 1))
    if lanes == 1:
        place = tirx.bitwise_and(tirx.Cast("int32", index), tirx.IntImm("int32", ENTRIES - 1))
        return tirx.BufferLoad(load.source, [place])
    if lanes % _LANES:
        raise ValueError(f"{lanes} bytes are no vectors of {_LANES}")
    parts = [_vector(load, _part(index, start)) for start in range(0, lanes, _LANES)]
    if len(parts) == 1:
        return parts[0]
    return tirx.Shuffle(parts, [tirx.IntImm("int32", i) for i in range(lanes)])


def _part(index: tirx.Expr, start: int) -> tirx.Expr:
    if int(index.ty.dtype.lanes) == _LANES:
        return index
    return tirx.Shuffle([index], [tirx.IntImm("int32", start + i) for i in range(_LANES)])


def _vector(load: tirx.BufferLoad, index: tirx.Expr) -> tirx.Expr:
    dtype = dtype_of(index)
    found: list[tirx.Expr] = []
    for start in range(0, ENTRIES, _LANES * _REGISTERS):
        table = [
            tirx.BufferLoad(load.source, [tirx.Ramp(start + _LANES * register, 1, _LANES)])
            for register in range(_REGISTERS)
        ]
        place = index - tirx.const(np.uint8(start).astype(np.dtype(dtype.partition("x")[0])).item(), dtype)
        name = f"llvm.aarch64.neon.{'tbx4' if found else 'tbl4'}.v16i8"
        found = [tirx.call_llvm_pure_intrin(dtype, name, *found, *table, place)]
    return found[0]


_op._ffi_api.RegisterOp(_NAME, "bytes from a table")
_op.register_op_attr(_NAME, "TCallEffectKind", 1)  # pure
_op.register_op_attr(_NAME, "TVectorizable", True)
_op.register_op_attr(_NAME, "TScriptPrinterName", _NAME.removeprefix("tirx."))
tirx.op.register_intrin_lowering(_NAME, "llvm", f=_lower)
