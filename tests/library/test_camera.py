"""Pictures of a camera: what the library makes of them is what Pillow makes; classes come out.

The network here copies the first numbers of its input to its output: pictures are what is looked at.
"""

from __future__ import annotations

import ctypes
import io
import json
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image as Pillow

import tvm_shufflenet
from benchmarks import camera as camera_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import camera
from tvm_shufflenet.library.camera import COLOURS, FORMATS, ROTATIONS, as_rgb
from tvm_shufflenet.library.extras import EXTRAS, vector_options
from tvm_shufflenet.library.interface import Port
from tvm_shufflenet.library.link import ZIG_TARGETS, link
from tvm_shufflenet.library.preprocess import centre_crop, load_picture, prepare, preprocessing, probabilities
from tvm_shufflenet.targets import resolve

from .. import emulator
from ..conftest import IMAGENETTE, ROOT

NATIVE = resolve("native")
ZIG = [sys.executable, "-m", "ziglang", "cc"]
UPRIGHT = {90: "ROTATE_270", 180: "ROTATE_180", 270: "ROTATE_90"}  # Pillow turns the other way
NAMES = ["Katze", "猫", "", "a b"]
CLASSES = 4
# What a manifest that describes pictures has to say of the rest.
REST = {
    "model": "toy", "note": "", "target": "native", "triple": "", "cpu": "", "features": [], "multiply_adds": 0,
    "weights": {"source": "none", "sha256": "0" * 64}, "versions": {},
    "kernels": {"total": 0, "tuned": 0, "tuned_by": {}, "default_schedule": [], "nothing_to_tune": [],
                "records_ignored": {}},
}  # fmt: skip
# As TVM's object would: the first CLASSES numbers of the input.
NETWORK = """
typedef struct { float *data; } Tensor;
typedef struct { int type; int zero; union { long long whole; Tensor *tensor; }; } Any;
int __tvm_ffi_main(void *self, const Any *arguments, int count, Any *result) {
  for (int i = 0; i < CLASSES; ++i) arguments[1].tensor->data[i] = arguments[0].tensor->data[i];
  return !self && count == 3 && result ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """toy(size, layout, channels, ...) -> the path of a library."""
    folder = tmp_path_factory.mktemp("camera")
    (folder / "network.c").write_text(NETWORK)

    def make(size=(32, 48), layout="NCHW", spec=NATIVE, given=None, names=NAMES, planes=3, **more):
        made = folder / f"{spec.arch}.o"
        argv = [*ZIG, "-target", ZIG_TARGETS[spec.arch], "-O1", "-fPIC", "-fno-sanitize=all", f"-DCLASSES={CLASSES}"]
        if not made.exists():
            subprocess.run([*argv, "-c", folder / "network.c", "-o", made], check=True)
        shape = (1, planes, *size) if layout == "NCHW" else (1, *size, planes)
        manifest = {
            "preprocessing": preprocessing(size, given), "class_names": names, "probabilities": False, **REST, **more
        }  # fmt: skip
        path = folder / f"{len(list(folder.iterdir()))}.so"
        link(made, [], manifest, inputs=[Port("x", shape, "float32", layout)], workspace_bytes=64, spec=spec,
             outputs=[Port("y", (1, CLASSES), "float32", "NC")], output=path)  # fmt: skip
        return path

    return make


@pytest.fixture(scope="module")
def small(toy):
    return tvm_shufflenet.load(toy())


def random_picture(height: int, width: int, format: str, seed: int = 0):
    """Noise, which has more clipped colours than any photograph, in part smooth."""
    rng = np.random.default_rng(seed)

    def plane(*shape):
        return rng.integers(0, 256, shape, np.uint8)

    if format in ("NV12", "NV21"):
        return plane(height, width), plane((height + 1) // 2, (width + 1) // 2 * 2)
    return plane(height, width, *({"GREY": ()}.get(format, (len(format),))))


def levels(data: np.ndarray, how: dict) -> np.ndarray:
    """A prepared picture's pixels, 0 to 255."""
    mean, std = (np.float64(how[key])[None, :, None, None] for key in ("mean", "std"))
    return (data * std + mean) / how["scale"]


