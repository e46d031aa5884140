"""A network as an ONNX model of quantised tensors (QDQ), by ONNX Runtime's own quantizer.

Ranges are from `calibration.pictures`, weights have a scale for each output channel.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.instructions import lacking

from . import RIVALS, onnx_model
from .calibration import pictures


def write(net, parameters: dict[str, np.ndarray], path: Path) -> None:
    """Writes `net` with the input `input` and the output `output`, both float32."""
    if not RIVALS["onnxruntime"].version:
        raise UserError("its int8 model is made by ONNX Runtime's quantizer, which is not installed")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self):
            self.left = iter(pictures(net))

        def get_next(self):
            return next(({"input": each} for each in self.left), None)

    logging.getLogger().setLevel(logging.ERROR)  # it recommends a step that folding has done
    source = path.with_name("floats.onnx")
    onnx_model.write(net, parameters, source)
    # Without VNNI two products are added in 16 bits, which saturate unless weights have 7 bits: its documentation.
    narrow = bool(lacking(["avx512_vnni"]) and lacking(["avx_vnni"]))
    try:
        quantize_static(
            source, path, Pictures(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=narrow,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        source.unlink()
