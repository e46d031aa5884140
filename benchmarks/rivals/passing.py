"""Random weights of a detector whose scores pass as rarely as on a picture: else nearly all would, and be suppressed.

Importing this module does not import torch.
"""

from __future__ import annotations

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError

COUNT = 250  # scores of all classes and places: fewer than the candidates of a class
FURTHEST, STEPS = 100.0, 50  # of the shift, and halvings until it is found


def parameters_for(net: Network, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Those of the default seed; a detector's scores are shifted so that about `COUNT` pass for that picture."""
    parameters = random_parameters(net)
    if not net.detector or net.two_stages:
        return parameters
    import torch

    from tvm_shufflenet.bridge import torch_module
    from tvm_shufflenet.bridge.detections import rows

    heads, a = net.heads(), net.layers[net.detector].attrs
    module = torch_module(heads).eval()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)
    with torch.inference_mode():
        maps = module(torch.from_numpy(picture))
    background = int(a["background"])
    logits = rows(maps[: len(maps) // 2], a["classes"] + background)[0]

    def passing(shift: float) -> int:
        if not background:
            return int(((logits - shift).sigmoid() > a["least"]).sum())
        moved = logits.clone()
        moved[:, 0] += shift
        return int((moved.softmax(1)[:, 1:] > a["least"]).sum())

    low, high = -FURTHEST, FURTHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if passing(middle) > COUNT else (low, middle)
    for index in heads.outputs[: len(maps) // 2]:
        bias, channels = _bias(heads, index)
        if background:
            parameters[bias].reshape(-1, a["classes"] + 1)[:, 0] += np.float32(high)
        else:
            parameters[bias][channels] -= np.float32(high)
    return parameters


def _bias(heads: Network, index: int) -> tuple[str, slice]:
    """The parameter that is added to a map of scores, and which of its numbers."""
    layer, channels = heads.layers[index], slice(None)
    if layer.op == "slice":
        channels, layer = slice(layer.attrs["start"], layer.attrs["stop"]), heads.layers[layer.inputs[0]]
    if layer.op != "conv" or not layer.attrs["bias"]:
        raise UserError(f"{layer.name}: scores without a bias, by which few of them could pass")
    return f"{layer.name}.bias", channels