def upright(pixels, format: str, rotation: int, colours: str) -> Pillow.Image:
    picture = Pillow.fromarray(as_rgb(pixels, format, colours))
    return picture.transpose(Pillow.Transpose[UPRIGHT[rotation]]) if rotation else picture


def check(library, pixels, format, rotation=0, colours="bt601") -> float:
    """The largest difference of a pixel from Pillow's, of 0 to 255."""
    how = library.manifest["preprocessing"]
    expected = prepare(upright(pixels, format, rotation, colours), how, library.inputs[0].layout)
    found = library.prepare_image(pixels, format, rotation=rotation, colours=colours)
    assert found.shape == expected.shape and np.isfinite(found).all()
    if library.inputs[0].layout == "NHWC":
        expected, found = (array.transpose(0, 3, 1, 2) for array in (expected, found))
    difference = np.abs(levels(found, how) - levels(expected, how)).max()
    assert difference < 1.001, (format, rotation, colours, difference)
    return difference


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_and_rotation(small, format, rotation):
    for height, width in ((90, 160), (37, 55), (20, 200), (341, 98)):
        check(small, random_picture(height, width, format, height), format, rotation)


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("format", ["NV12", "NV21"])
def test_colours(small, format, colours):
    for size in ((75, 131), (12, 13)):
        check(small, random_picture(*size, format), format, 90, colours)


SIZES = [(1, 1), (1, 3000), (3000, 1), (2, 7), (36, 54), (37, 55), (36, 1000), (33, 50), (1600, 1700), (2500, 64)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(small, size):
    """Enlarged, reduced, by more than the fast way takes, and of which only the crop is computed."""
    for format in ("NV21", "RGB"):
        check(small, random_picture(*size, format), format, 270)


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (35, 54), (36, 20), (1600, 1600)], ids=str)
def test_what_pillow_does_to_the_bit(small, size):
    """Pictures that are enlarged, and those that are reduced by more than the fast way takes."""
    for rotation in ROTATIONS:
        assert check(small, random_picture(*size, "RGB"), "RGB", rotation) < 1e-4


