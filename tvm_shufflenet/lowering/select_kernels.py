"""`Graph`  =>  `Program`: every step becomes a call of a kernel, and every tensor a view of a root.

Step by step, in the order of execution: its inputs are found as runs of planes, in planes that its kernel takes; a rule
chooses the kernel; its output goes to its home.  Whatever does not lie as a kernel needs it is copied there first, by a
call of its own: a copy is never hidden in anything else, and the program says where each is.
"""

from __future__ import annotations

from schedules import INPUT, OUTPUT, RESIDUAL, Machine, Operand, Plane

from ..graph import Graph, Node
from .channels import ChannelLists, Channels
from .homes import Home, Room, find_homes
from .moves import copies
from .program import FLOAT, Call, Program, Root, View
from .rules import Choice, Site, choose, free_plane, wanted_planes


def select_kernels(graph: Graph, machine: Machine, layout: str = "NCHW") -> Program:
    """`layout` is that of the caller's picture."""
    return _Selector(graph, machine, layout).program()


class _Selector:
    def __init__(self, graph: Graph, machine: Machine, layout: str):
        self.machine, self.lists = machine, ChannelLists(graph)
        self.calls: list[Call] = []
        channels, *extents = graph.input.shape
        self.source = Root("input", Plane.dense(*extents), channels, "input", interleaved=layout == "NHWC")
        self.results = [
            Root(f"output{i}", Plane.dense(*node.shape[1:]), node.channels, f"output {i}")
            for i, node in enumerate(graph.outputs)
        ]
        self.homes, self.rooms = find_homes(self.lists, self.results)
        self.views: dict[Node, View] = {graph.input: View(self.source, tuple(range(channels)))}
        self.copied: dict[tuple[Root, tuple[int, ...], Plane], View] = {}
        # Who is read as a vector of all its pixels had better have no padding.
        self.dense = {step for reshape in self.lists.steps if reshape.op == "reshape"
                      for step, _ in self.lists.inputs(reshape)[0]}  # fmt: skip

    def program(self) -> Program:
        for step in self.lists.steps[1:]:
            self._step(step)
        for root, channels in zip(self.results, self.lists.outputs):
            self._output(root, channels)
        return Program(self.source, self.results, self.calls)

    def _step(self, step: Node) -> None:
        views = [self._fetch(channels, step) for channels in self.lists.inputs(step)]
        if step.op == "reshape":
            self._finish(step, self._reshaped(step, views[0]))
            return
        wanted = wanted_planes(step, [view.root.plane for view in views], self.machine)
        views = [self._in_plane(view, plane, step) for view, plane in zip(views, wanted)]
        home = self.homes.get(step)
        choice = self._choose(step, views, home)
        operands = {operand.role: operand for operand in choice.workload.operands()}
        if unfit := [i for i, view in enumerate(views) if not self._fits(operands[(INPUT, RESIDUAL)[i]], view)]:
            for i in unfit:  # two inputs stay in the same planes
                plane = free_plane(*_extents(views[i]), self.machine.lanes)
                views[i] = self._moved(views[i], views[i].root.plane if len(views) > 1 else plane, step)
            choice = self._choose(step, views, home)
        self._call(step, choice, views, home)

    def _choose(self, step: Node, views: list[View], home: Home | None) -> Choice:
        target = home.room.root.plane if home and home.room.root else None
        order = home.order if home else None
        planes = [view.root.plane for view in views]
        return choose(step, Site(self.machine, planes, target, step in self.dense, order))

    def _call(self, step: Node, choice: Choice, views: list[View], home: Home | None) -> None:
        """Calls the kernel with its output at home, or, where that is not possible, in a root of its own."""
        output = next(operand for operand in choice.workload.operands() if operand.role == OUTPUT)
        stored = tuple(choice.workload.order(step.channels))
        if home:
            view = View(home.room.settled(choice.plane), home.planes)
            as_wanted = stored == (home.order or tuple(range(step.channels)))
            if view.root.plane == choice.plane and as_wanted and self._fits(output, view):
                self.calls.append(Call(choice.workload, step.name, views, view, list(choice.parameters)))
                self.views[step] = view
                return
        view = View(Root(f"t{len(self.calls)}", choice.plane, step.channels), stored)
        self.calls.append(Call(choice.workload, step.name, views, view, list(choice.parameters)))
        self._finish(step, view)

    def _finish(self, step: Node, view: View) -> None:
        """The step's result is `view`; it is also put where the step has its home."""
        self.views[step] = view
        if home := self.homes.get(step):
            self.views[step] = View(home.room.settled(view.root.plane), home.planes)
            self.calls += copies(step.name, view, self.views[step])

    def _fits(self, operand: Operand, view: View) -> bool:
        """Whether a kernel may be given this view: vectors are loaded only where they are aligned, never outside."""
        aligned = view.start % (FLOAT * self.machine.lanes) == 0
        return operand.external or (aligned and not view.root.home.external)

    # Where channels are

    def _fetch(self, channels: Channels, step: Node) -> View:
        """The channels as a run of planes of one root."""
        if room := self.rooms.get(channels):
            return self._furnish(room, step)
        view = self._together(channels)
        if view and view.is_run and not (view.root.interleaved and len(view.planes) < view.root.planes):
            return view
        plane = free_plane(*_extents(self.views[channels[0][0]]), self.machine.lanes)
        name = f"c{len(self.rooms)}"
        room = Room(name, channels, Root(name, plane, len(channels)), list(range(len(channels))))
        self.rooms[channels] = room
        return self._furnish(room, step)

    def _furnish(self, room: Room, step: Node) -> View:
        """The room's root, with what no step has stored there."""
        assert room.root is not None  # the steps that write there come before those that read it
        if room.missing:
            by_root: dict[Root, list[int]] = {}
            for plane in room.missing:
                by_root.setdefault(self._place(room.channels[plane])[0], []).append(plane)
            for root, planes in by_root.items():
                source = View(root, tuple(self._place(room.channels[plane])[1] for plane in planes))
                self.calls += copies(step.name, source, View(room.root, tuple(planes)))
            room.missing = []
        return View(room.root, tuple(range(len(room.channels))))

    def _place(self, channel: tuple[Node, int]) -> tuple[Root, int]:
        step, index = channel
        view = self.views[step]
        return view.root, view.planes[index]

    def _together(self, channels: Channels) -> View | None:
        """The channels where they lie, if that is one root."""
        roots, planes = zip(*map(self._place, channels))
        return View(roots[0], planes) if len(set(roots)) == 1 else None

    def _in_plane(self, view: View, plane: Plane, step: Node) -> View:
        return view if view.root.plane == plane and not view.root.interleaved else self._moved(view, plane, step)

    def _moved(self, view: View, plane: Plane, step: Node) -> View:
        """A copy of the view in the workspace, in that plane; once for all who want it."""
        key = view.root, view.planes, plane
        if key not in self.copied:
            target = View(Root(f"m{len(self.copied)}", plane, len(view.planes)), tuple(range(len(view.planes))))
            self.calls += copies(step.name, view, target)
            self.copied[key] = target
        return self.copied[key]

    def _reshaped(self, step: Node, view: View) -> View:
        """The same numbers as other planes: of planes without padding in the workspace that is the same memory."""
        dense, plane = Plane.dense(*_extents(view)), Plane.dense(*step.shape[1:])
        if view.root.plane != dense or view.root.home.external:
            view = self._moved(view, dense, step)
        offset = FLOAT * view.first * dense.size
        root = Root(f"r{len(self.calls)}.{step.name}", plane, step.channels, memory=view.root, offset=offset)
        return View(root, tuple(range(step.channels)))

    def _output(self, root: Root, channels: Channels) -> None:
        """Puts what no step has written into the caller's buffer."""
        room = self.rooms.get(channels)
        if room is None or room.root is not root:
            room = Room(root.name, channels, root, list(range(len(channels))))
        self._furnish(room, Node("output", root.name, [], (root.planes, 1, 1)))


def _extents(view: View) -> tuple[int, int]:
    return view.root.plane.height, view.root.plane.width
