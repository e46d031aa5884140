"""A state dict in another's style: what its names say, what options say, and what neither does.

Nothing that no tensor tells is assumed in silence.  A style of whom the code is known supplies what that code fixes,
which a note says; of tensors under other names the options must say it, or the user is told which.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from ..architectures import BATCH_NORM_EPS, Layer, Network
from ..errors import UserError
from . import state_dict
from .public_models import Model
from .public_reading import of_model, pictures
from .reading import SAYABLE, Read, Reading, parse_activation, pictures_note
from .state_dict import Linear
from .styles import MOBILENET, SHUFFLENET, STYLES, Recognised, Style, recognise

AVERAGED = "avg_model."  # in front of the averages of NanoDet's training, which its code runs with
OF_SHUFFLENET = ("shuffle", "strides", "pool", "concat")  # what a MobileNet does not have
_STEMS = {4: "stride 2 and max pooling in the stem", 2: "stride 2 in the stem", 1: "a stem without stride"}


def from_others(arrays: dict[str, np.ndarray], reading: Reading, named: str | None = None) -> Read:
    """The network, its parameters, the style in words, notes, and which tensors went where by their order.

    `named` is the network of the list that the user says it is.  `UserError` for what fits no network, or leaves
    open what only the user can know.
    """
    counters = [
        name for name, array in arrays.items() if not array.ndim and not np.issubdtype(array.dtype, np.floating)
    ]
    ignored = [name for name in counters if name.rpartition(".")[2] != "num_batches_tracked"]
    notes = [f"{len(ignored)} counters ignored, such as {ignored[0]}"] if ignored else []
    arrays = {name: array for name, array in arrays.items() if name not in set(counters)}
    averages = {name: array for name, array in arrays.items() if name.startswith(AVERAGED)}
    if averages:
        notes += [f"the averages of training taken, {AVERAGED}*"] * (len(averages) < len(arrays))
        arrays = averages
    found = recognise(arrays)
    if found and found.dropped:
        notes.append(f"{len(found.dropped)} tensors that only training needs ignored, such as {found.dropped[0]}")
        arrays = {name: array for name, array in arrays.items() if name not in set(found.dropped)}
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"tensor {name} is {array.dtype}, expected floating-point numbers")
        if not np.isfinite(array).all():
            raise UserError(f"tensor {name} holds NaN or infinity")
    if found and found.stray:
        whose = f"{found.style.family} of {found.style.name}"
        raise UserError(f"looks like {whose}, but tensor {found.stray} belongs to none of it")
    if found and isinstance(found.style, Model):
        read = _of_model(found.style, found.prefix, arrays, reading, named)
    else:
        read = _of_shapes(found, arrays, reading)
    read.notes[:0] = notes
    return read


def _of_model(model: Model, prefix: str, arrays: dict, reading: Reading, named: str | None) -> Read:
    net, parameters, notes = of_model(model, prefix, arrays, reading, named)
    same = model.padding == "same"
    read = Read(same_padding(net) if same else net, parameters, f"{model.family}, {model.name} style", notes, same=same)
    read.preprocessing = pictures(model, net) or None
    return read


def _of_shapes(found: Recognised | None, arrays: dict, reading: Reading) -> Read:
    """ShuffleNet v1 or MobileNet v1 of any width, which shapes tell."""
    style = found.style if found and isinstance(found.style, Style) else None
    names = found.names if found else list(arrays)
    if style is None:
        _in_order(names)
    layers = state_dict.cut({name: arrays[name] for name in names})
    kind = state_dict.family(layers)
    said = [name for name in OF_SHUFFLENET if kind == MOBILENET and getattr(reading, name) is not None]
    if said:
        raise UserError(f"it is {kind}, about which --{said[0]} says nothing: leave it out")
    structure, notes = _structure(kind, style, layers, reading)
    size = reading.size or (structure.size, structure.size)
    net, parameters, mapping = state_dict.network(layers, structure, size, reading.eps or BATCH_NORM_EPS)
    net, same = _with_activation(net, structure.activation), reading.padding == "same"
    if same:
        net = same_padding(net)
        notes.append("SAME padding as TensorFlow's, as --padding says")
    called = style.name if style is not None and not reading.style else structure.name
    if structure.pictures:
        notes.append(pictures_note(f"{structure.name}'s weights", structure.pictures))
    read = Read(net, parameters, f"{kind}, {called} style", notes, mapping if style is None else [], same=same)
    read.preprocessing = structure.pictures or None
    return read


def _in_order(names: list[str]) -> None:
    """`UserError` if the tensors of unknown names are sorted as words, and their numbers are not."""

    def numbers(name: str) -> list:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]

    if names == sorted(names) and names != sorted(names, key=numbers):
        raise UserError(
            "its tensors have names of no known style and are sorted by name, expected the order of execution"
        )


def _structure(kind: str, style: Style | None, layers: list[Linear], reading: Reading) -> tuple[Style, list[str]]:
    """What no tensor tells, as a style and options say it, and notes about it."""
    candidates = {style.name: style for style in STYLES if style.family == kind and style.fixes}
    if reading.style and reading.style not in candidates:
        raise UserError(f"--style {reading.style:.60}: expected {', '.join(candidates)}")
    notes = []
    if style is None:
        notes.append("names of no known style: taken by order and shape")
    if reading.style:
        found, whose = candidates[reading.style], f"as the code of {reading.style}, named by --style, has it"
    elif style is not None and style.fixes:
        found, whose = style, f"as the code of {style.name}, whose names these are, has it"
    else:
        _ask(kind, style, layers, reading, candidates)
        found, whose = candidates["own"], "as options say, else as in the paper"
    stages = state_dict.stages(layers) if kind == SHUFFLENET else 0
    strides = _each("strides", reading.strides, stages) or found.strides or (2,) * stages
    if reading.pool and len(reading.pool) == 1 and 1 in strides:
        raise UserError(f"--pool {reading.pool[0]}: a stage has stride 1, say the window of each stage such as 1,2,2")
    found = dataclasses.replace(
        found,
        shuffle=(reading.shuffle or found.shuffle).removesuffix("-all"),
        always=found.always or (reading.shuffle or "").endswith("-all"),
        reduction=reading.stem or found.reduction,
        strides=strides,
        pools=_each("pool", reading.pool, stages) or found.pools or (3,) * stages,
        pooled_first=found.pooled_first if reading.concat is None else reading.concat == "pooled-first",
        activation=reading.activation or found.activation,
    )  # fmt: skip
    given = [option for option in reading.given if option not in ("--style", "--padding")]
    but = f", but {', '.join(given)} as said" if given and not whose.startswith("as options") else ""
    notes.append(f"no tensor tells: {_words(kind, found, reading)}; {whose}{but}")
    if not reading.activation and (style is None or reading.style is None and not style.fixes_activation):
        notes.append(f"{parse_activation(found.activation)[1]} assumed, ReLU6 has the same tensors: else say "
                     f"--activation {SAYABLE['activation']}")  # fmt: skip
    return found, notes


def _ask(kind: str, style: Style | None, layers: list[Linear], reading: Reading, candidates: dict[str, Style]) -> None:
    """`UserError` that names the options without which the network is not known."""
    needed = ["stem"]
    if kind == SHUFFLENET:
        mixed = any(layer.is_pointwise() and layer.weight.shape[1] * 2 <= before for layer, before in _read(layers))
        needed = [*(["shuffle"] if mixed else []), "stem", "strides", "pool", "concat"]
    missing = [name for name in needed if getattr(reading, name) is None]
    if missing:
        whose = "used by several networks" if style else "of no known style"
        options = "; ".join(f"--{name} {SAYABLE[name]}" for name in missing)
        raise UserError(
            f"names such as {layers[0].name} are {whose}, and no tensor tells what these options would: {options}. "
            f"Say them, or --style {', '.join(candidates)}"
        )


def _read(layers: list[Linear]):
    """Each last convolution of a unit, with the number of channels before it."""
    return ((layer, before.outputs) for before, layer in zip(layers, layers[1:]) if before.is_depthwise())


def _each(option: str, numbers: tuple[int, ...] | None, stages: int) -> tuple[int, ...] | None:
    """The numbers of all stages from one or as many."""
    if numbers is None or len(numbers) == stages:
        return numbers
    if len(numbers) == 1:
        return numbers * stages
    raise UserError(f"--{option} has {len(numbers)} numbers, expected one, or one for each of the {stages} stages")


def _words(kind: str, style: Style, reading: Reading) -> str:
    words = [parse_activation(style.activation)[1], _STEMS[style.reduction]]
    if kind == SHUFFLENET:
        same = len(set(style.strides)) == 1 and len(set(style.pools)) == 1
        windows = list(zip(style.strides, style.pools))[: 1 if same else None]
        words += [
            "stages of " + ", ".join(f"stride {stride} beside {_pooling(pool)}" for stride, pool in windows),
            f"pooled input {'before' if style.pooled_first else 'behind'} the branch",
            "no shuffle"
            if style.shuffle == "none"
            else f"shuffle {style.shuffle} behind the "
            f"{'depthwise' if style.late_shuffle else 'first'} convolution"
            f"{'' if style.always else ' where it has groups'}",
            f"{'an' if style.depthwise_relu else 'no'} activation behind the depthwise convolution",
        ]
        words += [] if style.stem_relu else ["none in the stem"]
    else:
        words.append("strides of the paper")
    return ", ".join([*words, f"eps {reading.eps or BATCH_NORM_EPS:g}"])


def _pooling(window: int) -> str:
    return "no pooling" if window == 1 else f"{window}x{window} pooling"


def _with_activation(net: Network, activation: str) -> Network:
    """The network with that activation in place of its ReLUs."""
    op, _, attrs = parse_activation(activation)
    layers = (dataclasses.replace(layer, op=op, attrs=attrs) if layer.op == "relu" else layer for layer in net.layers)
    return dataclasses.replace(net, layers=tuple(layers))


def same_padding(net: Network) -> Network:
    """The network with TensorFlow's SAME padding, at its size: no output changes its shape, as all windows are odd."""
    layers = [net.layers[0]]
    for layer in net.layers[1:]:
        if layer.op in ("conv", "max_pool", "avg_pool") and max(layer.attrs["kernel"]) > 1:
            layer = _same(layer, net.layers[layer.inputs[0]].shape[2:])
        layers.append(layer)
    return dataclasses.replace(net, layers=tuple(layers))


def _same(layer: Layer, extents: tuple[int, ...]) -> Layer:
    before, behind = [], []
    for extent, places, kernel, stride in zip(extents, layer.shape[2:], layer.attrs["kernel"], layer.attrs["stride"]):
        if places != -(-extent // stride):
            raise UserError(f"--padding same: layer {layer.name} has an even window, expected odd ones")
        total = max((places - 1) * stride + kernel - extent, 0)
        before.append(total // 2)
        behind.append(total - total // 2)
    op = "valid_avg_pool" if layer.op == "avg_pool" else layer.op  # as TensorFlow counts
    return dataclasses.replace(layer, op=op, attrs={**layer.attrs, "pad": (*before, *behind)})
