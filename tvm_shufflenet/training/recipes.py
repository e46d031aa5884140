"""How networks are trained: everything that decides the result, but for the pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum; the learning rate falls linearly from `rate` to 0, behind a linear warm-up.

    The length is `epochs`, or `iterations` where that is not 0.  Weights of convolutions and of the
    classifier decay; batch norms and biases do not.
    """

    name: str
    epochs: int
    iterations: int
    batch: int
    rate: float
    warm_up: float  # share of the iterations
    momentum: float
    nesterov: bool
    weight_decay: float
    smoothing: float  # of the labels
    least_area: float  # of a random crop, as a share of the picture
    colour: float  # strength of the random contrast, brightness and tint; 0: none
    # From which share of the iterations on crops have which size, relative to `--size`.
    zoom: tuple[tuple[float, float], ...] = ((0.0, 1.0),)

    def crop(self, done: float, size: int) -> int:
        """Pixels of a crop when the share `done` of the iterations is done: a multiple of 8."""
        share = [zoom for start, zoom in self.zoom if start <= done][-1]
        return max(8, round(size * share / 8) * 8)

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of iteration `step`, counted from 0, of `steps`."""
        warm = self.warm_up * steps
        return self.rate * min((step + 1) / warm if step < warm else 1, (steps - step) / max(1, steps - warm))


RECIPES = {
    # Section 4 of the ShuffleNet paper.
    "paper": Recipe(
        "paper", epochs=0, iterations=300_000, batch=1024, rate=0.5, warm_up=0, momentum=0.9, nesterov=False,
        weight_decay=4e-5, smoothing=0, least_area=0.25, colour=0,
    ),
    # Small crops first: a picture of 4/7 the side costs a third.
    "small": Recipe(
        "small", epochs=70, iterations=0, batch=64, rate=0.2, warm_up=0.04, momentum=0.9, nesterov=True,
        weight_decay=4e-4, smoothing=0.1, least_area=0.3, colour=0.3,
        zoom=((0.0, 4 / 7), (0.6, 5 / 7), (0.88, 13 / 14)),
    ),
    # Fine-tuning for int8: little, on whole crops, since scales of tensors stay.
    "int8": Recipe(
        "int8", epochs=3, iterations=0, batch=64, rate=0.001, warm_up=0.05, momentum=0.9, nesterov=True,
        weight_decay=4e-5, smoothing=0.1, least_area=0.3, colour=0.3,
    ),
    # Detectors, on a body that has learnt to classify.
    "detector": Recipe(
        "detector", epochs=60, iterations=0, batch=16, rate=0.04, warm_up=0.05, momentum=0.9, nesterov=True,
        weight_decay=2e-4, smoothing=0, least_area=0.3, colour=0.3, zoom=((0.0, 0.6), (0.5, 0.8), (0.8, 1.0)),
    ),
}  # fmt: skip