def test_noise_of_black_and_white(small):
    """The worst for rounding: every pixel an extreme, at the scales of many windows."""
    rng = np.random.default_rng(1)
    for height in (40, 83, 301, 960):
        check(small, 255 * rng.integers(0, 2, (height, height * 3 // 2, 3)).astype(np.uint8), "RGB")


@pytest.mark.parametrize("layout, given", [
    ("NHWC", None), ("NCHW", {"channels": "BGR", "scale": 1.0, "mean": [104.0, 117.0, 123.0], "std": [1.0, 2.0, 57.0]}),
    ("NHWC", {"channels": "BGR", "resize_shorter_side_ratio": 1.0}), ("NCHW", {"resize_shorter_side_ratio": 2.5}),
])  # fmt: skip
def test_other_preparations(toy, layout, given):
    library = tvm_shufflenet.load(toy((24, 17), layout, given=given))
    for format, rotation, size in (("RGB", 0, (70, 100)), ("NV21", 90, (70, 101)), ("BGRA", 180, (9, 11)),
                                   ("GREY", 270, (41, 30))):  # fmt: skip
        check(library, random_picture(*size, format), format, rotation)


def test_rows_may_be_apart(small):
    wide = random_picture(90, 200, "RGBA")
    for view in (wide[:, 20:180], wide[::2], wide[:, ::-1], wide[::-1], wide.transpose(1, 0, 2)):
        expected = small.prepare_image(np.ascontiguousarray(view), "RGBA")
        np.testing.assert_array_equal(small.prepare_image(view, "RGBA"), expected)
    both = random_picture(96, 80, "GREY")  # luma and chroma as one array
    expected = small.prepare_image((both[:64], both[64:]), "NV12")
    np.testing.assert_array_equal(small.prepare_image(both, "NV12"), expected)


def test_run_image(small):
    picture = random_picture(90, 160, "NV21")
    expected = small(small.prepare_image(picture, "NV21"))
    np.testing.assert_array_equal(small.run_image(picture, "NV21"), expected)
    assert expected.shape == (1, CLASSES)


def test_colours_of_the_reference():
    """Against the standards' own numbers: every colour is within 0.6 of what they say."""
    y = np.arange(256)[:, None]
    u, v = (a.ravel() for a in np.meshgrid(np.arange(0, 256, 5), np.arange(0, 256, 5)))
    luma = np.broadcast_to(y.repeat(2, 0), (512, 2 * u.size)).astype(np.uint8)  # 2 x 2 pixels for each colour
    chroma = np.broadcast_to(np.stack([u, v], 1).ravel(), (256, 2 * u.size)).astype(np.uint8)
    for colours in COLOURS:
        found = as_rgb((luma, chroma), "NV12", colours)[::2, ::2]
        red, blue = (0.299, 0.114) if "601" in colours else (0.2126, 0.0722)
        green = 1 - red - blue
        light = y.astype(float) if "full" in colours else (y - 16) * 255 / 219
        cb, cr = ((c - 128) * (1 if "full" in colours else 255 / 224) for c in (u, v))
        expected = np.stack([light + 2 * (1 - red) * cr,
                             light - 2 * (1 - blue) * blue / green * cb - 2 * (1 - red) * red / green * cr,
                             light + 2 * (1 - blue) * cb], 2)  # fmt: skip
        assert np.abs(found - expected.clip(0, 255)).max() < 0.6, colours


def test_grey_stays_grey():
    luma, chroma = np.arange(256, dtype=np.uint8)[None], np.full((1, 256), 128, np.uint8)
    for colours in COLOURS:
        found = as_rgb((luma, chroma), "NV21", colours)[0].astype(int)
        wide = np.arange(256.0) if "full" in colours else (np.arange(256) - 16) * 255 / 219
        assert (found == found[:, :1]).all() and np.abs(found[:, 0] - wide.clip(0, 255)).max() < 0.55


@pytest.mark.parametrize("pixels, format, more, message", [
    (np.zeros((4, 4, 4), np.uint8), "RGB", {}, r"RGB: expected an array of shape \(H, W, 3\), uint8; got uint8 \(4"),
    (np.zeros((4, 4, 3), np.float32), "RGB", {}, r"got float32 \(4, 4, 3\)"),
    (np.zeros((0, 4, 3), np.uint8), "RGB", {}, "4x0 pixels: expected 1 to 65535"),
    (np.zeros((65536, 1), np.uint8), "GREY", {}, "1x65536 pixels"),
    (np.zeros((4, 4), np.uint8), "NV12", {}, r"NV12: expected luma \(H, W\) and chroma"),
    ((np.zeros((4, 4), np.uint8), np.zeros((2, 5), np.uint8)), "NV21", {}, r"got uint8 \(4, 4\) and uint8 \(2, 5\)"),
    ("picture.jpg", "RGB", {}, "got str"),
    (np.zeros((4, 4, 3), np.uint8), "rgb", {}, "format 'rgb': expected RGB, BGR"),
    (np.zeros((4, 4, 3), np.uint8), "RGB", {"rotation": 45}, "rotation 45: expected 0, 90, 180, 270"),
    (np.zeros((4, 4, 3), np.uint8), "RGB", {"colours": "bt2020"}, "colours 'bt2020': expected bt601"),
])  # fmt: skip
def test_what_is_no_picture(small, pixels, format, more, message):
    for function in (small.run_image, small.prepare_image):
        with pytest.raises(UserError, match=message):
            function(pixels, format, **more)


def test_networks_without_pictures(toy):
    library = tvm_shufflenet.load(toy(planes=1))
    with pytest.raises(UserError, match=r"takes \(1, 1, 32, 48\) and no pictures of three colours"):
        library.run_image(random_picture(4, 4, "RGB"))


# ------------------------------------------------------------------------------------------- from C


def functions(path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.tsn_image_workspace_bytes.restype = ctypes.c_size_t
    library.tsn_label.restype = ctypes.c_char_p
    return library


def test_errors(small):
    handle, picture = functions(small.path), random_picture(50, 60, "RGB")
    image, memory = camera.Image.of(picture), np.zeros(1 << 20, np.uint8)
    workspace = memory.ctypes.data + -memory.ctypes.data % 64
    data, output = np.zeros(small.inputs[0].shape, np.float32), np.zeros(CLASSES, np.float32)
    size, prepare_image, run_image = (getattr(handle, f"tsn_{name}") for name in
                                      ("image_workspace_bytes", "prepare_image", "run_image"))  # fmt: skip

    def call(function, image, array, place):
        return function(image and ctypes.byref(image), ctypes.c_void_p(array), ctypes.c_void_p(place))

    assert size(ctypes.byref(image)) % 64 == 0 and size(None) == 0
    for function, array in ((prepare_image, data.ctypes.data), (run_image, output.ctypes.data)):
        assert call(function, image, array, workspace) == 0
        assert call(function, None, array, workspace) == call(function, image, None, workspace) == -1
        assert call(function, image, array, None) == -1
        assert call(function, image, array + 2, workspace) == call(function, image, array, workspace + 16) == -2
        for field, value in (("format", 7), ("width", 0), ("height", 1 << 16), ("bytes", 50 * 60 * 3 - 1),
                             ("stride", 179), ("rotation", 91), ("colours", -1)):  # fmt: skip
            wrong = camera.Image.of(picture)
            setattr(wrong, field, value)
            assert call(function, wrong, array, workspace) == -5 and size(ctypes.byref(wrong)) == 0, field
        blind = camera.Image.of(picture)
        blind.pixels = None
        assert call(function, blind, array, workspace) == -1 and size(ctypes.byref(blind)) > 0


def test_the_workspace_of_networks_is_as_before(small):
    assert small.workspace_bytes == 64


@pytest.mark.parametrize("count", [0, 1, 3, 4, 99])
def test_top_k(small, count):
    handle, rng = functions(small.path), np.random.default_rng(0)
    for _ in range(50):
        output = rng.integers(0, 3, CLASSES).astype(np.float32)
        output[rng.random(CLASSES) < 0.2] = np.nan
        found = np.full(CLASSES, -1, np.int32)
        expected = np.argsort(np.where(np.isnan(output), np.inf, -output), kind="stable")[:count]
        pointers = ctypes.c_void_p(output.ctypes.data), count, ctypes.c_void_p(found.ctypes.data)
        assert handle.tsn_top_k(*pointers) == len(expected)
        assert found.tolist() == [*expected, *[-1] * (CLASSES - len(expected))]
    assert handle.tsn_top_k(None, 1, pointers[2]) == handle.tsn_top_k(pointers[0], 1, None) == -1


def softmax(handle, output: np.ndarray) -> np.ndarray:
    shares = np.zeros_like(output)
    assert handle.tsn_softmax(ctypes.c_void_p(output.ctypes.data), ctypes.c_void_p(shares.ctypes.data)) == 0
    return shares


def test_softmax(toy, small):
    handle, rng = functions(small.path), np.random.default_rng(0)
    for scale in (0, 1e-3, 1, 30, 1000, 1e38):
        output = (scale * rng.standard_normal(CLASSES)).clip(-3e38, 3e38).astype(np.float32)
        np.testing.assert_allclose(softmax(handle, output), probabilities(output), rtol=1e-6, atol=1e-38)
    assert np.isnan(softmax(handle, np.float32([1, np.nan, 2, 3]))).all()
    ready = functions(toy(probabilities=True))
    np.testing.assert_array_equal(softmax(ready, output), output)
    assert handle.tsn_softmax(None, ctypes.c_void_p(output.ctypes.data)) == -1


def test_labels(toy, small):
    handle = functions(small.path)
    assert [handle.tsn_label(i).decode() for i in range(len(NAMES))] == NAMES
    assert handle.tsn_label(-1) is handle.tsn_label(len(NAMES)) is None
    assert functions(toy(names=None)).tsn_label(0) is None
    with pytest.raises(UserError, match=r"the name of class 1 is 'a\\x00b': expected one without a zero"):
        toy(names=["a", "a\0b"])


# ------------------------------------------------------------------------------------ other processors

ELSEWHERE = """
#include "tvm_shufflenet.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  tsn_image image = {0};
  image.width = atoi(argv[2]), image.height = atoi(argv[3]), image.format = atoi(argv[4]);
  image.rotation = atoi(argv[5]), image.bytes = (size_t)atol(argv[6]);
  int (*prepare)(const tsn_image *, float *, void *);
  size_t (*bytes)(const tsn_image *), count = (size_t)atol(argv[7]);
  void *library = dlopen(argv[1], RTLD_NOW), *pixels = malloc(image.bytes);
  if (!library || fread(pixels, 1, image.bytes, stdin) != image.bytes) return 2;
  prepare = (int (*)(const tsn_image *, float *, void *))dlsym(library, "tsn_prepare_image");
  bytes = (size_t (*)(const tsn_image *))dlsym(library, "tsn_image_workspace_bytes");
  image.pixels = pixels;
  float *input = malloc(count * sizeof(float));
  if (argc != 8 || prepare(&image, input, aligned_alloc(64, bytes(&image)))) return 3;
  return fwrite(input, sizeof(float), count, stdout) != count;
}
"""


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm", "armv7"])
def test_in_the_emulator(toy, tmp_path, target):
    """Arm makes of a picture what this machine makes, to the last bit of a float or two."""
    spec = resolve(target)
    (tmp_path / "main.c").write_text(ELSEWHERE)
    argv = [*ZIG, "-target", ZIG_TARGETS[spec.arch], "-O1", f"-I{EXTRAS.parent}", tmp_path / "main.c", "-ldl"]
    subprocess.run([*argv, "-o", tmp_path / "main"], check=True)
    there, here = toy(spec=spec), tvm_shufflenet.load(toy())
    arch = {"arm": "armhf"}.get(spec.arch, spec.arch)
    for format, size, rotation in (("NV21", (90, 160), 90), ("RGB", (100, 75), 0), ("BGRA", (60, 61), 180),
                                   ("RGB", (20, 30), 270), ("NV12", (21, 33), 0)):  # fmt: skip
        pixels = random_picture(*size, format)
        raw = b"".join(plane.tobytes() for plane in (pixels if isinstance(pixels, tuple) else [pixels]))
        words = [size[1], size[0], FORMATS.index(format), rotation, len(raw), 3 * 32 * 48]
        command = emulator.command(tmp_path / "main", there, *words, arch=arch)
        found = np.frombuffer(subprocess.run(command, input=raw, capture_output=True, check=True).stdout, np.float32)
        expected = here.prepare_image(pixels, format, rotation=rotation)
        np.testing.assert_allclose(found, expected.ravel(), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["cc", "cc -march=native"])
@pytest.mark.parametrize("size", [
    "32,48", pytest.param("224,224", marks=pytest.mark.full), pytest.param("5,3", marks=pytest.mark.full)
])  # fmt: skip
def test_no_step_outside(tmp_path, compiler, size):
    """Random formats, sizes, strides and rotations under the address sanitizer: tests/fuzz_camera.c."""
    program, *options = compiler.split()
    found = shutil.which(program) or pytest.skip("there is no C compiler")
    network = f"{{.crop={{{size}}},.blue_first=1,.margin=1.142857,.scale=1,.deviation={{1,1,1}},.classes=10}}"
    height, width = size.split(",")
    macros = [
        f"HEIGHT={height}",
        f"WIDTH={width}",
        "OUTPUTS=1",
        "TSN_PICTURES=1",
        "TSN_NHWC=0",
        f"TSN_NETWORK={network}",
    ]
    sanitize = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wno-psabi"]
    argv = [found, "-std=gnu11", *options, *sanitize, *(f"-D{macro}" for macro in macros), f"-I{EXTRAS.parent}"]
    built = subprocess.run([*argv, ROOT / "tests" / "fuzz_camera.c", "-o", tmp_path / "fuzz"], capture_output=True)
    if b"sanitize" in built.stderr or b"asan" in built.stderr:
        pytest.skip("the C compiler has no address sanitizer")
    assert not built.returncode, built.stderr.decode()
    done = subprocess.run([tmp_path / "fuzz", "60", size.split(",")[0]], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "60 pictures, 60 refused\n", done.stderr


def test_vectors_are_those_of_the_processor():
    assert vector_options(resolve("arm")) == []
    assert vector_options(resolve("armv7"))[-1] == "+neon"
    plain, wide = (resolve(f'{{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "{cpu}"}}')
                   for cpu in ("x86-64", "skylake-avx512"))  # fmt: skip
    assert "+avx2" not in vector_options(plain) and "+avx512bw" in vector_options(wide)


def test_the_command_that_times(small, tmp_path, capsys):
    camera_command.main([str(small.path), "--size", "60x80", "--rounds", "2", "--json", str(tmp_path / "times.json")])
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "times.json").read_text())
    assert found["size"] == [60, 80] and list(found["seconds"]) == ["network", *FORMATS]
    assert all(len(values) == 2 and min(values) > 0 for values in found["seconds"].values())
    assert "% of the network" in printed and "pictures of 60x80, rotation 0" in printed
    for wrong, message in (["--rounds", "0"], "--rounds 0"), (["--rotation", "30"], "rotation 30: expected 0, 90"):
        with pytest.raises(UserError, match=message):
            camera_command.main([str(small.path), *wrong])


# --------------------------------------------------------------------------------------- photographs

ARCHIVE = IMAGENETTE / "val.tar"


@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no photographs: {ARCHIVE} is missing")
@pytest.mark.parametrize("step", [pytest.param(20, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", ["shufflenet-v1-0.5x-g3"])
def test_same_top1_as_pillow(build, name, step):
    """The trained weights on Imagenette's validation pictures, which are enlarged; every tenth at four times its size,
    which is reduced."""
    from tvm_shufflenet.bridge.shipped import shipped

    library = tvm_shufflenet.load(build(name, weights=shipped(name)).path)
    with tarfile.open(ARCHIVE) as archive:
        members = sorted((m for m in archive if m.isfile()), key=lambda m: m.name)[::step]
        for index, member in enumerate(members):
            data = archive.extractfile(member).read()
            with Pillow.open(io.BytesIO(data)) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            expected = library(load_picture(io.BytesIO(data), library.manifest)).argmax()
            assert library.run_image(pixels).argmax() == expected, member.name
            if index % 10 == 0:
                large = Pillow.fromarray(pixels).resize((4 * pixels.shape[1], 4 * pixels.shape[0]))
                expected = library(prepare(large, library.manifest["preprocessing"])).argmax()
                assert library.run_image(np.asarray(large)).argmax() == expected, f"{member.name}, large"
    assert len(members) >= 90


def test_the_crop_of_large_pictures(small):
    """What the box of a long thin picture is, in Pillow's floats."""
    picture = random_picture(3, 4001, "RGB")
    how = small.manifest["preprocessing"]
    expected = centre_crop(Pillow.fromarray(picture), how["crop"], how["resize_shorter_side_ratio"])
    found = levels(small.prepare_image(picture), how)[0].transpose(1, 2, 0)
    assert np.abs(found - expected).max() < 1.001
