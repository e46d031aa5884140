"""Taps of a window that moves by `stride` floats from lane to lane, as vectors.

    strided_tap(data[..., x * stride + k], k)          # the same value

Where a schedule makes lanes of x, TVM would load float by float.  Here the `stride` * lanes floats at
tap 0 are loaded once for all taps, de-interleaved (ld2 of NEON; shuffles elsewhere), and a tap from
`stride` on, which needs a few floats more, is shifted together from that and the vectors behind.

So floats are read that no tap asks for, whole vectors from tap 0 on: the caller answers for their
being there.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import op as _op
from tvm.ir.prim import expr as _expr

from .functions import dtype_of

_NAME = "tirx.tsn_strided_tap"


def strided_tap(load: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
    """`load`, a number of a buffer, which is tap number `tap` of its window."""
    return tirx.call_intrin(dtype_of(load), _NAME, load, tap)


def _lower(call):
    load, tap = call.args
    ramp = load.indices[-1]
    if not isinstance(ramp, _expr.Ramp) or int(ramp.stride) == 1:
        return load
    stride, lanes, tap = int(ramp.stride), int(ramp.lanes), int(getattr(tap, "value", tap))
    first = ramp.base - tap

    def floats(start, count):
        return tirx.BufferLoad(load.source, [*load.indices[:-1], tirx.Ramp(start, 1, count)])

    def pick(vectors, lane):
        return tirx.Shuffle(vectors, [tirx.IntImm("int32", lane(i)) for i in range(lanes)])

    step, phase = divmod(tap, stride)
    vector = pick([floats(first, stride * lanes)], lambda i: phase + stride * i)
    if step == 0:
        return vector
    # One vector holds what is needed, but for short vectors under a large window.
    behind = [floats(first + start, lanes) for start in range(stride * lanes, tap + stride * (lanes - 1) + 1, lanes)]
    return pick([vector, *behind], lambda i: i + step if i + step < lanes else tap + stride * (i - lanes) + lanes)


_op._ffi_api.RegisterOp(_NAME, "a tap of a strided window, which is a load")
_op.register_op_attr(_NAME, "TCallEffectKind", 1)  # pure
_op.register_op_attr(_NAME, "TVectorizable", True)
tirx.op.register_intrin_lowering(_NAME, "llvm", f=_lower)
