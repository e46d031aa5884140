"""OpenVINO: an ONNX model, compiled for latency in fp32 or halves; in int8 where the model's tensors are quantised."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import FP32, THREADS, onnx_model, qdq

CONFIGURATION = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
HINTS = {"fp32": "f32", "fp16": "f16", "int8": "f32"}  # of what is not quantised


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    (qdq if precision == "int8" else onnx_model).write(net, parameters, folder / "network.onnx")


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import openvino

    settings = CONFIGURATION | {"INFERENCE_PRECISION_HINT": HINTS[precision]}
    core = openvino.Core()
    if precision == "fp16" and "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UserError("it has no halves on this processor")
    request = core.compile_model(folder / "network.onnx", "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
    output = request.get_output_tensor()

    def run() -> np.ndarray:
        request.infer()
        return output.data

    return run
