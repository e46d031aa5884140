"""A network as an ONNX model, for the rivals that read or convert one: batch norms folded, as their optimisers do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Layer, Network
from tvm_shufflenet.exchange.onnx_writer import onnx_model

from . import two_stages
from .boxes import behind, in_front
from .folded import fold, output_steps


def write(net, parameters: dict[str, np.ndarray], path: Path) -> None:
    """Writes `net` with the input `input` and the output `output`; a detector with all its post-processing."""
    if net.two_stages:
        front, head = two_stages.parts(net)
        data = two_stages.joined(net, _folded(front, parameters), _folded(head, parameters, two_stages.regions(net)))
    else:
        data = _folded(in_front(net), parameters)
        data = behind(data, net) if net.detector else data
    path.write_bytes(data)


def _folded(source: Network, parameters: dict[str, np.ndarray], batch: int = 1) -> bytes:
    steps = fold(source, parameters, fuse_relu=())
    arrays = {f"{step.name}.weight": step.weight for step in steps if step.weight is not None}
    arrays |= {f"{step.name}.bias": step.bias for step in steps if step.bias is not None}
    for step in steps:
        if step.op == "batch_norm":  # statistics that change nothing
            arrays[f"{step.name}.running_mean"] = np.zeros_like(step.bias)
            arrays[f"{step.name}.running_var"] = np.ones_like(step.bias)
    further = {"conv": {"bias": True}, "batch_norm": {"eps": 0.0}}
    layers = tuple(
        Layer(step.op, step.name, tuple(step.inputs), step.shape, step.attrs | further.get(step.op, {}))
        for step in steps
    )
    return onnx_model(dataclasses.replace(source, layers=layers, outputs=output_steps(source, steps)), arrays, batch)
