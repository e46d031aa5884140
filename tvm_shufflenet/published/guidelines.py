"""ShuffleNet v2's four experiments (section 2, Tables 1 to 4): ten blocks on planes of 56x56, batch 1, on an Arm core.

Channels are those of column x1; columns x2 and x4 multiply all of them.  The Arm column alone was transcribed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

PAPER = "ShuffleNet v2, Tables 1 to 4"
PROCESSOR = "Snapdragon 810, one thread"
FACTORS = (1, 2, 4)


@dataclass(frozen=True)
class Variant:
    """What is varied: `arguments` of the block's builder at each factor, and published inferences per second."""

    name: str
    arguments: tuple[dict, ...]
    images: tuple[float, ...]


@dataclass(frozen=True)
class Guideline:
    """An experiment.  The paper recommends the variant `good`; `bad` is the one that goes furthest from it."""

    name: str
    statement: str
    varied: str
    good: str
    bad: str
    variants: tuple[Variant, ...]
    note: str = ""

    @property
    def varieties(self) -> dict[str, Variant]:
        return {variant.name: variant for variant in self.variants}


def _scaled(fixed: dict | None = None, **channels: int) -> tuple[dict, ...]:
    return tuple({key: factor * count for key, count in channels.items()} | (fixed or {}) for factor in FACTORS)


def _fragments(number: int, parallel: bool) -> tuple[dict, ...]:
    """Widths for which `number` convolutions have the multiply-adds of one of 64, 128 or 256 channels."""
    widths = [64 * factor for factor in FACTORS]
    # The nearest number to width / sqrt(number).
    widths = [(isqrt(4 * width * width // number) + 1) // 2 for width in widths]
    return tuple({"channels": width, "fragments": number, "parallel": parallel} for width in widths)


G1 = Guideline(
    "G1", "equal numbers of inputs and outputs minimise memory access", "inputs : outputs of 1x1 convolutions",
    "1:1", "1:12", (
        Variant("1:1", _scaled(inputs=32, outputs=32), (76.2, 21.7, 5.3)),
        Variant("1:2", _scaled(inputs=22, outputs=44), (72.9, 20.5, 5.1)),
        Variant("1:6", _scaled(inputs=13, outputs=78), (69.1, 17.9, 4.6)),
        Variant("1:12", _scaled(inputs=9, outputs=108), (57.6, 15.1, 4.4)),
    ),
)  # fmt: skip
G2 = Guideline(
    "G2", "many groups increase memory access", "groups of 1x1 convolutions", "g=1", "g=8", (
        Variant("g=1", _scaled({"groups": 1}, channels=64), (40.0, 10.2, 2.3)),
        Variant("g=2", _scaled({"groups": 2}, channels=90), (35.0, 9.5, 2.2)),
        Variant("g=4", _scaled({"groups": 4}, channels=128), (32.9, 8.7, 2.1)),
        Variant("g=8", ({"channels": 184, "groups": 8}, *_scaled({"groups": 8}, channels=180)[1:]), (27.8, 7.5, 1.8)),
    ), "g=8 at x1 has 184 channels: the paper's 180 do not divide by 8",
)  # fmt: skip
G3 = Guideline(
    "G3", "fragments reduce parallelism", "1x1 convolutions of a block, one behind or beside the other", "1-fragment",
    "4-parallel", (
        Variant("1-fragment", _fragments(1, False), (40.2, 10.1, 2.3)),
        Variant("2-series", _fragments(2, False), (38.6, 10.1, 2.2)),
        Variant("4-series", _fragments(4, False), (38.4, 10.1, 2.3)),
        Variant("2-parallel", _fragments(2, True), (33.4, 9.1, 2.2)),
        Variant("4-parallel", _fragments(4, True), (35.0, 8.4, 2.1)),
    ), "uncertain: that parallel convolutions are added, each of all channels (the paper has a drawing)",
)  # fmt: skip
G4 = Guideline(
    "G4", "element-wise operators are not negligible", "what stands beside the convolutions of a bottleneck", "neither",
    "ReLU + shortcut", (
        Variant("ReLU + shortcut", _scaled({"relu": True, "shortcut": True}, channels=32), (56.7, 16.9, 5.0)),
        Variant("ReLU only", _scaled({"relu": True, "shortcut": False}, channels=32), (61.9, 18.8, 5.2)),
        Variant("shortcut only", _scaled({"relu": False, "shortcut": True}, channels=32), (57.3, 18.2, 5.1)),
        Variant("neither", _scaled({"relu": False, "shortcut": False}, channels=32), (66.3, 20.2, 5.4)),
    ), "fitted: channels are those outside the bottleneck, a quarter inside, 56x56 (the table names no size)",
)  # fmt: skip
GUIDELINES = {guideline.name: guideline for guideline in (G1, G2, G3, G4)}
