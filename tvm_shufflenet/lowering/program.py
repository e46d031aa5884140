"""What a network is after kernel selection: tensors, and calls of kernels in order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from schedules import Knobs, Plane

WorkloadType = object  # one of the frozen dataclasses of `schedules`


@dataclass(eq=False)
class Tensor:
    """A tensor of `channels` planes.  A part of a concatenation lies in `base` from plane `first` on."""

    name: str
    channels: int
    plane: Plane
    base: Tensor | None = None
    first: int = 0

    @property
    def floats(self) -> int:
        return self.channels * self.plane.size

    @property
    def root(self) -> Tensor:
        return self.base.root if self.base else self

    @property
    def root_offset(self) -> int:
        """Floats from the start of `root`."""
        return self.base.root_offset + self.first * self.plane.size if self.base else 0


@dataclass(eq=False)
class Call:
    """One call of a kernel.  `inputs` are the data and, if there is one, the residual."""

    workload: WorkloadType
    inputs: list[Tensor]
    output: Tensor
    parameters: list[np.ndarray] = field(default_factory=list)


@dataclass(eq=False)
class Program:
    """`input` and `output` are the caller's buffers, everything between lies in the workspace."""

    input: Tensor
    output: Tensor
    calls: list[Call]

    def workloads(self) -> list[WorkloadType]:
        """The different kernels, in order of their first call."""
        return list(dict.fromkeys(call.workload for call in self.calls))

    def describe(self) -> str:
        """A line per call: kernel, shapes, and where its output lies."""
        lines = []
        for call in self.calls:
            sources = ", ".join(t.name for t in call.inputs)
            target = call.output
            where = f" in {target.base.name}[{target.first}:]" if target.base else ""
            lines.append(f"{target.name}{where} = {call.workload}({sources})")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ScheduledKernel:
    """A workload with the knobs chosen for it: by a record of kind `record`, or the defaults if that is ""."""

    name: str
    workload: WorkloadType
    knobs: Knobs
    record: str = ""
    choices: int = 1  # the knobs it could have had

    @property
    def tuned(self) -> bool:
        return bool(self.record)
