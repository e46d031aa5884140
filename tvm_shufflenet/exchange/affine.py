"""Batch norms that follow each other, or a concatenation, in the way in which the networks of the list have them.

Caffe splits a batch norm into a normalisation and a scale, and PVANET's C.ReLU is a negation, a concatenation and a
scale.  All of them are affine in each channel: two in a row are one, and one behind a concatenation is one in front
of it for each part.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..architectures import Layer, Network
from .canonical import STATISTICS, without_dead_layers


def joined_norms(net: Network, parameters: dict[str, np.ndarray]) -> tuple[Network, dict[str, np.ndarray]]:
    """The same network in which no batch norm reads a batch norm, or a concatenation that nothing else reads."""
    parameters = dict(parameters)
    net, parameters = _before_concatenations(net, parameters)
    layers = list(net.layers)
    for index, layer in enumerate(layers):
        if layer.op == "batch_norm" and layers[layer.inputs[0]].op == "batch_norm":
            inner = layers[layer.inputs[0]]  # which reads none: those in front of it are joined already
            own = _joined(parameters, inner, layer)
            parameters |= {f"{layer.name}.{key}": own[key] for key in STATISTICS}
            layers[index] = dataclasses.replace(layer, inputs=inner.inputs, attrs=inner.attrs)
    net = without_dead_layers(dataclasses.replace(net, layers=tuple(layers)))
    return net, {name: parameters[name] for name in net.parameters()}


def _joined(parameters: dict[str, np.ndarray], inner: Layer, outer: Layer) -> dict[str, np.ndarray]:
    """The parameters of one batch norm, with the inner one's epsilon, that does what both did."""
    first, second = ([parameters[f"{layer.name}.{key}"].astype(np.float64) for key in STATISTICS]
                     for layer in (inner, outer))  # fmt: skip
    factor = second[0] / np.sqrt(second[3] + outer.attrs["eps"])
    weight, bias = first[0] * factor, (first[1] - second[2]) * factor + second[1]
    arrays = (weight, bias, first[2], first[3])
    return {key: array.astype(np.float32) for key, array in zip(STATISTICS, arrays)}


def _before_concatenations(net: Network, parameters: dict[str, np.ndarray]) -> tuple[Network, dict]:
    readers: dict[int, int] = dict.fromkeys(net.outputs, 2)  # an output stays what it is
    for layer in net.layers:
        for source in layer.inputs:
            readers[source] = readers.get(source, 0) + 1
    layers: list[Layer] = []
    place: list[int] = []
    for layer in net.layers:
        inputs = tuple(place[source] for source in layer.inputs)
        parts = net.layers[layer.inputs[0]] if layer.op == "batch_norm" else None
        if parts and parts.op == "concat" and readers[layer.inputs[0]] == 1:
            start, ends = 0, []
            for number, source in enumerate(layers[inputs[0]].inputs):
                shape, name = layers[source].shape, f"{layer.name}.{number}"
                for key in STATISTICS:
                    parameters[f"{name}.{key}"] = parameters[f"{layer.name}.{key}"][start : start + shape[1]]
                layers.append(Layer("batch_norm", name, (source,), shape, layer.attrs))
                ends.append(len(layers) - 1)
                start += shape[1]
            layers.append(dataclasses.replace(layers[inputs[0]], name=layer.name, inputs=tuple(ends)))
        else:
            layers.append(dataclasses.replace(layer, inputs=inputs))
        place.append(len(layers) - 1)
    outputs = tuple(place[index] for index in net.outputs)
    return dataclasses.replace(net, layers=tuple(layers), outputs=outputs), parameters
