"""Which scales the tensors of a network need, from pictures: PyTorch's observers look at what each step computes.

The steps are those of the compiled network, batch norms folded and ReLUs taken in, so that exactly what a library keeps
is looked at.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch.nn import functional

from ..architectures import Network
from ..architectures.resizing import resize_tables
from ..bridge.detections import Detections
from ..bridge.parameters import digest
from ..errors import UserError
from ..graph import Graph, Node
from ..graph.byte_tensors import float_steps, tensors_of
from ..graph.integers import each_integers
from ..graph.quantise import quantise, taps_of
from ..pipeline import byte_graph
from ..targets.calibration import Calibration

OBSERVERS = {"histogram": "HistogramObserver", "minmax": "MinMaxObserver"}  # of torch.ao.quantization
LEAST = 1e-9  # of a scale: of a tensor that is zero on every picture


class Watch:
    """Observers of a network's tensors, which pictures are shown to one by one.

    `observer` is one of `OBSERVERS`: "histogram" clips what costs less than it gains, "minmax" nothing.  `UserError`
    for networks that int8 cannot compute.
    """

    def __init__(self, network: Network, parameters: dict[str, np.ndarray], observer: str = "histogram"):
        from torch.ao import quantization

        if network.layout != "NCHW":
            raise UserError(f"{network.name} takes pictures with channels last: int8 expects them first")
        graph = byte_graph(network, parameters)
        self.names, self.pictures = tensors_of(graph), 0
        # Behind the last tensor that is looked at, a detector's post-processing above all, nothing is computed.
        behind = 1 + max(place for place, node in enumerate(graph.nodes) if node in self.names)
        self.graph = Graph(graph.nodes[:behind], [])
        self.observer, self.weights = f"torch {OBSERVERS[observer]}", digest(parameters)
        with _without_warnings():
            make = getattr(quantization, OBSERVERS[observer])
            self.watched = {name: make(dtype=torch.quint8) for name in self.names.values()}

    def look(self, picture: np.ndarray) -> None:
        """Looks at a picture, float32 (1, C, H, W) as the network takes it; `UserError` if a tensor is not finite."""
        self.pictures += 1
        with _without_warnings():
            for node, value in run_floats(self.graph, torch.from_numpy(picture)):
                if node in self.names:
                    if not torch.isfinite(value).all():
                        raise UserError(f"layer {node.name}: its numbers are not finite on picture {self.pictures}")
                    self.watched[self.names[node]](value)

    def calibration(self) -> Calibration:
        """The scales; `UserError` without a picture."""
        if not self.pictures:
            raise UserError("no pictures to calibrate with")
        tensors = {}
        with _without_warnings():
            for name, seen in self.watched.items():
                scale, zero = (part.item() for part in seen.calculate_qparams())
                tensors[name] = max(float(scale), LEAST), int(zero)
        return Calibration(tensors, self.pictures, self.observer, self.weights)

    def state(self) -> dict:
        """All that was seen, as tensors and plain values: `restore` of an equal object goes on from there, exactly."""
        # Names may be TVM's strings, which torch.load takes for code.
        return {
            "pictures": self.pictures,
            "seen": {str(name): seen.state_dict() for name, seen in self.watched.items()},
        }

    def restore(self, state: dict) -> None:
        """Takes all of a state or, where that is damaged and an error is raised, nothing."""
        watched = copy.deepcopy(self.watched)
        for name, seen in watched.items():
            seen.load_state_dict(state["seen"][name])
        self.pictures, self.watched = int(state["pictures"]), watched


def calibrate(
    network: Network, parameters: dict[str, np.ndarray], pictures: Iterable[np.ndarray], observer: str = "histogram"
) -> Calibration:
    """Scales from pictures: what `Watch` finds when it has looked at all."""
    watch = Watch(network, parameters, observer)
    for picture in pictures:
        watch.look(picture)
    return watch.calibration()


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that observers will move to another package
        yield


def float_network(network: Network, parameters: dict[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that computes the fused steps in floats: picture, float32 (1, C, H, W) -> logits (1, classes)."""
    graph = byte_graph(network, parameters)

    def run(picture: np.ndarray) -> np.ndarray:
        torch.set_num_threads(1)  # workers share the cores
        values = dict(run_floats(graph, torch.from_numpy(picture)))
        return values[graph.outputs[0]].flatten(1).numpy()

    return run


def integer_network(
    network: Network, parameters: dict[str, np.ndarray], calibration: Calibration
) -> Callable[[np.ndarray], np.ndarray]:
    """The reference in numpy, in integers: picture, float32 (1, C, H, W) -> logits (1, classes)."""
    graph = byte_graph(network, parameters, parts=calibration.parts)
    quantise(graph, calibration)
    return lambda picture: run_bytes(graph, picture)[0].reshape(1, -1)


@torch.inference_mode()
def run_bytes(graph: Graph, picture: np.ndarray) -> list[np.ndarray]:
    """`run_integers`, and behind the exits of a detector its post-processing in PyTorch: float32 (C, H, W) each."""
    values = dict(each_integers(graph, picture))
    floats = float_steps(graph)
    for node in graph.nodes:
        if node in floats:
            inputs = [torch.from_numpy(values[source])[None] for source in node.inputs]
            values[node] = activated(node, STEPS[node.op](node, *inputs))[0].numpy()
    return [values[node] for node in graph.outputs]


