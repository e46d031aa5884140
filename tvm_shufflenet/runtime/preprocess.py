"""A picture file becomes the array a library expects, as its manifest's "preprocessing" says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError


def load_picture(path: str | Path, manifest: dict) -> np.ndarray:
    """Float32 (1, 3, H, W): scaled to cover the crop with its margin, centre-cropped, normalised.

    The margin is ImageNet's usual one: 256 pixels on the shorter side for a crop of 224.  Raises
    `UserError` for a file that is missing or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    how = manifest["preprocessing"]
    height, width = how["crop"]
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a picture that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    margin = how["resize_shorter_side_ratio"]
    scale = max(height * margin / picture.height, width * margin / picture.width)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    pixels = np.asarray(picture.crop((left, top, left + width, top + height)), np.float32)
    normalised = (pixels * np.float32(how["scale"]) - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes of one picture: (1, N) -> (N,), float64."""
    shifted = np.exp(logits[0].astype("float64") - logits.max())
    return shifted / shifted.sum()
