"""`Graph`: the network as nodes in the order of execution.

Shapes are (C, H, W); a vector of N numbers is (N, 1, 1).  Kinds of nodes, with their attributes:

input, constant batch 1
conv        weight (O, I/g, kh, kw), bias (O,); kernel, stride, dilation (height, width); pad (t, l, b, r); groups
dense       weight (O, N), bias (O,)
affine      scale (C,), shift (C,), float64: x * scale + shift for each channel
activation  the node's own activation, nothing else
add, multiply   two inputs; the second may be (C, 1, 1), a number for each channel
pool        kind (max, avg, valid_avg); kernel, stride, pad, dilation
global_pool kind (max, avg)
adaptive_avg_pool, lrn, softmax, pad, depth_to_space, resize: as `NetworkBuilder` has them
detections, regions, region_detections   as `NetworkBuilder` has them, with size (height, width) of the network's input;
            proposals are detections of one class
region_pixels   (C, 1, 1) of each region as (C, 1, N) of each block of N regions; behind the last region is anything
gather      channels: output channel i is input channel channels[i] (split, slice, shuffle)
concat      all inputs, one behind the other
reshape     the same numbers in another (C, H, W)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..schedules import IDENTITY, Activation


@dataclass(eq=False)
class Node:
    """One step: `activation` comes last; with `residual` the last input is added right before it.

    With `scaled` the second input, (C, 1, 1), multiplies the result before that.

    `name` is that of the layer which the step began with.  `copies`: how many there are of its output, one for each
    region of a detector of two stages, or for each block of them.
    """

    op: str
    name: str
    inputs: list[Node]
    shape: tuple[int, int, int]
    attrs: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    activation: Activation = IDENTITY
    residual: bool = False
    scaled: bool = False
    copies: int = 1

    @property
    def channels(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        what = ", ".join([node.name for node in self.inputs] + [f"{k}={v}" for k, v in self.attrs.items()])
        after = (" * the second" if self.scaled else "") + (" + the last" if self.residual else "")
        after += f" -> {self.activation.kind}" if self.activation else ""
        return f"{self.name} {'x'.join(map(str, self.shape))} = {self.op}({what}){after}"


@dataclass(eq=False)
class Graph:
    """`nodes` are in the order of execution; `outputs` are some of them."""

    nodes: list[Node]
    outputs: list[Node]

    @property
    def input(self) -> Node:
        return self.nodes[0]

    def drop_dead(self) -> None:
        """Leaves out what no output needs; the input stays."""
        alive, stack = {id(self.input)}, list(self.outputs)
        while stack:
            node = stack.pop()
            if id(node) not in alive:
                alive.add(id(node))
                stack += node.inputs
        self.nodes = [node for node in self.nodes if id(node) in alive]

    def readers(self) -> dict[Node, int]:
        """How often each node is read: by inputs of nodes, and as an output of the graph."""
        counts = dict.fromkeys(self.nodes, 0)
        for read in [*self.outputs, *(source for node in self.nodes for source in node.inputs)]:
            counts[read] += 1
        return counts

    def replace(self, old: Node, new: Node) -> None:
        """Puts `new` into the place of `old`, and lets everything that reads `old` read `new`."""
        if new not in self.nodes:
            self.nodes[self.nodes.index(old)] = new
        else:
            self.nodes.remove(old)
        for node in self.nodes:
            if node is not new:
                node.inputs = [new if source is old else source for source in node.inputs]
        self.outputs = [new if node is old else node for node in self.outputs]

    def insert(self, new: Node, before: Node) -> None:
        self.nodes.insert(self.nodes.index(before), new)

    def describe(self) -> str:
        lines = [repr(node) for node in self.nodes]
        return "\n".join([*lines, f"outputs: {', '.join(node.name for node in self.outputs)}"]) + "\n"
