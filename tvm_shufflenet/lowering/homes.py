"""Where each step's output is to lie, so that its readers find their channels side by side.

A list of channels that comes from several steps (a concatenation), or in another order than a step computes them (a
shuffle), becomes one root, and each of these steps stores its channels right there, if its kernel can.  Longer lists
come first: a part of a list is a view of the same root.  What a step's kernel cannot store in place is copied later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..graph import Node
from ..schedules import Plane
from .abilities import stores_anywhere
from .channels import ChannelLists, own
from .program import Channels, Root


@dataclass(eq=False)
class Home:
    """Planes of a root that the channels of a step go to: channel i to plane `planes[i]`."""

    room: Room
    planes: tuple[int, ...]


@dataclass(eq=False)
class Room:
    """A root to be: its `root` is made once its plane is known; `missing` are planes that no step stores there.

    `channels` are those that lie there; for a pool, whose planes hold one channel after the other, they are unknown.
    """

    name: str
    planes: int
    channels: Channels = ()
    root: Root | None = None
    missing: list[int] = field(default_factory=list)

    @staticmethod
    def of(name: str, channels: Channels, root: Root | None = None) -> Room:
        return Room(name, len(channels), channels, root)

    def settled(self, plane: Plane, dtype: str) -> Root:
        """The root, made in that plane and dtype if no step has written there yet."""
        if self.root is None:
            self.root = Root(self.name, plane, self.planes, dtype=dtype)
        return self.root


def settle_outputs(
    lists: ChannelLists, outputs: list[Root], homes: dict[Node, Home], rooms: dict[Channels, Room]
) -> None:
    """Gives steps that nothing else reads a home in the caller's buffers `outputs`."""
    readers = lists.readers()
    for root, channels in zip(outputs, lists.outputs):
        steps = {step for step, _ in channels}
        if all(readers[step] == 1 and step.op not in ("input", "reshape") for step in steps) and channels not in rooms:
            _settle(Room.of(root.name, channels, root), homes, rooms)


def settle_lists(lists: ChannelLists, homes: dict[Node, Home], rooms: dict[Channels, Room]) -> None:
    """Gives steps without a home one where a list of channels needs it, longer lists first, and each list its room."""
    requests = [channels for channels in lists.requests() if channels != own(channels[0][0])]
    for channels in sorted(requests, key=len, reverse=True):
        if channels not in rooms:
            _settle(Room.of(f"c{len(rooms)}", channels), homes, rooms)


def _settle(room: Room, homes: dict[Node, Home], rooms: dict[Channels, Room]) -> None:
    """Gives steps without a home one in this room, and keeps the room if any step writes there."""
    places: dict[Node, dict[int, int]] = {}
    doubled = set()
    for plane, (step, channel) in enumerate(room.channels):
        doubled |= {step} if channel in places.setdefault(step, {}) else set()
        places[step][channel] = plane
    found = {}
    for step, planes in places.items():
        where = tuple(planes.get(channel, -1) for channel in range(step.channels))
        run = where == tuple(range(where[0], where[0] + step.channels))
        whole = step not in doubled and min(where) >= 0 and (run or stores_anywhere(step))
        if whole and step not in homes and step.op not in ("input", "reshape"):
            found[step] = Home(room, where)
    if not found:
        return
    taken = {plane for home in found.values() for plane in home.planes}
    room.missing = [plane for plane in range(len(room.channels)) if plane not in taken]
    homes.update(found)
    rooms[room.channels] = room
