"""The trained weights that the project holds; weights/README.md says how they came about.

No command and no function takes trained weights unasked.  A network that is called by its name has
`architectures.CLASSES` classes and random weights everywhere, so that figures of different commands are of the same
network.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..files import held

FOLDER = held("weights")


def shipped(model: str) -> Path | None:
    """The checkpoint in weights/ for the network of that name, if there is one."""
    path = FOLDER / f"{model}.safetensors"
    return path if path.is_file() else None


def trained(model: str) -> Path:
    """The checkpoint in weights/ for that network; `UserError`, which names those that there are, without one."""
    if path := shipped(model):
        return path
    held_here = ", ".join(sorted(path.stem for path in FOLDER.glob("*.safetensors"))) or "none"
    raise UserError(f"no trained weights of {model} are held here, only of: {held_here}; name a file of weights")
