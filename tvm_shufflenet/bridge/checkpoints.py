"""Checkpoint files: .safetensors, which need no PyTorch, and PyTorch's own .pth and .pt.

A file holds the parameters of one network by name, and metadata: a dictionary of strings, in which
`class_names` is a JSON list with one name for each class.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import Network
from ..errors import UserError
from ..files import write_bytes
from .contents import LARGEST, LIBRARY, ONNX, SAFETENSORS, TORCH, kind_of, other_kind, read
from .parameters import check_parameters

if TYPE_CHECKING:
    from types import ModuleType

SUFFIXES = (".safetensors", ".pth", ".pt")  # of what is written; what is read is told by its content
# Keys under which training scripts put the state dict, beside their optimiser and epoch; the first there is wins.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights", "module", "ema",
    "model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "generator",
)  # fmt: skip
# What profilers leave beside the parameters: thop, ptflops, torchprofile.
LEFTOVERS = ("total_ops", "total_params", "__flops__", "__params__", "flops", "macs")
_TENSORS, _NAME, _DEPTH = 100_000, 500, 8  # more is no network; the depth is that of wrappers in wrappers
# Tensors may share their memory, and small floats become float32; a file of some kB is no file of gigabytes.
_GROWTH, _FREE = 8, 64 << 20

_SAFETENSORS_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip


@dataclass
class Checkpoint:
    """The arrays of a file by name, its metadata, and what of it was left out."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    notes: list[str] = field(default_factory=list)


