"""A picture file becomes the array a library expects, as its manifest's "preprocessing" says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import UserError

# ImageNet's statistics, as PyTorch's models use them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
MARGIN = 256 / 224


def preprocessing(size: tuple[int, int]) -> dict:
    """What a manifest says about pictures for an input of that height and width."""
    return {
        "channels": "RGB",
        "resize_shorter_side_ratio": MARGIN,
        "crop": list(size),
        "scale": 1 / 255,
        "mean": MEAN,
        "std": STD,
    }


def load_picture(path: str | Path, manifest: dict) -> np.ndarray:
    """Float32 (1, 3, H, W): scaled to cover the crop with its margin, centre-cropped, normalised.

    The margin is ImageNet's usual one: 256 pixels on the shorter side for a crop of 224.  Raises
    `UserError` for a file that is missing or no picture.
    """
    how = manifest["preprocessing"]
    pixels = centre_crop(open_picture(path, path), how["crop"], how["resize_shorter_side_ratio"])
    return normalise(pixels, how)


def open_picture(file, name: str | Path):
    """The RGB picture (`PIL.Image`) in a path or an open file; `UserError`, which says `name`, if there is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: not a picture that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: cannot be read: {error}") from None


def centre_crop(picture, crop: tuple[int, int], margin: float = MARGIN) -> np.ndarray:
    """uint8 (H, W, 3): the picture scaled to cover the crop `margin` times, and the middle of it."""
    from PIL import Image

    height, width = crop
    scale = max(height * margin / picture.height, width * margin / picture.width)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def normalise(pixels: np.ndarray, how: dict) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W), by the manifest's "preprocessing"."""
    normalised = (pixels.astype(np.float32) * np.float32(how["scale"]) - np.float32(how["mean"])) / np.float32(
        how["std"]
    )
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes of one picture: (1, N) -> (N,), float64."""
    shifted = np.exp(logits[0].astype("float64") - logits.max())
    return shifted / shifted.sum()
