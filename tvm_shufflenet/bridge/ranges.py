"""How large the numbers of a network become, and so whether halves can hold them.

No bound that holds for every picture is of use: it grows with each layer, and would refuse all networks.  So the twin
computes a few pictures that are unlike each other, and what it finds must leave room for others.
"""

from __future__ import annotations

import numpy as np
import torch

from ..architectures import Network
from ..errors import UserError
from .twin import twin

FP32_LAYERS = ("softmax", "detections")  # computed and given in fp32
HEADROOM = 2  # other pictures may have numbers larger by that


class OutOfRange(UserError):
    """Says that a network's numbers pass the largest number of a precision."""


def check_ranges(network: Network, parameters: dict[str, np.ndarray], largest: float, precision: str) -> None:
    """`OutOfRange`, with the layer's name, where a number that the compiled network keeps may pass `largest`."""
    for layer, value in largest_numbers(network, parameters).items():
        if not value * HEADROOM <= largest:  # also where it is not a number
            raise OutOfRange(
                f"{network.name} does not fit {precision}, which ends at {largest:g}: its layer {layer} reaches "
                f"{value:.3g} on a test picture, expected at most {largest / HEADROOM:g}: build with --precision fp32"
            )


def largest_numbers(network: Network, parameters: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest magnitude of each layer's numbers on the test pictures, by the layer's name.

    Left out are convolutions in front of batch norms, which are folded into them, and fully connected layers that are
    outputs: those are computed and given in fp32, as are softmax and detections.  Of average pooling it is the sum's.
    """
    module = twin(network).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()}, strict=False)
    found: dict[str, float] = {}
    watched = []
    for index in _kept(network):
        layer = network.layers[index]
        terms = float(np.prod(layer.attrs["kernel"])) if layer.op in ("avg_pool", "valid_avg_pool") else 1.0

        def watch(_module, _inputs, output, name=layer.name, terms=terms):
            found[name] = float(np.fmax(found.get(name, 0.0), terms * float(output.abs().max())))
            if not torch.isfinite(output).all():
                found[name] = float("inf")

        watched.append(module.layer(index).register_forward_hook(watch))
    with torch.inference_mode():
        for picture in trial_pictures(network):
            module(torch.from_numpy(picture))
    return found


def trial_pictures(network: Network) -> list[np.ndarray]:
    """White, black, noise, and a ramp, each as a network is given it: numbers from -2.5 to 2.5."""
    _, channels, height, width = network.layers[0].shape
    shape, rng = (1, channels, height, width), np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(-2.5, 2.5, width, dtype=np.float32), shape)
    pictures = [np.full(shape, 2.5), np.full(shape, -2.5), rng.standard_normal(shape).clip(-2.5, 2.5), ramp]
    order = (0, 2, 3, 1) if network.layers[0].attrs["layout"] == "NHWC" else (0, 1, 2, 3)
    return [np.ascontiguousarray(picture.transpose(order), np.float32) for picture in pictures]


def _kept(network: Network) -> list[int]:
    """The layers whose numbers are looked at."""
    layers = network.layers
    readers = {index: [i for i, layer in enumerate(layers) if index in layer.inputs] for index in range(len(layers))}
    chosen = []
    for index, layer in enumerate(layers[1:], 1):
        folded = layer.op in ("conv", "dense") and {layers[i].op for i in readers[index]} == {"batch_norm"}
        if layer.op not in FP32_LAYERS and not folded and not (layer.op == "dense" and index in network.outputs):
            chosen.append(index)
    return chosen