def load_checkpoint(path: str | PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of `read_checkpoint`."""
    found = read_checkpoint(path)
    return found.arrays, found.metadata


def read_checkpoint(path: str | PathLike) -> Checkpoint:
    """What a checkpoint of any suffix holds, float16 and bfloat16 widened to float32.

    Executes no code that a file may carry.  Raises `UserError` for a file that is missing, corrupt, something else
    than a state dict, or whose tensors would take more memory than its size explains.
    """
    path = Path(path)
    data = read(path, "checkpoint")
    kind = kind_of(data[:16])
    if kind == LIBRARY:
        raise UserError(f"{path} is a library or program (ELF), expected a checkpoint")
    if kind == ONNX:
        raise UserError(f"{path} is an ONNX model, expected a checkpoint")
    if kind is None and (other := other_kind(data[:16])):
        raise UserError(f"{path} is {other}, expected a checkpoint")
    suffix = path.suffix or "checkpoint"
    if kind == SAFETENSORS or (kind is None and suffix == ".safetensors"):
        found = _load_safetensors(path, data)
    elif kind == TORCH or suffix in (".pth", ".pt"):
        found = _load_torch(path, data)
    else:
        raise UserError(f"checkpoint {path} is truncated, corrupt or no {suffix} file")
    left = [name for name in found.arrays if name.rpartition(".")[2] in LEFTOVERS]
    if left:
        found.arrays = {name: array for name, array in found.arrays.items() if name not in left}
        words = ", ".join(sorted({name.rpartition(".")[2] for name in left}))
        found.notes.append(f"{len(left)} tensors of a profiler ignored ({words})")
    return found


def save_checkpoint(path: str | PathLike, parameters: Mapping, metadata: Mapping | None = None) -> None:
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


def load_parameters(network: Network, path: str | PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
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


def require_torch(purpose: str) -> ModuleType:
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


def _load_safetensors(path: Path, data: bytes) -> Checkpoint:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _corrupt(path, error) from None
    _check_names(path, [name for name, _ in entries])
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise UserError(f"checkpoint {path}: tensor {name} is {entry['dtype']}, expected floating-point numbers")
        try:
            array = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except ValueError:  # such as a shape of 0 x 2**63, or of more dimensions than numpy's
            raise UserError(f"checkpoint {path}: tensor {name} has no shape of an array") from None
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return Checkpoint(arrays, header.get("__metadata__") or {})


def _load_torch(path: Path, data: bytes) -> Checkpoint:
    torch = require_torch(f"to read {path}")
    _check_archive(path, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd formats, which end in an error of ours
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # depending on the bytes: UnpicklingError, RuntimeError, EOFError, KeyError...
        if refused := re.search(r"nsupported (?:global: )?GLOBAL (\S+)", str(error)):
            raise UserError(
                f"checkpoint {path} holds code ({refused[1]:.100}), which is refused: "
                "save `module.state_dict()` instead"
            ) from None
        if "TorchScript" in str(error):
            raise UserError(f"checkpoint {path} is a TorchScript program, expected a state dict") from None
        raise _corrupt(path, error) from None
    state, metadata, notes = _unwrapped(path, content)
    _check_names(path, list(state))
    arrays, total = {}, 0
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise UserError(f"checkpoint {path} is no state dict: its entry {name!r} has the type {kind}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise UserError(f"checkpoint {path}: tensor {name} is sparse or quantized, expected a plain float tensor")
        if tensor.is_complex():
            raise UserError(f"checkpoint {path}: tensor {name} is complex, expected a plain float tensor")
        total += tensor.numel() * max(4, tensor.itemsize)
        if total > min(LARGEST, _FREE + _GROWTH * len(data)):
            raise UserError(
                f"checkpoint {path}: with tensor {name} its tensors take {total / 2**30:.1f} GiB, but the file has "
                f"{len(data)} bytes"
            )
        narrow = tensor.is_floating_point() and tensor.itemsize < 4  # numpy lacks most of these
        arrays[name] = (tensor.float() if narrow else tensor).detach().resolve_neg().numpy()
    return Checkpoint(arrays, metadata, notes)


def _check_archive(path: Path, data: bytes) -> None:
    """`UserError` for an archive that unpacks into more than it holds: PyTorch's own are not compressed."""
    if data[:2] != b"PK":
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # BadZipFile, and what comes up in a damaged directory
        raise _corrupt(path, error) from None
    if size > min(LARGEST, _FREE + _GROWTH * len(data)):
        raise UserError(f"checkpoint {path} has {len(data)} bytes, but unpacks into {size / 2**30:.1f} GiB")


def _unwrapped(path: Path, content: object) -> tuple[Mapping, dict[str, str], list[str]]:
    """The state dict within what training scripts put around it, the metadata, and which of several was taken."""
    metadata: Mapping = {}
    notes: list[str] = []
    taken: list[str] = []
    while isinstance(content, Mapping) and len(taken) < _DEPTH:
        if not metadata and isinstance(content.get("metadata"), Mapping):
            metadata = content["metadata"]
        found = [key for key in WRAPPERS if isinstance(content.get(key), Mapping) and content[key]]
        if not found:
            break
        taken.append(found[0])
        if len(found) > 1:
            notes.append(f"of {', '.join(found)} in the file the first was taken")
        content = content[found[0]]
    if not isinstance(content, Mapping):
        raise UserError(f"checkpoint {path} holds a {type(content).__name__}, expected a state dict")
    return content, {k: v for k, v in metadata.items() if isinstance(k, str) and isinstance(v, str)}, notes


def _check_names(path: Path, names: list) -> None:
    if len(names) > _TENSORS:
        raise UserError(f"checkpoint {path} has {len(names)} tensors, expected at most {_TENSORS}")
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= _NAME or not name.isprintable():
            raise UserError(f"checkpoint {path} is no state dict: {name!r:.60} is no name of a tensor")


def _corrupt(path: Path, error: Exception) -> UserError:
    reason = str(error).split(". ")[0].splitlines()
    # PyTorch puts advice to switch its protection off into this one.
    detail = f" ({reason[0]:.200})" if reason and "Weights only" not in reason[0] else ""
    return UserError(f"checkpoint {path} is truncated, corrupt or no {path.suffix or 'checkpoint'} file{detail}")
