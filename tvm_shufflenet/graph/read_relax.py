"""Relax module  =>  `Graph`.

Parameters must be constants (`relax.transform.BindParams`).  Every binding of `main` becomes a node; what computes
constants is computed here.  Anything that no layer of `NetworkBuilder` becomes is refused.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from ..bridge.relax_module import ATTRIBUTES, KIND, NAMES
from ..schedules import Activation
from .nodes import Graph, Node


class UnsupportedGraph(Exception):
    """The module holds an operator that no layer becomes."""


def read_relax(module: tvm.IRModule) -> Graph:
    """The graph of `main`; raises `UnsupportedGraph`."""
    return _Reader(module).graph()


class _Reader:
    def __init__(self, module: tvm.IRModule):
        self.module = module
        self.values: dict[relax.Var, Node | np.ndarray | list] = {}

    def graph(self) -> Graph:
        main = self.module["main"]
        self.names = _plain(main.attrs.get(NAMES, {}))
        (block,) = main.body.blocks
        source = Node("input", "input", [], _shape(main.params[0]))
        self.values[main.params[0]] = source
        for binding in block.bindings:
            self.values[binding.var] = self._value(binding.value, binding.var)
        outputs = self._get(main.body.body)
        nodes = dict.fromkeys(value for value in self.values.values() if isinstance(value, Node))
        return Graph(list(nodes), list(outputs) if isinstance(outputs, list) else [outputs])

    def _get(self, value):
        """What an argument is: a node, an array or a list of nodes."""
        if isinstance(value, GenericConst):
            return value.value.numpy()
        if isinstance(value, relax.Tuple):
            return [self._get(part) for part in value.fields]
        return self.values[value] if isinstance(value, relax.Var) else None  # a shape, which the binding has, too

    def _value(self, value, var):
        if isinstance(value, (relax.Var, relax.Tuple, GenericConst)):
            return self._get(value)
        if isinstance(value, relax.TupleGetItem):
            found = self._get(value.tuple_value)[value.index]
            if isinstance(found, Node):  # of a batch norm, whose layer is the part and not the tuple
                found.name = self.names.get(var.name, var.name)
            return found
        if not isinstance(value, relax.Call):
            raise UnsupportedGraph(f"{var.name}: {type(value).__name__} is no layer")
        if isinstance(value.op, tvm.ir.GlobalVar):
            kind, attrs = _attributes(self.module[value.op])
            arguments = [self._get(argument) for argument in value.args]
        elif value.op.name == "relax.call_tir":
            kind, attrs = _attributes(self.module[value.args[0]])
            arguments = self._get(value.args[1])
        else:
            kind, attrs = value.op.name, value.attrs
            arguments = [self._get(argument) for argument in value.args]
        if kind not in _NODES:
            raise UnsupportedGraph(f"{var.name}: {kind} is no layer")
        return _NODES[kind](_Site(var, self.names.get(var.name, var.name)), attrs, *arguments)


class _Site:
    """Where a node comes from: gives it its name and shape."""

    def __init__(self, var: relax.Var, name: str):
        self.var, self.name = var, name

    def node(self, op: str, inputs: list[Node], weights: dict | None = None, activation=None, **attrs) -> Node:
        copies = int(self.var.ty.shape[0])
        made = Node(op, self.name, inputs, _shape(self.var), attrs, weights or {}, copies=copies)
        return made if activation is None else _activated(made, activation)


def _activated(node: Node, activation: Activation) -> Node:
    node.activation = activation
    return node


def _shape(var: relax.Var) -> tuple[int, int, int]:
    match [int(n) for n in var.ty.shape]:
        case [_, channels]:
            return channels, 1, 1
        case [_, channels, height, width]:
            return channels, height, width
    raise UnsupportedGraph(f"{var.name}: a layer gives N x C or N x C x H x W, not {var.ty}")


def _attributes(function) -> tuple[str, dict]:
    attrs = function.attrs or {}
    return (str(attrs[KIND]), _plain(attrs[ATTRIBUTES])) if KIND in attrs else ("a function of its own", {})


def _plain(value):
    """A value of TVM's attributes as Python's."""
    if isinstance(value, (str, int, float)):
        return value
    if hasattr(value, "items"):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "value"):
        return value.value
    return tuple(_plain(entry) for entry in value)


def _pair(attrs, key) -> tuple[int, int]:
    vertical, horizontal = (int(n) for n in attrs[key])
    return vertical, horizontal


def _pads(attrs) -> tuple[int, int, int, int]:
    pads = [int(n) for n in attrs["padding"]]
    top, left, bottom, right = pads * 2 if len(pads) == 2 else pads
    return top, left, bottom, right


def _conv(site, attrs, x, weight):
    return site.node(
        "conv", [x], {"weight": weight, "bias": np.zeros(len(weight), "float32")}, groups=int(attrs["groups"]),
        kernel=weight.shape[2:], stride=_pair(attrs, "strides"), pad=_pads(attrs), dilation=_pair(attrs, "dilation"),
    )  # fmt: skip


def _biased_conv(site, attrs, x, weight, bias):
    window = {key: attrs[key] for key in ("groups", "stride", "pad", "dilation")}
    return site.node("conv", [x], {"weight": weight, "bias": bias}, kernel=weight.shape[2:], **window)


def _batch_norm(site, attrs, x, *statistics):
    # In double precision: the result is rounded once.
    gamma, beta, mean, variance = (array.astype("float64") for array in statistics)
    scale = gamma / np.sqrt(variance + attrs["epsilon"])
    node = Node("affine", site.name, [x], x.shape, {}, {"scale": scale, "shift": beta - mean * scale}, copies=x.copies)
    return [node, None, None]


def _binary(op):
    def read(site, attrs, a, b):
        if isinstance(a, np.ndarray):
            a, b = b, a
        if not isinstance(b, np.ndarray):
            return site.node(op, [a, b])
        one = np.ones(a.channels)
        constant = b.astype("float64").ravel() * one
        scale, shift = (one, constant) if op == "add" else (constant, 0 * one)
        return site.node("affine", [a], {"scale": scale, "shift": shift})

    return read


def _activation(make):
    return lambda site, attrs, x: site.node("activation", [x], activation=make(attrs))


def _pool(kind):
    def read(site, attrs, x):
        which = "valid_avg" if kind == "avg" and not attrs["count_include_pad"] else kind
        return site.node(
            "pool", [x], kind=which, kernel=_pair(attrs, "pool_size"), stride=_pair(attrs, "strides"),
            pad=_pads(attrs), dilation=_pair(attrs, "dilation"),
        )  # fmt: skip

    return read


def _global_pool(kind):
    def read(site, attrs, x):
        if sorted(int(axis) for axis in attrs["axis"]) != [2, 3]:
            raise UnsupportedGraph(f"{site.name}: only means and maxima over height and width are layers")
        return site.node("global_pool", [x], kind=kind)

    return read


def _reshape(site, attrs, x, *_):
    if isinstance(x, np.ndarray):
        return x.reshape([int(n) for n in site.var.ty.shape])
    return x if _shape(site.var) == x.shape else site.node("reshape", [x])


def _gather(site, x, channels):
    return site.node("gather", [x], channels=tuple(int(c) for c in channels))


def _shuffle(site, attrs, x):
    """Channel a*n + b moves to b*g + a."""
    return _gather(site, x, np.arange(x.channels).reshape(attrs["groups"], -1).T.ravel())


def _same(op):
    return lambda site, attrs, x, *constants: site.node(op, [x], **attrs)


_NODES = {
    "relax.nn.conv2d": _conv,
    "biased_conv": _biased_conv,
    "relax.nn.batch_norm": _batch_norm,
    "relax.add": _binary("add"),
    "relax.multiply": _binary("multiply"),
    "relax.nn.relu": _activation(lambda a: Activation("relu")),
    "clip": _activation(lambda a: Activation("clip", a["low"], a["high"])),
    "relax.nn.leakyrelu": _activation(lambda a: Activation("leaky_relu", float(a["alpha"]))),
    "relax.sigmoid": _activation(lambda a: Activation("sigmoid")),
    "hard_sigmoid": _activation(lambda a: Activation("hard_sigmoid", a["alpha"], a["beta"])),
    "hard_swish": _activation(lambda a: Activation("hard_swish")),
    "relax.nn.max_pool2d": _pool("max"),
    "relax.nn.avg_pool2d": _pool("avg"),
    "relax.mean": _global_pool("avg"),
    "relax.max": _global_pool("max"),
    "relax.nn.adaptive_avg_pool2d": lambda site, attrs, x: site.node("adaptive_avg_pool", [x]),
    "relax.nn.softmax": lambda site, attrs, x: site.node("softmax", [x], log=False, groups=1),
    "relax.nn.log_softmax": lambda site, attrs, x: site.node("softmax", [x], log=True, groups=1),
    "grouped_softmax": lambda site, attrs, x: site.node("softmax", [x], log=bool(attrs["log"]), groups=attrs["groups"]),
    "detections": lambda site, attrs, *maps: site.node("detections", list(maps), **attrs),
    "proposals": lambda site, attrs, *maps: site.node(
        "detections", list(maps), classes=1, least=0.0, centre=1.0, ratio=1.0, **attrs
    ),
    "regions": lambda site, attrs, *inputs: site.node("regions", list(inputs), **attrs),
    "region_detections": lambda site, attrs, *inputs: site.node("region_detections", list(inputs), **attrs),
    "relax.concat": lambda site, attrs, parts: site.node("concat", list(parts)),
    "relax.reshape": _reshape,
    "slice": lambda site, attrs, x: _gather(site, x, range(attrs["start"], attrs["stop"], attrs["step"])),
    "gather": lambda site, attrs, x: _gather(site, x, attrs["channels"]),
    "shuffle": _shuffle,
    "dense": lambda site, attrs, x, weight, bias: site.node("dense", [x], {"weight": weight, "bias": bias}),
    "lrn": _same("lrn"),
    "pad": _same("pad"),
    "depth_to_space": _same("depth_to_space"),
    "resize": _same("resize"),
}
