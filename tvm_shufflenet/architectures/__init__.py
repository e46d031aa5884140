"""Networks, each described once: `network(name, size, classes)` and `model_names()`."""

from __future__ import annotations

from .builder import NetworkBuilder
from .network import BATCH_NORM_EPS, CLASSES, SIZE, Layer, Network
from .registry import model_names, network, own_name

__all__ = [
    "BATCH_NORM_EPS", "CLASSES", "DEFAULT_MODEL", "Layer", "Network", "NetworkBuilder", "SIZE", "model_names",
    "network", "own_name",
]  # fmt: skip

DEFAULT_MODEL = "shufflenet-v1-1x-g3"
