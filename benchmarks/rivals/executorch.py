"""ExecuTorch: the PyTorch twin, exported and lowered to XNNPACK as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import THREADS


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder."""
    if "lrn" in {layer.op for layer in net.layers}:
        raise UserError("XNNPACK has no local response normalisation, and ExecuTorch's other operators lack it")
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from .torch_twin import twin

    example = torch.zeros(net.layers[0].shape).to(memory_format=torch.channels_last)
    program = torch.export.export(twin(net, parameters), (example,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "network.pte").write_bytes(lowered.to_executorch().buffer)


def load(folder: Path, image: np.ndarray):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(THREADS)  # it would take all cores, and there is no other way to say so
    picture = torch.from_numpy(image).to(memory_format=torch.channels_last)  # as XNNPACK works inside
    program = Runtime.get().load_program(folder / "network.pte")
    method = program.load_method("forward")

    def run() -> np.ndarray:
        return method.execute([picture])[0].numpy()

    return run
