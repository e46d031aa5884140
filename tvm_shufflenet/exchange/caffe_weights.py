"""The parameters in a .caffemodel: blobs by the names of layers.

A .caffemodel is a protobuf.  The few fields that are read, of messages NetParameter, LayerParameter, V1LayerParameter,
BlobProto and BlobShape, have the numbers of BVLC/caffe's src/caffe/proto/caffe.proto; whatever else a file says, the
.prototxt says too.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..architectures.checks import ELEMENTS
from ..bridge.contents import read
from ..errors import UserError

# Of each message: name of the field, its number, type, and whether it is repeated.
MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "BlobShape": (("dim", 1, "int64", True),),
    "BlobProto": (
        ("num", 1, "int32", False), ("channels", 2, "int32", False), ("height", 3, "int32", False),
        ("width", 4, "int32", False), ("data", 5, "float", True), ("shape", 7, "BlobShape", False),
        ("double_data", 8, "double", True),
    ),
    "LayerParameter": (("name", 1, "string", False), ("type", 2, "string", False), ("blobs", 7, "BlobProto", True)),
    "V1LayerParameter": (("name", 4, "string", False), ("blobs", 6, "BlobProto", True)),
    "NetParameter": (
        ("name", 1, "string", False), ("layers", 2, "V1LayerParameter", True), ("layer", 100, "LayerParameter", True),
    ),
}  # fmt: skip


def read_caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    """The blobs of each layer that has some, float32; `UserError` for a file that is no .caffemodel."""
    net = net_parameter(path)
    try:
        from google.protobuf.message import DecodeError

        net.MergeFromString(read(path, "caffemodel"))
    except DecodeError:
        raise UserError(f"{path} is truncated, corrupt or no .caffemodel file") from None
    found: dict[str, list[np.ndarray]] = {}
    for layer in (*net.layer, *net.layers):
        if layer.blobs:
            if not isinstance(layer.name, str) or layer.name in found:
                raise UserError(f"{path} is corrupt: two layers have the name {layer.name!r:.60}")
            found[layer.name] = [_array(blob, f"{path}: layer {layer.name:.100}") for blob in layer.blobs]
    if not found:
        raise UserError(f"{path} is truncated, corrupt or no .caffemodel file: no layer of it has weights")
    return found


def _array(blob: Any, where: str) -> np.ndarray:
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    numbers = blob.data or blob.double_data
    if min(shape, default=1) < 0 or math.prod(shape) != len(numbers) or len(numbers) > ELEMENTS:
        text = "x".join(map(str, shape))
        raise UserError(f"{where}: a blob of the shape {text[:60]} has {len(numbers)} numbers")
    data = np.fromiter(numbers, np.float32, len(numbers))  # `np.array` would make a list of Python's numbers first
    if not np.isfinite(data).all():
        raise UserError(f"{where} holds NaN or infinity")
    return data.reshape(shape)


def net_parameter(path: Path) -> Any:
    """An empty NetParameter, whose class is made while running; `UserError` where protobuf is missing."""
    try:
        return _classes()["NetParameter"]()
    except ImportError:
        raise UserError(
            f"protobuf is needed to read {path}: run `pip install protobuf`, or onnx, which has it"
        ) from None


@functools.cache
def _classes() -> dict:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tvm_shufflenet/caffe.proto", package="caffe", syntax="proto2")
    for name, entries in MESSAGES.items():
        message = file.message_type.add(name=name)
        for key, number, kind, repeated in entries:
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            entry = message.field.add(name=key, number=number, label=label)
            if kind in MESSAGES:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                entry.type = getattr(field, f"TYPE_{kind.upper()}")
                entry.options.packed = repeated
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = ((name, pool.FindMessageTypeByName(f"caffe.{name}")) for name in MESSAGES)
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found}
