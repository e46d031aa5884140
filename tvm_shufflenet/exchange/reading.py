"""What a foreign state dict may leave open, as options say it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ..architectures import Network
from ..errors import UserError
from ..library.preprocess import RESIZINGS, USUAL, WHOLE

# The fields of `Reading` by their options, in the words of an error: what can be said.
SAYABLE = {
    "shuffle": "gn|ng|gn-all|ng-all|none", "stem": "4|2|1", "strides": "2 or one for each stage as 1,2,2",
    "pool": "3 or one for each stage as 1,2,2", "concat": "pooled-first|pooled-last",
    "activation": "relu|relu6|leaky[:slope]", "padding": "same|symmetric", "eps": "1e-5", "style": "NAME",
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a file may leave open.  None: as the file or its style says.

    `size`: height and width in pixels.  `shuffle`: "gn" or "ng", the shape into which the channels are brought
    before the transposition, "-all" also in units whose first convolution has no groups; "none" for no shuffle.
    `style`: whose structure tensors of unknown names
    have, or those of a known style instead of its own.  `stem`: by how much the stem makes the picture smaller, 4,
    2 or 1.  `eps`: of the batch norms.  `strides`: of each stage's first unit; `pool`: the window of the average
    pooling beside it, 1 for none; one number stands for all stages.  `concat`: whether the pooled input comes
    before the branch.  `activation`: "relu", "relu6", "leaky" or "leaky:SLOPE".  `padding`: "same" as TensorFlow
    pads, behind more than before where the size is even.  `prototxt`: the file with the structure of a .caffemodel.
    """

    size: tuple[int, int] | None = None
    shuffle: str | None = None
    style: str | None = None
    stem: int | None = None
    eps: float | None = None
    strides: tuple[int, ...] | None = None
    pool: tuple[int, ...] | None = None
    concat: str | None = None
    activation: str | None = None
    padding: str | None = None
    prototxt: Path | None = None

    @property
    def given(self) -> list[str]:
        """The options that are given, but for the size: our own files and ONNX leave nothing else open."""
        return [f"--{f.name}" for f in fields(self) if f.name != "size" and getattr(self, f.name) is not None]


@dataclass
class Read:
    """A network from a foreign file, under names of ours but not yet as the compiler wants it.

    `style` in words; `mapping` as in `Imported`; `same`: whether its padding depends on the size, as TensorFlow's.
    """

    network: Network
    parameters: dict[str, np.ndarray]
    style: str
    notes: list[str]
    mapping: list[tuple[str, str]] = field(default_factory=list)
    preprocessing: dict | None = None
    same: bool = False


def pictures_note(whose: str, given: dict, remark: str = "", whole: bool = False) -> str:
    """How pictures are prepared as `whose` want it; `given` is what of it is not usual, `whole` of a detector's."""
    how = USUAL | given
    mean, std = (", ".join(f"{number:g}" for number in how[key]) for key in ("mean", "std"))
    shorter = f"shorter side {how['resize_shorter_side_ratio'] * 224:.0f} for a crop of 224"
    size = RESIZINGS[how.get("resize", WHOLE)] if whole else shorter
    return (
        f"pictures as for {whose}: {how['channels']}, {size}, pixels times {how['scale']:.4g}, mean {mean}, "
        f"std {std}{'; ' if remark else ''}{remark}; else say --channels, --resize, --scale, --mean, --std of convert"
    )


def parse_numbers(option: str, text: str | None, allowed: tuple[int, ...]) -> tuple[int, ...] | None:
    """Numbers such as "1,2,2"; `UserError` for others than `allowed`."""
    if text is None:
        return None
    numbers = tuple(int(part) if re.fullmatch("[0-9]", part) else -1 for part in text.split(","))
    if not set(numbers) <= set(allowed) or len(numbers) > 16:
        choices = ", ".join(map(str, allowed))
        raise UserError(f"{option} {text:.60}: expected numbers of {choices}, one or one for each stage such as 1,2,2")
    return numbers


def parse_activation(text: str) -> tuple[str, str, dict[str, float]]:
    """The operator, its name in words and its attributes; `UserError` for what is none."""
    if text in ("relu", "relu6"):
        return ("relu", "ReLU", {}) if text == "relu" else ("clip", "ReLU6", {"low": 0.0, "high": 6.0})
    found = re.fullmatch(r"leaky(?::([0-9]{0,9}\.?[0-9]{1,9}(?:e-?[0-9]{1,2})?))?", text)
    slope = float(found[1] or 0.01) if found else 1
    if not 0 < slope < 1:
        raise UserError(f"--activation {text:.60}: expected relu, relu6, leaky, or leaky:SLOPE with a slope below 1")
    return "leaky_relu", f"leaky ReLU of slope {slope:g}", {"slope": slope}
