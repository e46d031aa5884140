"""What decides the weights of a run, as options and as a training checkpoint has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import UserError
from .recipes import Recipe

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Options:
    """What decides the weights, beside the pictures; a training checkpoint holds it and resumes with it."""

    model: str
    recipe: Recipe
    size: int
    seed: int
    precision: str  # a key of PRECISIONS
    start: str = ""  # the file of weights that it began with: of a detector's body, or of what is tuned for int8
    int8: bool = False  # whether the network is rounded as a library of int8 is


def read_training_checkpoint(path: Path) -> tuple[Options, dict]:
    """The options of a run and its checkpoint; `UserError` where the file is none."""
    from ..bridge import load_checkpoint

    load_checkpoint(path)  # refuses what is missing, damaged or holds code
    content = torch.load(path, map_location="cpu", weights_only=True) if path.suffix != ".safetensors" else {}
    training = content.get("training")
    if not isinstance(training, dict) or not training.keys() >= {"options", "step", "optimizer", "history"}:
        raise UserError(
            f"{path} is no training checkpoint: --resume wants the .pth that `train` wrote beside its --out"
        )
    try:
        stored = dict(training["options"])
        recipe = stored.pop("recipe")
        recipe["zoom"] = tuple(tuple(pair) for pair in recipe["zoom"])
        return Options(recipe=Recipe(**recipe), **stored), content
    except (KeyError, TypeError):
        raise UserError(f"{path} was written by another version of this project: it cannot be resumed") from None
