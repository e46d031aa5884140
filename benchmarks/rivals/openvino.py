"""OpenVINO: an ONNX model, compiled for latency in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import THREADS, onnx_model

CONFIGURATION = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": THREADS}


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder."""
    onnx_model.write(net, parameters, folder / "network.onnx")


def load(folder: Path, image: np.ndarray):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import openvino

    request = openvino.Core().compile_model(folder / "network.onnx", "CPU", CONFIGURATION).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
    output = request.get_output_tensor()

    def run() -> np.ndarray:
        request.infer()
        return output.data

    return run
