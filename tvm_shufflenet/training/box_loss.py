"""The objective of SSD (W. Liu et al., arXiv:1512.02325, section 2.2), as torchvision's SSD has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from ..bridge.detections import Anchors, default_boxes, encoded, overlaps, rows

MATCHES = 0.5  # overlap from which on a default box stands for a box
NEGATIVES = 3  # default boxes that stand for nothing, for each that stands for something: the hardest


def matched(boxes: torch.Tensor, defaults: torch.Tensor) -> torch.Tensor:
    """The number of the box (G, 4) that each default box, (centre, extents) (N, 4), stands for, else -1.

    That is the box of the largest overlap, if the overlap is large enough; the default box that overlaps a box most
    stands for that box anyway.
    """
    if not len(boxes):
        return torch.full((len(defaults),), -1)
    corners = torch.cat([defaults[:, :2] - defaults[:, 2:] / 2, defaults[:, :2] + defaults[:, 2:] / 2], 1)
    shared = overlaps(boxes, corners)
    most, which = shared.max(0)
    which[most < MATCHES] = -1
    for number, best in enumerate(shared.argmax(1).tolist()):
        if shared[number, best] > 0:
            which[best] = number
    return which


def ssd_loss(
    maps: Sequence[torch.Tensor], anchors: Anchors, classes: int, size: tuple[int, int],
    boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    """The loss of the maps of `Network.heads()`, given boxes (N, 4) in pixels and labels (N,) of each picture.

    Cross-entropy of the classes, background among them as number 0, and smooth L1 of the boxes, by default box.
    """
    count = len(maps) // 2
    logits, deltas = rows(maps[:count], classes + 1).float(), rows(maps[count:], 4).float()
    defaults = default_boxes(anchors, [(m.shape[2], m.shape[3]) for m in maps[:count]], size)
    targets, wanted, far = [], [], []
    for sides, numbers in zip(boxes, labels, strict=True):
        which = matched(sides, defaults)
        chosen = which >= 0
        target = torch.zeros(len(defaults), dtype=torch.int64)
        target[chosen] = numbers[which[chosen]] + 1
        targets.append(target)
        wanted.append(chosen)
        far.append(encoded(sides[which[chosen]], defaults[chosen]))
    target, chosen = torch.stack(targets).to(logits.device), torch.stack(wanted).to(logits.device)
    of_boxes = F.smooth_l1_loss(deltas[chosen], torch.cat(far).to(deltas), reduction="sum")
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
    negative = each.detach().masked_fill(chosen, -1)
    ranks = negative.argsort(1, descending=True).argsort(1)
    hard = (ranks < NEGATIVES * chosen.sum(1, keepdim=True)) & ~chosen
    return (of_boxes + each[chosen | hard].sum()) / max(1, int(chosen.sum()))
