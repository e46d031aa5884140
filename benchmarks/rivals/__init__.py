"""Other inference engines, at full strength: batch 1, their own recommended options; fp32 where nothing else is said.

Each file named after an engine writes a network of ours in its format (`export`) and runs it (`load`).

    folded      the description of a network as any engine's optimiser would leave it
    onnx_model  the same as an ONNX model, which some engines read or convert
    boxes       the post-processing of a detector, as ONNX operators
    two_stages  a detector that looks at regions, as one ONNX model
    passing     random weights of a detector that finds as much as on a picture
    qdq         an ONNX model of quantised tensors, by ONNX Runtime's quantizer
    calibration the pictures from which all take the ranges of int8
    torch_twin  the PyTorch twin, from which others start
    ours        our own library, behind the same two functions
    worker      an engine in a process of its own, which times its calls
    agreement   whether its logits are ours
    run         runs one engine on one picture, here or in the emulated AArch64
    install     the engines' wheels for the emulated AArch64
    board       the processor that an engine sees in the emulator
    counted     one inference of an engine, block by block
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# How many threads each engine has, also in its worker.
VARIABLE = "TSN_BENCHMARK_THREADS"
if not re.fullmatch("[1-9][0-9]?", os.environ.get(VARIABLE, "1")):
    sys.exit(f"error: {VARIABLE}={os.environ[VARIABLE]}: expected a number of threads")
THREADS = int(os.environ.get(VARIABLE, "1"))
PROJECT = Path(__file__).resolve().parents[2]
INSTALL = "pip install -e .[rivals]"
OURS = "ours"
FP32 = "fp32"
NOT_WRITTEN = "nobody has written its int8 for this benchmark"
NO_DETECTORS = "nobody has written detectors for it in this benchmark"
NO_HALVES = "it computes in fp32 on x86-64"


@dataclass(frozen=True)
class Rival:
    """An engine: its name in tables, and its distribution on PyPI.

    `variants` are the ways to run it of which none is the best for all networks.  `detectors`: whether they are written
    for it, with their post-processing.  `lacks` says of precisions why the
    engine does not run in them here.
    """

    title: str
    package: str
    variants: tuple[str, ...] = ("",)
    detectors: bool = False
    lacks: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def version(self) -> str | None:
        """What is installed for this python, if it is."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


RIVALS = {
    "openvino": Rival("OpenVINO", "openvino", detectors=True),
    "onnxruntime": Rival("ONNX Runtime", "onnxruntime", detectors=True, lacks={"fp16": NO_HALVES}),
    "executorch": Rival("ExecuTorch", "executorch", lacks={"fp16": NO_HALVES}),
    "litert": Rival("LiteRT", "ai-edge-litert", lacks={"fp16": NO_HALVES}),
    "ncnn": Rival("ncnn", "ncnn", detectors=True),
    "mnn": Rival("MNN", "MNN"),
    "torch_compile": Rival(
        "torch.compile", "torch", ("NCHW", "NHWC", "AOT"), lacks={"fp16": NO_HALVES, "int8": NOT_WRITTEN}
    ),
}
# Those whose AArch64 wheels run in the emulator as well.
COUNTED = ("ncnn", "mnn", "onnxruntime", "litert")
