"""What others measured on boards and published: one thread, fp32, batch 1."""

from __future__ import annotations

from dataclasses import dataclass

# Table 8 of the ShuffleNet paper (X. Zhang et al., arXiv:1707.01083): latency on a phone.
PROCESSOR = "Snapdragon 820"  # one thread, batch 1

# Height and width of the input in pixels -> milliseconds.
_SIZES = ((224, 224), (480, 640), (720, 1280))
MILLISECONDS = {
    model: dict(zip(_SIZES, milliseconds))
    for model, milliseconds in {
        "shufflenet-v1-0.5x-g3": (15.2, 87.4, 260.1),
        "shufflenet-v1-1x-g3": (37.8, 222.2, 684.5),
        "shufflenet-v1-2x-g3": (108.8, 617.0, 1857.6),
        "alexnet": (184.0, 1156.7, 3633.9),
        "mobilenet-v1-1.0": (110.0, 612.0, 1879.2),
    }.items()
}


def milliseconds(model: str, size: tuple[int, int]) -> float | None:
    """The paper's latency, or None where it gives none."""
    return MILLISECONDS.get(model, {}).get((size[0], size[1]))


def speedup(model: str, size: tuple[int, int]) -> float | None:
    """The paper's actual speed-up over AlexNet at the same size, or None."""
    ours, alexnet = milliseconds(model, size), milliseconds("alexnet", size)
    return alexnet / ours if ours and alexnet else None


# ncnn's own benchmark table, 224x224, in milliseconds.
# Its "shufflenet" is ShuffleNet v1 1x with g=3, its AlexNet takes 227x227.
NETWORKS = ("shufflenet-v1-1x-g3", "mobilenet-v1-1.0", "alexnet")


@dataclass(frozen=True)
class Board:
    """A board with ncnn's times of `NETWORKS`, on the core `core` at `gigahertz`."""

    name: str
    core: str
    gigahertz: float
    milliseconds: tuple[float, float, float]


BOARDS = (
    Board("Raspberry Pi 4", "cortex-a72", 1.5, (47.2, 123.8, 139.0)),
    Board("RK3399, big core", "cortex-a72", 1.8, (38.9, 111.0, 161.0)),
    Board("RK3399, little core", "cortex-a53", 1.4, (78.0, 208.0, 587.0)),
    Board("Snapdragon 821", "snapdragon-820", 2.35, (25.0, 80.9, 97.4)),
)
