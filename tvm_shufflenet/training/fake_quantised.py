"""A network whose weights and tensors are rounded as int8 rounds them, while gradients pass: for fine-tuning.

    model = FakeQuantised(twin, calibration)
    logits = model(pictures)                       # close to those of a library of int8

The steps are those of the compiled network.  Each step's weights are folded from the twin's parameters in every call,
with the statistics of batch norms as they are, so the twin learns.  Rounding is PyTorch's (`fake_quantize_*`): of
tensors by the scales of `calibration`, which stay, and of weights and biases for each output channel as
`graph.quantise` does.  Sums are floats, so a byte differs by one from the library's where a sum is nearly a half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..bridge.twin import Twin
from ..errors import UserError
from ..graph import Node
from ..graph.byte_tensors import VIEWS, is_dense, keeps_scale, tensors_of
from ..graph.quantise import BIAS, LARGEST, WEIGHT, weight_steps
from ..pipeline import byte_graph
from ..targets.calibration import Calibration
from .calibration import STEPS, activated, connected, convolved


class FakeQuantised(nn.Module):
    """float32 (B, C, H, W), of the network's size -> logits (B, classes); its parameters are those of `twin`.

    `UserError` for networks that int8 cannot compute, for scales of another network, and where a layer's weights are
    made of others than a convolution's and its batch norms'.
    """

    def __init__(self, twin: Twin, calibration: Calibration):
        super().__init__()
        self.twin = twin
        known = twin.network.parameters()
        parameters = {name: value.detach().cpu().numpy() for name, value in twin.state_dict().items() if name in known}
        self.graph = byte_graph(twin.network, parameters, parts=calibration.parts)
        for node in self.graph.nodes:
            if is_dense(node) and node not in self.graph.outputs:
                raise UserError(f"layer {node.name}: channel attention and hidden layers cannot be fine-tuned for int8")
        self._names, self._scales = tensors_of(self.graph), calibration.tensors
        if missing := sorted(set(self._names.values()) - set(self._scales)):
            raise UserError(f"the scales of these weights are of another network: they lack layer {missing[0]}")
        self._sources = {node: self._layers_of(node) for node in self.graph.nodes if node.op in ("conv", "dense")}
        for node in self._sources:
            self._check(node)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        values: dict[Node, torch.Tensor] = {}
        for node in self.graph.nodes:
            values[node] = self.step(node, *([values[source] for source in node.inputs] or [pictures]))
        return values[self.graph.outputs[0]].flatten(1)

    def step(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        """The rounded result of a node of `graph` for its inputs; for the input node these are the pictures."""
        return self._rounded(node, self._computed(node, *inputs) if node.inputs else inputs[0])

    def _computed(self, node: Node, *inputs: torch.Tensor) -> torch.Tensor:
        if node not in self._sources:
            return activated(node, STEPS[node.op](node, *inputs))
        weight, bias = self._folded(node)
        (step, _), *others = (self.scale(source) for source in node.inputs)
        numbers, shift = (value.detach().cpu().double().numpy() for value in (weight, bias))
        found, _ = weight_steps(node.name, numbers, shift, step, others[0][0] if others else None)
        weight, bias = (
            torch.fake_quantize_per_channel_affine(
                value, torch.from_numpy(scales.astype(np.float32)).to(value.device),
                torch.zeros(len(scales), dtype=torch.int32, device=value.device), 0, -largest, largest,
            )
            for value, scales, largest in ((weight, found, WEIGHT), (bias, found * step, int(BIAS)))
        )  # fmt: skip
        compute = connected if node.op == "dense" else convolved
        return activated(node, compute(node, weight, bias, *inputs))

    def _rounded(self, node: Node, value: torch.Tensor) -> torch.Tensor:
        """As bytes of the node's scale; what has them already, and logits, as it is."""
        if node.op in ("dense", "exit", *VIEWS) or keeps_scale(node):
            return value
        return torch.fake_quantize_per_tensor_affine(value, *self.scale(node), 0, LARGEST)

    def scale(self, node: Node) -> tuple[float, int]:
        """Scale and zero point of the bytes of a node of `graph`."""
        return self._scales[self._names[node]]

    def _layers_of(self, node: Node) -> list[Any]:
        """The twin's convolution or fully connected layer of a node, and the batch norms behind it."""
        layers = self.twin.network.layers
        index = next(n for n, layer in enumerate(layers) if layer.name == node.name)
        if layers[index].op not in ("conv", "dense"):
            raise UserError(
                f"layer {node.name}: a {layers[index].op} behind no convolution cannot be fine-tuned for int8"
            )
        found: list[Any] = [self.twin.layer(index)]
        while True:
            readers = [n for n, layer in enumerate(layers) if index in layer.inputs]
            if len(readers) != 1 or layers[readers[0]].op != "batch_norm":
                return found
            index = readers[0]
            found.append(self.twin.layer(index))

    def _folded(self, node: Node) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight, as the layer has it, and bias (O,)."""
        first, *norms = self._sources[node]
        weight = first.weight
        bias = weight.new_zeros(len(weight)) if first.bias is None else first.bias
        for norm in norms:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
            bias = bias * scale + norm.bias - norm.running_mean * scale
        return weight, bias

    @torch.no_grad()
    def _check(self, node: Node) -> None:
        """`UserError` unless the node's weights are those that are folded here."""
        for found, key in zip(self._folded(node), ("weight", "bias")):
            wanted = np.asarray(node.weights[key], np.float64).reshape(found.shape)
            if not np.allclose(found.cpu().numpy(), wanted, rtol=1e-4, atol=1e-5 * max(1e-6, np.abs(wanted).max())):
                raise UserError(f"layer {node.name}: what is folded into it is no batch norm: it cannot be fine-tuned")
