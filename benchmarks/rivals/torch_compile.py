"""torch.compile: Inductor with frozen parameters and the wrapper in C++; needs a C++ compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder, and fills Inductor's cache for both variants."""
    import torch

    from .torch_twin import twin

    torch.save(twin(net, parameters), folder / "network.pt")
    for variant in ("NCHW", "NHWC"):
        load(folder, np.zeros(net.layers[0].shape, np.float32), variant)()


def load(folder: Path, image: np.ndarray, variant: str):
    """A function that runs the network in the folder on the picture and returns the logits.

    `variant` is the order in memory of the picture and the weights.
    """
    import torch
    from torch._inductor import config

    config.freezing = config.cpp_wrapper = True
    torch.set_num_threads(1)
    order = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}[variant]
    module = torch.load(folder / "network.pt", weights_only=False).to(memory_format=order)  # our own file
    picture = torch.from_numpy(image).to(memory_format=order)
    compiled = torch.compile(module)

    def run() -> np.ndarray:
        with torch.no_grad():
            return compiled(picture).numpy()

    return run
