"""Top-1 and top-5 of libraries and checkpoints on labelled pictures, and how far two of them differ.

All see a picture as `classify` would: prepared by the library's manifest, which a checkpoint follows too.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bridge import require_torch
from ..bridge.contents import LIBRARY, kind_of_file
from ..errors import UserError
from ..exchange import Reading, load_network
from ..library.detection import joined_outputs
from ..library.groups import groups, run_in_groups
from ..library.interface import batch_of, inputs, main_shapes
from ..library.loading import load, read_manifest
from ..library.preprocess import (
    check_classifier,
    check_detector,
    complete,
    open_picture,
    prepare,
    preprocessing,
)  # fmt: skip
from .pictures import Pictures, labels_for

if TYPE_CHECKING:
    from PIL import Image

    from ..measure.place import Place

CHUNK = 20  # pictures of a task of a worker, at least


@dataclass
class Subject:
    """What is evaluated.

    `run` takes float32 (batch, 3, H, W), or (batch, H, W, 3), and gives logits (batch, classes); of a detector, which
    `detects`, all outputs one behind the other.
    """

    path: Path
    model: str
    how: dict  # "preprocessing" of a manifest
    classes: int
    names: list[str] | None  # of the classes
    run: Callable[[np.ndarray], np.ndarray]
    layout: str = "NCHW"  # of what `run` takes
    detects: bool = False
    batch: int = 1


@dataclass
class Score:
    """Shares of `images` pictures whose class is the likeliest (top-1), or among the five likeliest."""

    top1: float
    top5: float
    images: int


@dataclass
class Difference:
    """How two subjects differ on the same pictures: decisions that differ, and the largest gap between two logits."""

    decisions: int
    logits: float
    largest_logit: float  # in absolute value, of the first


def is_library(path: Path) -> bool:
    """Whether a file is to be read as a library: by its content, else by its suffix."""
    return kind_of_file(path) == LIBRARY or path.suffix == ".so"


def open_subject(
    path: Path, model: str | None, size: tuple[int, int] | None, board: Place | None = None, threads: int = 1
) -> Subject:  # fmt: skip
    """Opens a library, which runs here or on `board` (a `measure.place.Place`), or a checkpoint, which runs in PyTorch.

    `model` and `size` are of a checkpoint that does not say them; of a library of several sizes, `size` is one of them.
    `threads` are of a library here; a board has its own.
    `UserError` for what cannot be run.
    """
    if not is_library(path):
        return _open_checkpoint(path, model, size)
    manifest = read_manifest(path, size)
    detects = "detector" in manifest
    classes = (check_detector if detects else check_classifier)(path, manifest)
    how = complete(manifest["preprocessing"], f"{path}: its manifest")
    run = _here(path, size, threads) if board is None else _on_board(board, path, manifest)
    layout = inputs(manifest)[0].layout
    return Subject(path, manifest["model"], how, classes, manifest["class_names"], run, layout, detects,
                   batch_of(manifest))  # fmt: skip


def evaluate(
    subjects: list[Subject], pictures: Pictures, workers: int, on_picture: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> tuple[list[Score], Difference | None, int]:  # fmt: skip
    """The score of each subject, the difference of the first two, and how many pictures could not be read.

    `workers` processes share the pictures; 0: this process alone.  Raises `UserError` where the pictures
    have other classes than a subject, or none can be read.
    """
    labels = [labels_for(pictures, s.classes, s.names, str(s.path)) for s in subjects]
    if len({s.classes for s in subjects}) > 1:
        counts = " and ".join(f"{s.path} has {s.classes} classes" for s in subjects)
        raise UserError(f"{counts}: they cannot be compared")
    logits: list[list[np.ndarray]] = [[] for _ in subjects]
    kept = []
    with contextlib.closing(answers(subjects, pictures, workers)) as results:
        for index, answer in results:
            if isinstance(answer, str):
                say(f"picture skipped: {answer}")
            else:
                kept.append(index)
                for rows, row in zip(logits, answer):
                    rows.append(row)
            on_picture()
    if not kept:
        raise UserError(f"{pictures.root}: no picture can be read")
    tables = [np.concatenate(rows) for rows in logits]
    scores = [_score(table, numbers[kept]) for table, numbers in zip(tables, labels)]
    difference = None
    if len(subjects) > 1:
        one, other = tables
        difference = Difference(
            int((one.argmax(1) != other.argmax(1)).sum()),
            float(np.abs(one - other).max()),
            float(np.abs(one).max()),
        )
    return scores, difference, len(pictures) - len(kept)


def _score(logits: np.ndarray, labels: np.ndarray) -> Score:
    best = np.argsort(-logits, axis=1, kind="stable")[:, :5]  # of equals the lower number wins
    hits = best == labels[:, None]
    return Score(float(hits[:, 0].mean()), float(hits.any(1).mean()), len(labels))


def _open_checkpoint(path: Path, model: str | None, size: tuple[int, int] | None) -> Subject:
    torch = require_torch(f"to run {path}")
    found = load_network(path, model, reading=Reading(size=size))
    net, parameters = found.network, found.parameters
    if net.layers[0].shape[1] != 3 or not net.classes:
        raise UserError(
            f"{path} is no classifier of pictures, and no detector: expected 3 channels and one number for each class, "
            "or boxes"
        )

    from ..bridge.twin import Twin

    torch.set_num_threads(1)  # workers share the cores, and a process forked from threads that are at work hangs
    module = Twin(net).eval()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)

    def run(data: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            results = module(torch.from_numpy(data))
            return joined_outputs([r.numpy() for r in results] if net.detector else [results.numpy()])

    how = preprocessing(net.size, found.preprocessing, whole=bool(net.detector))
    layout = net.layers[0].attrs["layout"]
    return Subject(path, net.name, how, net.classes, found.class_names, run, layout, bool(net.detector))


def _here(path: Path, size: tuple[int, int] | None, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    library = load(path, threads, size=size)
    return lambda data: joined_outputs(library.run(data))


def _on_board(board: Place, path: Path, manifest: dict) -> Callable[[np.ndarray], np.ndarray]:
    shapes = main_shapes(manifest)  # input, outputs, workspace
    network = board.load_network(path, manifest, *shapes)
    return lambda data: joined_outputs(network.run_all(range(1, len(shapes) - 1), first=data))


def _answer(subjects: list[Subject], pictures: Pictures, indices: Sequence[int]) -> list[list[np.ndarray] | str]:
    """For each picture the logits of each subject, or why the picture cannot be read."""
    opened = [_open(pictures, index) for index in indices]
    readable = [picture for picture in opened if not isinstance(picture, str)]
    answers: list[list[np.ndarray]] = []  # of each subject
    prepared: dict[str, list[np.ndarray]] = {}
    for subject in subjects:
        key = json.dumps([subject.how, subject.layout])
        if key not in prepared:
            prepared[key] = [prepare(picture, subject.how, subject.layout) for picture in readable]
        answers.append(run_in_groups(subject.run, subject.batch, prepared[key]))
    rows = iter(zip(*answers))
    return [picture if isinstance(picture, str) else list(next(rows)) for picture in opened]


def _open(pictures: Pictures, index: int) -> Image.Image | str:
    """The picture, or why it cannot be read."""
    try:
        return open_picture(io.BytesIO(pictures.read(index)), pictures.names[index])
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{pictures.names[index]}: cannot be read: {error.strerror}"


def answers(
    subjects: list[Subject], pictures: Pictures, workers: int
) -> Generator[tuple[int, list[np.ndarray] | str], None, None]:
    """For each picture, by its index and in order: what each subject's `run` gives, or why it cannot be read."""
    most = max(subject.batch for subject in subjects)
    if not workers:
        for indices in groups(range(len(pictures)), most):
            yield from zip(indices, _answer(subjects, pictures, indices))
        return
    # Forked, so that they have the libraries and weights that were opened, and the index of the pictures.
    global _work
    _work = subjects, pictures
    chunks = groups(range(len(pictures)), -(-CHUNK // most) * most)
    with multiprocessing.get_context("fork").Pool(workers, _ignore_ctrl_c) as pool:
        for chunk, answers in zip(chunks, pool.imap(_answer_chunk, chunks)):
            yield from zip(chunk, answers)


_work: tuple[list[Subject], Pictures]  # of the workers


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer_chunk(chunk: Sequence[int]) -> list:
    return _answer(*_work, chunk)
