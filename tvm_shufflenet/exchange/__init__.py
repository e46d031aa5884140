"""Networks that come from elsewhere, and ours that go there: checkpoints in others' styles, ONNX, and Caffe models.

    styles        whose names are which, and what no tensor tells
    reading       what a file may leave open, and options say
    others        a state dict in another's style
    public_models, public_reading  models of public code that are networks of the list
    class_counts  how many classes shapes say
    state_dict    a network from the shapes of its tensors
    onnx_reader   a network from an ONNX graph
    caffe_reader  a network from a Caffe model
    canonical     batch norms, shuffles and names of others in the terms of ours
    onnx_writer   a network as an ONNX model

`load_network` reads any of them, `save_network` writes.  Importing this package imports neither torch, tvm nor onnx.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..architectures import Network, model_names, network
from ..architectures.described import describe, from_description
from ..bridge import check_parameters, class_names, save_checkpoint
from ..bridge.checkpoints import SUFFIXES, read_checkpoint
from ..bridge.contents import kind_of_file
from ..errors import UserError
from ..files import write_bytes
from ..library.preprocess import from_json
from .canonical import listed, usual_shuffles, with_batch_norms
from .class_counts import class_count
from .onnx_writer import onnx_model
from .others import from_others, same_padding
from .reading import Read, Reading
from .styles import style_names

__all__ = ["Imported", "ONNX", "OURS", "Reading", "load_network", "save_network", "style_names"]

ONNX = ".onnx"
CAFFE = (".caffemodel", ".prototxt")
OURS = "ours"  # the style of our own names
_SAID = ("model", "network", "size", "class_names", "preprocessing")  # the metadata that `save_network` writes


@dataclass
class Imported:
    """A network from a file; `style` says of what kind it was, `notes` what was assumed or left out.

    `mapping` has for each layer its tensors in the file, where they went by their order and not by their names;
    `metadata` is whatever else the file says, such as how the network was trained; `preprocessing` how pictures are
    prepared for it, where not as usual (see `library.preprocess.checked`).
    """

    network: Network
    parameters: dict[str, np.ndarray]
    style: str
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    mapping: list[tuple[str, str]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    preprocessing: dict | None = None


def load_network(
    path: str | os.PathLike, model: str | None = None, classes: int | None = None, reading: Reading | None = None
) -> Imported:
    """The network and the parameters in a file: ours, another's checkpoint, ONNX, or a .caffemodel.

    With `model` and `classes` the file must hold that network; without, it says which it is.  A network of the list
    has its name and its names of tensors, another is called after the file.  Raises `UserError` for a file that is
    missing or damaged, that fits no network, or that leaves open what only the user can know.
    """
    path, reading, source = Path(path), reading or Reading(), f"checkpoint {path}"
    if model is not None:
        model = network(model, classes=1 if classes is None else classes).name  # says which there are
    kind = kind_of_file(path)
    if reading.prototxt or path.suffix in CAFFE:
        found = _from_caffe(path, reading)
        metadata = found.metadata
    elif kind == "ONNX" or (kind is None and path.suffix == ONNX):
        _says_it_itself(path, reading)
        found, metadata = _from_onnx(path, reading)
    else:
        checkpoint = read_checkpoint(path)
        arrays, metadata = checkpoint.arrays, checkpoint.metadata
        found = _own(path, arrays, metadata, model, classes, reading) or _from_others(path, arrays, reading, model)
        found.notes = checkpoint.notes + found.notes
    if model is not None and found.network.name != model:
        raise UserError(f"{path} holds {_called(found.network)} ({found.style}), expected {model}")
    if classes not in (None, found.network.classes):
        raise UserError(f"{path} has {found.network.classes} classes: use --classes {found.network.classes}")
    found.parameters = check_parameters(found.network, found.parameters, source)
    found.class_names = class_names(metadata, found.network.classes, source)
    if "preprocessing" in metadata:
        found.preprocessing = from_json(metadata["preprocessing"], source)
    found.metadata |= {key: value for key, value in metadata.items() if key not in _SAID}
    return found


def save_network(path: str | os.PathLike, found: Imported, notes: dict[str, dict[str, str]] | None = None) -> None:
    """Writes a state dict of our PyTorch twin (.safetensors, .pth, .pt) or an ONNX model with an open batch.

    Metadata say which network it is, its size, and the names of its classes; `notes` go to the nodes of an ONNX model,
    by the name of a layer.
    """
    check_output(path)
    net, path = found.network, Path(path)
    metadata = {**found.metadata, "size": "x".join(map(str, net.size))}
    metadata |= {"model": net.name} if net.name in model_names() else {"network": describe(net)}
    if found.preprocessing:
        metadata["preprocessing"] = json.dumps(found.preprocessing)
    if found.style not in ("", OURS):
        metadata["origin"] = "\n".join([found.style, *found.notes])
    if found.class_names:
        metadata["class_names"] = json.dumps(found.class_names, ensure_ascii=False)
    if path.suffix == ONNX:
        write_bytes(path, onnx_model(net, found.parameters, "batch", metadata, notes))
    else:
        save_checkpoint(path, found.parameters, metadata)


def check_output(path: str | os.PathLike) -> None:
    """`UserError` where `save_network` could not write to that path."""
    path = Path(path)
    if path.suffix not in (*SUFFIXES, ONNX):
        raise UserError(f"{path}: unknown suffix {path.suffix!r}, expected {', '.join((*SUFFIXES, ONNX))}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no such folder")


def _says_it_itself(path: Path, reading: Reading) -> None:
    if reading.given:
        raise UserError(f"{path} says itself what {', '.join(reading.given)} would: leave that out")


def _from_onnx(path: Path, reading: Reading) -> tuple[Imported, dict[str, str]]:
    from .onnx_reader import read_onnx

    net, parameters, metadata, notes, scales = read_onnx(path, reading.size)
    if scales:
        from .onnx_qdq import calibration_of

        net = dataclasses.replace(net, name=_name(path))  # the scales are of these layers, not of a listed network's
        metadata = {**metadata, **calibration_of(net, parameters, scales, str(path)).to_metadata()}
        notes.append("weights are what its bytes stand for; --precision int8 takes its scales")
    else:
        net, parameters = _ours(net, parameters, path)
    if reading.size and net.size != reading.size:
        net = _resized(net, reading.size, str(path))
    return Imported(net, parameters, "quantised ONNX" if scales else "ONNX", notes=notes), metadata


def _own(
    path: Path, arrays: dict, metadata: dict, model: str | None, classes: int | None, reading: Reading
) -> Imported | None:
    """A file under our own names: of the network that its metadata or `model` say, or whose tensors it has."""
    source, notes = f"checkpoint {path}", []
    known = metadata["model"] if metadata.get("model") in model_names() else None
    if known or "network" in metadata:
        _says_it_itself(path, reading)
    elif reading.given:
        return None
    if "network" in metadata:
        net = from_description(metadata["network"], reading.size, source)
        if net.name in model_names():
            raise UserError(f"{source}: its description of the network is damaged: it has the name {net.name}")
        if metadata.get("padding") == "same":  # which depends on the size
            net = same_padding(net)
        return Imported(net, arrays, OURS)
    shapes = {name.removeprefix("module."): array.shape for name, array in arrays.items()}
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    if classes is None:
        classes = class_count(shapes)
    if known is None and model is not None:
        ours = shapes.keys() & network(model).parameters().keys()
        known = model if 2 * len(ours) > len(shapes) else None
    elif known is None:
        names = [name for name in model_names() if shapes == network(name, classes=classes).parameters()]
        known = next(iter(names), None)
        if len(names) > 1:
            notes.append(f"{', '.join(names[1:])} have the same tensors: assumed {known}, else name the right one")
    if known is None:
        return None
    return Imported(network(known, reading.size or _size(metadata), classes), arrays, OURS, notes=notes)


def _size(metadata: dict) -> tuple[int, int] | None:
    """Height and width as metadata have them, "160" or "160x224"; None for the usual ones."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", metadata.get("size", ""))
    return (int(found[1]), int(found[2] or found[1])) if found else None


