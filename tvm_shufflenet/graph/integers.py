"""What a quantised graph computes, in numpy: the definition that kernels equal to the bit.

Sums are exact: products of bytes are added in float64, which holds every integer up to 2^53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..architectures.resizing import resize_tables
from ..schedules.requantise import fma_arrays, requantised_arrays, short_arrays
from .byte_tensors import float_steps, is_dense
from .nodes import Graph, Node
from .quantise import LARGEST, is_whole, taps_of


def run_integers(graph: Graph, picture: np.ndarray) -> list[np.ndarray]:
    """The outputs, float32 (classes,) or (C, H, W), of a graph behind `quantise` for a float32 picture (1, C, H, W).

    Those of a detector, whose boxes are of floats, are `training/calibration.py`'s `run_bytes`.
    """
    values = dict(each_integers(graph, picture))
    return [values[node] for node in graph.outputs]


def each_integers(graph: Graph, picture: np.ndarray) -> Iterator[tuple[Node, np.ndarray]]:
    """What each node gives, in their order: bytes as int64 (C, H, W); outputs as `run_integers` has them.

    Of a detector the float steps, which are the last nodes, are left out: exits are the last that there is of it.
    """
    values: dict[Node, np.ndarray] = {}
    floats = float_steps(graph)
    for node in (node for node in graph.nodes if node not in floats):
        values[node] = (
            step_integers(node, *(values[source] for source in node.inputs))
            if node.inputs
            else _entry(node, picture[0])
        )
        yield node, values[node]


def step_integers(node: Node, *inputs: np.ndarray) -> np.ndarray:
    """What one node gives for its inputs' bytes, (C, H, W) each; factors from a table are float32 (C,)."""
    return _dense(node, *inputs) if is_dense(node) else _STEPS[node.op](node, *inputs)


def _entry(node: Node, picture: np.ndarray) -> np.ndarray:
    return _bytes(node, picture, node.attrs["scale"])


