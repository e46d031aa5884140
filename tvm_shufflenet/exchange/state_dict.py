"""From a state dict in anybody's style to a network and its parameters.

The tensors are put in the order of execution, by a style's names or else as the file has them.  Cut into
convolutions, batch norms and the classifier, their shapes tell the rest: which of the two networks it is, its
stages, and the groups of every convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..architectures import BATCH_NORM_EPS, Network
from ..architectures.mobilenet_v1 import BLOCKS, with_channels
from ..architectures.shufflenet_v1 import Stem, Structure, Unit, of_structure
from ..errors import UserError
from .canonical import STATISTICS, batch_norm, biased
from .styles import LEAVES, MOBILENET, SHUFFLENET, Style


@dataclass
class Linear:
    """A convolution or fully connected layer, and the batch norm behind it; `tensors` are their names in the file."""

    name: str
    weight: np.ndarray
    vectors: list[np.ndarray] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    @property
    def bias(self) -> np.ndarray | None:
        return self.vectors[0] if len(self.vectors) in (1, 5) else None

    @property
    def statistics(self) -> list[np.ndarray] | None:
        """gamma, beta, mean and variance of the batch norm."""
        return self.vectors[-4:] if len(self.vectors) >= 4 else None

    def is_pointwise(self) -> bool:
        return self.weight.ndim == 4 and self.weight.shape[2:] == (1, 1)

    def is_depthwise(self) -> bool:
        return self.weight.ndim == 4 and self.weight.shape[1:] == (1, 3, 3)

    def groups(self, inputs: int) -> int:
        """The number of groups in which this convolution reads `inputs` channels; `UserError` if there is none."""
        each = self.weight.shape[1]
        if inputs % each or self.outputs % (inputs // each):
            raise UserError(
                f"tensor {self.name} has the shape {_text(self.weight.shape)}, which fits no number of groups: "
                f"it reads {inputs} channels"
            )
        return inputs // each


def cut(arrays: dict[str, np.ndarray]) -> list[Linear]:
    """The layers of a list of tensors, which is in the order of execution."""
    layers: list[Linear] = []
    for name, array in arrays.items():
        if array.ndim in (2, 4):
            layers.append(Linear(name, array))
        elif array.ndim != 1:
            raise UserError(f"tensor {name} has the shape {_text(array.shape)}, which belongs to no layer")
        elif not layers or len(array) != layers[-1].outputs:
            behind = f", behind {layers[-1].name} with {layers[-1].outputs}" if layers else ""
            raise UserError(
                f"tensor {name} has {len(array)} numbers{behind}: expected the bias or the batch norm of the "
                "convolution before it, in the order of execution"
            )
        else:
            layers[-1].vectors.append(array)
        layers[-1].tensors.append(name)
    for layer in layers:
        if len(layer.vectors) not in (0, 1, 4, 5):
            raise UserError(
                f"{len(layer.vectors)} vectors follow tensor {layer.name}: expected a bias, the four of a batch "
                "norm, both or none"
            )
        _in_order(layer)
    return layers


def _in_order(layer: Linear) -> None:
    """Puts a batch norm that some tool has sorted by name into the usual order."""
    leaves = [name.rpartition(".")[2] for name in layer.tensors[-4:]]
    if layer.statistics and set(leaves) == set(LEAVES):
        order = [leaves.index(leaf) for leaf in LEAVES]
        layer.vectors[-4:] = [layer.vectors[-4:][i] for i in order]
        layer.tensors[-4:] = [layer.tensors[-4:][i] for i in order]


def family(layers: list[Linear]) -> str:
    """Which network the layers are of; `UserError` if of neither."""
    if len(layers) < 4:
        raise UserError(f"it has {len(layers)} layers with weights, fewer than any network here")
    stem, *middle, last = layers
    if stem.weight.ndim != 4 or stem.weight.shape[1] != 3:
        raise UserError(f"its first layer {stem.name} has the shape {_text(stem.weight.shape)}: expected 3 inputs, RGB")
    if last.statistics or (last.weight.ndim == 4 and not last.is_pointwise()):
        raise UserError(f"its last layer {last.name} is no classifier: expected a matrix or a 1x1 convolution")
    patterns = {MOBILENET: (Linear.is_depthwise, Linear.is_pointwise),
                SHUFFLENET: (Linear.is_pointwise, Linear.is_depthwise, Linear.is_pointwise)}  # fmt: skip
    for name, pattern in patterns.items():
        if pattern[0](middle[0]) and (name == MOBILENET or pattern[1](middle[1])):
            for index, layer in enumerate(middle):
                if not pattern[index % len(pattern)](layer):
                    raise UserError(
                        f"tensor {layer.name} has the shape {_text(layer.weight.shape)}, which does not fit into "
                        f"{name} in its place"
                    )
            if len(middle) % len(pattern) == 0:
                return name
    raise UserError("its shapes fit neither ShuffleNet v1 nor MobileNet v1")


def network(
    layers: list[Linear], style: Style, size: tuple[int, int], eps: float = BATCH_NORM_EPS
) -> tuple[Network, dict[str, np.ndarray], list[tuple[str, str]]]:
    """The network of these layers, its parameters, and which of its tensors is which of theirs.

    `style` says what shapes do not; the network is as theirs, not yet as the compiler wants it.
    """
    classes = layers[-1].outputs
    if family(layers) == MOBILENET:
        channels = _mobilenet_channels(layers)
        net = with_channels(channels, "mobilenet", size, classes, stride=1 if style.reduction == 1 else 2)
    else:
        net = of_structure(_structure(layers, style), "shufflenet", size, classes)
    parameters, mapping = _parameters(net, layers, eps)
    return net, parameters, mapping


def _mobilenet_channels(layers: list[Linear]) -> list[int]:
    stem, *middle, classifier = layers
    channels = [stem.outputs]
    for depthwise, pointwise in zip(middle[::2], middle[1::2]):
        if depthwise.outputs != channels[-1] or pointwise.groups(channels[-1]) != 1:
            raise _misfit(depthwise if depthwise.outputs != channels[-1] else pointwise, channels[-1])
        channels.append(pointwise.outputs)
    shape = [channels for channels, _ in BLOCKS]
    if len(channels) - 1 != len(shape) or any(a * shape[0] != b * channels[1] for a, b in zip(channels[1:], shape)):
        raise UserError(f"its channels {', '.join(map(str, channels))} are not MobileNet v1's: its strides are unknown")
    if classifier.weight.shape[1] != channels[-1]:
        raise _misfit(classifier, channels[-1])
    return channels


def _structure(layers: list[Linear], style: Style) -> Structure:
    stem, *middle, classifier = layers
    triples = list(zip(middle[::3], middle[1::3], middle[2::3]))
    stages: list[list[Unit]] = []
    inputs = stem.outputs
    for index, (first, depthwise, last) in enumerate(triples):
        if depthwise.outputs != first.outputs:
            raise _misfit(depthwise, first.outputs)
        groups = first.groups(inputs), last.groups(first.outputs)
        behind = triples[index + 1] if index + 1 < len(triples) else None
        channels = _outputs(inputs, last, behind, classifier)
        downsample = channels != last.outputs
        if downsample or not stages:
            stages.append([])
        mixed = groups[0] if groups[0] > 1 or not style.always else groups[1]
        if mixed > 1 and first.outputs % mixed:
            raise UserError(f"tensor {first.name} has {first.outputs} outputs, which do not shuffle in {mixed} groups")
        if mixed > 1 and style.shuffle == "ng":
            mixed = first.outputs // mixed
        if style.shuffle == "none":
            mixed = 1
        where = len(stages) - 1
        stride, pool = (style.strides[where], style.pools[where]) if downsample else (1, 1)
        stages[-1].append(Unit(first.outputs, last.outputs, groups, mixed, downsample, stride, pool))
        inputs = channels
    if not stages[0][0].downsample:
        raise UserError(f"its first unit adds (tensor {triples[0][2].name}), where ShuffleNet v1 concatenates")
    stem_plan = Stem(
        stem.outputs, stem.weight.shape[2], 1 if style.reduction == 1 else 2, style.reduction == 4, style.stem_relu
    )
    return Structure(
        stem_plan, tuple(map(tuple, stages)), style.pooled_first, style.late_shuffle, style.depthwise_relu
    )  # fmt: skip


def stages(layers: list[Linear]) -> int:
    """How many stages a ShuffleNet has: each begins with a unit that concatenates."""
    stem, *middle, classifier = layers
    triples, inputs, count = list(zip(middle[::3], middle[1::3], middle[2::3])), stem.outputs, 0
    for triple, behind in zip(triples, [*triples[1:], None]):
        channels = _outputs(inputs, triple[2], behind, classifier)
        count += channels != triple[2].outputs
        inputs = channels
    return count


def _outputs(inputs: int, last: Linear, behind: tuple[Linear, ...] | None, classifier: Linear) -> int:
    """Channels behind a unit: those of its last convolution, to which its own input is added or concatenated.

    Either may be meant where both have as many channels; what reads them tells.
    """
    candidates = [inputs + last.outputs] + [inputs] * (inputs == last.outputs)
    if behind is None:
        reader, fitting = classifier, [classifier.weight.shape[1]]
    else:
        reader, depthwise, end = behind
        each = reader.weight.shape[1]
        fitting = [each * (depthwise.outputs // max(1, end.weight.shape[1])), each]
    for channels in fitting:
        if channels in candidates:
            return channels
    raise UserError(
        f"tensor {reader.name} has the shape {_text(reader.weight.shape)}, which fits no number of groups: "
        f"before it are {' or '.join(map(str, candidates))} channels"
    )


def _misfit(layer: Linear, inputs: int) -> UserError:
    return UserError(
        f"tensor {layer.name} has the shape {_text(layer.weight.shape)}, but {inputs} channels come before it"
    )


def _parameters(net: Network, layers: list[Linear], eps: float) -> tuple[dict, list[tuple[str, str]]]:
    """The convolutions and the classifier of the network are the layers of the file, in this order."""
    parameters: dict[str, np.ndarray] = {}
    mapping: list[tuple[str, str]] = []
    theirs = iter(layers)
    for index, layer in enumerate(net.layers):
        if layer.op not in ("conv", "dense"):
            continue
        source = next(theirs)
        if source.statistics and not (source.statistics[3] >= 0).all():
            raise UserError(f"tensor {source.tensors[-1]} holds a negative variance")
        own = {f"{layer.name}.weight": source.weight}
        bias = source.bias if source.bias is not None else np.zeros(source.outputs, np.float32)
        if layer.op == "dense":
            own = {f"{layer.name}.weight": source.weight.reshape(layer.shape[1], -1), f"{layer.name}.bias": bias}
        else:
            norm = batch_norm(source.statistics, eps, source.bias) if source.statistics else biased(bias)
            own |= {f"{net.layers[index + 1].name}.{key}": norm[key] for key in STATISTICS}
        parameters |= {name: np.ascontiguousarray(array, np.float32) for name, array in own.items()}
        mapping.append((layer.name, ", ".join(source.tensors)))
    return parameters, mapping


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of a scalar"
