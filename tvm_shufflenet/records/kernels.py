"""The kernels that records name by text, which need not name one of today."""

from __future__ import annotations

import dataclasses
import json

from .. import schedules
from ..schedules import IDENTITY, Activation, Plane, Workload


def label(workload: Workload) -> str:
    """A kernel in one short line, unlike that of any other."""
    words, said = [], []
    for part in dataclasses.fields(workload):
        value = getattr(workload, part.name)
        if part.kw_only:  # dtypes
            said += [f"{part.name} {value}"] if value != part.default else []
        elif isinstance(value, Plane):
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
    return f"{workload.name} {' '.join(words + said)}"


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
