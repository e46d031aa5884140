"""Checkpoint files: .safetensors, which need no PyTorch, and PyTorch's own .pth and .pt.

A file holds the parameters of one network by name, and metadata: a dictionary of strings, in which
`class_names` is a JSON list with one name for each class.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..architectures import Network
from ..errors import UserError
from ..files import write_bytes
from .parameters import check_parameters

SUFFIXES = (".safetensors", ".pth", ".pt")
# Keys under which training scripts put the state dict, beside their optimiser and epoch.
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")

_SAFETENSORS_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip


def load_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a checkpoint by name, float16 and bfloat16 widened to float32, and its metadata.

    Executes no code that a .pth or .pt file may carry.  Raises `UserError` for a file that is
    missing, of an unknown suffix, corrupt, or something else than a state dict.
    """
    path = Path(path)
    load = _load_safetensors if _suffix(path) == ".safetensors" else _load_torch
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"checkpoint {path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"checkpoint {path} is a directory, expected a file") from None
    except OSError as error:
        raise UserError(f"cannot read checkpoint {path}: {error.strerror}") from None
    return load(path, data)


def save_checkpoint(path: str | os.PathLike, parameters: Mapping, metadata: Mapping | None = None) -> None:
    """Writes numpy arrays and metadata to `path`, in the format of its suffix, all or nothing.

    Without metadata a .pth or .pt file is the bare state dict, ready for `load_state_dict`; with
    metadata it is `{"state_dict": ..., "metadata": ...}`.  Raises `UserError` for an unknown suffix
    or a path that cannot be written.
    """
    path, metadata = Path(path), dict(metadata or {})
    arrays = {name: np.ascontiguousarray(array) for name, array in parameters.items()}
    if _suffix(path) == ".safetensors":
        from safetensors.numpy import save

        data = save(arrays, metadata or None)
    else:
        torch, buffer = require_torch(f"to write {path}"), io.BytesIO()
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        torch.save({"state_dict": state, "metadata": metadata} if metadata else state, buffer)
        data = buffer.getvalue()
    write_bytes(path, data)


def load_parameters(network: Network, path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """`load_checkpoint`, then `check_parameters`: what `network` can run with, and the metadata."""
    parameters, metadata = load_checkpoint(path)
    parameters = check_parameters(network, parameters, f"checkpoint {path}")
    class_names(metadata, network.classes, f"checkpoint {path}")
    return parameters, metadata


def class_names(metadata: Mapping, classes: int, source: str) -> list[str] | None:
    """The names of the classes, where the metadata has them; `UserError` unless `classes` strings."""
    if "class_names" not in metadata:
        return None
    try:
        names = json.loads(metadata["class_names"])
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{source}: its metadata class_names is no JSON list of strings")
    if len(names) != classes:
        raise UserError(f"{source} names {len(names)} classes, expected {classes}")
    return names


def require_torch(purpose: str):
    """The module torch, or `UserError` saying what it is needed for and how to do without."""
    try:
        import torch
    except ImportError:
        raise UserError(
            f"PyTorch is needed {purpose}: run `pip install torch`, or use a .safetensors checkpoint"
        ) from None
    return torch


def _suffix(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise UserError(f"checkpoint {path}: unknown suffix {path.suffix!r}, expected {', '.join(SUFFIXES)}")
    return path.suffix


def _load_safetensors(path: Path, data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise _corrupt(path, error) from None
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise UserError(f"checkpoint {path}: tensor {name} is {entry['dtype']}, expected floating-point numbers")
        array = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__") or {}


def _load_torch(path: Path, data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    torch = require_torch(f"to read {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd formats, which end in an error of ours
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # depending on the bytes: UnpicklingError, RuntimeError, EOFError, KeyError...
        if refused := re.search(r"nsupported (?:global: )?GLOBAL (\S+)", str(error)):
            raise UserError(
                f"checkpoint {path} holds code ({refused[1]}), which is refused: save `module.state_dict()` instead"
            ) from None
        if "TorchScript" in str(error):
            raise UserError(f"checkpoint {path} is a TorchScript program, expected a state dict") from None
        raise _corrupt(path, error) from None
    metadata = {}
    if isinstance(content, Mapping):
        metadata = content.get("metadata", {})
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, expected a state dict")
    arrays = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise UserError(f"checkpoint {path} is no state dict: its entry {name!r} has the type {kind}")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise UserError(f"checkpoint {path}: tensor {name} is sparse or quantized, expected a plain float tensor")
        narrow = tensor.is_floating_point() and tensor.itemsize < 4  # numpy lacks most of these
        arrays[name] = (tensor.float() if narrow else tensor).detach().numpy()
    if not isinstance(metadata, Mapping):
        metadata = {}
    return arrays, {k: v for k, v in metadata.items() if isinstance(k, str) and isinstance(v, str)}


def _corrupt(path: Path, error: Exception) -> UserError:
    reason = str(error).split(". ")[0].splitlines()
    # PyTorch puts advice to switch its protection off into this one.
    detail = f" ({reason[0]})" if reason and "Weights only" not in reason[0] else ""
    return UserError(f"checkpoint {path} is truncated, corrupt or no {path.suffix} file{detail}")
