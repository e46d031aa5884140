"""Batch norms of others in the terms of ours, and networks that are one of the list but for their names."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable

import numpy as np

from ..architectures import BATCH_NORM_EPS, Layer, Network, model_names, network
from ..architectures.checks import NAME
from ..errors import UserError

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def batch_norm(
    statistics: Iterable[np.ndarray],
    eps: float = BATCH_NORM_EPS,
    conv_bias: np.ndarray | None = None,
    ours: float = BATCH_NORM_EPS,
) -> dict[str, np.ndarray]:
    """Parameters that do with `ours` what (gamma, beta, mean, variance) do with `eps` behind a biased convolution.

    The bias moves into the mean, and another epsilon into gamma, so that nothing but the rounding changes.
    """
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in statistics)
    if conv_bias is not None:
        mean = mean - np.asarray(conv_bias, np.float64)
    if eps != ours:
        gamma = gamma * np.sqrt((variance + ours) / (variance + eps))
    return dict(zip(STATISTICS, (array.astype(np.float32) for array in (gamma, beta, mean, variance)), strict=True))


def biased(bias: np.ndarray) -> dict[str, np.ndarray]:
    """A batch norm that adds `bias` and does nothing else."""
    one = np.ones(len(bias))
    return batch_norm((one * np.sqrt(1 + BATCH_NORM_EPS), bias, 0 * one, one))


def shuffled(channels: int, groups: int) -> np.ndarray:
    """For each channel behind a shuffle by `groups` groups, the channel from which it comes."""
    return np.arange(channels).reshape(groups, -1).T.ravel()


def usual_shuffles(net: Network, parameters: dict) -> tuple[Network, dict]:
    """The same network with its shuffles where the paper has them and, wherever possible, as the paper has them.

    Depthwise convolution, batch norm and ReLU work channel by channel: a shuffle behind them may as well stand
    directly behind the convolution, batch norm and ReLU before them, if their parameters are shuffled once and for
    all.  There its producer's kernel takes it in.  And which channels of a group are which is free: any shuffle that
    gives each group of the next convolution as many channels of each group before as the paper's does is the paper's
    with other weights.  That is so for all g up to 3, and whenever g divides the channels of a group; where there
    are no groups before, nothing is left of the shuffle.
    """
    layers, parameters = list(net.layers), dict(parameters)
    for index in range(len(layers)):
        if layers[index].op == "shuffle":
            _shuffle_behind(layers, index, net.outputs)
    for index in range(len(layers)):
        if layers[index].op == "shuffle":
            chain = _channelwise(layers, index, net.outputs)
            stays = 0
            for op in ("batch_norm", "relu"):
                stays += stays < len(chain) and layers[chain[stays]].op == op
            if chain[stays:]:
                _shuffle_before(layers, index, chain[stays:], parameters)
    for index in range(len(layers)):
        if layers[index].op == "shuffle":
            _as_paper(layers, index, parameters, net.outputs)
    return _without_shuffles_of_one_group(dataclasses.replace(net, layers=tuple(layers))), parameters


def _readers(layers: list[Layer], outputs: tuple[int, ...]) -> list[list[int]]:
    """The layers that read each, once for each input; an output has -1 among them."""
    found: list[list[int]] = [[] for _ in layers]
    for index, layer in enumerate(layers):
        for source in layer.inputs:
            found[source].append(index)
    for index in outputs:
        found[index].append(-1)
    return found


def _is_depthwise(layers: list[Layer], layer: Layer) -> bool:
    return layer.op == "conv" and layer.attrs["groups"] == layer.shape[1] == layers[layer.inputs[0]].shape[1]


def _shuffle_behind(layers: list[Layer], index: int, outputs: tuple[int, ...]) -> None:
    """Swaps a shuffle with the ReLU that alone reads it."""
    readers = _readers(layers, outputs)[index]
    if len(readers) == 1 and readers[0] > 0 and layers[readers[0]].op == "relu" and readers[0] not in outputs:
        shuffle, relu = layers[index], layers[readers[0]]
        layers[index] = dataclasses.replace(relu, inputs=shuffle.inputs)
        layers[readers[0]] = dataclasses.replace(shuffle, inputs=(index,))


def _channelwise(layers: list[Layer], index: int, outputs: tuple[int, ...]) -> list[int]:
    """The layers between a pointwise convolution and the shuffle `index`, if all work channel by channel; else none."""
    chain: list[int] = []
    readers = _readers(layers, outputs)
    while True:
        (index,) = layers[index].inputs
        layer = layers[index]
        if len(readers[index]) != 1 or layer.op not in ("batch_norm", "relu", "conv"):
            return []
        if layer.op == "conv" and not _is_depthwise(layers, layer):
            return chain[::-1]
        chain.append(index)


def _shuffle_before(layers: list[Layer], index: int, chain: list[int], parameters: dict) -> None:
    shuffle, places = layers[index], [*chain, index]
    source = layers[chain[0]].inputs[0]
    order = shuffled(shuffle.shape[1], shuffle.attrs["groups"])
    moved = [dataclasses.replace(shuffle, shape=layers[source].shape), *(layers[i] for i in chain)]
    for place, layer in zip(places, moved):
        layers[place] = dataclasses.replace(layer, inputs=(source,))
        source = place
        _reorder(layer, order, parameters)


def _as_paper(layers: list[Layer], index: int, parameters: dict, outputs: tuple[int, ...]) -> None:
    """Makes a shuffle that of its producer's groups, by other weights before and behind it, if that is possible."""
    before = _channelwise(layers, index, outputs)
    behind, consumer = _until_convolution(layers, index, outputs)
    producer = layers[layers[before[0]].inputs[0]] if before else None
    if producer is None or consumer is None or producer.attrs["groups"] == layers[index].attrs["groups"]:
        return
    channels, groups = layers[index].shape[1], producer.attrs["groups"]
    given, paper = shuffled(channels, layers[index].attrs["groups"]), shuffled(channels, groups)
    group, block = np.arange(channels) // (channels // groups), channels // consumer.attrs["groups"]
    first, then = np.empty(channels, int), np.empty(channels, int)  # the old channel in each new place
    for start in range(0, channels, block):
        mine, theirs = paper[start : start + block], given[start : start + block]
        for a in range(groups):
            slots, sources = np.sort(mine[group[mine] == a]), np.sort(theirs[group[theirs] == a])
            if len(slots) != len(sources):
                return
            first[slots] = sources
    then[:] = np.argsort(given)[first[paper]]
    for layer in (producer, *(layers[i] for i in before)):
        _reorder(layer, first, parameters)
    for layer in behind:
        _reorder(layer, then, parameters)
    weight = parameters[f"{consumer.name}.weight"]
    for number, rows in enumerate(np.split(np.arange(len(weight)), consumer.attrs["groups"])):
        columns = then[number * block : (number + 1) * block] - number * block
        weight = weight.copy()
        weight[rows] = weight[rows][:, columns]
    parameters[f"{consumer.name}.weight"] = weight
    layers[index] = dataclasses.replace(layers[index], attrs={"groups": groups})


