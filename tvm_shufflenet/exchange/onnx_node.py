"""A node of an ONNX graph with its attributes, each of the type that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from .onnx_files import array
from .onnx_values import Refused, Value
from .onnx_writer import require_onnx

if TYPE_CHECKING:
    from onnx import NodeProto

# What a kind of nodes becomes: function(reader, node, *inputs); how many inputs it has at least and at most.
Operator = tuple[Callable[..., Value | list[Value]], int, int]


class Node:
    """`kind` is the operator; a missing attribute is the default of whoever asks."""

    def __init__(self, proto: NodeProto, path: Path):
        self.kind, self.inputs, self.outputs = proto.op_type, list(proto.input), list(proto.output)
        self._attributes, self._path = {attribute.name: attribute for attribute in proto.attribute}, path
        self._types = require_onnx(f"to read {path}").AttributeProto

    def __contains__(self, name: str) -> bool:
        return name in self._attributes

    def _get(self, name: str, what: str, *types: int):
        attribute = self._attributes[name]
        if attribute.type not in types:
            raise Refused(f"its attribute {name} is no {what}")
        return attribute

    def integer(self, name: str, default: int) -> int:
        return self._get(name, "integer", self._types.INT).i if name in self else default

    @overload
    def integers(self, name: str) -> list[int] | None: ...

    @overload
    def integers(self, name: str, default: list[int]) -> list[int]: ...

    def integers(self, name: str, default: list[int] | None = None) -> list[int] | None:
        return list(self._get(name, "list of integers", self._types.INTS).ints) if name in self else default

    def number(self, name: str, default: float) -> float:
        if name not in self:
            return default
        attribute = self._get(name, "number", self._types.FLOAT, self._types.INT)
        # As the decimal number that was meant: 0.1 and not the single precision number next to it.
        return float(attribute.i) if attribute.type == self._types.INT else float(str(np.float32(attribute.f)))

    def numbers(self, name: str) -> list[float] | None:
        return list(self._get(name, "list of numbers", self._types.FLOATS).floats) if name in self else None

    def choice(self, name: str, default: str) -> str:
        return self._get(name, "text", self._types.STRING).s.decode("utf-8", "replace") if name in self else default

    def constant(self) -> np.ndarray | None:
        """The tensor of a Constant; None if it has its number in another attribute."""
        if "sparse_value" in self:
            raise Refused("sparse constants are not possible, expected a dense one")
        return array(self._get("value", "tensor", self._types.TENSOR).t, self._path) if "value" in self else None
