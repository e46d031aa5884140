"""A program for one picture  =>  one for several of them in a call.

Weights of a library are more than a cache holds, so they come from memory for every picture.  The last calls wait for
them: all pictures go through such a call before the next one, and its weights come once.  Before that the pictures go
through the calls one after the other, and the planes of each stay in the cache.

The arithmetic is that of one picture, to the bit: kernels stay as they are.  Fully connected layers, which use
each weight once for a picture, have a kernel for all pictures.
"""

from __future__ import annotations

import dataclasses

from ..schedules import BatchedDense, Dense, Int8BatchedDense, Int8Dense, Workload
from .costs import call_bytes, call_multiply_adds, weight_bytes
from .program import Call, Program, Root

# Multiply-adds for a byte of weights, from which on a core computes for longer than its weights take to come: cores do
# about so many in the time of a byte from memory.  A fully connected layer of floats does a quarter of one.
COVERED = 4
FOR_ALL: dict[type[Workload], type[BatchedDense]] = {
    Dense: BatchedDense,
    Int8Dense: Int8BatchedDense,
}  # kernels that there are for all pictures


def batch(program: Program, pictures: int) -> None:
    """Turns the program into one for so many pictures in a call, 2 or more."""
    program.pictures, program.head = pictures, choose_head(program, pictures)
    tail = program.calls[program.head :]
    used = [view.root.home for call in tail for view in (*call.inputs, call.output)]
    for root in (program.input, *program.outputs, *used):
        root.places = pictures
    for call in tail:
        call.workload = _for_all(call, pictures) or call.workload


def choose_head(program: Program, pictures: int) -> int:
    """How many calls each picture goes through alone: the number with which calls wait for the fewest bytes.

    In the head these are the weights that a call waits for, once for each picture; behind it these weights, once, and
    the planes of all pictures.
    """
    best, head, saved = 0, len(program.calls), 0
    for index, call in reversed(list(enumerate(program.calls))):
        planes = call_bytes(call) - weight_bytes(call)
        saved += (pictures - 1) * awaited(call) - pictures * planes
        if saved > best:
            best, head = saved, index
    return head


def awaited(call: Call) -> int:
    """The bytes of weights that the call waits for: none where it computes for longer than they take to come."""
    weights = weight_bytes(call)
    return weights if call_multiply_adds(call) < COVERED * weights else 0


def _for_all(call: Call, pictures: int) -> BatchedDense | None:
    """The kernel for all pictures, where the call has one; its arrays must be whole roots."""
    views = [*call.inputs, call.output]
    whole = all(len(view.planes) == view.root.planes and not view.start for view in views)
    kernel = FOR_ALL.get(type(call.workload))
    if kernel is None or not whole:
        return None
    fields = {each.name: getattr(call.workload, each.name) for each in dataclasses.fields(call.workload)}
    data, out = (_elements(view.root) for view in views)
    return kernel(**fields, pictures=pictures, data_pitch=data, out_pitch=out)


def _elements(root: Root) -> int:
    """Elements from one picture's place to the next one's."""
    return root.home.pitch // root.itemsize
