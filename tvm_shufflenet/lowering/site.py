"""What a rule knows of a node's surroundings, and what it answers: the kernel, its weights, and the output's plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Node
from ..schedules import Machine, Plane, Workload
from ..targets.precision import FP32, Precision
from .abilities import free_plane


@dataclass(frozen=True)
class Places:
    """Where channels lie: channel i at plane `planes[i]` of a root of `among` planes."""

    planes: tuple[int, ...]
    among: int

    @property
    def order(self) -> tuple[int, ...]:
        """The planes from the first one on."""
        first = min(self.planes)
        return tuple(plane - first for plane in self.planes)

    @property
    def is_run(self) -> bool:
        return self.order == tuple(range(len(self.planes)))


@dataclass(frozen=True)
class Site:
    """The surroundings of a node, as a rule needs to know them.

    `planes` are the planes of its inputs, and `sources` say where these lie.  `target` is the plane that the output is
    to lie in, if that is settled; `dense` asks for planes without padding, `packed` for rows without padding where the
    kernel has a choice.  `home` says where each output channel is wanted; None leaves them as they come.  `dtypes` are
    those of the inputs as they lie, `result` is the dtype of the place where the output is wanted; a kernel of other
    dtypes gets copies.
    """

    machine: Machine
    planes: Sequence[Plane]
    sources: Sequence[Places]
    target: Plane | None = None
    dense: bool = False
    packed: bool = False
    home: Places | None = None
    precision: Precision = FP32
    dtypes: Sequence[str] = ("float32",)
    result: str = "float32"

    @property
    def dtype(self) -> str:
        """The dtype of activations."""
        return self.precision.activations

    @property
    def lanes(self) -> int:
        """The lanes of vectors of activations."""
        return self.machine.at(self.dtype).lanes

    def after(self, node: Node) -> Plane:
        """The output's plane for a kernel that writes any."""
        _, height, width = node.shape
        return self.target or free_plane(height, width, self.lanes, self.dense)


@dataclass(frozen=True)
class Choice:
    """A kernel, the plane of its output, and its weights before they are packed."""

    workload: Workload
    plane: Plane
    parameters: tuple[np.ndarray, ...] = ()


Rule = Callable[[Node, Site], Choice | None]


def shuffle_groups(order: tuple[int, ...]) -> int:
    """The g of a shuffle that stores channel a*n + b at b*g + a; 0 if it is none."""
    channels, groups = len(order), order[1] if len(order) > 1 else 0
    if groups < 1 or channels % groups:
        return 0
    each = channels // groups
    return groups if order == tuple((c % each) * groups + c // each for c in range(channels)) else 0


def unlike(dtype: str, other: str) -> str:
    """`other` where it is another dtype than `dtype`, else ""."""
    return "" if other == dtype else other