def _until_convolution(layers: list[Layer], index: int, outputs: tuple[int, ...]) -> tuple[list[Layer], Layer | None]:
    """The layers behind `index` that work channel by channel, and the convolution that reads them; None without one."""
    chain: list[Layer] = []
    readers = _readers(layers, outputs)
    while True:
        layer = layers[readers[index][0]] if len(readers[index]) == 1 and readers[index][0] > 0 else None
        if layer is None or layer.op not in ("conv", "batch_norm", "relu"):
            return chain, None
        if layer.op == "conv" and not _is_depthwise(layers, layer):
            return chain, layer
        (index,) = readers[index]
        chain.append(layer)


def _reorder(layer: Layer, order: np.ndarray, parameters: dict) -> None:
    own = (f"{layer.name}.{key}" for key in STATISTICS)
    parameters.update({name: parameters[name][order] for name in own if name in parameters})


def _without_shuffles_of_one_group(net: Network) -> Network:
    layers: list[Layer] = []
    place: list[int] = []
    for layer in net.layers:
        inputs = tuple(place[source] for source in layer.inputs)
        if layer.op == "shuffle" and layer.attrs["groups"] == 1:
            place.append(inputs[0])
        else:
            layers.append(dataclasses.replace(layer, inputs=inputs))
            place.append(len(layers) - 1)
    return dataclasses.replace(net, layers=tuple(layers), outputs=tuple(place[index] for index in net.outputs))


def with_batch_norms(net: Network, parameters: dict) -> tuple[Network, dict]:
    """The same network with a batch norm behind each convolution, as those of the list have.

    Exporters fold them into the convolutions; the bias that this leaves is then a batch norm's.
    """
    layers, place, parameters = [net.layers[0]], [0], dict(parameters)
    for layer in net.layers[1:]:
        inputs = tuple(place[source] for source in layer.inputs)
        if layer.op == "conv" and layer.attrs["bias"]:
            name = f"{layer.name}.bn"
            layers.append(dataclasses.replace(layer, inputs=inputs, attrs={**layer.attrs, "bias": False}))
            norm = biased(parameters.pop(f"{layer.name}.bias"))
            parameters.update({f"{name}.{key}": array for key, array in norm.items()})
            layer = Layer("batch_norm", name, (), layer.shape, {"eps": BATCH_NORM_EPS})
            inputs = (len(layers) - 1,)
        layers.append(dataclasses.replace(layer, inputs=inputs))
        place.append(len(layers) - 1)
    outputs = tuple(place[index] for index in net.outputs)
    return dataclasses.replace(net, layers=tuple(layers), outputs=outputs), parameters


def listed(net: Network, parameters: dict) -> tuple[Network, dict] | None:
    """The network of the list that computes the same, and the parameters under its names; None if there is none."""
    if not net.classes:  # those of the list are classifiers
        return None
    mine = _signatures(net)
    name = _by_signature(net.size, net.classes).get(mine[net.outputs[0]])
    if name is None:
        return None
    candidate = network(name, net.size, net.classes)
    pairs = _pairs(net, mine, candidate, _signatures(candidate))
    return candidate, _renamed(net, candidate, pairs, parameters)


