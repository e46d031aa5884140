"""A state dict of a public model: the network of the list that it is, and its tensors under our names."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..architectures import BATCH_NORM_EPS, Network, network
from ..architectures.registry import usual_size
from ..errors import UserError
from .class_counts import class_count
from .public_models import Model, expanded
from .reading import Reading, parse_activation, pictures_note

Arrays = dict[str, np.ndarray]
SAYABLE = ("--eps",)  # of the options: its structure is the model's code's


def of_model(
    model: Model, prefix: str, arrays: Arrays, reading: Reading, named: str | None
) -> tuple[Network, Arrays, list[str]]:
    """The network, its parameters and notes; `arrays` are the file's without those that `model` drops.

    `prefix` stands before all names; `named` is the network that the user says it is.  `UserError` for tensors that
    are missing, too many or of another shape, for options that say what the model's code settles, and where another
    model has the same tensors and `named` does not decide.
    """
    called = f"{model.family} of {model.name}"
    if unusable := [option for option in reading.given if option not in SAYABLE]:
        raise UserError(f"it is {called}, whose code settles what {unusable[0]} says: leave it out")
    if model.shared and named not in model.networks:
        name = model.networks[0]
        raise UserError(
            f"its tensors are those of {model.name}'s {name} and of its {model.shared}: if it is {name}, name it "
            f"(convert --model {name}, build {name})"
        )
    theirs = _names(model, prefix)
    missing = next((name for name in theirs.values() if name not in arrays), None)
    if missing:
        raise UserError(f"looks like {called}, but has no tensor {missing}")
    extra = next((name for name in arrays if name not in set(theirs.values())), None)
    if extra:
        raise UserError(f"looks like {called}, but tensor {extra} belongs to none of it")
    for name, array in arrays.items():
        if name.endswith(".running_var") and (array < 0).any():
            raise UserError(f"tensor {name} holds a negative variance")
    net = _network(model, called, {ours: arrays[name] for ours, name in theirs.items()}, theirs, reading)
    parameters = {ours: arrays[name] for ours, name in theirs.items()}
    for name, shape in net.parameters().items():
        parameters.setdefault(name, np.zeros(shape, np.float32))  # biases that they lack
        parameters[name] = np.ascontiguousarray(parameters[name].reshape(shape), np.float32)
    return net, parameters, _notes(model, net, reading)


def pictures(model: Model, net: Network) -> dict:
    """How its weights want pictures prepared, where not as usual."""
    return model.pictures | model.pictures_of.get(net.name, {})


def _names(model: Model, prefix: str) -> dict[str, str]:
    """The tensor in the file of each of our parameters."""
    pattern = network(model.like)
    ours = list(pattern.parameters())
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in ours))
    modules = dict(zip(layers, expanded(model.modules), strict=True))
    if model.unbiased:
        dense = {layer.name for layer in pattern.layers if layer.op == "dense"}
        ours = [name for name in ours if not (name.endswith(".bias") and name.rpartition(".")[0] in dense)]
    return {name: f"{prefix}{modules[layer]}.{leaf}" for name in ours for layer, _, leaf in [name.rpartition(".")]}


def _network(model: Model, called: str, arrays: Arrays, theirs: dict[str, str], reading: Reading) -> Network:
    """The one of the list with these shapes, else of the model's plan; `UserError` for shapes of neither."""
    like = network(model.like)
    pattern = like.parameters()
    classifier = next(name for name in reversed(arrays) if name.endswith(".weight"))
    for name, array in arrays.items():
        flat = len(pattern[name]) == 2 and array.shape[2:] == (1, 1)  # a matrix as a 1x1 convolution
        if array.ndim != len(pattern[name]) and not flat:
            raise _misfit(theirs[name], array.shape, f"of {len(pattern[name])} dimensions, as of {called}")
    shapes = {name: array.shape[: len(pattern[name])] for name, array in arrays.items()}
    size = reading.size or usual_size(model.like)
    classes = class_count(shapes) if like.detector else shapes[classifier][0]
    if classes is None or classes < 1:
        raise _misfit(theirs[classifier], arrays[classifier].shape, "one class or more")
    nets = [network(name, size, classes) for name in model.networks]
    if model.plan and all(_wrong(net, shapes) for net in nets):
        nets = [model.plan(shapes, size, classes)]
    net = max(nets, key=lambda net: _agreeing(net, shapes))
    if wrong := _wrong(net, shapes):
        raise _misfit(theirs[wrong], shapes[wrong], f"{_text(net.parameters()[wrong])} as of {called}")
    layers = list(net.layers)
    if eps := reading.eps or model.eps:
        layers = [dataclasses.replace(x, attrs={"eps": eps}) if x.op == "batch_norm" else x for x in layers]
    if model.activation:
        op, _, attrs = parse_activation(model.activation)
        layers = [dataclasses.replace(x, op=op, attrs=attrs) if x.op == "relu" else x for x in layers]
    return dataclasses.replace(net, layers=tuple(layers))


def _agreeing(net: Network, shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(shapes.get(name) == shape for name, shape in net.parameters().items())


def _wrong(net: Network, shapes: dict[str, tuple[int, ...]]) -> str | None:
    """The first parameter of another shape."""
    return next((name for name, shape in net.parameters().items() if shapes.get(name, shape) != shape), None)


def _notes(model: Model, net: Network, reading: Reading) -> list[str]:
    found = {layer.attrs["eps"] for layer in net.layers if layer.op == "batch_norm"}
    norms = f", eps {next(iter(found), BATCH_NORM_EPS):g}" if found else ""
    but = f", but {', '.join(reading.given)} as said" if reading.given else ""
    whose = f"as the code of {model.name}, whose names these are, has it"
    return [
        f"no tensor tells: {model.fixed}{norms}; {whose}{but}",
        pictures_note(f"{model.name}'s weights", pictures(model, net), model.remark, whole=bool(net.detector)),
    ]


def _misfit(name: str, shape: tuple[int, ...], expected: str) -> UserError:
    return UserError(f"tensor {name} has the shape {_text(shape)}, expected {expected}")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a scalar"