@torch.inference_mode()
def run_floats(graph: Graph, picture: torch.Tensor) -> Iterator[tuple[Node, torch.Tensor]]:
    """The result of each node, (1, C, H, W), in their order; for graphs that `tensors_of` accepts."""
    values: dict[Node, torch.Tensor] = {}
    for node in graph.nodes:
        inputs = [values[source] for source in node.inputs]
        values[node] = activated(node, STEPS[node.op](node, *inputs)) if inputs else picture
        yield node, values[node]


def activated(node: Node, value: torch.Tensor) -> torch.Tensor:
    """The value behind the node's activation."""
    match node.activation.kind:
        case "relu":
            return value.relu()
        case "clip":
            return value.clamp(node.activation.a, node.activation.b)
        case "leaky_relu":
            return functional.leaky_relu(value, node.activation.a)
        case "hard_swish":
            return functional.hardswish(value)
        case "sigmoid":
            return value.sigmoid()
        case "hard_sigmoid":
            return (node.activation.a * value + node.activation.b).clamp(0, 1)
    return value


def _padded(node: Node, value: torch.Tensor, filler: float) -> torch.Tensor:
    top, left, bottom, right = node.attrs["pad"]
    return functional.pad(value, (left, right, top, bottom), value=filler)


def _weights(node: Node) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = (torch.from_numpy(node.weights[key].astype(np.float32)) for key in ("weight", "bias"))
    return weight, bias


def convolved(
    node: Node, weight: torch.Tensor, bias: torch.Tensor, value: torch.Tensor, *others: torch.Tensor
) -> torch.Tensor:
    """What a convolution gives with these weights, scaled and added to by the others, in front of its activation."""
    a = node.attrs
    result = functional.conv2d(_padded(node, value, 0), weight, bias, a["stride"], 0, a["dilation"], a["groups"])
    if node.scaled:
        result = result * others[0]
    return result + others[-1] if node.residual else result


def connected(node: Node, weight: torch.Tensor, bias: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The result of a fully connected layer, as `convolved`: (B, classes, 1, 1)."""
    return functional.linear(value.flatten(1), weight.flatten(1), bias)[:, :, None, None]


def _pool(node: Node, value: torch.Tensor) -> torch.Tensor:
    """Windows may end behind the padding: there lies what changes no result."""
    a, extents = node.attrs, node.shape[1:]
    ends = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(extents, a["stride"], a["dilation"], a["kernel"])]
    (top, left), largest = a["pad"][:2], a["kind"] == "max"
    height, width = value.shape[2:]
    value = functional.pad(
        value, (left, max(0, ends[1] - left - width), top, max(0, ends[0] - top - height)),
        value=float("-inf") if largest else 0.0,
    )[:, :, : ends[0], : ends[1]]  # fmt: skip
    if largest:
        return functional.max_pool2d(value, a["kernel"], a["stride"], 0, a["dilation"])
    ones = torch.ones(node.channels, 1, *a["kernel"], dtype=value.dtype, device=value.device)
    sums = functional.conv2d(value, ones, None, a["stride"], 0, a["dilation"], node.channels)
    rows, columns = (torch.from_numpy(taps).to(value.device) for taps in taps_of(node))
    return sums / (rows[:, None] * columns)


def _resize(node: Node, value: torch.Tensor) -> torch.Tensor:
    a, size = node.attrs, value.shape[2:]
    tables = [
        torch.from_numpy(table).to(value.device)
        for table in resize_tables(size, a["size"], a["mode"], a["coordinates"], a["rounding"], a["scales"])
    ]
    if a["mode"] == "nearest":
        return value[:, :, tables[0].long()][..., tables[1].long()]
    value = torch.lerp(value[:, :, tables[0].long()], value[:, :, tables[1].long()], tables[2][:, None])
    return torch.lerp(value[..., tables[3].long()], value[..., tables[4].long()], tables[5])


def _lrn(node: Node, value: torch.Tensor) -> torch.Tensor:
    a = node.attrs
    return functional.local_response_norm(value, a["size"], a["alpha"], a["beta"], a["k"])


def _softmax(node: Node, value: torch.Tensor) -> torch.Tensor:
    groups = value.unflatten(1, (node.attrs["groups"], -1))
    return (groups.log_softmax(2) if node.attrs["log"] else groups.softmax(2)).flatten(1, 2)


def _detections(node: Node, *maps: torch.Tensor) -> torch.Tensor:
    return Detections(**node.attrs)(*maps)[:, :, None, None]


STEPS: dict[str, Callable[..., torch.Tensor]] = {
    "conv": lambda node, value, *others: convolved(node, *_weights(node), value, *others),
    "dense": lambda node, value: connected(node, *_weights(node), value), "pool": _pool,
    "global_pool": lambda node, value: (
        value.mean((2, 3), keepdim=True) if node.attrs["kind"] == "avg" else value.amax((2, 3), keepdim=True)
    ),
    "multiply": lambda node, value, factors: value * factors,
    "activation": lambda node, value: value, "entry": lambda node, value: value, "exit": lambda node, value: value,
    "add": lambda node, value, other: value + other, "reshape": lambda node, value: value.reshape(1, *node.shape),
    "adaptive_avg_pool": lambda node, value: functional.adaptive_avg_pool2d(value, node.shape[1:]), "lrn": _lrn,
    "resize": _resize, "softmax": _softmax, "detections": _detections,
    "concat": lambda node, *parts: torch.cat(parts, 1),
    "gather": lambda node, value: value[:, list(node.attrs["channels"])],
}  # fmt: skip
