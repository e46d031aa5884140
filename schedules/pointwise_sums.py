"""The sums of a pointwise convolution, as blocks that its schedules name.

`acc` and `out` are of whole vectors of pixels, `acc_rest` and `out_rest` of the few pixels behind them; `total` adds up
the parts of fp16 sums that would have too many terms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm.script import tirx as T

from .common import quick_relu
from .functions import cast

if TYPE_CHECKING:
    from .pointwise import Pointwise


def computation(work: Pointwise, load: Callable, add: Callable | None, place: Callable) -> Callable:
    """A macro `compute(near, data, weight, bias, table, scale, other, out)`; the last pixels are of `data`.

    `load(table, data, a, k, pixel)` is an input, `add(table, other, a, o, pixel)` what is added to an output, and
    `place(table, a, o)` the plane of one.
    """
    G, K, N, L = work.groups, work.inputs, work.outputs, work.lanes
    V, R = work.pixels
    finish, dtype, zero = quick_relu(work.activation), work.dtype, work.number(0)
    terms, parts = work.terms, K // work.terms
    rest_dtype = "float32" if parts > 1 else dtype

    def added(value, table, other, a, o, pixel):
        return value + add(table, other, a, o, pixel) if add else value

    def start(bias, table, other, a, o, pixel):
        return bias[a, o] if work.scaled else added(bias[a, o], table, other, a, o, pixel)

    def end(value, table, scale, other, a, o, pixel):
        return finish(added(value * scale[a, o], table, other, a, o, pixel) if work.scaled else value)

    def end_of_rest(value, table, scale, other, a, o, pixel):
        return end(value if work.scaled else added(value, table, other, a, o, pixel), table, scale, other, a, o, pixel)

    @T.macro
    def vectors(near, weight, bias, table, scale, other, out):
        acc = T.sblock_alloc_buffer((G, N, V, L), dtype)
        for a, o, v, i, k in T.grid(G, N, V, L, K):
            with T.sblock("acc"):
                va, vo, vv, vi, vk = T.axis.remap("SSSSR", [a, o, v, i, k])
                with T.init():
                    acc[va, vo, vv, vi] = start(bias, table, other, va, vo, vv * L + vi)
                acc[va, vo, vv, vi] = acc[va, vo, vv, vi] + weight[va, vo, vk] * near[va, vk, vv * L + vi]
        for a, o, v, i in T.grid(G, N, V, L):
            with T.sblock("out"):
                va, vo, vv, vi = T.axis.remap("SSSS", [a, o, v, i])
                value = T.meta_var(acc[va, vo, vv, vi])
                out[place(table, va, vo), vv * L + vi] = end(value, table, scale, other, va, vo, vv * L + vi)

    @T.macro
    def long_vectors(near, weight, bias, table, scale, other, out):
        acc = T.sblock_alloc_buffer((parts, G, N, V, L), dtype)
        total = T.sblock_alloc_buffer((G, N, V, L), "float32")
        for c, a, o, v, i, k in T.grid(parts, G, N, V, L, terms):
            with T.sblock("acc"):
                vc, va, vo, vv, vi, vk = T.axis.remap("SSSSSR", [c, a, o, v, i, k])
                with T.init():
                    acc[vc, va, vo, vv, vi] = zero
                acc[vc, va, vo, vv, vi] = (
                    acc[vc, va, vo, vv, vi] + weight[va, vo, vc * terms + vk] * near[va, vc * terms + vk, vv * L + vi]
                )
        for a, o, v, i, c in T.grid(G, N, V, L, parts):
            with T.sblock("total"):
                va, vo, vv, vi, vc = T.axis.remap("SSSSR", [a, o, v, i, c])
                with T.init():
                    total[va, vo, vv, vi] = cast(start(bias, table, other, va, vo, vv * L + vi), "float32")
                total[va, vo, vv, vi] = total[va, vo, vv, vi] + cast(acc[vc, va, vo, vv, vi], "float32")
        for a, o, v, i in T.grid(G, N, V, L):
            with T.sblock("out"):
                va, vo, vv, vi = T.axis.remap("SSSS", [a, o, v, i])
                value = T.meta_var(cast(total[va, vo, vv, vi], dtype))
                out[place(table, va, vo), vv * L + vi] = end(value, table, scale, other, va, vo, vv * L + vi)

    @T.macro
    def rest(data, weight, bias, table, scale, other, out):
        acc_rest = T.sblock_alloc_buffer((G, R, N), rest_dtype)
        for a, i, o, k in T.grid(G, R, N, K):
            with T.sblock("acc_rest"):
                va, vi, vo, vk = T.axis.remap("SSSR", [a, i, o, k])
                with T.init():
                    acc_rest[va, vi, vo] = cast(bias[va, vo], rest_dtype)
                there = T.meta_var(cast(load(table, data, va, vk, V * L + vi), rest_dtype))
                acc_rest[va, vi, vo] = acc_rest[va, vi, vo] + cast(weight[va, vo, vk], rest_dtype) * there
        for a, i, o in T.grid(G, R, N):
            with T.sblock("out_rest"):
                va, vi, vo = T.axis.remap("SSS", [a, i, o])
                value = T.meta_var(cast(acc_rest[va, vi, vo], dtype))
                c = T.meta_var(place(table, va, vo))
                out[c, V * L + vi] = end_of_rest(value, table, scale, other, va, vo, V * L + vi)

    @T.macro
    def compute(near, data, weight, bias, table, scale, other, out):
        if parts > 1:
            long_vectors(near, weight, bias, table, scale, other, out)
        else:
            vectors(near, weight, bias, table, scale, other, out)
        if R > 0:
            rest(data, weight, bias, table, scale, other, out)

    return compute
