"""What is left of each region of a detector of two stages is one pixel  =>  regions are the pixels of a plane.

    dense(each region's mean)                    =>  1x1 convolution(region_pixels(each region's mean))
    softmax and whatever works pixel by pixel    =>  the same, once for a block of regions

A fully connected layer reads all its weights for each region; a convolution reads them once for a tile of pixels.  The
steps in front stay with each region, whose planes stay in the cache.  A plane is of a block of regions: a thousand
planes then lie in few pages of memory, and they stay in the cache, too.
"""

from __future__ import annotations

from .nodes import Graph, Node

# Steps that give of each pixel what they read of that pixel.
PIXEL_BY_PIXEL = ("dense", "conv", "softmax", "activation", "affine", "add", "multiply", "lrn", "gather", "concat")
END = "region_detections"
BLOCK = 64  # regions, at most


def regions_as_pixels(graph: Graph, dense: bool = True) -> None:
    """Puts a `region_pixels` in front of what can be done for all regions, and of `region_detections`.

    Without `dense` fully connected layers, and so what is in front of them, stay with each region.
    """
    moved = _movable(graph, dense)
    pixels: dict[Node, Node] = {}
    for node in list(graph.nodes):
        if node not in moved and node.op != END:
            continue
        for source in node.inputs:
            if source.copies > 1 and source not in moved and source not in pixels:
                pixels[source] = Node("region_pixels", f"{source.name}.pixels", [source], source.shape)
                pixels[source].copies = source.copies
                graph.insert(pixels[source], node)
        node.inputs = [pixels.get(source, source) for source in node.inputs]
    _put_behind(graph, set(pixels.values()))
    for node in (*moved, *pixels.values()):
        blocks = -(-node.copies // BLOCK)
        node.shape, node.copies = (node.channels, 1, -(-node.copies // blocks)), blocks
        if node.op == "dense":
            _as_convolution(node)


def _put_behind(graph: Graph, late: set[Node]) -> None:
    """Puts these steps, and those that need them, behind all others: so the steps of each region stand side by side."""
    for node in graph.nodes:
        if not late.isdisjoint(node.inputs):
            late.add(node)
    graph.nodes = [*(node for node in graph.nodes if node not in late), *(node for node in graph.nodes if node in late)]


def _movable(graph: Graph, dense: bool) -> set[Node]:
    """The steps of regions that work pixel by pixel, and that only such steps and the end read."""
    found: set[Node] = set()
    kept: set[Node] = set()  # read by other steps
    for node in reversed(graph.nodes):
        if node.copies > 1 and node not in kept and _is_of_pixels(node, dense):
            found.add(node)
        elif node.op != END:
            kept.update(node.inputs)
    return found


def _is_of_pixels(node: Node, dense: bool) -> bool:
    if node.op not in PIXEL_BY_PIXEL or any(each.shape[1:] != (1, 1) for each in (node, *node.inputs)):
        return False
    if node.op == "conv":
        return node.attrs["kernel"] == node.attrs["stride"] == (1, 1) and not any(node.attrs["pad"])
    return dense or node.op != "dense"


def _as_convolution(node: Node) -> None:
    one = (1, 1)
    node.op, node.attrs = "conv", dict(kernel=one, stride=one, dilation=one, pad=(0, 0, 0, 0), groups=1)
    weight = node.weights["weight"]
    node.weights = {**node.weights, "weight": weight.reshape(*weight.shape[:2], 1, 1)}
