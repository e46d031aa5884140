"""What a call of a kernel computes and moves: in words, in multiply-adds, in bytes."""

from __future__ import annotations

from ..schedules import WEIGHT, itemsize
from .program import Call


def what(call: Call) -> str:
    """What a call computes, in short, such as `g=3 240->60, 28x28, shuffle`."""
    workload, source, target = call.workload, call.inputs[0], call.output
    before, after, plane = len(source.planes), len(target.planes), target.root.plane
    if call.parameters and call.parameters[0].ndim == 2:
        after, before = call.parameters[0].shape
    channels = f"{before}->{after}" if hasattr(workload, "outputs") else str(after)  # or channel by channel
    groups, stride = getattr(workload, "groups", 1), getattr(workload, "stride", 1)
    words = [f"g={groups}"] if groups > 1 else []
    if kernel := getattr(workload, "kernel", None):
        sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        step = max(stride) if isinstance(stride, tuple) else stride
        words.append("x".join(map(str, sides)) + (f"/{step}" if step > 1 else ""))
    parts = [" ".join([*words, channels])]
    if (plane.height, plane.width) != (1, 1):
        parts.append(f"{plane.height}x{plane.width}")
    extras = {"residual": "residual", "shuffle": "shuffle", "shuffle_groups": "shuffle"}
    return ", ".join([*parts, *(name for key, name in extras.items() if getattr(workload, key, False))])


def call_multiply_adds(call: Call) -> int:
    """Multiply-adds of a call as the paper counts them: of the pixels of the plane, not of its padding."""
    pixels = call.output.root.plane.height * call.output.root.plane.width
    return pixels * sum(array.size for array in call.parameters if array.ndim > 1)


def call_bytes(call: Call) -> int:
    """The bytes that a call has to move at least: planes with their padding, weights and biases, each once."""
    planes = (len(view.planes) * view.root.plane.size * view.root.itemsize for view in (*call.inputs, call.output))
    return sum(planes) + weight_bytes(call)


def weight_bytes(call: Call) -> int:
    """The bytes of a call's weights and biases."""
    dtypes = [operand.dtype for operand in call.workload.operands() if operand.role == WEIGHT]
    widths = [1 if array.dtype == "int8" else itemsize(dtype) for array, dtype in zip(call.parameters, dtypes)]
    return sum(array.size * width for array, width in zip(call.parameters, widths))
