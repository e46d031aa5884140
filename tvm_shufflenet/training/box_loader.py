"""Batches of pictures with boxes: random views of pictures, in which boxes move along."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..errors import UserError
from ..library.preprocess import stretched
from .boxes import LEAST, BoxedPictures, Boxes, check_size
from .loader import Decoded, Order, random_colours
from .recipes import Recipe


class BoxBatch(NamedTuple):
    """`pixels` uint8 (B, size, size, 3); `boxes` and `labels` of each picture, float32 (N, 4) in its pixels and int64.

    `indices` are the numbers of the pictures; `colours` and `broken` are those of `loader.Batch`.
    """

    pixels: torch.Tensor
    boxes: list[torch.Tensor]
    labels: list[torch.Tensor]
    indices: list[int]
    colours: torch.Tensor
    broken: list[tuple[str, str]]


class BoxBatches(torch.utils.data.Dataset):
    """Makes the `BoxBatch` of an `Order`; an order without a seed gives whole pictures."""

    def __init__(self, decoded: Decoded, boxed: BoxedPictures, recipe: Recipe | None = None):
        self.decoded, self.boxed, self.recipe = decoded, boxed, recipe

    def __getitem__(self, order: Order) -> BoxBatch:
        pixels, boxes, labels, indices, colours, broken = [], [], [], [], [], []
        for index in order.indices.tolist():
            try:
                picture, sides = self.read(index)
            except UserError as error:
                broken.append((self.decoded.pictures.names[index], str(error)))
                continue
            if order.seed is None or self.recipe is None:
                view, known = whole_view(picture, sides, order.size)
            else:
                rng = np.random.default_rng((*order.seed, index))
                view, known = random_view(picture, sides, order.size, self.recipe.least_area, rng)
                colours.append(random_colours(self.recipe.colour, rng))
            pixels.append(view)
            boxes.append(torch.from_numpy(known.sides))
            labels.append(torch.from_numpy(known.labels))
            indices.append(index)
        side = order.size
        return BoxBatch(
            torch.from_numpy(np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8)),
            boxes, labels, indices, torch.from_numpy(np.array(colours, np.float32)), broken,
        )  # fmt: skip

    def read(self, index: int) -> tuple[Image.Image, Boxes]:
        """The picture and those of its boxes that are learnt; `UserError` where both do not belong together."""
        picture, boxes = self.decoded.read(index), self.boxed.boxes[index]
        check_size(self.decoded.pictures.names[index], picture.size, boxes)
        kept = ~boxes.crowd
        return picture, Boxes(boxes.sides[kept], boxes.labels[kept], boxes.crowd[kept], boxes.size)


def whole_view(picture: Image.Image, boxes: Boxes, size: int) -> tuple[np.ndarray, Boxes]:
    """The picture as size x size pixels, uint8 (size, size, 3), and its boxes there."""
    scale = np.array([size / picture.width, size / picture.height] * 2, np.float32)
    return stretched(picture, (size, size)), Boxes(boxes.sides * scale, boxes.labels, boxes.crowd)


def random_view(
    picture: Image.Image, boxes: Boxes, size: int, least_area: float, rng: np.random.Generator
) -> tuple[np.ndarray, Boxes]:
    """A part of the picture, of random area and shape, as size x size pixels, mirrored or not, and the boxes in it.

    A box stays where its centre is in the part, cut off at the part's edges.
    """
    area, ratio = rng.uniform(least_area, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    width = picture.width * min(1, math.sqrt(area * ratio))
    height = picture.height * min(1, math.sqrt(area / ratio))
    left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
    view = picture.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    pixels = np.asarray(view)
    sides = boxes.sides - np.array([left, top] * 2, np.float32)
    centres = (sides[:, :2] + sides[:, 2:]) / 2
    sides = np.clip(sides, 0, np.array([width, height] * 2, np.float32))
    sides *= np.array([size / width, size / height] * 2, np.float32)
    kept = ((centres > 0) & (centres < [width, height])).all(1) & ((sides[:, 2:] - sides[:, :2]) >= LEAST).all(1)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
        sides = np.stack([size - sides[:, 2], sides[:, 1], size - sides[:, 0], sides[:, 3]], 1)
    return pixels, Boxes(sides[kept].astype(np.float32), boxes.labels[kept], boxes.crowd[kept])
