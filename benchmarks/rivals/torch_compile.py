"""torch.compile: Inductor with frozen parameters; needs a C++ compiler.

Which is fastest depends on the network: "NCHW" and "NHWC" are orders in memory of the picture and the
weights, with Inductor's wrapper in C++; "AOT" is NHWC, compiled ahead of time with its products autotuned.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import THREADS

PACKAGE = "network.pt2"


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder, and fills Inductor's cache for what is compiled when it is loaded."""
    import torch
    from torch._inductor import aoti_compile_and_package

    from .torch_twin import twin

    module = twin(net, parameters)
    torch.save(module, folder / "network.pt")
    picture = np.zeros(net.layers[0].shape, np.float32)
    for variant in ("NCHW", "NHWC"):
        load(folder, picture, variant)()
    with torch.no_grad():
        example = torch.from_numpy(picture).to(memory_format=torch.channels_last)
        program = torch.export.export(module.to(memory_format=torch.channels_last), (example,))
        options = {"freezing": True, "max_autotune": True, "max_autotune_gemm_backends": "ATEN,CPP"}
        aoti_compile_and_package(program, package_path=str(folder / PACKAGE), inductor_configs=options)


def load(folder: Path, image: np.ndarray, variant: str):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import torch
    from torch import _inductor

    torch.set_num_threads(THREADS)
    order = torch.contiguous_format if variant == "NCHW" else torch.channels_last
    picture = torch.from_numpy(image).to(memory_format=order)
    if variant == "AOT":
        compiled = _inductor.aoti_load_package(str(folder / PACKAGE))
    else:
        _inductor.config.freezing = _inductor.config.cpp_wrapper = True
        module = torch.load(folder / "network.pt", weights_only=False)  # our own file
        compiled = torch.compile(module.to(memory_format=order))

    def run() -> np.ndarray:
        with torch.no_grad():
            return compiled(picture).numpy()

    return run
