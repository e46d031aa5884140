"""Which calls of a program are channel attention: planes are multiplied by what is computed from means of planes."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Node
from ..lowering.program import Call, View
from ..schedules import FACTOR, INPUTS, Binary, Dense

# The mean over all pixels; the fully connected layers, whose time is that of reading their weights, since each is used
# once; the multiplication, where it is a call of its own; and whatever else lies between mean and multiplication.
PARTS = MEAN, DENSE, PRODUCT, OTHER = "means", "fully connected layers", "multiplications", "other steps"


def attention_parts(calls: Sequence[Call]) -> list[str]:
    """The part of channel attention, of `PARTS`, that each call is, or "".

    No part can be told apart in a convolution that scales its own result.
    """
    parts = [""] * len(calls)
    wanted: set[tuple[Node, int]] = set()  # channels that become factors
    for index, call in reversed(list(enumerate(calls))):
        if (factor := _factor(call)) is not None:
            wanted.update(call.reads[factor])
            parts[index] = PRODUCT if isinstance(call.workload, Binary) else ""
        elif not wanted.isdisjoint(call.writes):
            parts[index] = _part(call)
            if parts[index] != MEAN:
                wanted.update(channel for channels in call.reads for channel in channels)
    return parts


def _factor(call: Call) -> int | None:
    """The number of the input that holds a factor for each channel."""
    workload = call.workload
    if isinstance(workload, Binary):
        return 1 if workload.per_channel and workload.operation == "multiply" else None
    roles = [operand.role for operand in workload.operands() if operand.role in INPUTS]
    return roles.index(FACTOR) if FACTOR in roles else None


def _part(call: Call) -> str:
    if not _is_pixel(call.inputs[0]):
        return MEAN
    return DENSE if isinstance(call.workload, Dense) else OTHER


def _is_pixel(view: View) -> bool:
    return (view.root.plane.height, view.root.plane.width) == (1, 1)
