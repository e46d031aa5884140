"""A network as every rival's own optimiser would leave it: batch norms in the weights, ReLUs in their producers.

The list keeps the order of execution; a step names its inputs by their index in it.  What a rival
does better itself (layouts, choice of algorithm, further fusions) is left to the rival.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tvm_shufflenet.architectures import Layer, Network
from tvm_shufflenet.errors import UserError

CONVOLUTIONS = ("conv", "dense")


@dataclass
class Step:
    """One operator with its parameters; `relu` where a ReLU ends it, `clip` with its bounds where a clip does.

    The weight and bias of a `batch_norm` are a gain and an addend for each channel, its statistics are in them.
    """

    op: str
    name: str
    inputs: list[int]
    shape: tuple[int, ...]
    attrs: dict = field(default_factory=dict)
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    relu: bool = False
    clip: tuple[float, float] | None = None

    @property
    def activated(self) -> bool:
        return self.relu or self.clip is not None


def fold(
    net: Network, parameters: dict[str, np.ndarray], fuse_relu: tuple[str, ...] = CONVOLUTIONS,
    fuse_clip: tuple[str, ...] = (),
) -> list[Step]:  # fmt: skip
    """The steps of `net`: no `dropout` remains, and none of the others behind what is to have it in itself.

    These are a `batch_norm` behind a convolution, a `relu` behind `fuse_relu`, a `clip` behind `fuse_clip`.
    A `batch_norm` remains where its input is read elsewhere, too, or is no convolution.
    """
    readers = [0] * len(net.layers)
    for layer in net.layers:
        for source in layer.inputs:
            readers[source] += 1
    steps: list[Step] = []
    place: dict[int, int] = {}  # from the index of a layer to that of the step which computes it
    for index, layer in enumerate(net.layers):
        inputs = [place[source] for source in layer.inputs]
        alone = len(inputs) == 1 and readers[layer.inputs[0]] == 1
        producer = steps[inputs[0]] if inputs else None
        if layer.op == "dropout":
            place[index] = inputs[0]
            readers[index] += readers[layer.inputs[0]] - 1
        elif layer.op == "batch_norm":
            scale, shift = _affine(layer, parameters)
            if alone and producer.op in CONVOLUTIONS and not producer.activated:
                gains = scale.reshape(-1, *[1] * (producer.weight.ndim - 1))
                producer.weight = (producer.weight * gains).astype(np.float32)
                producer.bias = (producer.bias * scale + shift).astype(np.float32)
                place[index] = inputs[0]
            else:
                weight, bias = scale.astype(np.float32), shift.astype(np.float32)
                steps.append(Step("batch_norm", layer.name, inputs, layer.shape, {}, weight, bias))
                place[index] = len(steps) - 1
        elif layer.op == "relu" and alone and producer.op in fuse_relu and not producer.activated:
            producer.relu = True
            place[index] = inputs[0]
        elif layer.op == "clip" and alone and producer.op in fuse_clip and not producer.activated:
            producer.clip = layer.attrs["low"], layer.attrs["high"]
            place[index] = inputs[0]
        else:
            weight = parameters.get(f"{layer.name}.weight")
            bias = parameters.get(f"{layer.name}.bias")
            if weight is not None and bias is None:
                bias = np.zeros(layer.shape[1], np.float32)
            steps.append(Step(layer.op, layer.name, inputs, layer.shape, dict(layer.attrs), weight, bias))
            place[index] = len(steps) - 1
    return steps


def output_steps(net: Network, steps: list[Step]) -> tuple[int, ...]:
    """The steps that give the outputs: the last one, or of a network of several those with their layers' names."""
    if len(net.outputs) == 1:
        return (len(steps) - 1,)
    places = {step.name: index for index, step in enumerate(steps)}
    return tuple(places[net.layers[index].name] for index in net.outputs)


def square(step: Step, up: bool = False) -> tuple[int, int, int]:
    """Kernel, stride and padding of a window that is the same in both directions; `UserError` for any other.

    With `up` the output's size may be rounded up, as long as the window has no padding.
    """
    sizes = [set(step.attrs[key]) for key in ("kernel", "stride", "pad")]
    rounded = step.attrs.get("ceil") and not (up and sizes[2] == {0})
    if any(len(size) > 1 for size in sizes) or set(step.attrs["dilation"]) != {1} or rounded:
        where = " where they are padded" if up else ""
        raise UserError(
            f"{step.name}: the rivals are given square windows only, without dilation and rounding up{where}"
        )
    return tuple(size.pop() for size in sizes)


def _affine(norm: Layer, parameters: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Gain and addend of a batch norm for each channel, float64."""
    gamma, beta, mean, variance = (
        parameters[f"{norm.name}.{key}"].astype(np.float64) for key in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + norm.attrs["eps"])
    return scale, beta - mean * scale