def _from_caffe(path: Path, reading: Reading) -> Imported:
    from .caffe_reader import read_caffe

    if not reading.prototxt or path.suffix == ".prototxt":
        raise UserError(f"{path}: a Caffe model is two files: name the .caffemodel, and with --prototxt the .prototxt")
    _says_it_itself(reading.prototxt, dataclasses.replace(reading, prototxt=None))
    return _imported(read_caffe(reading.prototxt, path, reading.size), path)


def _from_others(path: Path, arrays: dict, reading: Reading, model: str | None) -> Imported:
    try:
        read = from_others(arrays, reading, model)
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from None
    return _imported(read, path)


def _imported(read: Read, path: Path) -> Imported:
    net, parameters = _ours(read.network, read.parameters, path)
    found = Imported(net, parameters, read.style, notes=read.notes, mapping=read.mapping)
    found.metadata = {"padding": "same"} if read.same else {}
    found.preprocessing = read.preprocessing
    return found


def _ours(net: Network, parameters: dict, path: Path) -> tuple[Network, dict]:
    """The network as the compiler wants it: the one of the list, if it is there, else called after the file."""
    net, parameters = usual_shuffles(net, parameters)
    found = listed(net, parameters) or listed(*with_batch_norms(net, parameters))
    if found:
        return found
    return dataclasses.replace(net, name=_name(path)), parameters


def _name(path: Path) -> str:
    """Of a network that is called after its file."""
    name = re.sub(r"[^\w.-]", "_", path.stem)
    return f"{name}-imported" if name in model_names() else name


def _resized(net: Network, size: tuple[int, int], source: str) -> Network:
    if net.name in model_names():
        return network(net.name, size, net.classes)
    return from_description(describe(net), size, source)


def _called(net: Network) -> str:
    return net.name if net.name in model_names() else f"a network that is not in the list, {net.classes} classes"