@functools.lru_cache(maxsize=8)
def _by_signature(size: tuple[int, int], classes: int) -> dict[int, str]:
    """The classifiers of the list by the signature of what they compute; of equal ones the first."""
    found: dict[int, str] = {}
    for name in model_names():
        try:
            candidate = network(name, size, classes)
        except UserError:  # not at this size
            continue
        found.setdefault(_signatures(candidate)[candidate.outputs[0]], name)
    return found


def _signatures(net: Network) -> list[int]:
    """A number for each layer that depends on all that the layer computes, and on no name.

    Batch norms of several epsilons count as the same, because other parameters turn one into the other.  Poolings that
    round up and down count as the same where both have as many places.
    """
    found: list[int] = []
    for layer in net.layers:
        inputs = [found[source] for source in layer.inputs]
        if layer.op == "dropout":
            found.append(inputs[0])
            continue
        if layer.op == "add":
            inputs.sort()
        attrs = {key: value for key, value in layer.attrs.items() if key != "ceil"}
        attrs = {} if layer.op == "batch_norm" else attrs
        found.append(hash((layer.op, layer.shape, *sorted(attrs.items()), *inputs)))
    return found


def _pairs(net: Network, mine: list[int], candidate: Network, theirs: list[int]) -> dict[int, int]:
    """For each layer of `candidate` the layer of `net` that computes the same in the same place."""
    pairs, waiting = {}, [(net.outputs[0], candidate.outputs[0])]
    while waiting:
        i, j = waiting.pop()
        if candidate.layers[j].op == "dropout":
            waiting.append((i, candidate.layers[j].inputs[0]))
        elif net.layers[i].op == "dropout":
            waiting.append((net.layers[i].inputs[0], j))
        elif j not in pairs:
            pairs[j] = i
            inputs = net.layers[i].inputs
            for order in itertools.permutations(inputs):  # an addition may have its inputs the other way round
                if [mine[source] for source in order] == [theirs[source] for source in candidate.layers[j].inputs]:
                    inputs = order
                    break
            waiting += zip(inputs, candidate.layers[j].inputs)
    return pairs


def _renamed(net: Network, candidate: Network, pairs: dict[int, int], parameters: dict) -> dict:
    renamed: dict[str, np.ndarray] = {}
    for index, layer in enumerate(candidate.layers):
        if layer.inputs and index in pairs:
            mine, names = net.layers[pairs[index]], layer.parameters(candidate.layers[layer.inputs[0]].shape)
            found = {name.rpartition(".")[2]: parameters[f"{mine.name}.{name.rpartition('.')[2]}"] for name in names}
            if layer.op == "batch_norm" and mine.attrs != layer.attrs:
                found = batch_norm((found[k] for k in STATISTICS), mine.attrs["eps"], ours=layer.attrs["eps"])
            renamed.update(zip(names, (found[name.rpartition(".")[2]] for name in names)))
    return renamed


def without_dead_layers(net: Network) -> Network:
    """The same network without the layers from which no output comes; its input stays."""
    alive, waiting = {0}, list(net.outputs)
    while waiting:
        index = waiting.pop()
        if index not in alive:
            alive.add(index)
            waiting += net.layers[index].inputs
    place = {old: new for new, old in enumerate(sorted(alive))}
    layers = [net.layers[old] for old in place]
    layers = [dataclasses.replace(layer, inputs=tuple(place[source] for source in layer.inputs)) for layer in layers]
    return dataclasses.replace(net, layers=tuple(layers), outputs=tuple(place[index] for index in net.outputs))


def renamed(net: Network, names: dict[str, str], parameters: dict) -> tuple[Network, dict]:
    """The network whose layers have other names, and its parameters under them.

    A wish is granted, the first ones first, if it can be printed and neither another's name nor a part of it up to a
    point: a name with points stands for modules within modules.
    """
    taken, stems = {"input"}, set()
    found = {"input": "input"}
    order = {name: place for place, name in enumerate(names)}
    for layer in sorted(net.layers[1:], key=lambda layer: order.get(layer.name, len(order))):
        for number in itertools.count():
            name = names.get(layer.name, layer.name) if number == 0 else f"{layer.name}{'_' * (number - 1)}"
            parts = [name[:place] for place, letter in enumerate(name) if letter == "."]
            usable = name.isprintable() and 0 < len(name) <= NAME and all(name.split(".")) and parts[:1] != ["module"]
            if usable and name not in taken and name not in stems and taken.isdisjoint(parts):
                break
        taken.add(name)
        stems.update(parts)
        found[layer.name] = name
    layers = tuple(dataclasses.replace(layer, name=found[layer.name]) for layer in net.layers)
    moved = {}
    for name, array in parameters.items():
        layer, _, key = name.rpartition(".")
        if layer in found:
            moved[f"{found[layer]}.{key}"] = array
    return dataclasses.replace(net, layers=layers), moved
