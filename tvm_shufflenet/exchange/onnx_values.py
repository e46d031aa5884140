"""What a tensor of an ONNX graph is while the graph is read: a layer's output, looked at in some order.

Reshape, Transpose, Slice and their like change only the look.  A layer is appended where an operator needs the numbers
in the order that they then have: a channel shuffle, a slice, a gathering, blocks brought into the plane, a cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..architectures import NetworkBuilder
from ..architectures.checks import NAME
from .canonical import shuffled

GATHERED = 1 << 13  # pieces from which a tensor may be put together where no other layer does it

Factor = tuple[int, int]  # extent and stride


class Refused(Exception):
    """What is wrong with a node; the reader says with which."""


def shown(name: str) -> str:
    """A name of the file, in one line of a message."""
    return name[:NAME] if name.isprintable() else ascii(name[:NAME])


def text(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _merged(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """The same places in the same order with as few factors as possible."""
    found: list[Factor] = []
    for extent, stride in factors:
        if extent == 1:
            continue
        if found and found[-1][1] == extent * stride:
            found[-1] = (found[-1][0] * extent, stride)
        else:
            found.append((extent, stride))
    return tuple(found)


def places(factors: Iterable[Factor]) -> np.ndarray:
    """The distance of each element along these factors from the first element."""
    found = np.zeros(1, np.int64)
    for extent, stride in factors:
        found = (found[:, None] + stride * np.arange(extent)).ravel()
    return found


@dataclass(frozen=True)
class Value:
    """Some of the numbers of a layer's output, in some order; no number comes twice.

    `dims` has for each dimension the factors of its index, outermost first: extent, and stride within the flat output.
     `offset` is where the first number lies.
    """

    layer: int
    dims: tuple[tuple[Factor, ...], ...]
    offset: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(extent for extent, _ in dim) for dim in self.dims)

    def flat(self) -> tuple[Factor, ...]:
        return _merged(factor for dim in self.dims for factor in dim)

    def is_whole(self, size: int) -> bool:
        """Whether the value is all of a layer's `size` numbers in their order."""
        return self.offset == 0 and self.flat() == (((size, 1),) if size > 1 else ())

    def reshaped(self, shape: Sequence[int]) -> Value | None:
        """The same numbers in another shape; None where that is no look at the layer's output."""
        rest, dims = list(self.flat()), []
        for extent in reversed(shape):
            dim: list[Factor] = []
            while extent > 1:
                if not rest:
                    return None
                count, stride = rest.pop()
                if extent % count == 0:
                    dim.append((count, stride))
                    extent //= count
                elif count % extent == 0:
                    dim.append((extent, stride))
                    rest.append((count // extent, stride * extent))
                    extent = 1
                else:
                    return None
            dims.append(_merged(reversed(dim)))
        return None if rest else Value(self.layer, tuple(reversed(dims)), self.offset)

    def transposed(self, order: Sequence[int]) -> Value:
        return Value(self.layer, tuple(self.dims[axis] for axis in order), self.offset)

    def sliced(self, axis: int, start: int, count: int, step: int) -> Value | None:
        """`count` entries of an axis; None where the axis has several factors."""
        dim = self.dims[axis]
        if len(dim) > 1:
            return None
        stride = dim[0][1] if dim else 0
        entry = ((count, stride * step),) if count > 1 else ()
        return Value(self.layer, (*self.dims[:axis], entry, *self.dims[axis + 1 :]), self.offset + start * stride)


def plain(layer: int, shape: Sequence[int]) -> Value:
    """The value that is all of a layer's output, in its order."""
    size = math.prod(shape)
    found = Value(layer, (((size, 1),) if size > 1 else (),)).reshaped(shape)
    assert found is not None
    return found


Given = Value | np.ndarray  # what a node is given: what is computed from the picture, or a constant


class Looks:
    """Appends the layers that bring values into the order in which they are looked at, each only once."""

    def __init__(self, net: NetworkBuilder, name: Callable[[str], str]):
        self.net, self.name = net, name  # `name(kind)`: of a new layer
        self._known: dict[tuple[Value, tuple[int, ...]], int] = {}

    def covers(self, value: Value) -> bool:
        return math.prod(value.shape) == math.prod(self.net.shape(value.layer))

    def whole(self, value: Value) -> bool:
        return value.is_whole(math.prod(self.net.shape(value.layer)))

    def layer(self, value: Value, shape: Sequence[int] | None = None) -> int:
        """A layer that gives the numbers of `value` in their order, in `shape` or its own: (1, N) or (1, C, H, W)."""
        shape = tuple(value.shape if shape is None else shape)
        if len(shape) not in (2, 4) or shape[0] != 1:
            raise Refused(f"the shape {text(shape)} is not possible here, expected 1xN or 1xCxHxW")
        if (value, shape) not in self._known:
            self._known[value, shape] = self._made(value, shape)
        return self._known[value, shape]

    def _made(self, value: Value, shape: tuple[int, ...]) -> int:
        if self.whole(value):
            return self._shaped(value.layer, shape)
        if value.shape == shape:
            for attempt in (self._selected, self._blocks):
                found = attempt(value)
                if found is not None:
                    return found
        return self._shaped(self._gathered(value), shape)

    def _shaped(self, layer: int, shape: tuple[int, ...]) -> int:
        if self.net.shape(layer) == shape:
            return layer
        if len(shape) == 2:
            return self.net.flatten(self.name("flatten"), layer)
        return self.net.reshape(self.name("reshape"), layer, shape)

    def _selected(self, value: Value) -> int | None:
        """Some channels of a vector or of planes, in any order, and a cut of the planes."""
        source = self.net.shape(value.layer)
        if len(source) != len(value.shape):
            return None
        height, width = source[2:] or (1, 1)
        channel, rest = divmod(value.offset, height * width)
        channels = channel * height * width + places(value.dims[1])
        lines = rest // width * width + places(value.dims[2] if len(source) == 4 else ())
        columns = rest % width + places(value.dims[3] if len(source) == 4 else ())
        if (channels % (height * width)).any() or (lines % width).any():
            return None
        channels, lines = channels // (height * width), lines // width
        for found, extent in ((channels, source[1]), (lines, height), (columns, width)):
            if found.min() < 0 or found.max() >= extent:
                return None
        steps = [int(found[1] - found[0]) if len(found) > 1 else 1 for found in (lines, columns)]
        ranges = [np.array_equal(f, f[0] + s * np.arange(len(f))) for f, s in zip((lines, columns), steps)]
        if not all(ranges) or min(steps) < 1:
            return None
        layer = self.channels(value.layer, channels)
        cut = (-int(lines[0]), -int(columns[0]), int(lines[-1]) + 1 - height, int(columns[-1]) + 1 - width)
        if any(cut):
            layer = self.net.pad(self.name("cut"), layer, cut)
        if steps != [1, 1]:
            layer = self.net.max_pool(self.name("step"), layer, 1, steps)
        return layer

    def channels(self, layer: int, channels: np.ndarray) -> int:
        """The layer that gives `channels` of another: that layer itself, a slice, a shuffle or a gathering."""
        count = self.net.shape(layer)[1]
        if np.array_equal(channels, np.arange(count)):
            return layer
        step = int(channels[1] - channels[0]) if len(channels) > 1 else 1
        if step > 0 and np.array_equal(channels, channels[0] + step * np.arange(len(channels))):
            return self.net.slice(self.name("slice"), layer, int(channels[0]), int(channels[-1]) + 1, step)
        if len(channels) == count and step > 0 and count % step == 0 and len(self.net.shape(layer)) == 4:
            if np.array_equal(channels, shuffled(count, count // step)):
                return self.net.shuffle(self.name("shuffle"), layer, count // step)
        return self.net.gather(self.name("gather"), layer, tuple(map(int, channels)))

    def _blocks(self, value: Value) -> int | None:
        """Channels that become blocks of pixels."""
        source, shape = self.net.shape(value.layer), value.shape
        if len(source) != 4 or len(shape) != 4 or shape[2] % source[2]:
            return None
        block = shape[2] // source[2]
        if block < 2 or shape != (1, source[1] // block**2, source[2] * block, source[3] * block):
            return None
        if shape[1] * block**2 != source[1]:
            return None
        orders = {
            "DCR": ((1, block, block, shape[1], *source[2:]), (0, 3, 4, 1, 5, 2)),
            "CRD": ((1, shape[1], block, block, *source[2:]), (0, 1, 4, 2, 5, 3)),
        }
        for mode, (split, order) in orders.items():
            if plain(value.layer, split).transposed(order).reshaped(shape) == value:
                return self.net.depth_to_space(self.name("blocks"), value.layer, block, mode)
        return None

    def _gathered(self, value: Value) -> int:
        """Any order: pieces of the flat output, each of numbers that stay together."""
        factors = value.flat()
        outer, (inner, stride) = (factors[:-1], factors[-1]) if factors else ((), (1, 1))
        size = math.prod(self.net.shape(value.layer))
        piece = math.gcd(inner, size, value.offset, *(abs(s) for _, s in outer)) if stride == 1 else 1
        outer = (*outer, (inner // piece, stride * piece))
        if math.prod(extent for extent, _ in outer) > GATHERED:
            raise Refused(
                f"brings {text(self.net.shape(value.layer))} into the shape {text(value.shape)} in another order, "
                "expected a channel shuffle, a slice, DepthToSpace, or a transposition that a later one undoes"
            )
        layer = self._shaped(value.layer, (1, size // piece, 1, piece))
        return self.channels(layer, (value.offset + places(outer)) // piece)
