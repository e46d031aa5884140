"""A network as JSON, for those that are not in the list: metadata of a checkpoint, and in a library's manifest.

    {"name": ..., "note": ..., "size": [H, W], "layers": [[op, name, [inputs], {attributes}], ...]}

Inputs are numbers of layers; 0 is the picture, which is not listed.
"""

from __future__ import annotations

import json
import re

from ..errors import UserError
from .network import UNPUBLISHED, Network, NetworkBuilder

# How the methods of `NetworkBuilder` call what a layer keeps in its shape.
_CHANNELS = {"conv": "channels", "dense": "units"}
_OPERATORS = {
    "conv", "batch_norm", "relu", "shuffle", "max_pool", "avg_pool", "valid_avg_pool", "adaptive_avg_pool",
    "global_avg_pool", "lrn", "add", "concat", "flatten", "dropout", "dense",
}  # fmt: skip


def describe(network: Network) -> str:
    """The description of a network, as JSON."""
    layers = [
        [layer.op, layer.name, list(layer.inputs), dict(layer.attrs) | _channels(layer)] for layer in network.layers[1:]
    ]
    return json.dumps({"name": network.name, "note": network.note, "size": network.size, "layers": layers})


def _channels(layer) -> dict:
    return {_CHANNELS[layer.op]: layer.shape[1]} if layer.op in _CHANNELS else {}


def from_description(text: str, size: tuple[int, int] | None = None, source: str = "network") -> Network:
    """The described network at its own or another size; `UserError`, with `source`, for what is no description."""
    try:
        description = json.loads(text)
        name = description["name"]
        if not re.fullmatch(r"[\w-][\w.-]*", name):  # it becomes part of a file's name
            raise ValueError(f"{name!r} is no name")
        net = NetworkBuilder(size or tuple(description["size"]))
        place = [0]
        for op, layer, inputs, attrs in description["layers"]:
            if op not in _OPERATORS:
                raise ValueError(f"{layer} is an unknown {op}")
            place.append(getattr(net, op)(layer, *(place[index] for index in inputs), **attrs))
        return net.network(name, net.shape(place[-1])[1], dict(UNPUBLISHED), description["note"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{source}: its description of the network is damaged: {error}") from None