def _bytes(node: Node, sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    b = node.attrs["bytes"]
    return requantised_arrays(sums, scale, b.zero, b.low, b.high)


def _per_channel(array: np.ndarray) -> np.ndarray:
    return array[:, None, None]


def _windows(node: Node, data: np.ndarray, border: int) -> np.ndarray:
    """(C, OH, OW, kh, kw), with `border` around the plane."""
    a, (_, high, wide) = node.attrs, node.shape
    (kh, kw), (sy, sx), (dy, dx), (top, left) = a["kernel"], a["stride"], a["dilation"], a["pad"][:2]
    span = dy * (kh - 1) + 1, dx * (kw - 1) + 1
    below = max(0, (high - 1) * sy + span[0] - top - data.shape[1])
    right = max(0, (wide - 1) * sx + span[1] - left - data.shape[2])
    padded = np.pad(data, ((0, 0), (top, below), (left, right)), constant_values=border)
    found = np.lib.stride_tricks.sliding_window_view(padded, span, (1, 2))
    return found[:, : (high - 1) * sy + 1 : sy, : (wide - 1) * sx + 1 : sx, ::dy, ::dx]


def _conv(node: Node, data: np.ndarray, *others: np.ndarray) -> np.ndarray:
    groups, (outputs, high, wide) = node.attrs["groups"], node.shape
    windows = _windows(node, data, node.attrs["bytes"].border).astype(np.float64)
    channels = windows.reshape(groups, -1, *windows.shape[1:])
    columns = channels.transpose(0, 1, 4, 5, 2, 3).reshape(groups, -1, high * wide)
    weight = node.weights["weight"].astype(np.float64).reshape(groups, outputs // groups, -1)
    sums = (weight @ columns).reshape(node.shape).astype(np.int64) + _per_channel(node.weights["bias"])
    if node.scaled:
        return _scaled(node, sums, *others)
    for residual in others:
        sums += _per_channel(node.weights["gain"]) * residual
    if "start" in node.weights:
        scale, start = (_per_channel(node.weights[key]) for key in ("scale", "start"))
        return short_arrays(sums, scale, start, node.attrs["bytes"].low, node.attrs["bytes"].high)
    return _bytes(node, sums, _per_channel(node.weights["scale"]))


def _scaled(node: Node, sums: np.ndarray, factors: np.ndarray, *others: np.ndarray) -> np.ndarray:
    scale = _per_channel(node.weights["scale"] * factors)
    for residual in others:
        beside = (residual - node.attrs["other"]).astype(np.float32) * _per_channel(node.weights["gain"])
        return _bytes(node, fma_arrays(sums.astype(np.float32), scale, beside), np.ones(1, np.float32))
    return _bytes(node, sums, scale)


def _pool(node: Node, data: np.ndarray) -> np.ndarray:
    if node.attrs["kind"] == "max":
        return _windows(node, data, 0).max((3, 4))
    sums, scale = _windows(node, data, node.attrs["bytes"].border).sum((3, 4)), _per_channel(node.weights["scale"])
    if is_whole(node):
        return _bytes(node, sums + _per_channel(node.weights["bias"]), scale)
    taps = np.prod(node.attrs["kernel"])  # outside of the plane, too, where the byte is that of zero
    return _bytes(node, sums - taps * node.attrs["bytes"].border, scale / _counts(node))


def _counts(node: Node) -> np.ndarray:
    rows, columns = taps_of(node)
    return (rows[:, None] * columns).astype(np.float32)


def _adaptive_pool(node: Node, data: np.ndarray) -> np.ndarray:
    """Sums of the first so many rows and columns give those of any part of the plane."""
    sums = np.pad((data - node.attrs["bytes"].border).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    rows, columns = taps_of(node)
    top, left = (
        np.arange(len(taps)) * extent // len(taps) for taps, extent in zip((rows, columns), data.shape[1:])
    )  # fmt: skip
    bands = sums[:, top + rows] - sums[:, top]
    parts = bands[:, :, left + columns] - bands[:, :, left]
    return _bytes(node, parts, _per_channel(node.weights["scale"]) / _counts(node))


def _global_pool(node: Node, data: np.ndarray) -> np.ndarray:
    if node.attrs["kind"] == "max":
        return data.max((1, 2), keepdims=True)
    sums = data.sum((1, 2), keepdims=True) + _per_channel(node.weights["bias"])
    return _bytes(node, sums, _per_channel(node.weights["scale"]))


def _attention(node: Node, data: np.ndarray, factors: np.ndarray) -> np.ndarray:
    if "other" in node.attrs:  # bytes
        factors = (factors.ravel() - node.attrs["other"]).astype(np.float32)
    return _bytes(node, data - node.attrs["bytes"].border, _per_channel(node.weights["scale"] * factors))


def _add(node: Node, *inputs: np.ndarray) -> np.ndarray:
    first, second = (
        (data - zero).astype(np.float32) for data, zero in zip(inputs, node.attrs["zeros"], strict=True)
    )  # fmt: skip
    scale = node.weights["scale"]
    return _bytes(node, fma_arrays(first, scale[0], second * scale[1]), np.ones(1, np.float32))


def _lrn(node: Node, data: np.ndarray) -> np.ndarray:
    size, (factor, base, scale) = node.attrs["size"], node.weights["scale"]
    numbers = data - node.attrs["bytes"].border
    squares = np.pad(numbers**2, ((size // 2, size - 1 - size // 2), (0, 0), (0, 0)))
    sums = np.lib.stride_tricks.sliding_window_view(squares, size, 0).sum(-1)
    root = np.sqrt(fma_arrays(sums.astype(np.float32), factor, base))
    return _bytes(node, numbers, scale / (root * np.sqrt(root)))


def _resize(node: Node, data: np.ndarray) -> np.ndarray:
    a = node.attrs
    tables = resize_tables(data.shape[1:], a["size"], a["mode"], a["coordinates"], a["rounding"], a["scales"])
    if a["mode"] == "nearest":
        return data[:, tables[0]][:, :, tables[1]]
    numbers, (lower, upper, weights), columns = data.astype(np.float32), tables[:3], tables[3:]

    def of_row(rows: np.ndarray) -> np.ndarray:
        low, high = (numbers[:, rows][:, :, places] for places in columns[:2])
        return fma_arrays(high - low, columns[2], low)

    above = of_row(lower)
    found = fma_arrays(of_row(upper) - above, weights[:, None], above)
    return requantised_arrays(found, np.ones(1, np.float32), 0, 0, LARGEST)


def _exit(node: Node, data: np.ndarray) -> np.ndarray:
    return (data - node.attrs["bytes"].border).astype(np.float32) * node.attrs["scale"]


def _dense(node: Node, data: np.ndarray) -> np.ndarray:
    sums = node.weights["weight"].astype(np.int64).reshape(node.channels, -1) @ data.ravel() + node.weights["bias"]
    if node.attrs["last"]:
        return sums.astype(np.float32) * node.weights["scale"]
    found = _bytes(node, sums, node.weights["scale"])
    return node.weights["table"][found] if "table" in node.weights else found[:, None, None]


_STEPS: dict[str, Callable[..., np.ndarray]] = {
    "conv": _conv, "pool": _pool, "global_pool": _global_pool, "multiply": _attention,
    "activation": lambda node, data: node.weights["table"].astype(np.int64)[data],
    "concat": lambda node, *parts: np.concatenate(parts),
    "gather": lambda node, data: data[list(node.attrs["channels"])],
    "reshape": lambda node, data: data.reshape(node.shape), "entry": lambda node, data: data, "exit": _exit,
    "resize": _resize,
    "add": _add, "lrn": _lrn, "adaptive_avg_pool": _adaptive_pool,
}  # fmt: skip
