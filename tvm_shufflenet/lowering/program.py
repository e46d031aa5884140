"""What a network is after kernels are selected: memory, views of it, and calls of kernels in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from schedules import Knobs, Plane, Workload

from ..graph import Node

Channel = tuple[Node, int]  # of a step
Channels = tuple[Channel, ...]
FLOAT = 4  # bytes of an element: activations are fp32


@dataclass(eq=False)
class Root:
    """A piece of memory: `planes` planes that lie as `plane` says.

    `external` names the caller's buffer that it is, "input" or "output 0"; everything else lies in the workspace.
    `interleaved`: the channels of a pixel lie side by side, as in pictures N x H x W x C; only copies read that.
    With `memory` the same numbers are read as other planes: this root begins `offset` bytes behind the start of that,
    where the channels that it `holds` must lie.
    """

    name: str
    plane: Plane
    planes: int
    external: str = ""
    interleaved: bool = False
    memory: Root | None = None
    offset: int = 0
    holds: tuple[Channel, ...] = ()

    @property
    def bytes(self) -> int:
        return FLOAT * self.planes * self.plane.size

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
        return self.root.start + FLOAT * self.first * (1 if self.root.interleaved else self.root.plane.size)

    @property
    def is_run(self) -> bool:
        """Whether the channels are planes that follow each other."""
        return self.planes == tuple(range(self.planes[0], self.planes[0] + len(self.planes)))

    @property
    def bytes(self) -> int:
        """From the first element of the first plane to the last one of the last plane."""
        planes = max(self.planes) - self.first + 1
        if self.root.interleaved:
            return FLOAT * ((self.root.plane.size - 1) * self.root.planes + planes)
        return FLOAT * planes * self.root.plane.size

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


@dataclass(eq=False)
class Program:
    """`input` and `outputs` are the caller's buffers, everything between lies in the workspace.

    The planes of the input are the channels `reads`; those of each output must be `writes` in the end.
    """

    input: Root
    outputs: list[Root]
    calls: list[Call]
    reads: Channels
    writes: list[Channels]

    def workloads(self) -> list[Workload]:
        """The different kernels, in order of their first call."""
        return list(dict.fromkeys(call.workload for call in self.calls))

    def generic(self) -> list[str]:
        """Layers that run in a kernel which is right for every shape but made for none, each with that kernel."""
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

    @property
    def tuned(self) -> bool:
        return bool(self.record)
