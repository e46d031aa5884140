"""What a network is after kernels are selected: memory, views of it, and calls of kernels in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from ..graph import Node
from ..schedules import Knobs, Operand, Plane, Workload, itemsize, round_up

Channel = tuple[Node, int]  # of a step
Channels = tuple[Channel, ...]
ALIGN = 64  # bytes: a cache line and the widest vector
FLOAT = 4  # bytes of an element of the caller's arrays, and of the workspace as an argument of `main`


@dataclass(eq=False)
class Root:
    """A piece of memory: `planes` planes that lie as `plane` says.

    `external` names the caller's buffer that it is, "input" or "output 0"; everything else lies in the workspace.
    `interleaved`: the channels of a pixel lie side by side, as in pictures N x H x W x C; only copies read that.
    With `memory` the same numbers are read as other planes: this root begins `offset` bytes behind the start of that,
    where the channels that it `holds` must lie.  All of it is of `dtype`.

    There are `places` of it, one behind the other: of a library for several pictures one for each of these, or one that
    all pictures use in turn; the same of regions, which are gone through like pictures.  A root with `memory` may be
    that of the first region, those of the others `step` bytes behind each other.
    """

    name: str
    plane: Plane
    planes: int
    external: str = ""
    interleaved: bool = False
    memory: Root | None = None
    offset: int = 0
    holds: tuple[Channel, ...] = ()
    dtype: str = "float32"
    places: int = 1
    step: int = 0

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return itemsize(self.dtype)

    @property
    def bytes(self) -> int:
        """Bytes of one place."""
        return self.itemsize * self.planes * self.plane.size

    @property
    def pitch(self) -> int:
        """Bytes from one picture's place to the next one's; 0 where all pictures have the same."""
        if self.places == 1:
            return 0
        return self.bytes if self.external else round_up(self.bytes, ALIGN)

    @property
    def stride(self) -> int:
        """Bytes from what one picture or region has of it to the next one's; 0 where all have the same."""
        return self.step or self.home.pitch

    @property
    def all_bytes(self) -> int:
        """Bytes of all places."""
        return max(self.bytes, self.places * self.pitch)

    @property
    def home(self) -> Root:
        """The root whose memory this is."""
        return self.memory.home if self.memory else self

    @property
    def start(self) -> int:
        """Bytes from the start of `home`."""
        return self.memory.start + self.offset if self.memory else 0


@dataclass(frozen=True)
class View:
    """A tensor: channel i is plane `planes[i]` of the root.

    Split, concatenation, slice and shuffle are views; nothing moves.
    """

    root: Root
    planes: tuple[int, ...]

    @property
    def first(self) -> int:
        return min(self.planes)

    @property
    def start(self) -> int:
        """Bytes from the start of the root's `home` to the first plane."""
        return self.root.start + self.root.itemsize * self.first * (
            1 if self.root.interleaved else self.root.plane.size
        )

    @property
    def is_run(self) -> bool:
        """Whether the channels are planes that follow each other."""
        return self.planes == tuple(range(self.planes[0], self.planes[0] + len(self.planes)))

    @property
    def bytes(self) -> int:
        """Bytes from the first element of the first plane to the last element of the last plane."""
        planes = max(self.planes) - self.first + 1
        if self.root.interleaved:
            return self.root.itemsize * ((self.root.plane.size - 1) * self.root.planes + planes)
        return self.root.itemsize * planes * self.root.plane.size

    def __str__(self) -> str:
        step = self.planes[1] - self.planes[0] if len(self.planes) > 1 else 1
        if self.planes == tuple(range(self.planes[0], self.planes[-1] + 1)):
            where = f"[{self.planes[0]}:{self.planes[-1] + 1}]" if len(self.planes) < self.root.planes else ""
        elif step > 0 and self.planes == tuple(range(self.planes[0], self.planes[-1] + 1, step)):
            where = f"[{self.planes[0]}:{self.planes[-1] + 1}:{step}]"
        else:
            where = f"[{', '.join(map(str, self.planes[:4]))}{', ...' if len(self.planes) > 4 else ''}]"
        return self.root.name + where


