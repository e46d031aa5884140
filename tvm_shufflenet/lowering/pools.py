"""Planes for channels that are read together, but never all at once: a stage of ShuffleNet v2.

Each unit reads half of a stage's channels and computes as many new ones, and no list holds them all.  The planes of
such a group are allotted as registers are (linear scan): a plane is free again once nothing reads its channel any
more.  Channels that are read next come first, so that a reader finds most of its channels side by side.
"""

from __future__ import annotations

from ..graph import Node
from .abilities import stores_anywhere
from .channels import ChannelLists
from .homes import Home, Room
from .program import Channel, Channels

Uses = dict[Channel, list[int]]


def find_pools(lists: ChannelLists, homes: dict[Node, Home]) -> dict[Node, Home]:
    """A home for each step that has none, in groups of steps of which a list has some channels and not others."""
    time = {step: index for index, step in enumerate(lists.steps)}
    uses: Uses = {(step, channel): [] for step in lists.steps for channel in range(step.channels)}
    aliased = set()  # what a reshape reads is the same memory under another name: no plane of it may be reused
    for step in lists.steps:
        for channels in lists.inputs(step):
            aliased |= {source for source, _ in channels} if step.op == "reshape" else set()
            for channel in channels:
                uses[channel].append(time[step])
    for channels in lists.outputs:
        for channel in channels:
            uses[channel].append(len(time))
    groups = {
        step: [step]
        for step in lists.steps
        if step not in homes and step not in aliased and stores_anywhere(step)
    }  # fmt: skip
    wanted = set()
    for channels in lists.requests():
        steps = list(dict.fromkeys(step for step, _ in channels))
        if not all(step in groups for step in steps) or _is_part(channels):
            continue
        merged = list(dict.fromkeys(member for step in steps for member in groups[step]))
        groups.update(dict.fromkeys(merged, merged))
        if len(channels) != sum(step.channels for step in steps):  # others are a room of their own
            wanted.update(steps)
    found: dict[Node, Home] = {}
    for step in groups:
        if step not in found and wanted & set(groups[step]):
            members = sorted(groups[step], key=time.__getitem__)
            found.update(_allot(f"p{len(found)}", members, lists, time, uses))
    return found


def _is_part(channels: Channels) -> bool:
    """Whether they are neighbours of one step, in its order."""
    step, first = channels[0]
    return channels == tuple((step, first + i) for i in range(len(channels)))


def _allot(name: str, steps: list[Node], lists: ChannelLists, time: dict[Node, int], uses: Uses) -> dict[Node, Home]:
    """`steps` in the order of execution."""
    room = Room(name, 0)
    found: dict[Node, Home] = {}
    until: list[int] = []  # of each plane: when its channel is read for the last time
    for step in steps:
        now = time[step]
        if not (planes := _replaced(step, lists, found, now, uses)):
            until += [-1] * step.channels
            free = iter([plane for plane, last in enumerate(until) if last < now])
            taken = {channel: next(free) for channel in sorted(range(step.channels), key=lambda c: uses[step, c])}
            planes = tuple(taken[channel] for channel in range(step.channels))
        for channel, plane in enumerate(planes):
            until[plane] = max(uses[step, channel], default=now)
        while until[-1] < 0:
            until.pop()
        found[step] = Home(room, planes)
        room.planes = max(room.planes, len(until))
    return found


def _replaced(step: Node, lists: ChannelLists, found: dict[Node, Home], now: int, uses: Uses) -> tuple[int, ...] | None:
    """The planes of the tensor that is added to the step, if it lies in this pool and is read for the last time."""
    if not step.residual:
        return None
    data, *_, other = lists.inputs(step)
    dies = all(max(uses[channel]) == now and channel[0] in found for channel in other)
    if not dies or len(set(other)) < len(other) or set(data) & set(other):
        return None
    return tuple(found[source].planes[channel] for source, channel in other)
