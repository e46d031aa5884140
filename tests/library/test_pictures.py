"""Pictures of every mode become the plain 8-bit RGB picture, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library.preprocess import centre_crop, checked, from_json, normalise, open_picture, preprocessing

from ..conftest import ROOT

CASES = ROOT / "tests" / "cases"


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


def opened(path) -> np.ndarray:
    return np.asarray(open_picture(path, path))


def test_16_bits_are_the_same_picture():
    assert np.abs(opened(CASES / "gray16.png").astype(int) - opened(CASES / "gray8.png")).max() <= 1


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "F255", "LA", "RGBA", "P", "1", "exif"])
def test_modes(tmp_path, mode):
    plain, path = grey(), tmp_path / "x.tiff"
    if mode == "1":
        plain = (plain > 127) * np.uint8(255)
    picture = Image.fromarray(plain)
    if mode == "I;16":
        Image.fromarray(plain.astype(np.uint16) * 257).save(path := tmp_path / "x.png")
    elif mode == "I":
        Image.fromarray(plain.astype(np.int32) * 257).save(path)
    elif mode.startswith("F"):
        Image.fromarray(plain.astype(np.float32) / (255 if mode == "F" else 1)).save(path)
    elif mode == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(path := tmp_path / "x.png", exif=exif)
    else:
        (picture.convert("RGB").convert(mode) if mode == "P" else picture.convert(mode)).save(
            path := tmp_path / "x.png"
        )
    difference = np.abs(opened(path).astype(int) - plain[..., None]).max()
    assert difference <= (60 if mode == "P" else 0)  # a palette of the web has six values


def test_what_is_transparent_is_white(tmp_path):
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert (opened(tmp_path / "x.png") == 255).all()


def test_a_long_thin_picture_takes_little_memory(tmp_path):
    Image.new("RGB", (65500, 1), (9, 8, 7)).save(tmp_path / "x.png")
    assert (centre_crop(open_picture(tmp_path / "x.png", "x"), (224, 224)) == (9, 8, 7)).all()
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 600, 3), np.uint8))
    whole = centre_crop(wide, (32, 32))  # 30 crops: the bounded way
    size = round(600 * 32 * 256 / 224 / 20), 37
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    old = np.asarray(wide.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 32, top + 32)))
    assert np.abs(whole.astype(int) - old).max() <= 2


def test_refusals(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    (tmp_path / "cut.png").write_bytes((CASES / "gray8.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("x")
    for name, message in (("a.gif", "has 2 pictures"), ("nan.tiff", "no brightness"), ("cut.png", "cannot be read"),
                          ("text.png", "not a picture"), ("none.png", "no such file"),
                          (".", "not a file")):  # fmt: skip
        with pytest.raises(UserError, match=message) as error:
            opened(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text,message", [
    ("{", "no JSON"), ("[]", "expected an object"), ('{"mean": [1, 2]}', "has mean"), ('{"std": [1, 1, 0]}', "above 0"),
    ('{"scale": true}', "has scale"), ('{"channels": "rgb"}', "RGB or BGR"), ('{"x": 1}', "unknown key"),
    ('{"crop": [1, 1]}', "leave it out"), ('{"mean": [NaN, 0, 0]}', "has mean"),
])  # fmt: skip
def test_bad_preprocessing_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        from_json(text, "x.pth")


def test_channels_and_scale_are_used():
    how = preprocessing((1, 1), checked({"channels": "BGR", "scale": 1, "mean": [1, 0, 0], "std": [1, 1, 2]}, "x"))
    assert normalise(np.uint8([[[10, 20, 30]]]), how).ravel().tolist() == [29, 20, 5]
