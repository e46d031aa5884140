"""The pictures from which every engine, ours too, takes the ranges of int8: the same for all, and always the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

COUNT = 8


def pictures(net) -> Iterator[np.ndarray]:
    """Standard normal numbers as the picture that is timed, which is not among them: float32, in the input's shape."""
    for seed in range(1, COUNT + 1):
        yield np.random.default_rng(seed).standard_normal(net.layers[0].shape, np.float32)


def largest_inputs(net, parameters: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest magnitude that each layer with weights reads of these pictures, by the layer's name."""
    import torch

    from tvm_shufflenet.bridge import torch_module

    module, found = torch_module(net).eval(), {}
    module.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)

    def watch(name: str):
        def hook(_, inputs) -> None:
            found[name] = max(found.get(name, 0.0), float(inputs[0].abs().max()))

        return hook

    for name, child in module.named_modules():
        if isinstance(child, (torch.nn.Conv2d, torch.nn.Linear)):
            child.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        for picture in pictures(net):
            module(torch.from_numpy(picture))
    return found
