"""A network as JSON, for those that are not in the list: metadata of a checkpoint, and in a library's manifest.

    {"name": ..., "note": ..., "size": [H, W], "channels": 3, "layout": "NCHW",
     "layers": [[op, name, [inputs], {attributes}], ...], "outputs": [...]}

Inputs and outputs are numbers of layers; 0 is the picture, which is not listed.  Without "outputs" the last layer is
the only one.
"""

from __future__ import annotations

import inspect
import json
import re

from ..errors import UserError
from .builder import NetworkBuilder
from .network import Layer, Network

# How the methods of `NetworkBuilder` call what a layer keeps in its shape.
_CHANNELS = {"conv": "channels", "dense": "units"}
# The operators, which are methods of `NetworkBuilder`, and the attributes that each takes behind name and inputs.
_METHODS = {
    op: getattr(NetworkBuilder, op) for op in (
        "conv", "batch_norm", "relu", "clip", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_swish", "softmax",
        "shuffle", "slice", "gather", "max_pool", "avg_pool", "valid_avg_pool", "adaptive_avg_pool", "global_avg_pool",
        "global_max_pool", "lrn", "add", "multiply", "concat", "pad", "depth_to_space", "resize", "flatten", "reshape",
        "dropout", "dense", "detections", "proposals", "regions", "region_detections",
    )
}  # fmt: skip
_LAYERS = 100_000


def describe(network: Network) -> str:
    """The description of a network, as JSON."""
    layers = [[layer.op, layer.name, list(layer.inputs), _attributes(layer)] for layer in network.layers[1:]]
    source = network.layers[0]
    description = {
        "name": network.name, "note": network.note, "size": network.size, "channels": source.shape[1],
        "layout": source.attrs["layout"], "layers": layers, "outputs": network.outputs,
    }  # fmt: skip
    return json.dumps(description)


def _attributes(layer: Layer) -> dict:
    """What the method of `NetworkBuilder` was given: its parameters, without those at their defaults."""
    known = {**layer.attrs, **({_CHANNELS[layer.op]: layer.shape[1]} if layer.op in _CHANNELS else {})}
    parameters = inspect.signature(_METHODS[layer.op]).parameters
    return {key: value for key, value in known.items() if key in parameters and value != parameters[key].default}


def from_description(text: str, size: tuple[int, int] | None = None, source: str = "network") -> Network:
    """The described network at its own or another size; `UserError`, with `source`, for what is no description."""
    try:
        description = json.loads(text)
        name = description["name"]
        # The name becomes part of a file's name.
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]{0,199}", name):
            raise ValueError(f"{name!r} is no name")
        net = NetworkBuilder(
            size or description["size"], description.get("channels", 3), description.get("layout", "NCHW")
        )
        place, layers = [0], description["layers"]
        if not isinstance(layers, list) or not 0 < len(layers) <= _LAYERS:
            raise ValueError(f"it has no layers, or more than {_LAYERS}")
        for op, layer, inputs, attrs in layers:
            if op not in _METHODS:
                raise ValueError(f"{layer} is an unknown {op}")
            if {"self", "name"} & attrs.keys():
                raise ValueError(f"{layer} has an attribute of another kind")
            place.append(_METHODS[op](net, layer, *(place[_number(index)] for index in inputs), **attrs))
        outputs = [place[_number(index)] for index in description.get("outputs", [len(layers)])]
        note = description["note"]
        if not isinstance(note, str):
            raise ValueError("its note is no text")
        return net.network(name, note=note, outputs=outputs)
    except UserError as error:
        if size is not None and "is too small" in str(error):
            raise
        raise UserError(f"{source}: its description of the network is damaged: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{source}: its description of the network is damaged: {error}") from None


def _number(index) -> int:
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"{index!r} is no number of a layer")
    return index
