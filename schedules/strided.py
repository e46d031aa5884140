"""`strided(data[...])`: where a schedule makes a vector of it whose elements lie n apart, all n phases
are loaded and one is picked.

TVM would load such a vector float by float.  LLVM makes one de-interleaving load (ld2 of NEON) of
loads that pick different phases of the same floats, shuffles elsewhere.  Up to n - 1 floats before
and behind those asked for are read: the caller answers for their being there.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

_NAME = "tirx.tsn_strided"


def strided(load: tirx.Expr) -> tirx.Expr:
    """The same value, float32."""
    return tirx.call_intrin("float32", _NAME, load)


def _lower(call):
    (load,) = call.args
    ramp = load.indices[-1]
    if not isinstance(ramp, _expr.Ramp) or int(ramp.stride) == 1:
        return load
    stride, lanes, base = int(ramp.stride), int(ramp.lanes), ramp.base
    # Loads of one address but for a constant begin at the same float: where that is 0, modulo the stride.
    constant = isinstance(base, _expr.Add) and isinstance(base.b, _expr.IntImm)
    phase = int(base.b) % stride if constant else 0
    floats = tirx.BufferLoad(load.source, [*load.indices[:-1], tirx.Ramp(base - phase, 1, stride * lanes)])
    return tirx.Shuffle([floats], [tirx.IntImm("int32", phase + stride * lane) for lane in range(lanes)])


_op._ffi_api.RegisterOp(_NAME, "a load, of every n-th float where it is vectorized")
_op.register_op_attr(_NAME, "TCallEffectKind", 1)  # pure
_op.register_op_attr(_NAME, "TVectorizable", True)
tirx.op.register_intrin_lowering(_NAME, "llvm", f=_lower)
