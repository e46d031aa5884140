"""Times that ncnn's authors published for boards: one thread, fp32, batch 1.

Its rows of cores with half-precision arithmetic (Cortex-A55, A76 and newer) ran fp16 and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

# ncnn's own benchmark table, 224x224, in milliseconds.
# "shufflenet" of ncnn's benchmark is ShuffleNet v1 1x with g=3, its AlexNet takes 227x227.
NETWORKS = ("shufflenet-v1-1x-g3", "mobilenet-v1-1.0", "alexnet")


@dataclass(frozen=True)
class Board:
    """A board with ncnn's times of `NETWORKS` (None: not kept here), on the core `core` at `gigahertz`."""

    name: str
    core: str
    gigahertz: float
    milliseconds: tuple[float | None, ...]


BOARDS = (
    Board("Raspberry Pi 3B+", "cortex-a53", 1.4, (84.6, 204.6, None)),
    Board("Raspberry Pi 4", "cortex-a72", 1.5, (47.2, 123.8, 139.0)),
    Board("RK3399, big core", "cortex-a72", 1.8, (38.9, 111.0, 161.0)),
    Board("RK3399, little core", "cortex-a53", 1.4, (78.0, 208.0, 587.0)),
    Board("Snapdragon 821", "snapdragon-820", 2.35, (25.0, 80.9, 97.4)),
)

# ncnn's pull request 2713, milliseconds on a Cortex-A53 (QCOM425): without kernels of that core, and with them.
OWN_KERNELS = {"shufflenet-v1-1x-g3": (86.7, 82.9), "mobilenet-v1-1.0": (206.1, 183.6)}
