"""A builder that keeps maps large: strides beyond a limit become dilation (L.-C. Chen et al., arXiv:1412.7062).

A window whose stride is left out gives its old outputs at every second pixel, and others between them.  Windows behind
it take every second pixel of its map, so that the same weights give the same numbers there.  `output_stride` of
TensorFlow's slim is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import UserError
from . import checks
from .builder import NetworkBuilder
from .window_layers import Extents


class AtrousBuilder(NetworkBuilder):
    """As `NetworkBuilder`; within `limited` no map has a larger stride than that."""

    def __init__(self, size: Sequence[int]):
        self._limit = 0
        self._strides: dict[int, int] = {}  # of layers' outputs, in pixels of the input
        self._rates: dict[int, int] = {}  # by which a stride was left out in front of a layer's output
        super().__init__(size)

    @contextmanager
    def limited(self, stride: int) -> Iterator[None]:
        """Layers that are appended meanwhile have maps of at most this stride; those behind it are as they are told."""
        self._limit = stride
        try:
            yield
        finally:
            self._limit = 0
            self._rates.clear()

    def _append(self, op: str, name: str, inputs: Sequence[int], shape: Sequence[int], /, **attrs: object) -> int:
        layer = super()._append(op, name, inputs, shape, **attrs)
        self._strides[layer] = max((self._strides[x] for x in inputs), default=1)
        self._rates[layer] = max((self._rates.get(x, 1) for x in inputs), default=1)
        return layer

    def _window(self, op: str, name: str, x: int, channels: int, kernel: Extents, stride: Extents, pad: Extents,
                dilation: Extents, up: bool = False, **attrs: object) -> int:  # fmt: skip
        self._input(name, x, 4)
        step, rate = max(checks.integers(name, "its stride", stride, 2, 1)), self._rates.get(x, 1)
        kept = not self._limit or self._strides[x] * step <= self._limit
        if rate > 1 and op != "conv":
            raise UserError(f"layer {name}: a pooling of dilated windows, expected none behind a stride left out")
        dilation = tuple(rate * each for each in checks.integers(name, "its dilation", dilation, 2, 1))
        pad = tuple(rate * each for each in checks.integers(name, "its padding", pad, 4, 0))
        layer = super()._window(
            op, name, x, channels, kernel, stride if kept else 1, pad, dilation, up, **attrs
        )  # fmt: skip
        self._strides[layer] *= step if kept else 1
        self._rates[layer] *= 1 if kept else step
        return layer
