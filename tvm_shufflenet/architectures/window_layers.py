"""The layers that slide a window over planes, convolutions and pools; a part of `NetworkBuilder`."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from . import checks

Extents = int | Sequence[int]  # a number, or one for each axis, or for each side


class WindowLayers:
    """Declares those methods of `NetworkBuilder` that the layers here call, and defines these layers."""

    def _append(self, op: str, name: str, inputs: Sequence[int], shape: Sequence[int], /, **attrs: object) -> int:
        raise NotImplementedError

    def _input(self, name: str, x: int, *ranks: int) -> tuple[int, ...]:
        raise NotImplementedError

    def conv(self, name: str, x: int, channels: int, kernel: Extents = 1, stride: Extents = 1, pad: Extents = 0,
             groups: int = 1, bias: bool = False, dilation: Extents = 1) -> int:  # fmt: skip
        """Convolution; `groups` divides the channels on both sides."""
        inputs = self._input(name, x, 4)[1]
        channels = checks.integer(name, "the number of its outputs", channels, 1)
        groups = checks.integer(name, "the number of its groups", groups, 1)
        if inputs % groups or channels % groups:
            raise UserError(
                f"layer {name}: {inputs} -> {channels} channels in {groups} groups, expected groups that divide both"
            )
        bias = checks.flag(name, "its bias", bias)
        return self._window("conv", name, x, channels, kernel, stride, pad, dilation, groups=groups, bias=bias)

    def max_pool(self, name: str, x: int, kernel: Extents, stride: Extents, pad: Extents = 0, dilation: Extents = 1,
                 ceil: bool = False) -> int:  # fmt: skip
        """Maximum of each window; pixels of the padding are never the maximum.  `ceil`: as PyTorch's ceil_mode."""
        return self._pool("max_pool", name, x, kernel, stride, pad, dilation, ceil)

    def avg_pool(
        self, name: str, x: int, kernel: Extents, stride: Extents, pad: Extents = 0, ceil: bool = False
    ) -> int:
        """Average pooling; the zeros of the padding count (PyTorch's default)."""
        return self._pool("avg_pool", name, x, kernel, stride, pad, 1, ceil)

    def valid_avg_pool(
        self, name: str, x: int, kernel: Extents, stride: Extents, pad: Extents = 0, ceil: bool = False
    ) -> int:
        """Average pooling over those pixels of the window that lie inside: the padding does not count."""
        return self._pool("valid_avg_pool", name, x, kernel, stride, pad, 1, ceil)

    def _pool(
        self, op: str, name: str, x: int, kernel: Extents, stride: Extents, pad: Extents, dilation: Extents, ceil: bool
    ) -> int:
        channels, ceil = self._input(name, x, 4)[1], checks.flag(name, "ceil", ceil)
        return self._window(op, name, x, channels, kernel, stride, pad, dilation, ceil, ceil=ceil)

    def _window(self, op: str, name: str, x: int, channels: int, kernel: Extents, stride: Extents, pad: Extents,
                dilation: Extents, up: bool = False, **attrs: object) -> int:  # fmt: skip
        """A layer that slides a window; `up` rounds the number of its places up, as PyTorch's ceil_mode does."""
        copies, _, *extents = self._input(name, x, 4)
        kernel = checks.integers(name, "its kernel", kernel, 2, 1)
        stride = checks.integers(name, "its stride", stride, 2, 1)
        dilation = checks.integers(name, "its dilation", dilation, 2, 1)
        pad = checks.integers(name, "its padding", pad, 4, 0)
        places = []
        for axis, extent in enumerate(extents):
            step, span, room = stride[axis], dilation[axis] * (kernel[axis] - 1) + 1, pad[axis] + extent
            rest = room + pad[axis + 2] - span
            last = -(-rest // step) if up and rest > 0 else rest // step
            if up and last * step >= room:  # that one would start behind the plane
                last -= 1
            places.append(last + 1)
            starts = range(-pad[axis], last * step - pad[axis] + 1, step)
            empty = (_outside(start, span, dilation[axis], extent) for start in starts)
            if op in ("max_pool", "valid_avg_pool") and any(empty):
                raise UserError(
                    f"layer {name}: with kernel {kernel}, padding {pad} and stride {stride} a window holds none of the "
                    f"{extents[0]}x{extents[1]} pixels, expected less padding"
                )
        shape = (copies, channels, *places)
        return self._append(op, name, [x], shape, kernel=kernel, stride=stride, pad=pad, dilation=dilation, **attrs)


def _outside(start: int, span: int, dilation: int, extent: int) -> bool:
    """Whether no tap of a window that starts there lies in 0 to extent - 1."""
    first = start if start >= 0 else start % dilation
    return first >= min(extent, start + span)
