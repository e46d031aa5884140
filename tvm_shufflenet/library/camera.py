"""Pictures as cameras give them: what `tsn_image` of tvm_shufflenet.h is told of arrays, and what their colours mean.

image = Image.of(pixels, "RGBA", rotation=90)
as_rgb((luma, chroma), "NV21", "bt601")  # uint8 (H, W, 3), equal to the byte to what the library computes
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..errors import UserError

Pixels = np.ndarray | tuple[np.ndarray, np.ndarray]
FORMATS = ("RGB", "BGR", "RGBA", "BGRA", "NV12", "NV21", "GREY")
COLOURS = ("bt601", "bt601-full", "bt709", "bt709-full")
ROTATIONS = (0, 90, 180, 270)
LARGEST_SIDE = 65535


class Image(ctypes.Structure):
    """`tsn_image`; it keeps the arrays that it points into."""

    _fields_ = [
        ("pixels", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("format", ctypes.c_int32),
        ("width", ctypes.c_int32), ("height", ctypes.c_int32), ("stride", ctypes.c_size_t),
        ("rotation", ctypes.c_int32), ("colours", ctypes.c_int32), ("chroma", ctypes.c_void_p),
        ("chroma_bytes", ctypes.c_size_t), ("chroma_stride", ctypes.c_size_t),
    ]  # fmt: skip

    @classmethod
    def of(cls, pixels: Pixels, format: str = "RGB", rotation: int = 0, colours: str = "bt601") -> Image:
        """The picture that the arguments describe; `UserError` for arguments that describe none.

        `pixels` are uint8: RGB and BGR (H, W, 3), RGBA and BGRA (H, W, 4), GREY (H, W); NV12 and NV21 as a pair, luma
        (H, W) and chroma (rows for two, W rounded up to even), or as one array (H * 3 / 2, W) of even H and W.  Rows
        may be apart.
        """
        for name, value, known in (("format", format, FORMATS), ("rotation", rotation, ROTATIONS),
                                   ("colours", colours, COLOURS)):  # fmt: skip
            if value not in known:
                raise UserError(f"{name} {value!r:.60}: expected {', '.join(map(str, known))}")
        planes = [_rows_behind_rows(plane) for plane in planes_of(pixels, format)]
        height, width = planes[0].shape[:2]
        image = cls(format=FORMATS.index(format), width=width, height=height, rotation=rotation,
                    colours=COLOURS.index(colours))  # fmt: skip
        image.pixels, image.bytes, image.stride = _place(planes[0])
        if len(planes) > 1:
            image.chroma, image.chroma_bytes, image.chroma_stride = _place(planes[1])
        image.arrays = planes
        return image


def planes_of(pixels: Pixels, format: str) -> list[np.ndarray]:
    """The picture's arrays, checked: one, or luma and chroma."""
    if format in ("NV12", "NV21"):
        expected = "expected luma (H, W) and chroma ((H + 1) // 2, W rounded up to even), or one array (H * 3 / 2, W)"
        if isinstance(pixels, np.ndarray) and pixels.ndim == 2 and not pixels.shape[0] % 3 and not pixels.shape[1] % 2:
            height = pixels.shape[0] // 3 * 2
            planes = [pixels[:height], pixels[height:]]
        else:
            planes = list(pixels) if isinstance(pixels, tuple | list) else [pixels]
        good = len(planes) == 2 and all(isinstance(plane, np.ndarray) and plane.ndim == 2 for plane in planes)
        if good:
            height, width = planes[0].shape
            good = planes[1].shape == ((height + 1) // 2, (width + 1) // 2 * 2)
    else:
        channels = {"GREY": ()}.get(format, (len(format),))
        expected = f"expected an array of shape {('H', 'W', *channels)}".replace("'", "")
        planes = [pixels] if isinstance(pixels, np.ndarray) else []
        good = bool(planes) and planes[0].ndim == 2 + len(channels) and planes[0].shape[2:] == channels
    if not good or not all(plane.dtype == np.uint8 for plane in planes):
        found = [f"{p.dtype} {p.shape}" if isinstance(p, np.ndarray) else type(p).__name__ for p in planes]
        raise UserError(f"a picture in {format}: {expected}, uint8; got {' and '.join(found) or type(pixels).__name__}")
    height, width = planes[0].shape[:2]
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        raise UserError(f"a picture of {width}x{height} pixels: expected 1 to {LARGEST_SIDE} each way")
    return planes


def as_rgb(pixels: Pixels, format: str, colours: str = "bt601") -> np.ndarray:
    """uint8 (H, W, 3): the reference for what the library computes, in the same whole numbers.

    Of NV12 and NV21 each pixel takes the chroma that it lies in.  Products have 5 bits behind the point and are cut;
    the matrix of BT.601 or BT.709 has 13.
    """
    planes = planes_of(pixels, format)
    if format == "GREY":
        return np.repeat(planes[0][..., None], 3, axis=2)
    if len(planes) == 1:
        return np.ascontiguousarray(planes[0][..., :3] if format.startswith("RGB") else planes[0][..., 2::-1])
    height, width = planes[0].shape
    pairs = planes[1].reshape(planes[1].shape[0], -1, 2).astype(np.int32)
    u, v = np.moveaxis(pairs.repeat(2, axis=0).repeat(2, axis=1)[:height, :width], 2, 0)[
        :: 1 if format == "NV12" else -1
    ]
    full, (red, blue) = colours.endswith("full"), (0.299, 0.114) if colours.startswith("bt601") else (0.2126, 0.0722)
    green, luma, chroma = 1 - red - blue, 8192 * (1 if full else 255 / 219), 8192 * (1 if full else 255 / 224)
    light = planes[0].astype(np.int32) * 256 * int(luma + 0.5) >> 16
    light -= 0 if full else int(16 * 255 / 219 * 32 + 0.5)

    def part(colour: np.ndarray, factor: float) -> np.ndarray:
        whole = int(abs(factor) * chroma + 0.5)
        return (colour - 128) * 256 * (whole if factor > 0 else -whole) >> 16

    red_v, blue_u = 2 * (1 - red), 2 * (1 - blue)
    sums = (
        light + part(v, red_v) + 17,
        light + part(u, -blue_u * blue / green) + part(v, -red_v * red / green) + 17,
        light + part(u, blue_u) + 17,
    )
    return np.clip(np.stack(sums, axis=2) >> 5, 0, 255).astype(np.uint8)


def _rows_behind_rows(plane: np.ndarray) -> np.ndarray:
    """The array itself where the pixels of a row lie side by side and its rows one behind the other; else a copy."""
    dense = plane[0].flags.c_contiguous and plane.strides[0] >= plane[0].nbytes
    return plane if dense else np.ascontiguousarray(plane)


def _place(plane: np.ndarray) -> tuple[int, int, int]:
    """Address, bytes from there on, and bytes from row to row."""
    rows, stride = plane.shape[0], plane.strides[0] if plane.shape[0] > 1 else plane[0].nbytes
    return plane.ctypes.data, (rows - 1) * stride + plane[0].nbytes, stride
