"""A picture file becomes the array a library expects, as its manifest's "preprocessing" says."""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it also prints what becomes a `UserError`

# ImageNet's statistics, as PyTorch's models use them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
MARGIN = 256 / 224
USUAL = {"channels": "RGB", "resize_shorter_side_ratio": MARGIN, "scale": 1 / 255, "mean": MEAN, "std": STD}
# How a detector's picture comes to height and width of the crop: whatever its own shape, or scaled as far as it fits.
WHOLE, FIT = "stretch", "fit"
RESIZINGS = {WHOLE: "stretched to the input", FIT: "scaled as far as the input has room, black beside it"}
# A scaled picture may have this many times the pixels of its crop before only the crop is computed.
_ROOM = 16


def preprocessing(size: tuple[int, int], given: dict | None = None, whole: bool = False) -> dict:
    """A manifest's "preprocessing" for an input of that height and width.

    `given` is what the weights want otherwise than usual, as `checked` gives it; `whole` is for detectors, which see
    the whole picture.
    """
    how = USUAL | (given or {})
    if whole:
        if "resize_shorter_side_ratio" in (given or {}):
            raise UserError("preprocessing has a resize_shorter_side_ratio, but a detector sees whole pictures")
        return {"channels": how["channels"], "resize": how.get("resize", WHOLE), "crop": list(size)} | {
            key: how[key] for key in ("scale", "mean", "std")
        }
    if "resize" in how:
        raise UserError(f"preprocessing has resize {how['resize']}, but a classifier sees the middle of a picture")
    return {key: how[key] for key in ("channels", "resize_shorter_side_ratio")} | {
        "crop": list(size), **{key: how[key] for key in ("scale", "mean", "std")}
    }  # fmt: skip


def checked(how: object, source: str) -> dict:
    """`how` if it is a "preprocessing" or a part of one; else a `UserError`, which says `source`.

    `channels` "RGB" or "BGR", the order in which the network takes colours; `mean` and `std` are numbers, one for each
    channel in that order; a pixel's value p from 0 to 255 becomes (p * scale - mean) / std.
    """
    if not isinstance(how, dict):
        raise UserError(f"{source}: preprocessing is {how!r:.60}, expected an object with {', '.join(USUAL)}")
    for key, value in how.items():
        if key == "channels":
            fits, expected = value in ("RGB", "BGR"), "RGB or BGR"
        elif key in ("mean", "std"):
            fits = isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))
            fits, expected = fits and (key == "mean" or all(1e-6 <= v for v in value)), "three numbers"
            expected += " above 0" if key == "std" else ""
        elif key == "scale":
            fits, expected = _is_number(value) and 1e-6 <= value <= 1e6, "a number such as 0.00392157 (1/255)"
        elif key == "resize_shorter_side_ratio":
            fits, expected = _is_number(value) and 1 <= value <= 16, "a number from 1 to 16"
        elif key == "resize":
            fits, expected = value in (WHOLE, FIT), f"{WHOLE} or {FIT}"
        elif key == "crop":
            fits = isinstance(value, list | tuple) and len(value) == 2
            fits = fits and all(type(v) is int and 0 < v < 1 << 16 for v in value)
            expected = "height and width in pixels"
        else:
            raise UserError(f"{source}: preprocessing has the unknown key {key!r:.60}, expected {', '.join(USUAL)}")
        if not fits:
            raise UserError(f"{source}: preprocessing has {key} {value!r:.60}, expected {expected}")
    return how


def from_json(text: str, source: str) -> dict:
    """The metadata `preprocessing` of a checkpoint, checked; `UserError` for a text that is no preprocessing."""
    try:
        how = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{source}: its metadata preprocessing is no JSON") from None
    how = checked(how, source)
    if "crop" in how:
        raise UserError(f"{source}: preprocessing has a crop, but the input's size says that: leave it out")
    return how


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e6


def load_picture(path: str | Path, manifest: dict) -> np.ndarray:
    """Float32 (1, 3, H, W), or (1, H, W, 3): scaled to cover the crop with its margin, centre-cropped, normalised.

    The margin is ImageNet's usual one, unless the weights want another: 256 pixels on the shorter side for a crop of
    224.  Raises `UserError` for a file that is missing or no picture.
    """
    how = complete(manifest["preprocessing"], "the library's manifest")
    return prepare(open_picture(path, path), how, manifest["inputs"][0]["layout"])


def prepare(picture: Image, how: dict, layout: str = "NCHW") -> np.ndarray:
    """The input of a network for an RGB picture, by the manifest's "preprocessing" and the layout of the input."""
    height, width = how["crop"]
    if "resize" in how:
        pixels = (fitted if how["resize"] == FIT else stretched)(picture, (height, width))
    else:
        pixels = centre_crop(picture, (height, width), how["resize_shorter_side_ratio"])
    data = normalise(pixels, how)
    return np.ascontiguousarray(data.transpose(0, 2, 3, 1)) if layout == "NHWC" else data


def complete(how: object, source: str) -> dict:
    """A manifest's "preprocessing", of which nothing may be missing."""
    found = checked(how, source)
    wanted = [key for key in (*USUAL, "crop") if key != "resize_shorter_side_ratio" or "resize" not in found]
    missing = [key for key in wanted if key not in found]
    if missing:
        raise UserError(f"{source}: preprocessing has no {missing[0]}")
    return found


