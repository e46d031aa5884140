"""Which channel of which step each channel of a tensor is: split, slice, shuffle and concatenation, resolved.

What is left are steps that compute.  Their inputs, and the outputs of the graph, are lists of (step, channel): nothing
is said yet of where any of them lies.
"""

from __future__ import annotations

from ..graph import Graph, Node
from .program import Channels


class ChannelLists:
    """The channels that each node of a graph stands for, and who reads which."""

    def __init__(self, graph: Graph):
        self._of: dict[Node, Channels] = {}
        self.steps: list[Node] = []
        for node in graph.nodes:
            if node.op == "concat":
                self._of[node] = tuple(channel for part in node.inputs for channel in self._of[part])
            elif node.op == "gather":
                source = self._of[node.inputs[0]]
                self._of[node] = tuple(source[channel] for channel in node.attrs["channels"])
            else:
                self._of[node] = own(node)
                self.steps.append(node)
        self.outputs = [self._of[node] for node in graph.outputs]

    def inputs(self, step: Node) -> list[Channels]:
        return [self._of[source] for source in step.inputs]

    def requests(self) -> list[Channels]:
        """Every different list of channels that a step reads or that is an output."""
        lists = [channels for step in self.steps for channels in self.inputs(step)]
        return list(dict.fromkeys(lists + self.outputs))

    def readers(self) -> dict[Node, int]:
        """How many inputs and outputs have channels of each step."""
        counts = dict.fromkeys(self.steps, 0)
        for channels in [c for step in self.steps for c in self.inputs(step)] + self.outputs:
            for step in {step for step, _ in channels}:
                counts[step] += 1
        return counts


def own(node: Node) -> Channels:
    """The channels of a step in their own order."""
    return tuple((node, channel) for channel in range(node.channels))
