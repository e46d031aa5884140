"""What there is to tune: the different kernels of networks, each once."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

import numpy as np

import schedules
from schedules import IDENTITY, Activation, Knobs, Plane, Workload, tuning_space

from ..architectures import Network
from ..bridge import random_parameters
from ..lowering.program import Program
from ..pipeline import lower_graph
from ..records.keys import task_of
from ..targets import TargetSpec

OPS = {
    "depthwise": lambda workload: workload.name in ("depthwise", "strewn_depthwise"),
    "grouped": lambda workload: getattr(workload, "groups", 1) > 1,
    "all": lambda workload: True,
}


@dataclass
class Task:
    """A kernel to tune.  `space` holds its knobs, the defaults first; `shapes` are those of `pack`'s arrays."""

    workload: Workload
    shapes: list[tuple[int, ...]]
    space: list[Knobs]
    networks: list[str] = field(default_factory=list)
    calls: int = 0  # in all networks together

    @property
    def default(self) -> Knobs:
        return self.space[0]

    @property
    def key(self) -> str:
        return task_of(self.workload)

    @property
    def label(self) -> str:
        return label(self.workload)

    @property
    def multiply_adds(self) -> int:
        return self.workload.multiply_adds


def label(workload: Workload) -> str:
    """A kernel in one short line, unlike that of any other."""
    words = []
    for part in dataclasses.fields(workload):
        value = getattr(workload, part.name)
        if isinstance(value, Plane):
            words.append(f"{value.height}x{value.width}" + (f"/{value.pitch}" if value.pitch != value.width else ""))
        elif isinstance(value, Activation):
            words += [] if value == IDENTITY else [value.kind, *(f"{n:g}" for n in (value.a, value.b) if n)]
        elif isinstance(value, bool):
            words += [part.name] * value
        elif isinstance(value, str):
            words += [] if value in workload.name else [value]
        elif isinstance(value, tuple):
            words.append(part.name[0] + "x".join(map(str, value)))
        elif part.name != "lanes":
            words.append(f"{part.name[0]}{value:g}")
    return f"{workload.name} {' '.join(words)}"


def label_of(task: str) -> str:
    """The label of a task that a record names; the text itself if no kernel has such fields any more."""
    try:
        return label(workload_of(task))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return task


def workload_of(task: str) -> Workload:
    """The workload that a record names; raises one of several errors for a text that names none."""
    fields = json.loads(task)
    kernels = [
        kernel for kernel in vars(schedules).values() if isinstance(kernel, type) and issubclass(kernel, Workload)
    ]
    (kernel,) = [k for k in kernels if k is not Workload and _op(k, fields) == fields["op"]]
    del fields["op"]
    return kernel(**{name: _field(kernel, name, value) for name, value in fields.items()})


def _op(kernel: type[Workload], fields: dict) -> str:
    """The name of a kernel, which for pooling depends on its kind."""
    return kernel.name if isinstance(kernel.name, str) else f"{fields.get('kind', 'max')}_pool"


def _field(kernel: type, name: str, value):
    kinds = {"Plane": Plane, "Activation": Activation}
    (annotation,) = [f.type for f in dataclasses.fields(kernel) if f.name == name]
    if annotation in kinds:
        return kinds[annotation](**value)
    return tuple(value) if isinstance(value, list) else value


def tasks_of(networks: list[Network], target: TargetSpec, op: str = "all") -> list[Task]:
    """The kernels that have a choice of knobs, those with most to do first.  `op` is a key of `OPS`."""
    tasks: dict[Workload, Task] = {}
    for net in networks:
        program: Program = lower_graph(net, random_parameters(net, 0), target)
        for call in program.calls:
            task = tasks.get(call.workload)
            if task is None:
                shapes = [array.shape for array in call.parameters]
                space = tuning_space(call.workload, target.machine)
                task = tasks[call.workload] = Task(call.workload, shapes, space)
            task.calls += 1
            if net.name not in task.networks:
                task.networks.append(net.name)
    chosen = [task for task in tasks.values() if OPS[op](task.workload) and len(task.space) > 1]
    return sorted(chosen, key=lambda task: (-task.calls * task.multiply_adds, task.key))


def example_arrays(task: Task) -> list[np.ndarray]:
    """What `pack` takes, to try the kernel with."""
    return task.workload.examples(task.shapes, np.random.default_rng(0))
