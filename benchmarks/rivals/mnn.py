"""MNN: its own converter from ONNX with all optimisations, then a session on the CPU.

`precision` "normal" is fp32; "low" would be half precision on newer cores.  The converter is called
as the native module that it is: MNN's command around it, `MNN.tools.mnnconvert`, installs a logging
package into whichever python `pip` belongs to and reports each conversion over the network.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import THREADS, onnx_model


def export(net, parameters: dict[str, np.ndarray], folder: Path) -> None:
    """Writes `net` into the folder."""
    source, target = folder / "network.onnx", folder / "network.mnn"
    onnx_model.write(net, parameters, source)
    argv = [sys.executable, "-c", "import sys, _tools; _tools.mnnconvert(sys.argv)", "-f", "ONNX",
            "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "network",
            "--optimizeLevel", "2", "--optimizePrefer", "2"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    source.unlink()
    if not target.exists():
        raise UserError(f"MNN's converter failed: {(done.stdout + done.stderr).strip()[-300:]}")


def load(folder: Path, image: np.ndarray):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import MNN

    net = MNN.Interpreter(str(folder / "network.mnn"))
    session = net.createSession({"backend": "CPU", "numThread": THREADS, "precision": "normal"})
    source, target = net.getSessionInput(session), net.getSessionOutput(session)
    kinds = MNN.Halide_Type_Float, MNN.Tensor_DimensionType_Caffe
    question = MNN.Tensor(image.shape, kinds[0], image, kinds[1])
    answer = MNN.Tensor(target.getShape(), kinds[0], np.zeros(target.getShape(), np.float32), kinds[1])

    def run() -> np.ndarray:
        source.copyFrom(question)
        net.runSession(session)
        target.copyToHostTensor(answer)
        return answer.getNumpyData()

    return run
