"""Shared by the tests: compiled networks, their PyTorch twins, and where pictures are."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tvm_shufflenet.architectures import mobilenet_v1, shufflenet_v1
from tvm_shufflenet.signals import SIGNALS

from . import emulator

# Of PyTorch, here and in commands: threads of tests that run side by side mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The networks of ShuffleNet's Tables 2 and 3 with MobileNet v1 and AlexNet; and one of each structure beside them.
EARLIER = [*shufflenet_v1.entries(), *mobilenet_v1.entries(), "alexnet"]
STRUCTURES = [
    "shufflenet-v1-0.25x-g3-se", "shufflenet-v1-arch2-0.25x-g8", "vgg-like-38m", "resnet-like-13m", "resnext-like-13m",
    "squeezenet-1.1", "googlenet", "googlenet-torchvision", "pvanet", "shufflenet-v2-0.5x",
    "shufflenet-v2-0.5x-torchvision", "shufflenet-v2-0.5x-se", "shufflenet-v2-0.5x-residual", "shufflenet-v2-0.5x-star",
    "mobilenet-v2-0.35", "igcv3-d-1.0", "xception-0.5x", "condensenet-74-g8",
]  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
# A folder that holds val.tar or val/, of the layout val/WNID/NAME.JPEG.
IMAGENETTE = Path(os.environ.get("TSN_IMAGENETTE", ROOT.parent / "shared" / "data" / "imagenette"))


def pytest_addoption(parser) -> None:
    parser.addoption("--full", action="store_true", help="only the tests marked `full`, which are left out otherwise")
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew from what is printed")


def pytest_collection_modifyitems(config, items) -> None:
    """What is marked `full` takes hours, and is run alone."""
    full = config.getoption("--full")
    chosen, others = [], []
    for item in items:
        (chosen if bool(item.get_closest_marker("full")) == full else others).append(item)
    items[:] = chosen
    if others:
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    """Tests marked `emulator` are skipped without one, and fail where TSN_REQUIRE_EMULATOR is set."""
    if item.get_closest_marker("emulator"):
        try:
            emulator.command()
        except emulator.EmulatorUnavailable as error:
            (pytest.fail if os.environ.get("TSN_REQUIRE_EMULATOR") else pytest.skip)(str(error))


@pytest.fixture(autouse=True)
def _the_processors_of_before():
    """A test that keeps this process on one core takes the others from all tests behind it."""
    allowed = getattr(os, "sched_getaffinity", lambda process: None)
    before = allowed(0)
    yield
    assert allowed(0) == before, "the test left this process on other processors than it found"


@pytest.fixture(autouse=True)
def _the_signals_of_before():
    """What a test leaves behind for Ctrl-C would end this process where a later test raises that signal."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """max |difference| / max |value|; of zeros alone, as a clip may leave them, 0 for zeros and else infinity."""
    assert np.isfinite(found).all()
    difference, peak = float(np.abs(found - expected).max()), float(np.abs(expected).max())
    return difference / peak if peak else difference and float("inf")


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Standard normal numbers in place of a preprocessed picture: (1, 3, H, W)."""
    return np.random.default_rng(seed).standard_normal((1, 3, *size)).astype("float32")


def twin_boxes(net, parameters: dict, data: np.ndarray) -> list[np.ndarray]:
    """What the PyTorch twin of a detector finds: boxes, scores, labels, count."""
    import torch

    from tvm_shufflenet.bridge import torch_module

    module = torch_module(net).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()}, strict=False)
    with torch.inference_mode():
        return [output.numpy() for output in module(torch.from_numpy(data))]


def same_boxes(found, expected) -> bool:
    """Whether two detectors say the same, but for rounding: of equal scores the order, or which is kept, may differ."""
    assert [a.shape for a in found] == [b.shape for b in expected]
    (boxes, scores, labels, count), (others, wanted, numbers, counted) = found, expected
    near = np.abs(scores - wanted).max() < 1e-5 and abs(count - counted).max() <= 1
    rows = np.concatenate([boxes.reshape(-1, 4), 1000 * scores.reshape(-1, 1), 1000 * labels.reshape(-1, 1)], 1)
    like = np.concatenate([others.reshape(-1, 4), 1000 * wanted.reshape(-1, 1), 1000 * numbers.reshape(-1, 1)], 1)
    distance = np.abs(rows[:, None] - like).max(2).min(1)
    return bool(near and (distance < 0.02).mean() >= 0.98)


def twin_logits(net, parameters: dict, data: np.ndarray) -> np.ndarray:
    """What the PyTorch twin computes."""
    import torch

    from tvm_shufflenet.bridge import torch_module

    module = torch_module(net).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()}, strict=False)
    with torch.inference_mode():
        return module(torch.from_numpy(data)).numpy()


@pytest.fixture(scope="session")
def build_folder():
    """Where tests put libraries; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def build(build_folder):
    """`build(model, ...)` -> `Built`, as the command does; what was built with the same options before is given again.

    Each is in a folder of its own.  Only a test that removes the library may change it.
    """
    from tvm_shufflenet.building.build_library import BuildOptions, build_library

    made: dict = {}

    def build_one(model: str | None, target: str = "native", **options):
        key = (model, target, *sorted(options.items()))
        if key not in made or not made[key].path.exists():
            output = build_folder / str(len(made))
            made[key] = build_library(BuildOptions(model, target, output=output, **options))
        return made[key]

    return build_one


@pytest.fixture(scope="session")
def labelled_pictures(tmp_path_factory) -> Path:
    """A folder with train/ (36 pictures of three classes) and val/ (9): noise in which one colour stands out.

    The first two classes are called as two of ImageNet's.
    """
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3)):
        for colour, name in enumerate(("n01440764", "n02102040", "weather")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (40, 48, 3), np.uint8)
                pixels[..., colour] += 130
                Image.fromarray(pixels).save(folder / split / name / f"{index}.jpeg", quality=90)
    return folder
