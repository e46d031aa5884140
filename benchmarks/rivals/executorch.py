"""ExecuTorch: the PyTorch twin, exported and lowered to XNNPACK as a whole; int8 by its quantizer for XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import FP32, THREADS
from .calibration import pictures


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    if "lrn" in {layer.op for layer in net.layers}:
        raise UserError("XNNPACK has no local response normalisation, and ExecuTorch's other operators lack it")
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from .torch_twin import twin

    example = torch.zeros(net.layers[0].shape).to(memory_format=torch.channels_last)
    module = twin(net, parameters)
    if precision == "int8":
        module = _quantised(module, example, net)
    program = torch.export.export(module, (example,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "network.pte").write_bytes(lowered.to_executorch().buffer)


def _quantised(module, example, net):
    """With bytes for weights, a scale for each output channel, and for tensors, with ranges from the pictures."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (example,)).module(), quantizer)
    for picture in pictures(net):
        prepared(torch.from_numpy(picture).to(memory_format=torch.channels_last))
    return convert_pt2e(prepared)


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits, in the file's precision."""
    if precision == "int8":
        import executorch.kernels.quantized  # noqa: F401, it brings operators around what XNNPACK takes
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
