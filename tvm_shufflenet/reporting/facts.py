"""What a file holds, as plain data: a library, a checkpoint, an ONNX or a Caffe model."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from ..architectures import Network, own_name
from ..bridge.checkpoints import read_checkpoint
from ..bridge.contents import LIBRARY, ONNX, kind_of_file
from ..errors import UserError
from ..exchange import CAFFE, Reading, load_network
from ..library.elf import read_elf
from ..library.link import DYLIB, SUFFIXES
from ..library.loading import read_manifest
from ..library.plan import COLUMNS, unpacked


def facts(path: Path, reading: Reading | None = None) -> dict:
    """All that the file at `path` says; "kind" says what it is.

    A checkpoint or model that the compiler refuses is described as far as it can be read, with the reason in "refused".
    Raises `UserError` for a file that is missing or damaged, or of no kind that is read here.
    """
    if not os.path.exists(path):
        built = (
            f"; `python -m tvm_shufflenet.build {path}` makes a library of this network" if own_name(str(path)) else ""
        )
        raise UserError(f"{path}: no such file{built}")
    kind = kind_of_file(path)
    if kind == LIBRARY or path.suffix in (*SUFFIXES.values(), DYLIB):  # which says what is wrong with it
        return library_facts(path, reading.size if reading else None)
    found = _raw(path, kind)
    try:
        read = load_network(path, reading=reading)
    except UserError as error:
        if not found.get("tensors") and not found.get("operators"):
            raise
        return {**found, "refused": str(error)}
    net = read.network
    return {
        **found,
        "style": read.style,
        "notes": read.notes,
        "mapping": [{"layer": ours, "tensors": theirs} for ours, theirs in read.mapping],
        "metadata": read.metadata,
        "preprocessing": read.preprocessing,
        "class_names": read.class_names,
        **network_facts(net),
    }


def library_facts(path: Path, size: tuple[int, int] | None = None) -> dict:
    """The manifest, and its plan as tables; None for a table that the library does not record.

    Of a library of several sizes `size` is one of them; None is its first.
    """
    manifest = read_manifest(path, size)
    return {
        "kind": "library", "file": str(path), "bytes": path.stat().st_size, "exports": sorted(read_elf(path).exported),
        **{key: value for key, value in manifest.items() if key != "plan"},
        "plan": {table: unpacked(manifest, table) for table in COLUMNS},
    }  # fmt: skip


def network_facts(net: Network) -> dict:
    """Name, sizes and layers of a network; bytes are of fp32."""
    return {
        "model": net.name, "note": net.note, "size": list(net.size), "layout": net.layout,
        "input": list(net.shapes.input), "outputs": [list(shape) for shape in net.shapes.outputs],
        "classes": net.classes, "multiply_adds": net.multiply_adds(), "parameters": net.parameter_count(),
        "layers": [_layer(net, index) for index in range(len(net.layers))],
    }  # fmt: skip


def _layer(net: Network, index: int) -> dict:
    layer = net.layers[index]
    shapes = layer.parameters(net.layers[layer.inputs[0]].shape) if layer.inputs else {}
    pixels = math.prod(layer.shape[2:]) if layer.op in ("conv", "dense") else 0
    weights = sum(math.prod(shape) for name, shape in shapes.items() if name.endswith(".weight"))
    return {
        "layer": index, "name": layer.name, "op": layer.op, "inputs": list(layer.inputs), "shape": list(layer.shape),
        "attributes": layer.attrs, "parameters": sum(map(math.prod, shapes.values())),
        "multiply_adds": pixels * weights,
    }  # fmt: skip


def _raw(path: Path, kind: str | None) -> dict:
    """What the file says by itself, before any network is made of it."""
    about: dict = {"kind": kind or path.suffix.lstrip("."), "file": str(path)}
    if path.is_file():
        about["bytes"] = path.stat().st_size
    if path.suffix in CAFFE:
        return {**about, "kind": "Caffe"}
    if kind == ONNX or (kind is None and path.suffix == ".onnx"):
        from ..exchange.onnx_files import load_model

        model = load_model(path)
        return {
            **about, "kind": ONNX, "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            "operators": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        }  # fmt: skip
    checkpoint = read_checkpoint(path)
    tensors = [
        {"tensor": name, "shape": list(array.shape), "dtype": str(array.dtype), "bytes": int(array.nbytes)}
        for name, array in checkpoint.arrays.items()
    ]
    return {**about, "tensors": tensors}
