"""MNN: its own converter from ONNX with all optimisations, then a session on the CPU.

`precision` "normal" is fp32; "low" would be half precision on newer cores.  The converter is called
as the native module that it is: MNN's command around it, `MNN.tools.mnnconvert`, installs a logging
package into whichever python `pip` belongs to and reports each conversion over the network.  So is its quantizer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError

from . import FP32, THREADS, onnx_model
from .calibration import COUNT, pictures

# Its quantizer reads picture files: a number of the calibration is (byte - MIDDLE) / STEPS.
MIDDLE, STEPS = 128, 32


def export(net, parameters: dict[str, np.ndarray], folder: Path, precision: str = FP32) -> None:
    """Writes `net` into the folder."""
    source, target = folder / "network.onnx", folder / "network.mnn"
    onnx_model.write(net, parameters, source)
    made = folder / "floats.mnn" if precision == "int8" else target
    _tool(made, "mnnconvert(sys.argv)", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(made),
          "--bizCode", "network", "--optimizeLevel", "2", "--optimizePrefer", "2")  # fmt: skip
    source.unlink()
    if precision == "int8":
        _quantise(net, made, target)
        made.unlink()


def _tool(made: Path, call: str, *arguments: str) -> None:
    """Calls one of its tools; `UserError` where that leaves no file."""
    argv = [sys.executable, "-c", f"import sys, _tools; _tools.{call}", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    if not made.exists():
        said = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UserError(f"its {call.partition('(')[0]} failed: {said[0].strip()[-300:]}")


def _quantise(net, source: Path, target: Path) -> None:
    """The pictures come as files of bytes; ranges by its default method, Kullback and Leibler's."""
    from PIL import Image

    channels, (height, width) = net.layers[0].shape[1], net.size
    if channels != 3:
        raise UserError(f"{net.name}: MNN's quantizer reads pictures of three colours, not {channels}")
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        folder = Path(name)
        for index, picture in enumerate(pictures(net)):
            whole = np.clip(np.rint(picture[0] * STEPS + MIDDLE), 0, 255).astype(np.uint8)
            (folder / "pictures").mkdir(exist_ok=True)
            Image.fromarray(whole.transpose(1, 2, 0)).save(folder / "pictures" / f"{index}.png")
        settings = {
            "format": "RGB", "mean": [MIDDLE] * 3, "normal": [1 / STEPS] * 3, "width": width, "height": height,
            "path": f"{folder / 'pictures'}/", "used_image_num": COUNT, "feature_quantize_method": "KL",
            "weight_quantize_method": "MAX_ABS",
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        _tool(target, "mnnquant(sys.argv)", str(source), str(target), str(folder / "settings.json"))


def load(folder: Path, image: np.ndarray, precision: str = FP32):
    """A function that runs the network in the folder on the picture and returns the logits."""
    import MNN

    net = MNN.Interpreter(str(folder / "network.mnn"))
    session = net.createSession({"backend": "CPU", "numThread": THREADS,
                                 "precision": "low" if precision == "fp16" else "normal"})  # fmt: skip
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
