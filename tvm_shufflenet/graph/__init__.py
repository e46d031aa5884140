"""The compiler's graph: nodes that compute, and what of the network is left once Relax has been read.

nodes        `Node` and `Graph`
read_relax   a Relax module becomes a graph
simplify, fold, attention, fuse   one pass a file: what each looks for, and what it leaves in its place
"""

from .nodes import Graph, Node

__all__ = ["Graph", "Node"]