def check_classifier(path: str | Path, manifest: dict) -> int:
    """The number of classes of the library at `path`.

    `UserError` unless it takes a picture and gives one number for each class: (1, N) or (1, N, 1, 1).
    """
    entry, results = manifest["inputs"][0], manifest["outputs"]
    channels = entry["shape"][entry["layout"].index("C")]
    if channels != 3:
        raise UserError(f"{path} takes {channels} channels, expected the 3 of a picture")
    if len(results) != 1 or list(results[0]["shape"][2:]) not in ([], [1, 1]):
        if "detector" in manifest:
            raise UserError(f"{path} finds boxes: see `python -m tvm_shufflenet.detect`")
        shapes = ", ".join("x".join(map(str, result["shape"])) for result in results)
        raise UserError(f"{path} gives {shapes}, expected one number for each class (1xN or 1xNx1x1)")
    return results[0]["shape"][1]


def check_detector(path: str | Path, manifest: dict) -> int:
    """The number of classes of the library at `path`.

    `UserError` unless it takes a picture and gives boxes, scores, labels and count as `NetworkBuilder.detector`.
    """
    entry, results = manifest["inputs"][0], manifest["outputs"]
    channels = entry["shape"][entry["layout"].index("C")]
    if "detector" not in manifest or [result["name"] for result in results] != ["boxes", "scores", "labels", "count"]:
        raise UserError(f"{path} is no detector: it gives {', '.join(result['name'] for result in results)}")
    if channels != 3:
        raise UserError(f"{path} takes {channels} channels, expected the 3 of a picture")
    classes, names = manifest["detector"]["classes"], manifest["class_names"]
    if names is not None and len(names) != classes:
        raise UserError(f"{path} names {len(names)} classes, and has {classes}")
    return classes


def open_picture(file: str | Path | IO[bytes], name: str | Path) -> Image:
    """The RGB picture (`PIL.Image`) in a path or an open file; `UserError`, which says `name`, if there is none.

    It stands upright, as its EXIF data say; what is transparent is white, as most programs show it; 16 bits become 8.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(file, str | os.PathLike) and not stat.S_ISREG(os.stat(file).st_mode):
            raise UserError(f"{name}: not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd tags
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                if getattr(opened, "is_animated", False) and opened.format != "MPO":  # a telephone's has a preview too
                    raise UserError(f"{name}: has {getattr(opened, 'n_frames', 'several')} pictures, expected one")
                return _as_rgb(_upright(opened), opened.format, name)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{name}: not a picture that Pillow can read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = Image.MAX_IMAGE_PIXELS or 0  # None raises neither
        raise UserError(f"{name}: has more than {most / 1e6:.0f} million pixels") from None
    except Exception as error:  # Pillow's readers raise what comes up in them: struct.error, KeyError, MemoryError...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: cannot be read: {reason}") from None


def _upright(picture):
    """The picture turned as the camera was held; one whose EXIF data are damaged stays as it is."""
    from PIL.Image import Transpose

    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
             7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
    try:
        turn = turns.get(picture.getexif().get(0x0112))
    except Exception:  # whatever comes up in Pillow's reader
        turn = None
    return picture.transpose(Transpose[turn]) if turn else picture


def _as_rgb(picture, kind: str | None, name: str | Path):
    """The picture, of a file of that kind, in 8 bits RGB."""
    from PIL import Image

    if picture.mode == "F" or picture.mode.startswith("I"):  # Pillow would clip at 255
        values = np.asarray(picture)
        largest = values.max()
        if not values.min() >= 0 or not largest <= 65535:  # also if it is NaN
            raise UserError(f"{name}: its values are no brightness from 0 to 65535")
        if picture.mode.startswith("I;16") or kind == "PNG" or largest > 255:
            values = values / 257
        elif picture.mode == "F" and largest <= 1:
            values = values * 255
        picture = Image.fromarray(np.rint(values).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def centre_crop(picture: Image, crop: tuple[int, int], margin: float = MARGIN) -> np.ndarray:
    """uint8 (H, W, 3): the picture scaled to cover the crop `margin` times, and the middle of it.

    Takes no more memory than some crops, however long and thin the picture is.
    """
    from PIL import Image

    height, width = crop
    scale = max(height * margin / picture.height, width * margin / picture.width)
    size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    if math.prod(size) > _ROOM * margin * margin * height * width:
        across, down = picture.width / size[0], picture.height / size[1]
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box))
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def stretched(picture: Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3): the whole picture in `size`, (height, width), whatever its own shape."""
    from PIL import Image

    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def fitted(picture: Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3): the whole picture in `size`, (height, width), in its own shape, and black beside it."""
    left, top, width, height = room(picture.size, size)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[top : top + height, left : left + width] = stretched(picture, (height, width))
    return pixels


def room(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height that a picture of `size`, (width, height), has in a crop of (height, width)."""
    scale = min(crop[1] / size[0], crop[0] / size[1])
    width, height = (max(1, round(scale * extent)) for extent in size)
    return (crop[1] - width) // 2, (crop[0] - height) // 2, width, height


def normalise(pixels: np.ndarray, how: dict) -> np.ndarray:
    """uint8 (H, W, 3), RGB -> float32 (1, 3, H, W), by the manifest's "preprocessing"."""
    if how["channels"] == "BGR":
        pixels = pixels[..., ::-1]
    normalised = (pixels.astype(np.float32) * np.float32(how["scale"]) - np.float32(how["mean"])) / np.float32(
        how["std"]
    )
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the classes of one picture: (N,) -> (N,), float64."""
    shifted = np.exp(logits.astype("float64") - logits.max())
    return shifted / shifted.sum()
