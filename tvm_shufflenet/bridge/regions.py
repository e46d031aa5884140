"""What a detector of two stages makes of its regions, in PyTorch, written from the definitions.

RoI pooling and the boxes of regions are those of Fast R-CNN (R. Girshick, arXiv:1504.08083), RoI align of Mask R-CNN
(K. He et al., arXiv:1703.06870) with torchvision's `aligned` and 2x2 points of a bin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .detections import Detections, best_of, clipped, decoded, labelled, suppressed

POINTS = 2  # of a bin, along each axis


def edges(found: torch.Tensor) -> torch.Tensor:
    """Left, top, right and bottom of the regions (B, N, 4) that are found, (B, 6 * N + 1)."""
    regions = found.shape[1] // 6
    return found[:, : 4 * regions].unflatten(1, (regions, 4))


class Proposals(Detections):
    """As `NetworkBuilder.proposals`."""

    def __init__(self, size: tuple[int, int], **attrs: Any):
        super().__init__(classes=1, least=0.0, size=size, centre=1.0, ratio=1.0, **attrs)


class Regions(nn.Module):
    """As `NetworkBuilder.regions`: (B, C, H, W) and regions -> (B * N, C, size, size)."""

    def __init__(self, size: int, mode: str, stride: int):
        super().__init__()
        self.size, self.mode, self.stride = size, mode, stride

    def forward(self, x: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        pool = {"max": self._largest, "align": self._means, "bins": self._of_bins}[self.mode]
        return torch.cat([pool(planes, boxes) for planes, boxes in zip(x, edges(found))])

    def _largest(self, planes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        corners = torch.floor(boxes / self.stride + 0.5).long()
        return torch.stack([self._of_one(planes, *corner) for corner in corners.tolist()])

    def _of_one(self, planes: torch.Tensor, left: int, top: int, right: int, bottom: int) -> torch.Tensor:
        _, height, width = planes.shape
        lowest = torch.full_like(planes[:, :1, :1], -torch.inf)  # of an empty bin
        rows = [
            torch.cat([planes[:, a:b], lowest.expand(-1, 1, width)], 1).amax(1)
            for a, b in self._bins(top, bottom, height)
        ]
        across = torch.stack(rows, 1)
        columns = [
            torch.cat([across[:, :, a:b], lowest.expand(-1, self.size, 1)], 2).amax(2)
            for a, b in self._bins(left, right, width)
        ]
        found = torch.stack(columns, 2)
        return torch.where(found == -torch.inf, 0.0, found)

    def _bins(self, first: int, last: int, extent: int) -> list[tuple[int, int]]:
        """Where each bin begins and ends: they may overlap by a pixel."""
        span = max(last - first + 1, 1)
        found = []
        for index in range(self.size):
            start, end = first + index * span // self.size, first - (-(index + 1) * span // self.size)
            found.append((min(max(start, 0), extent), min(max(end, 0), extent)))
        return found

    def _means(self, planes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        rows = self._shares(boxes[:, 1], boxes[:, 3], planes.shape[1])
        columns = self._shares(boxes[:, 0], boxes[:, 2], planes.shape[2])
        return torch.einsum("niy,cyx,njx->ncij", rows, planes, columns)

    def _of_bins(self, planes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """One plane for each bin of each channel, row by row."""
        rows = self._shares(boxes[:, 1], boxes[:, 3], planes.shape[1])
        columns = self._shares(boxes[:, 0], boxes[:, 2], planes.shape[2])
        each = planes.unflatten(0, (-1, self.size, self.size))
        return torch.einsum("niy,cijyx,njx->ncij", rows, each, columns)

    def _shares(self, start: torch.Tensor, end: torch.Tensor, extent: int) -> torch.Tensor:
        """The share that each row (or column) has in the mean of each bin: (N, size, extent)."""
        bins = (end - start)[:, None] / self.stride / self.size
        points = (torch.arange(self.size * POINTS).to(start) + 0.5) / POINTS
        at = (start[:, None] / self.stride - 0.5 + bins * points).clamp(0, extent - 1)
        pixels = torch.arange(extent).to(at)
        shares = (1 - (at[:, :, None] - pixels).abs()).clamp(min=0)
        return shares.unflatten(1, (self.size, POINTS)).mean(2)


class RegionDetections(nn.Module):
    """As `NetworkBuilder.region_detections`: regions, and scores and boxes of each of them -> (B, 6 * best + 1)."""

    def __init__(self, size: tuple[int, int], least: float, overlap: float, best: int):
        super().__init__()
        self.size, self.least, self.overlap, self.best = size, least, overlap, best

    def forward(self, found: torch.Tensor, scores: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        regions = edges(found)
        parts = (each.unflatten(0, regions.shape[:2]) for each in (scores, boxes))
        return torch.stack([self._of_one(*each) for each in zip(regions, found[:, -1].long(), *parts)])

    def _of_one(self, regions: torch.Tensor, count: int, scores: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        low, high = regions[:count, :2], regions[:count, 2:]
        defaults = torch.cat([(low + high) / 2, high - low], 1)
        found = []
        for label in range(scores.shape[1] - 1):
            its, deltas = scores[:count, 1 + label], boxes[:count, 4 * (1 + label) : 4 * (2 + label)]
            places = torch.nonzero(its > self.least)[:, 0]
            places = places[torch.sort(its[places], descending=True, stable=True)[1]]
            moved = clipped(decoded(deltas[places], defaults[places]), self.size)
            kept = suppressed(moved, self.overlap)
            found.append(labelled(moved[kept], its[places][kept], label))
        return best_of(found, self.best)
