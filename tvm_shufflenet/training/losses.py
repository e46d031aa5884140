"""Which layers lose most by bytes: signal to quantisation noise of each step, over pictures.

    ratio = 10 log10(sum of x^2 / sum of (x - y)^2) dB          x: floats, y: what the bytes stand for

`alone` is of a step whose inputs are the floats, rounded to bytes: the loss of that rounding and of the step.
`so_far` is of the whole network up to there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..architectures import Network
from ..graph import Node
from ..graph.byte_steps import ENDS
from ..graph.byte_tensors import VIEWS, float_steps, tensors_of
from ..graph.integers import each_integers, step_integers
from ..graph.quantise import LARGEST, quantise
from ..pipeline import byte_graph
from ..targets.calibration import Calibration
from .calibration import run_floats

MOST = 200.0  # dB: of a step that loses nothing


@dataclass(frozen=True)
class Loss:
    """The ratio of a layer in dB; less is worse, and 6 dB are a bit."""

    layer: str
    operator: str
    alone: float
    so_far: float


class Losses:
    """Compares floats and integers of one network; pictures are shown to it one by one."""

    def __init__(self, network: Network, parameters: dict[str, np.ndarray], calibration: Calibration):
        self.floats, self.integers = (byte_graph(network, parameters, parts=calibration.parts) for _ in range(2))
        self.scales = {node: calibration.tensors[name] for node, name in tensors_of(self.integers).items()}
        quantise(self.integers, calibration)
        left_out = float_steps(self.integers)
        self.sums = {
            node: np.zeros(3) for node in self.integers.nodes if node.op not in (*VIEWS, *ENDS) and node not in left_out
        }

    def look(self, picture: np.ndarray) -> None:
        """Compares the network on a picture, float32 (1, C, H, W)."""
        truth: dict[Node, np.ndarray] = {}
        both = zip(run_floats(self.floats, torch.from_numpy(picture)), each_integers(self.integers, picture))
        for (_, value), (node, found) in both:
            truth[node] = value[0].numpy().astype(np.float64)
            if node in self.sums:
                inputs = [self._given(source, truth[source]) for source in node.inputs]
                alone = step_integers(node, *inputs) if inputs else found
                signal = np.square(truth[node]).sum()
                self.sums[node] += signal, self._noise(node, alone, truth), self._noise(node, found, truth)

    def worst_first(self) -> list[Loss]:
        """The losses, sorted by what a layer loses alone."""
        losses = [
            Loss(node.name, node.op, _ratio(signal, alone), _ratio(signal, so_far))
            for node, (signal, alone, so_far) in self.sums.items()
        ]
        return sorted(losses, key=lambda loss: loss.alone)

    def _given(self, node: Node, value: np.ndarray) -> np.ndarray:
        """What the steps behind a node are given: bytes, or the factors of attention."""
        if node not in self.scales:
            return value.astype(np.float32).ravel()
        scale, zero = self.scales[node]
        return np.clip(np.rint(value / scale) + zero, 0, LARGEST).astype(np.int64)

    def _noise(self, node: Node, found: np.ndarray, truth: dict[Node, np.ndarray]) -> float:
        if node in self.scales:
            scale, zero = self.scales[node]
            found = scale * (found - zero)
        return float(np.square(found.reshape(truth[node].shape) - truth[node]).sum())


def losses(
    network: Network, parameters: dict[str, np.ndarray], calibration: Calibration, pictures: Iterable[np.ndarray],
    advance: Callable[[], None] = lambda: None,
) -> list[Loss]:  # fmt: skip
    """The loss of each layer but concatenations and shuffles, the worst first.

    Pictures are float32 (1, C, H, W).  `advance` is called after each picture.
    """
    found = Losses(network, parameters, calibration)
    for picture in pictures:
        found.look(picture)
        advance()
    return found.worst_first()


def _ratio(signal: float, noise: float) -> float:
    if noise <= signal * 10 ** (-MOST / 10):
        return MOST
    return -MOST if not signal else max(-MOST, 10 * math.log10(signal / noise))
