"""Prefetches beside the loads or stores of a block.

Where a kernel reads a little of each of many large planes, no hardware prefetcher follows so many streams,
and the more work there is between two loads, the fewer misses are under way at once.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import s_tir, tirx
from tvm.ir import op as _op

from .common import Knobs, Machine

AHEAD = 1024  # floats: a page of weights

_READ, _WRITE = "tirx.tsn_prefetch_to_read", "tirx.tsn_prefetch_to_write"


def distance_for(machine: Machine, moved: int, pixels: int, multiply_adds: int) -> int:
    """How many elements ahead a kernel prefetches that reads and writes `moved` bytes: 0 for what stays in caches.

    Its tiles have so many pixels and vector multiply-adds.
    """
    return pixels * -(-machine.fetch // multiply_adds) if moved > machine.caches else 0


def by_default(machine: Machine, knobs: Knobs, in_order: bool = False) -> Knobs:
    """NEON kernels do not prefetch: whether it pays there is for a board to say, and a line is four vectors.

    `in_order`: they do on cores whose misses are modelled in order, where it pays by the model of the kernel's misses.
    """
    return {**knobs, "prefetch": 0} if machine.by_element and not (in_order and machine.loads_apart) else knobs


def weights_ahead(machine: Machine) -> Knobs:
    """The knob of `prefetch_weights`, where asking costs nothing: not of NEON, as `by_default`."""
    return {} if machine.by_element else {"ahead": AHEAD}


def prefetch_loads(
    sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, distance: int, once: tuple[int, int] | None = None
) -> None:
    """Lets `block`, which copies, ask for what is `distance` floats behind what it loads.

    `once` are a tile's vectors and their elements: it asks with the last one alone, which is enough of a tile that is
    no longer than a line, since no line then lies between where two tiles end.  Where a tile reaches into a new line,
    asking with its first vector would be a tile too late.
    """
    load = sch.get(block).body.value
    _replace(sch, block, sch.get(block), [_behind(_READ, load.source, load.indices, distance, once)])


def prefetch_stores(
    sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, distance: int, once: tuple[int, int] | None = None
) -> None:
    """Lets `block` ask for what is `distance` floats behind where it stores; `once` as of `prefetch_loads`."""
    store = sch.get(block).body
    _replace(sch, block, sch.get(block), [_behind(_WRITE, store.buffer, store.indices, distance, once)])


def _behind(name: str, buffer, indices: list, distance: int, once: tuple[int, int] | None):
    *plane, pixel = indices
    ask = _request(name, tirx.BufferLoad(buffer, [*plane, pixel + distance]))
    if once is None:
        return ask
    vectors, lanes = once
    return tirx.IfThenElse(pixel // lanes % vectors == vectors - 1, ask, None)


def prefetch_for(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, places: list) -> None:
    """Lets `block` ask for `places`, loads in terms of its axes."""
    _ask(sch, block, _READ, places)


def prefetch_weights(
    sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV, place: Callable[..., list], first: Callable[..., tirx.Expr]
) -> None:
    """Lets `block` ask for the weights at `place`, where `first` is true: once a tile and step, both of its axes.

    Hardware prefetchers stop at the end of a page, which a tile reads in about a thousand cycles, and it then waits for
    the first lines of the next page.  Behind the last k of a tile lies the next one.
    """
    old = sch.get(block)
    (weight,) = [read.source for read in old.reads if str(read.source.name).startswith("weight")]
    axes = [axis.var for axis in old.iter_vars]
    ask = _request(_READ, tirx.BufferLoad(weight, place(*axes)))
    _replace(sch, block, old, [tirx.IfThenElse(first(*axes), ask, None)])


def _ask(sch: s_tir.Schedule, block, name: str, places: list) -> None:
    """The block's innermost loop is vectorised: one prefetch a vector.  One of what is not there does nothing."""
    _replace(sch, block, sch.get(block), [_request(name, place) for place in places])


def _request(name: str, place: tirx.BufferLoad) -> tirx.Evaluate:
    return tirx.Evaluate(tirx.call_intrin("int32", name, place))


def _replace(sch: s_tir.Schedule, block, old: s_tir.SBlock, asks: list) -> None:
    """Puts `asks` in front of what the block does."""
    body = tirx.SeqStmt([*asks, old.body])
    new = s_tir.SBlock(old.iter_vars, old.reads, old.writes, old.name_hint, body, old.init, annotations=old.annotations)
    sch.state.replace(sch.get_sref(block), new, {old: new})


def _lower(call):
    (there,) = call.args
    *first, last = there.indices
    address = tirx.address_of(tirx.BufferLoad(there.source, [*first, getattr(last, "base", last)]))
    options = int(call.op.name == _WRITE), 3, 1  # read or write; to stay in all caches; data
    return tirx.call_llvm_intrin("void", "llvm.prefetch.p0", address, *(tirx.IntImm("int32", n) for n in options))


def _register(name: str) -> None:
    _op._ffi_api.RegisterOp(name, "a prefetch of the vector that a load names")
    _op.register_op_attr(name, "TCallEffectKind", 3)  # not to be removed
    _op.register_op_attr(name, "TVectorizable", True)
    tirx.op.register_intrin_lowering(name, "llvm", f=_lower)


_register(_READ)
_register(_WRITE)
