"""`Graph`  =>  `Program`: every step becomes a call of a kernel, and every tensor a view of a root.

Step by step, in the order of execution: its inputs are found as runs of planes, in planes that its kernel takes; a rule
chooses the kernel; its output goes to its home.  Whatever does not lie as a kernel needs it is copied there first, by a
call of its own: a copy is never hidden in anything else, and the program says where each is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Node
from ..graph.byte_tensors import float_steps
from ..schedules import BYTES, INPUTS, OUTPUT, Machine, Operand, Plane
from ..targets.precision import FP32, Precision
from .abilities import channelwise, free_plane, is_pointwise, order_free, reads_anywhere, reordered, wanted_planes
from .channels import ChannelLists, own
from .homes import Home, Room, settle_lists, settle_outputs
from .moves import copies
from .pools import find_pools
from .program import Call, Channels, Program, Root, View
from .regions import edges, give_places
from .rules import choose
from .site import Choice, Places, Site


def select_kernels(graph: Graph, machine: Machine, layout: str = "NCHW", precision: Precision = FP32) -> Program:
    """`layout` is that of the caller's picture."""
    return _Selector(graph, machine, layout, precision).program()


class _Selector:
    def __init__(self, graph: Graph, machine: Machine, layout: str, precision: Precision):
        self.machine, self.precision, self.lists = machine, precision, ChannelLists(graph)
        self.dtype = precision.activations
        self.floats: set[Node] = float_steps(graph) if precision.dot else set()
        self.calls: list[Call] = []
        channels, *extents = graph.input.shape
        self.source = Root("input", Plane.dense(*extents), channels, "input", interleaved=layout == "NHWC")
        self.results = [
            Root(f"output{i}", Plane.dense(*node.shape[1:]), node.channels, f"output {i}")
            for i, node in enumerate(graph.outputs)
        ]
        self.homes: dict[Node, Home] = {}
        self.rooms: dict[Channels, Room] = {}
        settle_outputs(self.lists, self.results, self.homes, self.rooms)
        self.homes |= find_pools(self.lists, self.homes)
        settle_lists(self.lists, self.homes, self.rooms)
        self.views: dict[Node, View] = {graph.input: View(self.source, tuple(range(channels)))}
        self.copied: dict[tuple[Channels, Plane, str], View] = {}
        # Who is read as a vector of all its pixels had better have no padding.
        self.dense = {step for reshape in self.lists.steps if reshape.op == "reshape"
                      for step, _ in self.lists.inputs(reshape)[0]}  # fmt: skip
        # Pointwise kernels compute whole planes, their padding too.
        self.packed = {step for reader in self.lists.steps if is_pointwise(reader)
                       for channels in self.lists.inputs(reader) for step, _ in channels}  # fmt: skip

    def program(self) -> Program:
        for step in self.lists.steps[1:]:
            self._step(step)
        for root, channels in zip(self.results, self.lists.outputs):
            self._output(root, channels)
        program = Program(self.source, self.results, self.calls, own(self.lists.steps[0]), self.lists.outputs)
        give_places(program)
        return program

    def _precision(self, step: Node) -> Precision:
        """The precision in which the step computes."""
        return FP32 if step in self.floats else self.precision

    def _dtype(self, step: Node) -> str:
        """The dtype of the step's result where that lies in the workspace."""
        return FP32.activations if step.op == "exit" else self._precision(step).activations

    def _step(self, step: Node) -> None:
        reads = self.lists.inputs(step)
        views = [self._fetch(channels, step, index) for index, channels in enumerate(reads)]
        if step.op == "regions":
            reads[1], views[1] = edges(step, reads[1], views[1])
        if step.op == "reshape":
            self._finish(step, self._reshaped(step, reads[0], views[0]))
            return
        wanted = wanted_planes(
            step, [view.root.plane for view in views], self.machine.at(self._precision(step).activations)
        )
        views = [self._in_plane(*each, step) for each in zip(reads, views, wanted)]
        job, home = _Job.of(step, reads, views), self.homes.get(step)
        choice = self._choose(job, home)
        operands = [operand for operand in choice.workload.operands() if operand.role in INPUTS]
        if unfit := [i for i, view in enumerate(job.views) if not self._fits(operands[i], view)]:
            for i in unfit:  # two inputs stay in the same planes
                kept = len(views) > 1 or (self._is_aligned(operands[i], views[i]) and not views[i].root.home.external)
                plane = views[i].root.plane if kept else self._free_plane(views[i])
                views[i] = self._moved(reads[i], views[i], plane, step, operands[i].dtype)
            job = _Job.of(step, reads, views)
            choice = self._choose(job, home)
        self._call(job, home, choice)

    def _choose(self, job: _Job, home: Home | None) -> Choice:
        sources = [Places(view.planes, view.root.planes) for view in job.views]
        planes = [view.root.plane for view in job.views]
        target = home.room.root.plane if home and home.room.root else None
        result = home.room.root.dtype if home and home.room.root else self._dtype(job.step)
        wanted = Places(job.stored(home.planes), home.room.planes) if home else None
        dense, packed = job.step in self.dense, job.step in self.packed
        dtypes = [view.root.dtype for view in job.views]
        site = Site(
            self.machine, planes, sources, target, dense, packed, wanted, self._precision(job.step), dtypes, result
        )  # fmt: skip
        return choose(job.node, site)

    def _call(self, job: _Job, home: Home | None, choice: Choice) -> None:
        """Calls the kernel with its output at home, or, where that is not possible, in a root of its own."""
        step = job.step
        if home:
            view = View(home.room.settled(choice.plane, self._dtype(step)), job.stored(home.planes))
            if self._takes(choice, view):
                self.calls.append(job.call(choice, view))
                self.views[step] = View(view.root, home.planes)
                return
            choice = self._choose(job, None)
        root = Root(f"t{len(self.calls)}", choice.plane, step.channels, dtype=_output(choice).dtype)
        view = View(root, tuple(range(step.channels)))
        self.calls.append(job.call(choice, view))
        self._finish(step, View(view.root, _sorted_by(job.order)))

    def _takes(self, choice: Choice, view: View) -> bool:
        """Whether the kernel can write there."""
        output = _output(choice)
        first, order = view.first, choice.workload.order(len(view.planes))
        as_stored = output.whole or view.planes == tuple(first + place for place in order)
        return view.root.plane == choice.plane and as_stored and self._fits(output, view)

    def _finish(self, step: Node, view: View) -> None:
        """The step's result is `view`; it is also put where the step has its home."""
        self.views[step] = view
        if home := self.homes.get(step):
            self.views[step] = View(home.room.settled(view.root.plane, self._dtype(step)), home.planes)
            self.calls += copies(step.name, own(step), view, self.views[step])

    def _fits(self, operand: Operand, view: View) -> bool:
        """Whether a kernel may be given this view: vectors are loaded only where they are aligned, never outside."""
        inside = operand.external or not view.root.home.external
        return inside and operand.dtype == view.root.dtype and self._is_aligned(operand, view)

    def _is_aligned(self, operand: Operand, view: View) -> bool:
        start = view.root.start if operand.whole else view.start
        return operand.external or start % (view.root.itemsize * self.machine.at(view.root.dtype).lanes) == 0

    def _free_plane(self, view: View) -> Plane:
        return free_plane(*_extents(view), self.machine.at(self.dtype).lanes)

    # Where channels are

    def _fetch(self, channels: Channels, step: Node, index: int) -> View:
        """The channels, which are that input of the step, where they lie, or as a run of planes of one root."""
        if room := self.rooms.get(channels):
            return self._furnish(room, step)
        view = self._together(channels)
        if view and not (view.root.interleaved and len(view.planes) < view.root.planes):
            if view.is_run or (len(set(view.planes)) == len(channels) and _reads(step, index, view)):
                return view
        plane = self._free_plane(self.views[channels[0][0]])
        name = f"c{len(self.rooms)}"
        root = Root(name, plane, len(channels), dtype=self._precision(step).activations)
        room = Room(name, len(channels), channels, root, list(range(len(channels))))
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
                moved = tuple(room.channels[plane] for plane in planes)
                self.calls += copies(step.name, moved, source, View(room.root, tuple(planes)))
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

    def _in_plane(self, channels: Channels, view: View, plane: Plane, step: Node) -> View:
        fits = view.root.plane == plane and not view.root.interleaved
        return view if fits else self._moved(channels, view, plane, step)

    def _moved(self, channels: Channels, view: View, plane: Plane, step: Node, dtype: str = "") -> View:
        """A copy of these channels, which are the view, in the workspace, in that plane; once for all who want it.

        It is of `dtype`, else of the view's; of the caller's numbers in the dtype of activations, but for bytes, which
        the first kernel makes.
        """
        converted = view.root.home.external and self.dtype not in BYTES
        dtype = dtype or (self.dtype if converted else view.root.dtype)
        key = channels, plane, dtype
        if key not in self.copied:
            root = Root(f"m{len(self.copied)}", plane, len(view.planes), dtype=dtype)
            target = View(root, tuple(range(len(view.planes))))
            self.calls += copies(step.name, channels, view, target)
            self.copied[key] = target
        return self.copied[key]

    def _reshaped(self, step: Node, channels: Channels, view: View) -> View:
        """The same numbers as other planes: of planes without padding in the workspace that is the same memory."""
        dense, plane = Plane.dense(*_extents(view)), Plane.dense(*step.shape[1:])
        if view.root.plane != dense or view.root.home.external:
            view = self._moved(channels, view, dense, step)
        offset = view.root.itemsize * view.first * dense.size
        name = f"r{len(self.calls)}.{step.name}"
        root = Root(
            name, plane, step.channels, memory=view.root, offset=offset, holds=channels, dtype=view.root.dtype
        )  # fmt: skip
        return View(root, tuple(range(step.channels)))

    def _output(self, root: Root, channels: Channels) -> None:
        """Puts what no step has written into the caller's buffer."""
        room = self.rooms.get(channels)
        if room is None or room.root is not root:
            room = Room(root.name, len(channels), channels, root, list(range(len(channels))))
        self._furnish(room, Node("output", root.name, [], (root.planes, 1, 1)))


