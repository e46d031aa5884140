"""Which calls several pictures go through together, and the proof that none of them writes over another."""

from __future__ import annotations

import dataclasses

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.lowering.batches import awaited, batch, choose_head
from tvm_shufflenet.lowering.costs import call_bytes, weight_bytes
from tvm_shufflenet.lowering.plan_memory import plan_memory
from tvm_shufflenet.lowering.verify import InvalidProgram, verify, verify_plan
from tvm_shufflenet.pipeline import lower_graph
from tvm_shufflenet.schedules import BatchedDense
from tvm_shufflenet.targets import resolve

PICTURES = 3


@pytest.fixture
def program():
    net = network("shufflenet-v2-0.5x", (64, 64), 10)
    found = lower_graph(net, random_parameters(net), resolve("cortex-a72"))
    batch(found, PICTURES)
    verify(found)
    return found


def moved(program, head):
    """Bytes that are waited for where the first `head` calls are those of one picture after the other."""
    weights = list(map(awaited, program.calls))
    planes = [call_bytes(call) - weight_bytes(call) for call in program.calls]
    return PICTURES * sum(weights[:head]) + sum(weights[head:]) + PICTURES * sum(planes[head:])


def test_the_cut_is_where_the_fewest_bytes_move(program):
    assert 0 < program.head < len(program.calls) - 2
    assert moved(program, program.head) == min(moved(program, head) for head in range(len(program.calls) + 1))


@pytest.mark.parametrize("name", ["shufflenet-v1-1x-g3", "shufflenet-v2-1x", "mobilenet-v1-1.0"])
def test_of_usual_pictures_the_classifier_waits(name):
    net = network(name)
    program = lower_graph(net, random_parameters(net), resolve("cortex-a72"))
    assert choose_head(program, 8) == len(program.calls) - 1


def test_every_picture_goes_through_every_call_in_order(program):
    steps = [(index, picture) for index, pictures in program.steps() for picture in pictures]
    assert len(set(steps)) == len(steps) == PICTURES * len(program.calls)
    for picture in range(PICTURES):
        assert [index for index, each in steps if each == picture] == list(range(len(program.calls)))
    tail = [index for index, _ in steps if index >= program.head]
    assert tail == sorted(tail)  # a layer is done before the next one


def test_weights_of_fully_connected_layers_are_read_once(program):
    last = len(program.calls) - 1
    assert isinstance(program.calls[last].workload, BatchedDense)
    assert [pictures for index, pictures in program.steps() if index == last] == [range(PICTURES)]


def crossing(program):
    """A root that the head writes and the tail reads."""
    written = [call.output.root.home for call in program.calls[: program.head]]
    return next(v.root.home for c in program.calls[program.head :] for v in c.inputs if v.root.home in written)


def test_the_plan_has_places_for_what_waits(program):
    plan = plan_memory(program)
    verify_plan(program, plan)
    kept = crossing(program)
    assert kept.places == PICTURES and kept.pitch % 64 == 0
    alone = [root for root in plan.offsets if root.places == 1]
    assert alone  # the head's own memory is there once
    span = range(plan.offsets[kept], plan.offsets[kept] + kept.all_bytes)
    for root in alone:
        start = plan.offsets[root]
        assert start + root.bytes <= span.start or start >= span.stop, root.name


def test_what_the_next_picture_writes_over_is_found(program):
    """It lies where only the end of the network keeps it from what the head of the next picture writes."""
    plan = plan_memory(program)
    first = program.calls[0].output.root.home
    assert first.places == 1
    broken = dataclasses.replace(plan, offsets={**plan.offsets, crossing(program): plan.offsets[first]})
    with pytest.raises(InvalidProgram, match="which is read later"):
        verify_plan(program, broken)


def test_places_that_overlap_are_found(program):
    plan = plan_memory(program)
    crossing(program).places = 1
    with pytest.raises(InvalidProgram, match="which is read later"):
        verify_plan(program, plan)


def test_places_outside_of_the_workspace_are_found(program):
    plan = plan_memory(program)
    outermost = max(plan.offsets, key=lambda root: plan.offsets[root] + root.all_bytes)
    with pytest.raises(InvalidProgram, match="outside of the workspace"):
        verify_plan(program, dataclasses.replace(plan, bytes=plan.offsets[outermost] + outermost.all_bytes - 64))


def test_a_kernel_for_all_pictures_needs_whole_roots(program):
    call = program.calls[-1]
    call.workload = dataclasses.replace(call.workload, data_pitch=call.workload.data_pitch - 1)
    with pytest.raises(InvalidProgram, match="all places"):
        verify(program)
