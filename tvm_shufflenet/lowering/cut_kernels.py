"""A scheduled kernel  =>  the same kernel in parts, of which several threads take one after the other.

    kernel(pointers..., part, parts, step) does part number `part` of `parts`

Which loops are cut a workload says (`chunks`): along them no two iterations write the same place.  The iterations of
those loops of a nest, counted through, are its chunks, and a part is a run of them: the loops keep their constant
bounds, and a test inside leaves out the chunks of others.  Bounds that are known at run time only would cost 2 to 5
times the time, since accumulators then no longer shrink to the tile.  The arithmetic of a chunk does not depend on who
does it, so results are the same to the bit for any number of parts.

What lies outside of such loops every part does for itself, in scratch of its own.  Where stages of a kernel wait for
each other (`stages`), a call does one of `steps`, and the caller waits for all threads before the next one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from tvm import s_tir, tirx

from ..schedules import Workload


@dataclass(frozen=True)
class CutKernel:
    """`function` has three more parameters than the kernel: part, parts, step.  `chunks`: of its longest nest."""

    function: tirx.PrimFunc
    chunks: int
    steps: int


def cut_kernel(workload: Workload, function: tirx.PrimFunc, knobs: dict[str, int]) -> CutKernel:
    """The scheduled `function` of a workload, in parts; as it is where that has no `chunks`."""
    if not workload.chunks(knobs):
        return CutKernel(function, 1, 1)  # one thread does all
    cut = _Cut(workload, knobs)
    body = function.body
    if isinstance(body, s_tir.SBlockRealize):  # the root, of kernels that keep something between loops
        root = body.block
        block = s_tir.SBlock(
            root.iter_vars, root.reads, root.writes, root.name_hint, cut.inside(root.body), root.init,
            root.alloc_buffers, root.match_buffers, root.annotations,
        )  # fmt: skip
        body = s_tir.SBlockRealize(body.iter_values, body.predicate, block)
    else:
        body = cut.inside(body)
    params = [*function.params, cut.part, cut.parts, cut.step]
    cut_function = tirx.PrimFunc(params, body, function.ret_type).with_attrs(dict(function.attrs.items()))
    return CutKernel(cut_function, max(cut.counts, default=1), cut.steps)


class _Cut:
    def __init__(self, workload: Workload, knobs: dict[str, int]):
        self._chunks, self._stages = workload.chunks(knobs), workload.stages
        self._own = {*workload.own_scratch}
        self.part, self.parts, self.step = (tirx.Var(name, "int32") for name in ("part", "parts", "step"))
        self.counts: list[int] = []
        self.steps = 1
        self._outer: list[tirx.For] = []  # around a sequence of stages
        self._binds: list[tirx.Stmt] = []

    def inside(self, stmt: tirx.Stmt) -> tirx.Stmt:
        """The statement with every nest in it cut."""
        if isinstance(stmt, tirx.SeqStmt):
            return tirx.SeqStmt(self._staged([self.inside(child) for child in stmt.seq]))
        if not isinstance(stmt, tirx.For):
            self._check_own(stmt)
            return stmt
        if nest := self._nest(stmt):
            return self._cut(stmt, nest)
        self._outer.append(stmt)
        body = self.inside(stmt.body)
        self._outer.pop()
        return _with_body(stmt, body)

    def _nest(self, loop: tirx.Stmt) -> list[tirx.For]:
        """The loops to cut of a perfect nest, from the outside in."""
        found = []
        while isinstance(loop, tirx.For):
            if loop.kind == tirx.ForKind.SERIAL and _axis(loop) in self._chunks:
                found.append(loop)
            loop = loop.body
        return found

    def _cut(self, stmt: tirx.For, nest: list[tirx.For]) -> tirx.Stmt:
        tiles = [self._chunks[_axis(loop)] for loop in nest]
        if len(nest) == 1 and tiles[0] > 1:
            return self._with_bounds(nest[0], tiles[0])
        inside = math.prod(int(loop.extent) for loop in nest)
        first, behind = self._bounds(inside)
        chunk: tirx.Expr = tirx.IntImm("int32", 0)
        tests = {}
        for loop in nest:
            inside //= int(loop.extent)
            chunk = chunk + loop.loop_var * inside
            if int(loop.extent) > 1 or loop is nest[-1]:
                tests[loop.loop_var] = _meets(chunk, inside, first, behind)

        def tested(loop: tirx.Stmt) -> tirx.Stmt:
            if not isinstance(loop, tirx.For):
                return loop
            body = tested(loop.body)
            test = tests.get(loop.loop_var)
            return _with_body(loop, body if test is None else tirx.IfThenElse(test, body, None))

        return tirx.SeqStmt([*self._binds, tested(stmt)])

    def _with_bounds(self, loop: tirx.For, tile: int) -> tirx.Stmt:
        """A loop of copying, of which `tile` iterations are a chunk."""
        extent = int(loop.extent)
        first, behind = self._bounds(-(-extent // tile))
        start = first * tile
        stop = tirx.min(behind * tile, tirx.IntImm("int32", extent))
        cut = tirx.For(
            loop.loop_var, start, stop - start, loop.kind, loop.body, loop.thread_binding, loop.annotations
        )  # fmt: skip
        return tirx.SeqStmt([*self._binds, cut])

    def _bounds(self, count: int) -> tuple[tirx.Var, tirx.Var]:
        """The first chunk of this part, of `count` in all, and the one behind its last."""
        self.counts.append(count)
        first, behind = (tirx.Var(name, "int32") for name in ("first", "behind"))
        n = tirx.IntImm("int32", count)
        self._binds = [
            tirx.Bind(first, tirx.truncdiv(self.part * n, self.parts)),
            tirx.Bind(behind, tirx.truncdiv((self.part + 1) * n, self.parts)),
        ]
        return first, behind

    def _staged(self, children: list[tirx.Stmt]) -> list[tirx.Stmt]:
        """Each child only in the step that is its own."""
        if not self._stages:
            return children
        number: tirx.Expr | int = 0
        for loop in self._outer:
            number = number * loop.extent + loop.loop_var
        self.steps = len(children) * math.prod(int(loop.extent) for loop in self._outer)
        return [
            tirx.IfThenElse(self.step == number * len(children) + place, child, None)
            for place, child in enumerate(children)
        ]

    def _check_own(self, stmt: tirx.Stmt) -> None:
        """What every part does may only write scratch that each thread has for itself."""
        if isinstance(stmt, s_tir.SBlockRealize):
            written = {str(region.source.name) for region in stmt.block.writes}
        elif isinstance(stmt, tirx.BufferStore):
            written = {str(stmt.buffer.name)}
        else:
            raise ValueError(f"no loop to cut around {type(stmt).__name__}")
        if not written <= self._own:
            raise ValueError(f"all threads would write {sorted(written - self._own)}")


def _axis(loop: tirx.For) -> str:
    """The axis of the definition that a loop goes along: splitting appends numbers to its name."""
    return re.sub(r"(_\d+)+$", "", str(loop.loop_var.name))


def _meets(chunk: tirx.Expr, count: int, first: tirx.Var, behind: tirx.Var) -> tirx.Expr:
    """Whether one of `count` chunks from `chunk` on is of this part.

    Opaque to TVM, so that no loop is partitioned at bounds which are known at run time only.
    """

    def opaque(number: tirx.Expr) -> tirx.Expr:
        return tirx.reinterpret("uint32", number)

    if count == 1:
        return opaque(chunk - first) < opaque(behind - first)
    # With `first` on both sides: of a loop that is unrolled `chunk` is 0 once, which TVM cannot make opaque.
    return tirx.all(opaque(chunk - first) + opaque(first) < opaque(behind), opaque(first) < opaque(chunk + count))


def _with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    return tirx.For(
        loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations, loop.step
    )
