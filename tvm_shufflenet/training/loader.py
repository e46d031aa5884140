"""Batches of pictures, made in worker processes.

What a batch holds depends on the seed, the epoch and the picture alone: not on the number of
workers, and not on what was read before.  So a run can go on at any iteration with the same batches.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..errors import UserError
from ..library.preprocess import centre_crop, open_picture
from .pictures import Pictures
from .recipes import Recipe

CACHE_BYTES = 2 << 30  # of decoded pictures, in the memory that all workers share


class Order(NamedTuple):
    """The contents of a batch: pictures by index, the pixels of a side, and the seed of its random crops."""

    indices: np.ndarray
    size: int
    seed: tuple[int, int] | None = None  # None: centre crops


class Batch(NamedTuple):
    """`pixels` uint8 (B, size, size, 3); `labels` int64 (B,); `colours` float32 (B, 2, 3), gain and shift of
    normalised pixels.  `broken` lists pictures that could not be read, and why: the batch is without them."""

    pixels: torch.Tensor
    labels: torch.Tensor
    colours: torch.Tensor
    broken: list[tuple[str, str]]


class Decoded:
    """Pictures as PIL images; as many as fit stay in memory, if there are so few that this is worth it."""

    def __init__(self, pictures: Pictures, cache_bytes: int = CACHE_BYTES):
        self.pictures = pictures
        self._cache: list[np.ndarray | None] = [None] * len(pictures)
        self._left = cache_bytes

    def fill(self) -> Iterator[int]:
        """Decodes into the cache; yields after each picture how many are done."""
        for index in range(len(self.pictures)):
            if self._left <= 0:
                return
            try:
                pixels = np.asarray(self.read(index))
                self._cache[index] = pixels
                self._left -= pixels.nbytes
            except UserError:
                pass  # is said when a batch wants it
            yield index + 1

    def read(self, index: int) -> Image.Image:
        """`UserError` for a picture that is broken."""
        cached = self._cache[index]
        if cached is not None:
            return Image.fromarray(cached)
        try:
            return open_picture(io.BytesIO(self.pictures.read(index)), self.pictures.names[index])
        except UserError:
            raise
        except Exception as error:  # decoders raise anything on odd bytes, and a night's run must outlive them
            raise UserError(f"{self.pictures.names[index]}: cannot be read: {error}") from None


class Batches(torch.utils.data.Dataset):
    """Makes the `Batch` of an `Order`."""

    def __init__(self, decoded: Decoded, labels: np.ndarray, recipe: Recipe | None = None):
        self.decoded, self.labels, self.recipe = decoded, labels, recipe

    def __getitem__(self, order: Order) -> Batch:
        pixels, labels, colours, broken = [], [], [], []
        for index in order.indices.tolist():
            try:
                picture = self.decoded.read(index)
            except UserError as error:
                broken.append((self.decoded.pictures.names[index], str(error)))
                continue
            labels.append(self.labels[index])
            if order.seed is None or self.recipe is None:
                pixels.append(centre_crop(picture, (order.size, order.size)))
            else:
                rng = np.random.default_rng((*order.seed, index))
                pixels.append(random_crop(picture, order.size, self.recipe.least_area, rng))
                colours.append(random_colours(self.recipe.colour, rng))
        side = order.size
        return Batch(
            torch.from_numpy(np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8)),
            torch.tensor(np.array(labels, np.int64)),
            torch.from_numpy(np.array(colours, np.float32)),
            broken,
        )


def load(batches: torch.utils.data.Dataset, orders: Iterable[Order], workers: int) -> Iterable[Any]:
    """The batches of `orders`, which may be endless; `workers` processes run ahead."""
    return torch.utils.data.DataLoader(
        batches, batch_size=None, sampler=orders, num_workers=workers,
        multiprocessing_context="fork" if workers else None, prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )  # fmt: skip


def _one_thread(_worker: int) -> None:
    import signal

    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group: the main process decides


def random_crop(picture: Image.Image, size: int, least_area: float, rng: np.random.Generator) -> np.ndarray:
    """A crop of random area and shape, scaled to size x size and mirrored or not: uint8 (size, size, 3)."""
    width, height = picture.size
    for _ in range(10):
        area = width * height * rng.uniform(least_area, 1)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            break
    else:
        w = h = min(width, height)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    crop = picture.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def random_colours(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gain and shift of normalised pixels by channel, (2, 3): contrast, and brightness with a tint."""
    gain = 1 + strength * rng.uniform(-1, 1)
    shift = strength * (rng.uniform(-1, 1) + 0.3 * rng.uniform(-1, 1, 3))
    return np.stack([np.full(3, gain), shift])