def _output(choice: Choice) -> Operand:
    return next(operand for operand in choice.workload.operands() if operand.role == OUTPUT)


def _extents(view: View) -> tuple[int, int]:
    return view.root.plane.height, view.root.plane.width


@dataclass(frozen=True)
class _Job:
    """A step and what it reads: channels `reads` in `views`.

    `node` is the step for its first input as it lies: its output channel i is channel order[i] of the step.
    """

    step: Node
    node: Node
    reads: list[Channels]
    views: list[View]
    order: tuple[int, ...]

    @staticmethod
    def of(step: Node, reads: list[Channels], views: list[View]) -> _Job:
        """Where the first input's channels are side by side in another order, the weights are put into that order."""
        view, as_they_come = views[0], tuple(range(step.channels))
        if not view.is_run and _by_order(step, view):
            order = _sorted_by(view.planes)
            first = View(view.root, tuple(view.planes[channel] for channel in order))
            channels = tuple(reads[0][channel] for channel in order)
            stored = order if channelwise(step) else as_they_come
            return _Job(step, reordered(step, order), [channels, *reads[1:]], [first, *views[1:]], stored)
        return _Job(step, step, reads, list(views), as_they_come)

    def stored(self, planes: tuple[int, ...]) -> tuple[int, ...]:
        """The planes of the step's channels, for those of the node."""
        return tuple(planes[channel] for channel in self.order)

    def call(self, choice: Choice, output: View) -> Call:
        """The call of the chosen kernel, with the node's output channels in the planes of `output`."""
        writes = tuple((self.step, channel) for channel in self.order)
        return Call(choice.workload, self.step.name, self.views, output, list(choice.parameters), self.reads, writes)


def _sorted_by(places: tuple[int, ...]) -> tuple[int, ...]:
    """The indices of `places` in ascending order of these: of a permutation, the inverse."""
    return tuple(np.argsort(places).tolist())


def _by_order(step: Node, view: View) -> bool:
    """Whether the planes follow each other in some order, and the step's weights can be put into that order."""
    follow = sorted(view.planes) == list(range(view.first, view.first + len(view.planes)))
    return follow and (order_free(step) or channelwise(step))


def _reads(step: Node, index: int, view: View) -> bool:
    """Whether a kernel for the step reads an input whose channels lie like that."""
    return reads_anywhere(step, index) or (index == 0 and _by_order(step, view))
