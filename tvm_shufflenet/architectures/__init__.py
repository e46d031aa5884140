"""Networks, each described once: `network(name, size, classes)` and `model_names()`."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable

from ..errors import UserError
from . import checks
from .alexnet import alexnet
from .builder import NetworkBuilder
from .mobilenet_v1 import WIDTHS, mobilenet_v1
from .network import BATCH_NORM_EPS, Layer, Network
from .shufflenet_v1 import GROUPS, SCALES, shufflenet_v1

__all__ = [
    "BATCH_NORM_EPS", "DEFAULT_MODEL", "Layer", "Network", "NetworkBuilder", "model_names", "network",
]  # fmt: skip

DEFAULT_MODEL = "shufflenet-v1-1x-g3"


@functools.cache
def _constructors() -> dict[str, Callable[..., Network]]:
    table: dict[str, Callable[..., Network]] = {}
    for scale in SCALES:
        for groups in GROUPS:
            for shuffle in (True, False):
                name = f"shufflenet-v1-{scale:g}x-g{groups}" + ("" if shuffle else "-noshuffle")
                table[name] = functools.partial(shufflenet_v1, scale, groups, shuffle=shuffle)
    for width in WIDTHS:
        table[f"mobilenet-v1-{width}"] = functools.partial(mobilenet_v1, width)
    table["alexnet"] = alexnet
    return table


def model_names() -> list[str]:
    """Every name that `network` takes."""
    return list(_constructors())


def network(name: str, size: tuple[int, int] = (224, 224), classes: int = 1000) -> Network:
    """The network `name` for inputs of `size` = (height, width) pixels.

    Raises `UserError` for an unknown name, a size below the network's minimum or no classes.
    """
    constructors = _constructors()
    if name not in constructors:
        near = difflib.get_close_matches(name, constructors, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `python -m tvm_shufflenet.models`"
        raise UserError(f"unknown model {name!r}: {hint}")
    if not 1 <= classes <= checks.ELEMENTS:
        raise UserError(f"--classes {classes}: expected 1 or more, at most {checks.ELEMENTS}")
    return constructors[name](size=size, classes=classes)
