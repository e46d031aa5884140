"""What every workload answers beside its computation: which buffers its kernel touches, and how far around them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import ClassVar
from unittest import mock

import numpy as np
import tvm
from tvm import s_tir, tirx

from .common import Knobs, Machine

INPUT, FACTOR, RESIDUAL = INPUTS = ("input", "factor", "residual")  # in the order in which a step has them
WEIGHT, OUTPUT, SCRATCH = ("weight", "output", "scratch")
# By the names that parameters of definitions have; all others are scratch, if a workload says so, or weights.
_ROLES = {"data": INPUT, "scale": FACTOR, "other": RESIDUAL, "out": OUTPUT}


@dataclass(frozen=True)
class Operand:
    """A buffer of a kernel, in the order of its parameters.

    `bytes` from the pointer on are read or written; up to `before` bytes in front of them and `behind` bytes after
    them may be read, with no effect on the result.  `external`: the buffer may be the caller's, which is dense and
    aligned as its elements are, and around which nothing may be touched.  `whole`: it is all planes of a root, of which
    a table among the weights names those that are meant.
    """

    name: str
    role: str
    dtype: str
    bytes: int
    before: int = 0
    behind: int = 0
    external: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Workload:
    """Base of the frozen dataclasses that say what a kernel computes; `common` has the contract.

    `dtype` is that of activations, weights and arithmetic, "float32" or "float16", where a kernel says nothing else.
    Where it is "int8" or "uint8" it is that of activations alone.
    """

    dtype: str = field(default="float32", kw_only=True)

    # Names of parameters whose buffers may be the caller's: no schedule makes vectors of their loads or stores.
    external: ClassVar[tuple[str, ...]] = ()
    # Whether it is right, but made for no particular machine: a build names the layers that have such a kernel.
    generic = False
    # Names of parameters that are all planes of a root.
    whole: ClassVar[tuple[str, ...]] = ()
    # Names of parameters that are of `gathered` regions or blocks of them, one a pitch behind the other.
    gathers: ClassVar[tuple[str, ...]] = ()
    # Names of parameters that are room to work in.
    scratch: ClassVar[tuple[str, ...]] = ("scratch",)
    # Of these, what each of several threads needs for itself.
    own_scratch: ClassVar[tuple[str, ...]] = ()
    # Whether nests of loops that follow each other wait for each other: each then is a step of its own.
    stages: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The name of the computation."""
        raise NotImplementedError

    @property
    def multiply_adds(self) -> int:
        return 0

    @property
    def batch(self) -> int:
        """The pictures of a call, each of its inputs and its output one place of a root behind the other."""
        return 1

    @property
    def gathered(self) -> int:
        """How many planes of a root the parameters named by `gathers` are."""
        return 1

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return itemsize(self.dtype)

    @property
    def number(self) -> Callable[[float], tirx.Expr]:
        """Makes constants of the dtype."""
        return lambda value: tirx.const(value, self.dtype)

    def definition(self) -> tirx.PrimFunc:
        raise NotImplementedError

    def knobs(self, machine: Machine) -> Knobs:
        return {}

    def space(self, machine: Machine) -> list[Knobs]:
        return []

    def schedule(self, sch: s_tir.Schedule, knobs: Knobs) -> None:
        """Tiles and vectorises the definition; by default the loops are left to LLVM."""

    def pack(self, knobs: Knobs, *arrays: np.ndarray) -> list[np.ndarray]:
        """Weights in the order of the parameters; by default as they are."""
        return list(arrays)

    def examples(self, shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
        """Arrays of these shapes for `pack`, to try the kernel with: standard normal."""
        return [rng.standard_normal(shape, "float32") for shape in shapes]

    def written(self, *arrays: np.ndarray) -> slice | np.ndarray:
        """The planes of the output that are written, given the arrays for `pack`: all."""
        return slice(None)

    def chunks(self, knobs: Knobs) -> dict[str, int]:
        """The axes of the definition along which threads may share the work, no two of them writing the same place.

        Each with how many of its positions go together.  Of nests of loops that follow each other each is cut along
        those of the axes that it has.  None: one thread does all.
        """
        return {}

    def in_parts(self, knobs: Knobs) -> Knobs:
        """The knobs of the form that several threads run, for the arrays that `pack` makes with `knobs`."""
        return knobs

    def reach(self, name: str) -> tuple[int, int]:
        """Elements in front of and behind the buffer of that name which the kernel may read."""
        return 0, 0

    def order(self, channels: int) -> list[int]:
        """The plane of the output at which each of its channels is stored: a permutation."""
        return list(range(channels))

    def may_replace(self, name: str) -> bool:
        """Whether the output may lie exactly where the input of that name does."""
        return False

    def operands(self) -> tuple[Operand, ...]:
        """The parameters of the definition, and so of the kernel; of weights the sizes are those before packing."""
        return _operands(self)


def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    return tvm.DataType(dtype).bits // 8


def leave_out(function: tirx.PrimFunc, *names: str) -> tirx.PrimFunc:
    """The definition without those parameters that it does not use."""
    params = [param for param in function.params if str(param.name) not in names]
    return tirx.PrimFunc(params, function.body, function.ret_type).with_attrs(dict(function.attrs.items()))


def spread(channels: int, planes: int) -> np.ndarray:
    """A table of `channels` of the planes, at even distances: an example of where channels lie."""
    return np.arange(channels, dtype=np.int32) * planes // channels


_PARSING = threading.RLock()


def _frames(frame: FrameType | None, context: int = 1) -> list[inspect.FrameInfo]:
    """What `inspect.getouterframes` gives, without the lines of the sources."""
    found = []
    while frame:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


@functools.lru_cache(maxsize=4096)
def defined(workload: Workload) -> tirx.PrimFunc:
    """The definition: parsing one takes longer than scheduling it.

    For every macro TVM's parser lists the stack, and reads no source line of it.  Looking for these lines in all
    modules would take as long as the rest of the parser.
    """
    with _PARSING, mock.patch.object(inspect, "getouterframes", _frames):
        return workload.definition()


def scheduled(workload: Workload, knobs: Knobs) -> tirx.PrimFunc:
    """The definition, scheduled with these knobs."""
    return _scheduled(workload, tuple(sorted(knobs.items())))


@functools.lru_cache(maxsize=4096)
def _scheduled(workload: Workload, knobs: tuple[tuple[str, int], ...]) -> tirx.PrimFunc:
    schedule = s_tir.Schedule(defined(workload))
    workload.schedule(schedule, dict(knobs))
    return schedule.mod["main"]


@functools.lru_cache(maxsize=4096)
def _operands(workload: Workload) -> tuple[Operand, ...]:
    found = []
    for buffer in defined(workload).params:
        name, dtype = str(buffer.name), str(buffer.dtype)
        width = itemsize(dtype)
        size = math.prod(map(int, buffer.shape)) * width
        before, behind = (width * count for count in workload.reach(name))
        role = SCRATCH if name in workload.scratch else _ROLES.get(name, WEIGHT)
        found.append(
            Operand(name, role, dtype, size, before, behind, name in workload.external, name in workload.whole)
        )
    return tuple(found)


def describe(workload: Workload) -> dict:
    """Kernel and fields as plain JSON; fields at their defaults are left out, so that new ones change nothing."""

    def plain(value):
        if dataclasses.is_dataclass(value):
            return {
                f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not _is_default(f, value)
            }
        return list(value) if isinstance(value, tuple) else value

    return {"op": workload.name, **plain(workload)}


def _is_default(field: dataclasses.Field, owner) -> bool:
    return field.default is not dataclasses.MISSING and getattr(owner, field.name) == field.default
