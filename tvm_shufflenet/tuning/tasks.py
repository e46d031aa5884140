"""What there is to tune: the different kernels of networks, each once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..architectures import Network
from ..bridge import random_parameters
from ..lowering.program import Program
from ..pipeline import lower_graph, with_scales
from ..records.kernels import label
from ..records.keys import task_of
from ..schedules import Knobs, Workload, tuning_space
from ..targets import TargetSpec
from ..targets.precision import FP32, Precision

DEPTHWISE = ("depthwise", "strewn_depthwise", "int8_window", "int8_strewn_window")
OPS = {
    "depthwise": lambda workload: workload.name in DEPTHWISE,
    "grouped": lambda workload: getattr(workload, "groups", 1) > 1,
    "all": lambda workload: True,
}


@dataclass
class Task:
    """A kernel to tune.  `space` holds its knobs, the defaults first; `shapes` are those of `pack`'s arrays.

    `hints` are some of the `space`, tried behind the defaults (`hints.add_hints`).
    """

    workload: Workload
    shapes: list[tuple[int, ...]]
    space: list[Knobs]
    networks: list[str] = field(default_factory=list)
    calls: int = 0  # in all networks together
    hints: list[Knobs] = field(default_factory=list)

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


def tasks_of(
    networks: list[Network], target: TargetSpec, op: str = "all", precision: Precision = FP32
) -> list[Task]:  # fmt: skip
    """The kernels that have a choice of knobs, those with most to do first.  `op` is a key of `OPS`.

    Dtypes are fields of workloads, so tasks of different precisions have different keys, unless they are the same code.
    """
    tasks: dict[Workload, Task] = {}
    for net in networks:
        parameters = random_parameters(net, 0)
        program: Program = lower_graph(net, parameters, target, precision=with_scales(precision, net, parameters))
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
    """Example arrays for `pack`, to try the kernel with."""
    return task.workload.examples(task.shapes, np.random.default_rng(0))
