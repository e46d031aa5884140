"""A network as plain data, for those that have no name in the list: kept in the metadata of a checkpoint.

    {"name": ..., "note": ..., "size": [H, W], "layers": [[op, name, [inputs], {attributes}], ...]}

Inputs are numbers of layers; 0 is the picture, which is not listed.
"""

from __future__ import annotations

from ..errors import UserError
from .network import UNPUBLISHED, Network, NetworkBuilder

# How the methods of `NetworkBuilder` call what a layer keeps in its shape.
_CHANNELS = {"conv": "channels", "dense": "units"}
_OPERATORS = {
    "conv", "batch_norm", "relu", "shuffle", "max_pool", "avg_pool", "valid_avg_pool", "adaptive_avg_pool",
    "global_avg_pool", "lrn", "add", "concat", "flatten", "dropout", "dense",
}  # fmt: skip


def describe(network: Network) -> dict:
    """The description of a network; it holds no object of Python's but lists, dictionaries, texts and numbers."""
    layers = [
        [layer.op, layer.name, list(layer.inputs), dict(layer.attrs) | _channels(layer)] for layer in network.layers[1:]
    ]
    return {"name": network.name, "note": network.note, "size": list(network.size), "layers": layers}


def _channels(layer) -> dict:
    return {_CHANNELS[layer.op]: layer.shape[1]} if layer.op in _CHANNELS else {}


def from_description(description: dict, size: tuple[int, int] | None = None, source: str = "network") -> Network:
    """The described network at its own or another size; `UserError`, with `source`, for what is no description."""
    try:
        net = NetworkBuilder(size or tuple(description["size"]))
        place = [0]
        for op, name, inputs, attrs in description["layers"]:
            if op not in _OPERATORS:
                raise ValueError(f"{name} is an unknown {op}")
            place.append(getattr(net, op)(name, *(place[index] for index in inputs), **attrs))
        return net.network(description["name"], net.shape(place[-1])[1], dict(UNPUBLISHED), description["note"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{source}: its description of the network is damaged: {error}") from None
