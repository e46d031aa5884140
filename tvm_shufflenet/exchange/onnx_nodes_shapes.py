"""ONNX nodes that choose, order and join: views, slices, concatenations, padding, blocks; and those that do nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .onnx_node import Node, Operator
from .onnx_values import Given, Refused, Value, text

if TYPE_CHECKING:
    from .onnx_reader import Reader


def _whole_numbers(reader: Reader, value: Given, what: str) -> list[int]:
    found = reader.constant(value, what)
    if found.dtype.kind not in "iu" or found.size > 1 << 16:
        raise Refused(f"{what} are of the type {found.dtype}, expected integers")
    return [int(number) for number in found.ravel()]


def _numbers(reader: Reader, node: Node, name: str, value: Given | None) -> list[int] | None:
    """Of an input, or of the attribute that it was in older opsets; None if there is neither."""
    return node.integers(name) if value is None else _whole_numbers(reader, value, f"its {name}")


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Refused(f"its axis is {axis} of {rank} dimensions")
    return axis % rank


def reshape(reader: Reader, node: Node, x: Given, shape: Given | None = None) -> Value:
    x = reader.value(x)
    wanted = _numbers(reader, node, "shape", shape)
    if wanted is None:
        raise Refused("has no shape")
    if not node.integer("allowzero", 0):
        sizes = (x.shape[0] * reader.batch, *x.shape[1:])
        wanted = [sizes[i] if n == 0 and i < len(sizes) else n for i, n in enumerate(wanted)]
    if reader.batch > 1 and wanted and wanted[0] > 0 and wanted[0] % reader.batch == 0:
        wanted = [wanted[0] // reader.batch, *wanted[1:]]
    return _viewed(reader, x, wanted)


def _viewed(reader: Reader, x: Value, shape: list[int]) -> Value:
    count, known = math.prod(x.shape), math.prod(n for n in shape if n != -1)
    if shape.count(-1) == 1 and known > 0 and count % known == 0:
        shape = [count // known if n == -1 else n for n in shape]
    if min(shape, default=1) < 1 or math.prod(shape) != count or len(shape) > 8:
        raise Refused(f"a tensor of the shape {text(x.shape)} does not fit into {tuple(shape)[:9]}")
    found = x.reshaped(shape)
    if found is not None:
        return found
    return reader.plain(reader.looks.layer(x, None if len(x.shape) in (2, 4) else (1, count)), shape)


def flatten(reader: Reader, node: Node, x: Given) -> Value:
    x = reader.value(x)
    shape, axis = x.shape, node.integer("axis", 1)
    axis = axis if axis == len(shape) else _axis(axis, len(shape))
    return _viewed(reader, x, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def squeeze(reader: Reader, node: Node, x: Given, axes: Given | None = None) -> Value:
    x = reader.value(x)
    shape, given = x.shape, _numbers(reader, node, "axes", axes)
    if given is None:
        given = [axis for axis, extent in enumerate(shape) if extent == 1 and axis > 0]
    gone = [_axis(axis, len(shape)) for axis in given]
    if any(shape[axis] != 1 for axis in gone) or (0 in gone and reader.batch > 1):
        raise Refused(f"its axes are {gone} of the shape {text(shape)}, expected extents of 1")
    return Value(x.layer, tuple(dim for axis, dim in enumerate(x.dims) if axis not in gone), x.offset)


def unsqueeze(reader: Reader, node: Node, x: Given, axes: Given | None = None) -> Value:
    given, x = _numbers(reader, node, "axes", axes) or [], reader.value(x)
    rank = len(x.shape) + len(given)
    new = [_axis(axis, rank) for axis in given]
    if rank > 8 or len(set(new)) != len(new):
        raise Refused(f"its axes are {new[:9]}, expected a few that differ")
    if 0 in new and reader.batch > 1:
        raise Refused("a new first dimension is not possible where the batch is fixed: export the model with batch 1")
    dims = list(x.dims)
    for axis in sorted(new):
        dims.insert(axis, ())
    return Value(x.layer, tuple(dims), x.offset)


def transpose(reader: Reader, node: Node, x: Given) -> Value:
    x = reader.value(x)
    rank = len(x.shape)
    order = node.integers("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise Refused(f"its perm is {order[:9]}, expected each of {rank} dimensions once")
    if order[:1] != [0] and reader.batch > 1:
        raise Refused("moves the batch, which is fixed in the file: export the model with batch 1")
    return x.transposed(order)


# Choosing


def _part(reader: Reader, x: Value, axis: int, numbers: range) -> Value:
    """The entries of these numbers along an axis."""
    if axis == 0 and (reader.batch > 1 or len(numbers) != x.shape[0]) and x.shape[0] == 1:
        raise Refused("cuts the batch, expected channels, height or width")
    if not numbers:
        raise Refused("nothing is left of its input")
    if len(numbers) == x.shape[axis] and numbers.step == 1:
        return x
    found = x.sliced(axis, numbers.start, len(numbers), numbers.step)
    if found is None:
        found = reader.plain(reader.looks.layer(x)).sliced(axis, numbers.start, len(numbers), numbers.step)
        assert found is not None  # each axis of a whole layer is one factor
    return found


def slice_of(
    reader: Reader,
    node: Node,
    x: Given,
    starts: Given | None = None,
    ends: Given | None = None,
    axes: Given | None = None,
    steps: Given | None = None,
) -> Value:
    x = reader.value(x)
    given = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    found = {name: _numbers(reader, node, name, value) for name, value in given.items()}
    first, last = found["starts"] or [], found["ends"] or []
    where = list(range(len(first))) if found["axes"] is None else found["axes"]
    by = [1] * len(first) if found["steps"] is None else found["steps"]
    if not len(first) == len(last) == len(where) == len(by) or not first or 0 in by:
        raise Refused(f"its starts {first}, ends {last}, axes {where} and steps {by} do not fit each other")
    for start, end, axis, step in zip(first, last, where, by):
        axis = _axis(axis, len(x.shape))
        numbers = range(x.shape[axis])[slice(start, end, step)]
        if axis == 0 and reader.batch > 1:
            if not (start == 0 and end >= reader.batch and step == 1):
                raise Refused("cuts the batch, expected channels, height or width")
        else:
            x = _part(reader, x, axis, numbers)
    return x


def split(reader: Reader, node: Node, x: Given, sizes: Given | None = None) -> list[Value]:
    x = reader.value(x)
    shape, axis = x.shape, _axis(node.integer("axis", 0), len(x.shape))
    counts = node.integers("split") if sizes is None else _whole_numbers(reader, sizes, "its sizes")
    if counts is None:
        parts = node.integer("num_outputs", len(node.outputs))
        if not 0 < parts <= shape[axis]:
            raise Refused(f"{shape[axis]} entries in {parts} parts are not possible")
        each = -(-shape[axis] // parts)
        counts = [min(each, shape[axis] - each * part) for part in range(parts)]
    if min(counts, default=0) < 1 or sum(counts) != shape[axis] or len(counts) != len(node.outputs):
        raise Refused(
            f"{shape[axis]} entries in parts of {counts[:9]} for {len(node.outputs)} outputs are not possible"
        )
    ends = np.cumsum(counts).tolist()
    return [_part(reader, x, axis, range(end - count, end)) for count, end in zip(counts, ends)]


def gather(reader: Reader, node: Node, x: Given, indices: Given) -> Value:
    x = reader.value(x)
    shape = x.shape
    axis, indices = _axis(node.integer("axis", 0), len(shape)), reader.constant(indices, "which it takes")
    numbers = _whole_numbers(reader, indices, "its indices")
    if indices.ndim > 1 or not numbers or not all(-shape[axis] <= n < shape[axis] for n in numbers):
        raise Refused(f"its indices are {numbers[:9]} of {shape[axis]}, expected a list of those there are")
    numbers = [n % shape[axis] for n in numbers]
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    line = range(numbers[0], numbers[0] + step * len(numbers), step) if step else None
    if line is not None and list(line) == numbers:
        found = _part(reader, x, axis, line)
    elif len(shape) in (2, 4) and axis > 0:
        order = [0, axis, *(a for a in range(1, len(shape)) if a != axis)]
        turned = x.transposed(order)
        layer = reader.looks.channels(reader.looks.layer(turned), np.array(numbers))
        found = reader.plain(layer).transposed([order.index(a) for a in range(len(shape))])
    else:
        raise Refused(f"takes {numbers[:9]} of the shape {text(shape)}, expected channels")
    return found if indices.ndim else Value(found.layer, found.dims[:axis] + found.dims[axis + 1 :], found.offset)


# Joining


def concat(reader: Reader, node: Node, *given: Given | None) -> Value:
    values = [reader.value(value) for value in given]
    shapes = [value.shape for value in values]
    rank, axis = len(shapes[0]), _axis(node.integer("axis", 1), len(shapes[0]))
    others = {(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(others) > 1 or rank not in (2, 4) or axis == 0:
        raise Refused(f"the shapes {', '.join(map(text, shapes[:9]))} along axis {axis}, expected the channels")
    order = [0, axis, *(a for a in range(1, rank) if a != axis)]
    turned = [value.transposed(order) for value in values]
    vectors = all(math.prod(value.shape[2:]) == 1 for value in turned)
    ranks = {len(reader.net.shape(value.layer)) for value in turned}
    if vectors and 2 in ranks:
        layers = [reader.looks.layer(Value(value.layer, value.dims[:2], value.offset)) for value in turned]
    else:
        layers = [reader.looks.layer(value) for value in turned]
    shape = (1, sum(value.shape[1] for value in turned), *turned[0].shape[2:])
    found = reader.plain(reader.net.concat(reader.name("concat"), *layers), shape)
    return found.transposed([order.index(a) for a in range(rank)])


def pad(
    reader: Reader,
    node: Node,
    x: Given,
    pads: Given | None = None,
    value: Given | None = None,
    axes: Given | None = None,
) -> Value:
    x = reader.value(x)
    shape, given = x.shape, _numbers(reader, node, "pads" if "pads" in node or pads is not None else "paddings", pads)
    along = list(range(len(shape))) if axes is None else _whole_numbers(reader, axes, "its axes")
    along = [_axis(axis, len(shape)) for axis in along]
    number = node.number("value", 0.0)
    if value is not None and reader.constant(value, "its value").size:
        number = float(reader.weights(value, "its value").ravel()[0])
    if given is None or len(given) != 2 * len(along) or len(set(along)) != len(along):
        raise Refused(f"its pads are {given}, expected two for each of {len(along)} axes")
    around = {axis: (given[i], given[i + len(along)]) for i, axis in enumerate(along)}
    if not any(given):
        return x
    last = len(shape) == 4 and around.get(3, (0, 0)) != (0, 0) and _last(reader, x)
    order = (0, 3, 1, 2) if last else (0, 1, 2, 3)
    batch, channels, rows, columns = (around.get(axis, (0, 0)) for axis in order)
    mode = node.choice("mode", "constant")
    if any(batch) or mode not in ("constant", "edge", "reflect"):
        raise Refused(
            f"its pads are {given} in mode {mode[:20]}, expected no pads of the batch; constant, edge or reflect"
        )
    layer = reader.planes(x.transposed(order) if len(shape) == 4 else x)
    sides = (rows[0], columns[0], rows[1], columns[1])
    found = reader.plain(
        reader.net.pad(reader.name("pad"), layer, sides, channels, mode, number if mode == "constant" else 0.0)
    )
    return found.transposed((0, 2, 3, 1)) if last else found


def _last(reader: Reader, x: Value) -> bool:
    """Whether it is planes looked at as N x H x W x C."""
    turned = x.transposed((0, 3, 1, 2))
    return reader.looks.whole(turned) and turned.shape == reader.net.shape(x.layer) and not reader.looks.whole(x)


def depth_to_space(reader: Reader, node: Node, x: Given) -> Value:
    layer = reader.planes(x)
    block, mode = node.integer("blocksize", 0), node.choice("mode", "DCR")
    return reader.plain(reader.net.depth_to_space(reader.name("blocks"), layer, block, mode))


# Nothing


def identity(reader: Reader, node: Node, x: Given) -> Value:
    return reader.value(x)


def dropout(reader: Reader, node: Node, x: Given, ratio: Given | None = None, training: Given | None = None) -> Value:
    if training is not None and reader.constant(training, "its mode").any():
        raise Refused("it is in training mode: export the model for inference")
    return reader.value(x)


def cast(reader: Reader, node: Node, x: Given) -> Value:
    if node.integer("to", 1) != 1:
        raise Refused(f"makes numbers of the type {node.integer('to', 1)}, expected 1 (FLOAT)")
    return reader.value(x)


OPERATORS: dict[str, Operator] = {
    "Reshape": (reshape, 1, 2),
    "Flatten": (flatten, 1, 1),
    "Squeeze": (squeeze, 1, 2),
    "Unsqueeze": (unsqueeze, 1, 2),
    "Transpose": (transpose, 1, 1),
    "Slice": (slice_of, 1, 5),
    "Split": (split, 1, 2),
    "Gather": (gather, 2, 2),
    "Concat": (concat, 1, 10000),
    "Pad": (pad, 1, 4),
    "DepthToSpace": (depth_to_space, 1, 1),
    "Identity": (identity, 1, 1),
    "Dropout": (dropout, 1, 3),
    "Cast": (cast, 1, 1),
}
