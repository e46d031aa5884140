"""The post-processing of a detector in PyTorch, written from its definition: scores and boxes of maps -> boxes.

SSD (W. Liu et al., arXiv:1512.02325, section 2), with the numbers of torchvision's SSDLite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

CENTRE, SIDES = 0.1, 0.2  # what a map's number is worth: by the default box's side, and of the logarithm of its ratio
LARGEST = math.log(1000 / 16)  # of such a logarithm

Anchors = Sequence[Sequence[tuple[float, float]]]


def default_boxes(
    anchors: Anchors, planes: Sequence[tuple[int, int]], size: tuple[int, int], corners: bool = False
) -> torch.Tensor:
    """Centre x, centre y, width and height in pixels of every default box, (N, 4).

    In order of the maps, whose planes are (height, width), of their rows, of their columns, and of `anchors`.  With
    `corners` the centres are numbers of pixels times the sides.
    """
    height, width = size
    found = []
    for sides, (rows, columns) in zip(anchors, planes, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = torch.stack([(x + 0.5) / columns * width, (y + 0.5) / rows * height], -1)
        extents = torch.tensor(sides) * torch.tensor([width, height])
        shape = rows, columns, len(sides), 2
        places = torch.stack([x, y], -1)[:, :, None] * extents if corners else centres[:, :, None].expand(shape)
        boxes = torch.cat([places, extents.expand(shape)], -1)
        found.append(boxes.reshape(-1, 4))
    return torch.cat(found)


def rows(maps: Sequence[torch.Tensor], numbers: int) -> torch.Tensor:
    """Maps (B, A * numbers, H, W) as (B, N, numbers), in the order of `default_boxes`."""
    return torch.cat([m.unflatten(1, (-1, numbers)).permute(0, 3, 4, 1, 2).flatten(1, 3) for m in maps], 1)


def decoded(deltas: torch.Tensor, defaults: torch.Tensor, centre: float = CENTRE, ratio: float = SIDES) -> torch.Tensor:
    """Left, top, right and bottom, of numbers (..., N, 4) of maps and the default boxes (N, 4)."""
    centres = defaults[:, :2] + centre * deltas[..., :2] * defaults[:, 2:]
    half = 0.5 * defaults[:, 2:] * torch.exp((ratio * deltas[..., 2:]).clamp(max=LARGEST))
    return torch.cat([centres - half, centres + half], -1)


def encoded(boxes: torch.Tensor, defaults: torch.Tensor) -> torch.Tensor:
    """The inverse of `decoded`, of a box for each default box."""
    centres, extents = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return torch.cat(
        [(centres - defaults[:, :2]) / defaults[:, 2:] / CENTRE, torch.log(extents / defaults[:, 2:]) / SIDES], -1
    )


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection by union of each of N boxes and each of M, (N, M); 0 for two of no area."""
    low, high = torch.max(boxes[:, None, :2], others[:, :2]), torch.min(boxes[:, None, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = area(boxes)[:, None] + area(others) - shared
    return torch.where(shared > 0, shared / union, 0.0)


def area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


class Detections(nn.Module):
    """As `NetworkBuilder.detections`: scores of each map and boxes of each map -> (B, 6 * best + 1).

    `centre` and `ratio`: what the maps' numbers are worth.  Boxes with a side below `smallest` are left out.
    """

    def __init__(
        self, anchors: Anchors, classes: int, least: float, overlap: float, candidates: int, best: int,
        size: tuple[int, int], centre: float = CENTRE, ratio: float = SIDES, smallest: float = 0.0,
        bins: int = 0, background: bool = True, corners: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.corners = corners
        self.centre, self.ratio, self.smallest = centre, ratio, smallest
        self.bins, self.background = bins, int(background)
        self.anchors, self.classes, self.least, self.overlap = anchors, classes, least, overlap
        self.candidates, self.best, self.size = candidates, best, size

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        count = len(maps) // 2
        scores = rows(maps[:count], self.classes + self.background)[..., self.background :]
        deltas = rows(maps[count:], 4 * max(self.bins, 1))
        defaults = default_boxes(
            self.anchors, [(m.shape[2], m.shape[3]) for m in maps[:count]], self.size, self.corners
        )
        return torch.stack([self._of_one(*each, defaults.to(deltas)) for each in zip(scores, deltas)])

    def _of_one(self, scores: torch.Tensor, deltas: torch.Tensor, defaults: torch.Tensor) -> torch.Tensor:
        found = []
        for label in range(self.classes):
            places = torch.nonzero(scores[:, label] > self.least)[:, 0]
            # Of equal scores the first default box comes first.
            order = torch.sort(scores[places, label], descending=True, stable=True)[1][: self.candidates]
            places = places[order]
            boxes = clipped(self._decoded(deltas[places], defaults[places]), self.size)
            large = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= self.smallest
            boxes, places = boxes[large], places[large]
            kept = suppressed(boxes, self.overlap)
            found.append(labelled(boxes[kept], scores[places, label][kept], label))
        return best_of(found, self.best)

    def _decoded(self, deltas: torch.Tensor, defaults: torch.Tensor) -> torch.Tensor:
        if not self.bins:
            return decoded(deltas, defaults, self.centre, self.ratio)
        shares = deltas.unflatten(1, (4, self.bins)).softmax(2)
        distances = (shares * torch.arange(self.bins).to(shares)).sum(2) * defaults[:, 2:].repeat(1, 2)
        return torch.cat([defaults[:, :2] - distances[:, :2], defaults[:, :2] + distances[:, 2:]], 1)


def clipped(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut off at the edges of a picture of (height, width)."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def labelled(boxes: torch.Tensor, scores: torch.Tensor, label: int) -> torch.Tensor:
    """Rows of a box, its score and its label."""
    return torch.cat([boxes, scores[:, None], torch.full((len(boxes), 1), float(label)).to(boxes)], 1)


def best_of(found: Sequence[torch.Tensor], best: int) -> torch.Tensor:
    """The rows with the highest scores of all classes: boxes, scores and labels, zeros behind them, and their count."""
    rows = torch.cat(list(found))
    rows = rows[torch.sort(rows[:, 4], descending=True, stable=True)[1][:best]]
    padded = rows.new_zeros((best, 6))
    padded[: len(rows)] = rows
    return torch.cat([padded[:, :4].flatten(), padded[:, 4], padded[:, 5], rows.new_tensor([len(rows)])])


def suppressed(boxes: torch.Tensor, overlap: float) -> torch.Tensor:
    """Numbers of the boxes that stay, of boxes in the order of their scores: each drives out those it overlaps."""
    alive, kept = torch.ones(len(boxes), dtype=torch.bool), []
    beside = (overlaps(boxes, boxes) > overlap).cpu()
    for index in range(len(boxes)):
        if alive[index]:
            kept.append(index)
            alive[index + 1 :] &= ~beside[index, index + 1 :]
    return torch.tensor(kept, dtype=torch.int64)
