"""ONNX Runtime: an ONNX model, all graph optimisations, the CPU provider; int8 by its own quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import FP32, THREADS, onnx_model, qdq


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    (qdq if precision == "int8" else onnx_model).write(net, parameters, folder / "network.onnx")


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits, in the file's precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / "network.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["output"], {"input": image})[0]
