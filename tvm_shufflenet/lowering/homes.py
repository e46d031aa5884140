"""Where each step's output is to lie, so that its readers find their channels side by side.

A list of channels that comes from several steps (a concatenation), or in another order than a step computes them (a
shuffle), becomes one root, and each of these steps stores its channels right there, if its kernel can.  Longer lists
come first: a part of a list is a view of the same root.  What a step's kernel cannot store in place is copied later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schedules import Plane

from ..graph import Node
from .channels import ChannelLists, Channels, own
from .program import Root
from .rules import takes_order


@dataclass(eq=False)
class Home:
    """Planes of a root that the channels of a step go to: channel i to plane `planes[i]`.

    The root's plane is None until the first step that writes there has settled it.
    """

    room: Room
    planes: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...] | None:
        """The planes from the first one on; None if the channels lie in their own order."""
        first = min(self.planes)
        order = tuple(plane - first for plane in self.planes)
        return None if order == tuple(range(len(order))) else order


@dataclass(eq=False)
class Room:
    """A root to be: its `root` is made once its plane is known; `missing` are channels that no step stores there."""

    name: str
    channels: Channels
    root: Root | None = None
    missing: list[int] = field(default_factory=list)

    def settled(self, plane: Plane) -> Root:
        """Its root, made in that plane if no step has written there yet."""
        if self.root is None:
            self.root = Root(self.name, plane, len(self.channels))
        return self.root


def find_homes(lists: ChannelLists, outputs: list[Root]) -> tuple[dict[Node, Home], dict[Channels, Room]]:
    """A home for each step that is to write where a list of channels needs it, and the room of each such list.

    `outputs` are the caller's buffers, which only steps that nothing else reads may write in place.
    """
    homes: dict[Node, Home] = {}
    rooms: dict[Channels, Room] = {}
    readers = lists.readers()
    for root, channels in zip(outputs, lists.outputs):
        steps = {step for step, _ in channels}
        if all(readers[step] == 1 and step.op not in ("input", "reshape") for step in steps) and channels not in rooms:
            _settle(Room(root.name, channels, root), homes, rooms)
    requests = [channels for channels in lists.requests() if channels != own(channels[0][0])]
    for channels in sorted(requests, key=len, reverse=True):
        if channels not in rooms:
            _settle(Room(f"c{len(rooms)}", channels), homes, rooms)
    return homes, rooms


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
        first = min(where)
        order = tuple(plane - first for plane in where)
        whole = step not in doubled and first >= 0 and sorted(order) == list(range(step.channels))
        if whole and step not in homes and step.op not in ("input", "reshape") and takes_order(step, order):
            found[step] = Home(room, where)
    if not found:
        return
    taken = {plane for home in found.values() for plane in home.planes}
    room.missing = [plane for plane in range(len(room.channels)) if plane not in taken]
    homes.update(found)
    rooms[room.channels] = room