@dataclass(eq=False)
class Call:
    """One call of a kernel: `inputs` are its data and, for some, the tensor that is added or the second factor.

    `reads` are the channels that the planes of each input must hold, `writes` those that the output's hold then.
    """

    workload: Workload
    layer: str
    inputs: list[View]
    output: View
    parameters: list[np.ndarray] = field(default_factory=list)
    reads: list[Channels] = field(default_factory=list)
    writes: Channels = ()

    @property
    def copies(self) -> int:
        """How often the kernel is called for a picture: once for each region, or for each block of regions."""
        return self.writes[0][0].copies

    def stride(self, operand: Operand, view: View) -> int:
        """Bytes from what the call is given of a view, as that operand, to what it is given the next time."""
        return view.root.stride * (self.workload.gathered if operand.name in self.workload.gathers else 1)


@dataclass(frozen=True)
class Pass:
    """Calls, by their numbers, that are gone through so many times, each time for further pictures or regions."""

    calls: range
    times: int


@dataclass(eq=False)
class Program:
    """`input` and `outputs` are the caller's buffers, everything between lies in the workspace.

    The planes of the input are the channels `reads`; those of each output must be `writes` in the end.

    Of several `pictures` each goes through the first `head` calls, one picture after the other.  Each further call is
    made for all pictures before the next one: `batches` says why.
    """

    input: Root
    outputs: list[Root]
    calls: list[Call]
    reads: Channels
    writes: list[Channels]
    pictures: int = 1
    head: int = 0

    def passes(self) -> list[Pass]:
        """The passes, which hold all calls in the order of execution."""
        if self.pictures == 1:
            found, first = [], 0
            for copies, calls in groupby(self.calls, lambda call: call.copies):
                found.append(Pass(range(first, first := first + len(list(calls))), copies))
            return found
        tail = range(self.head, len(self.calls))
        head = [Pass(range(self.head), self.pictures)] if self.head else []
        return head + [Pass(range(i, i + 1), self.pictures // self.calls[i].workload.batch) for i in tail]

    def steps(self) -> Iterator[tuple[int, range]]:
        """The executed steps, one after the other: the number of a call, and the pictures or regions that it is for."""
        for each in self.passes():
            size = max(1, self.pictures // each.times)
            for first in range(0, size * each.times, size):
                yield from ((index, range(first, first + size)) for index in each.calls)

    def alive(self, root: Root, call: int) -> tuple[int, int]:
        """The first and the last call between which a root that this call uses is alive.

        A pass counts as a whole if pictures or regions leave something in the root while the next ones go through the
        pass, or if all of them find there what a call in front of the pass has left.
        """
        each = next(each for each in self.passes() if call in each.calls)
        if each.times == 1 or len(each.calls) == 1:
            return call, call
        first, last = each.calls[0], each.calls[-1]
        if root.places > 1:
            return first, last
        written = any(self.calls[index].output.root.home is root for index in each.calls)
        return call, call if written else last

    def workloads(self) -> list[Workload]:
        """The different kernels, in order of their first call."""
        return list(dict.fromkeys(call.workload for call in self.calls))

    def generic(self) -> list[str]:
        """Layers that run in a kernel which is right for every shape and tuned for none, each with that kernel."""
        return [f"{call.layer} ({call.workload.name})" for call in self.calls if call.workload.generic]

    def describe(self) -> str:
        """A line per call: layer, kernel, shapes, and where its output lies."""
        lines = []
        for call in self.calls:
            sources = ", ".join(map(str, call.inputs))
            lines.append(f"{call.output} = {call.workload}({sources})  # {call.layer}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ScheduledKernel:
    """A workload with the knobs chosen for it: by a record of kind `record`, or the defaults if that is ""."""

    name: str
    workload: Workload
    knobs: Knobs
    record: str = ""
    choices: int = 1  # the knobs it could have had
    changed: bool = False  # whether its knobs differ from the defaults

    @property
    def tuned(self) -> bool:
        return bool(self.record)
