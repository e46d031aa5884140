"""Random weights of a detector whose scores pass as rarely as on a picture: else nearly all would, and be suppressed.

Importing this module does not import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError

COUNT = 250  # scores of all classes and places: fewer than the candidates of a class
FURTHEST, STEPS = 100.0, 50  # of the shift, and halvings until it is found
EVEN = np.float32(0.01)  # of the logits, where all shall pass
GAINS = [2**power for power in range(8)]  # of the logits of regions


def parameters_for(net: Network, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Those of the default seed; a detector's scores are shifted so that about `COUNT` pass for that picture."""
    parameters = random_parameters(net)
    if net.detector:
        (_shift_regions if net.two_stages else _shift_maps)(net, parameters, picture)
    return parameters


def parameters_of_all(net: Network, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of a detector of one stage, changed so that every score passes: logits of all classes are near each other.

    Boxes, and the order of the scores of a class, stay.
    """
    heads, changed = net.heads(), dict(parameters)
    for index in heads.outputs[: len(heads.outputs) // 2]:
        bias, channels = _bias(heads, index)
        weight = bias.removesuffix("bias") + "weight"
        changed[bias], changed[weight] = changed[bias].copy(), changed[weight].copy()
        changed[bias][channels] = 0
        changed[weight][channels] *= EVEN
    return changed


def _shift_maps(net: Network, parameters: dict[str, np.ndarray], picture: np.ndarray) -> None:
    from tvm_shufflenet.bridge.detections import rows

    heads, a = net.heads(), net.layers[net.detector].attrs
    maps, background = _outputs(heads, parameters, picture), int(a["background"])
    logits = rows(maps[: len(maps) // 2], a["classes"] + background)[0]

    def passing(shift: float) -> int:
        if not background:
            return int(((logits - shift).sigmoid() > a["least"]).sum())
        return _passing(logits, shift, a["least"])

    shift = _bisected(passing)
    for index in heads.outputs[: len(maps) // 2]:
        bias, channels = _bias(heads, index)
        if background:
            parameters[bias].reshape(-1, a["classes"] + 1)[:, 0] += shift
        else:
            parameters[bias][channels] -= shift


def _shift_regions(net: Network, parameters: dict[str, np.ndarray], picture: np.ndarray) -> None:
    """Logits of regions are multiplied, too, until enough scores can pass: random ones are near 1 / classes."""
    end = net.layers[net.detector]
    index = net.layers[end.inputs[1]].inputs[0]
    name, least = net.layers[index].name, end.attrs["least"]
    if net.layers[index].op != "dense":
        raise UserError(f"{name}: scores without a bias, by which few of them could pass")
    part = dataclasses.replace(net, layers=net.layers[: index + 1], outputs=(index,))
    logits = _outputs(part, parameters, picture)
    gain = next((gain for gain in GAINS if _passing(gain * logits, -FURTHEST, least) > COUNT), 1)
    shift = _bisected(lambda shift: _passing(gain * logits, shift, least))
    for key in ("weight", "bias"):
        parameters[f"{name}.{key}"] *= np.float32(gain)
    parameters[f"{name}.bias"][0] += shift


def _outputs(net: Network, parameters: dict[str, np.ndarray], picture: np.ndarray):
    """What the PyTorch twin gives, in tensors."""
    import torch

    from tvm_shufflenet.bridge import torch_module

    module = torch_module(net).eval()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)
    with torch.inference_mode():
        return module(torch.from_numpy(picture))


def _passing(logits, shift: float, least: float) -> int:
    """How many scores pass where the logits (N, classes + 1) of the background are so much higher."""
    moved = logits.clone()
    moved[:, 0] += shift
    return int((moved.softmax(1)[:, 1:] > least).sum())


def _bisected(passing: Callable[[float], int]) -> np.float32:
    """The least shift with which at most `COUNT` scores pass."""
    low, high = -FURTHEST, FURTHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if passing(middle) > COUNT else (low, middle)
    return np.float32(high)


def _bias(heads: Network, index: int) -> tuple[str, slice]:
    """The parameter that is added to a map of scores, and which of its numbers."""
    layer, channels = heads.layers[index], slice(None)
    if layer.op == "slice":
        channels, layer = slice(layer.attrs["start"], layer.attrs["stop"]), heads.layers[layer.inputs[0]]
    if layer.op != "conv" or not layer.attrs["bias"]:
        raise UserError(f"{layer.name}: scores without a bias, by which few of them could pass")
    return f"{layer.name}.bias", channels
