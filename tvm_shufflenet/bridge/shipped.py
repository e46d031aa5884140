"""The trained weights that the project holds; weights/README.md says how they came about."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "weights"


def shipped(model: str) -> Path | None:
    """The checkpoint in weights/ for the network of that name, if there is one."""
    path = FOLDER / f"{model}.safetensors"
    return path if path.is_file() else None
