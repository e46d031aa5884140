"""The bytes of an ONNX model: the protobuf, and tensors in it or in files beside it."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures.checks import PARAMETERS
from ..errors import UserError
from .onnx_writer import require_onnx

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import ModelProto, TensorProto

NODES = 20_000
FILE = 1 << 31  # bytes; a protobuf is no larger


def load_model(path: Path) -> ModelProto:
    """The model in a file, its external data still outside.  `UserError` if it is none."""
    onnx = require_onnx(f"to read {path}")
    from google.protobuf.message import DecodeError

    try:
        if not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size >= FILE:
            raise UserError(f"{path} is no regular file of less than 2 GiB, expected an .onnx file")
        model = onnx.load_model_from_string(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except DecodeError:
        raise UserError(f"{path} is truncated, corrupt or no .onnx file") from None
    if not model.graph.node:
        raise UserError(f"{path} is truncated, corrupt or no .onnx file: it holds no graph")
    if len(model.graph.node) > NODES:
        raise UserError(f"{path} has {len(model.graph.node)} nodes, expected at most {NODES}")
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf gives the bytes of those that are damaged
        raise UserError(f"{path} is corrupt: a name in it is no UTF-8")
    return model


def _texts(message: Message) -> Iterator[str | bytes]:
    """Every text in a protobuf, however deep."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from [value] if isinstance(value, str | bytes) else value
        elif field.type == field.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _texts(inner)


def array(tensor: TensorProto, path: Path) -> np.ndarray:
    """The numbers of a tensor of the model in `path`, read-only where they are the protobuf's own."""
    onnx = require_onnx(f"to read {path}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _external(tensor, path)
    try:
        if min(tensor.dims, default=1) < 0 or math.prod(tensor.dims) > PARAMETERS:
            raise ValueError
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise UserError(f"{path} is truncated or corrupt: its tensor {tensor.name!r} is incomplete") from None


def _external(tensor, path: Path) -> np.ndarray:
    """The numbers of a tensor in a file in the model's folder or below it."""
    onnx = require_onnx(f"to read {path}")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = entries.get("location", ""), os.path.realpath(path.absolute().parent)
    where = os.path.realpath(os.path.join(folder, location)) if "\0" not in location else ""
    refused = UserError(f"{path} has its weights in {location!r}, which is not beside it or too short")
    if not location or os.path.isabs(location) or ".." in Path(location).parts:
        raise refused
    if os.path.commonpath([folder, where or os.sep]) != folder or not os.path.isfile(where):
        raise refused
    try:
        offset = int(entries.get("offset", "0"))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        size = math.prod(tensor.dims) * dtype.itemsize
        if min(tensor.dims, default=1) < 0 or offset < 0 or int(entries.get("length", size)) < size:
            raise ValueError
        with open(where, "rb") as file:
            if os.fstat(file.fileno()).st_size < offset + size:
                raise ValueError
            file.seek(offset)
            inside = onnx.TensorProto(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=file.read(size)
            )
        return onnx.numpy_helper.to_array(inside)
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        raise refused from None
