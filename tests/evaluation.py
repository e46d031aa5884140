"""What a `Network` computes, layer by layer in double precision: independent of the compiler and of the twin."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from tvm_shufflenet.architectures import Network


def evaluate(net: Network, parameters: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """The outputs for an input in the order in which the caller has it."""
    given = {name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in parameters.items()}
    x = torch.from_numpy(np.asarray(x, np.float64))
    values = [x.permute(0, 3, 1, 2) if net.layers[0].attrs["layout"] == "NHWC" else x]
    for layer in net.layers[1:]:
        p = {name.rpartition(".")[2]: given[name] for name in layer.parameters(net.layers[layer.inputs[0]].shape)}
        inputs = [values[source] for source in layer.inputs]
        found = _layer(layer.op, layer.attrs, p, *inputs)
        assert tuple(found.shape) == layer.shape, (layer, found.shape)
        values.append(found)
    return [values[index].numpy() for index in net.outputs]


def _padded(x, pad, value=0.0):
    top, left, bottom, right = pad
    return F.pad(x, (left, right, top, bottom), value=value)


def _pool(op, a, x):
    kernel, stride, pad, dilation = a["kernel"], a["stride"], a["pad"], a["dilation"]
    height, width = x.shape[2:]
    wanted = []
    for axis, extent in enumerate((height, width)):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        rest = extent + pad[axis] + pad[axis + 2] - span
        last = -(-rest // stride[axis]) if a["ceil"] else rest // stride[axis]
        if last * stride[axis] >= extent + pad[axis]:
            last -= a["ceil"]
        wanted.append(last + 1)
    padded = _padded(x, pad, -torch.inf if op == "max_pool" else 0.0)
    inside = _padded(torch.ones_like(x), pad, 1.0 if op == "avg_pool" else 0.0)
    more = [
        max(0, (n - 1) * s + d * (k - 1) + 1 - e)
        for n, s, d, k, e in zip(wanted, stride, dilation, kernel, padded.shape[2:])
    ]
    padded = _padded(padded, (0, 0, *more), -torch.inf if op == "max_pool" else 0.0)
    inside = _padded(inside, (0, 0, *more))
    windows = [
        torch.stack([
            t[:, :, i * dilation[0] :, j * dilation[1] :][:, :, : (wanted[0] - 1) * stride[0] + 1 : stride[0],
              : (wanted[1] - 1) * stride[1] + 1 : stride[1]]
            for i in range(kernel[0]) for j in range(kernel[1])
        ])
        for t in (padded, inside)
    ]  # fmt: skip
    return windows[0].amax(0) if op == "max_pool" else windows[0].sum(0) / windows[1].sum(0)


def _resize(a, x):
    for axis in (2, 3):
        x = _resize_axis(a, x, axis, a["size"][axis - 2], a["scales"][axis - 2])
    return x


def _resize_axis(a, x, axis, size, scale):
    extent, places = x.shape[axis], np.arange(size, dtype=np.float64)
    match a["coordinates"]:
        case "asymmetric":
            where = places / scale
        case "align_corners":
            where = places * (extent - 1) / (extent * scale - 1 if extent * scale != 1 else np.inf)
        case "pytorch_half_pixel" if extent * scale <= 1:
            where = 0 * places
        case _:
            where = (places + 0.5) / scale - 0.5
    if a["mode"] == "nearest":
        rounded = {
            "floor": np.floor, "ceil": np.ceil, "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        }[a["rounding"]](where)  # fmt: skip
        return x.index_select(axis, torch.from_numpy(rounded.clip(0, extent - 1).astype(np.int64)))
    low = np.floor(where)
    share = torch.from_numpy(where - low).reshape([-1 if k == axis else 1 for k in range(4)])
    first, second = (
        x.index_select(axis, torch.from_numpy(v.clip(0, extent - 1).astype(np.int64))) for v in (low, low + 1)
    )
    return first * (1 - share) + second * share


def _joined(f, a, b):
    if a.ndim != b.ndim:
        a, b = (v[:, :, None, None] if v.ndim == 2 else v for v in (a, b))
    return f(a, b)


def _blocks(a, x):
    _, c, h, w = x.shape
    b = a["block"]
    if a["mode"] == "CRD":
        return F.pixel_shuffle(x, b)
    return x.reshape(1, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(1, c // b**2, h * b, w * b)


def _layer(op, a, p, x, *others):
    match op:
        case "conv":
            return F.conv2d(
                _padded(x, a["pad"]), p["weight"], p.get("bias"), a["stride"], 0, a["dilation"], a["groups"]
            )
        case "batch_norm":
            shape = (-1, *(1,) * (x.ndim - 2))
            weight, bias, mean, var = (p[k].reshape(shape) for k in ("weight", "bias", "running_mean", "running_var"))
            return (x - mean) / (var + a["eps"]).sqrt() * weight + bias
        case "relu":
            return x.relu()
        case "clip":
            return x.clamp(a["low"], a["high"])
        case "leaky_relu":
            return torch.where(x < 0, x * a["slope"], x)
        case "sigmoid":
            return x.sigmoid()
        case "hard_sigmoid":
            return (x * a["alpha"] + a["beta"]).clamp(0, 1)
        case "hard_swish":
            return x * (x / 6 + 0.5).clamp(0, 1)
        case "softmax":
            return x.log_softmax(1) if a["log"] else x.softmax(1)
        case "shuffle":
            return x.unflatten(1, (a["groups"], -1)).transpose(1, 2).flatten(1, 2)
        case "slice":
            return x[:, a["start"] : a["stop"] : a["step"]]
        case "gather":
            return x[:, list(a["channels"])]
        case "max_pool" | "avg_pool" | "valid_avg_pool":
            return _pool(op, a, x)
        case "adaptive_avg_pool":
            return F.adaptive_avg_pool2d(x, a["size"])
        case "global_avg_pool":
            return x.mean((2, 3))
        case "global_max_pool":
            return x.amax((2, 3))
        case "lrn":
            square = F.pad(x.square(), (0, 0, 0, 0, a["size"] // 2, (a["size"] - 1) // 2))
            total = square.unfold(1, a["size"], 1).sum(-1)
            return x / (a["k"] + a["alpha"] / a["size"] * total) ** a["beta"]
        case "add":
            return _joined(torch.add, x, *others)
        case "multiply":
            return _joined(torch.mul, x, *others)
        case "concat":
            return torch.cat([x, *others], 1)
        case "pad":
            mode = {"edge": "replicate"}.get(a["mode"], a["mode"])
            top, left, bottom, right = a["pad"]
            if mode == "constant":
                return F.pad(x, (left, right, top, bottom, *a["channels"]), value=a["value"])
            return F.pad(x, (left, right, top, bottom), mode)
        case "depth_to_space":
            return _blocks(a, x)
        case "resize":
            return _resize(a, x)
        case "flatten":
            return x.flatten(1)
        case "reshape":
            return x.reshape(a["shape"])
        case "dropout":
            return x
        case "dense":
            return F.linear(x, p["weight"], p["bias"])
    raise AssertionError(op)
