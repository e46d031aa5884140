"""Top-1 and top-5 of libraries and checkpoints on labelled pictures, and how far two of them differ.

All see a picture as `classify` would: prepared by the library's manifest, which a checkpoint follows too.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bridge import require_torch
from ..bridge.contents import LIBRARY, kind_of_file
from ..errors import UserError
from ..exchange import Reading, load_network
from ..library.interface import inputs, main_shapes
from ..library.loading import load, read_manifest
from ..library.preprocess import (
    check_classifier,
    complete,
    open_picture,
    prepare,
    preprocessing,
)  # fmt: skip
from .pictures import Pictures, labels_for

if TYPE_CHECKING:
    from ..measure.place import Place

CHUNK = 20  # pictures of a task of a worker


@dataclass
class Subject:
    """What is evaluated.

    `run` takes float32 (1, 3, H, W), or (1, H, W, 3), and gives logits (1, classes), or (1, classes, 1, 1).
    """

    path: Path
    model: str
    how: dict  # "preprocessing" of a manifest
    classes: int
    names: list[str] | None  # of the classes
    run: Callable[[np.ndarray], np.ndarray]
    layout: str = "NCHW"  # of what `run` takes


@dataclass
class Score:
    """Shares of `images` pictures whose class is the likeliest (top-1), or among the five likeliest."""

    top1: float
    top5: float
    images: int


@dataclass
class Difference:
    """Of two subjects, on the same pictures: decisions that differ, and the largest gap between two logits."""

    decisions: int
    logits: float
    largest_logit: float  # in absolute value, of the first


def is_library(path: Path) -> bool:
    """Whether a file is to be read as a library: by its content, else by its suffix."""
    return kind_of_file(path) == LIBRARY or path.suffix == ".so"


def open_subject(path: Path, model: str | None, size: tuple[int, int] | None, board: Place | None = None) -> Subject:
    """Opens a library, which runs here or on `board` (a `measure.place.Place`), or a checkpoint, which runs in PyTorch.

    `model` and `size` are of a checkpoint that does not say them.  `UserError` for what cannot be run.
    """
    if not is_library(path):
        return _open_checkpoint(path, model, size)
    manifest = read_manifest(path)
    classes = check_classifier(path, manifest)
    how = complete(manifest["preprocessing"], f"{path}: its manifest")
    run = _here(path) if board is None else _on_board(board, path, manifest)
    return Subject(path, manifest["model"], how, classes, manifest["class_names"], run, inputs(manifest)[0].layout)


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
    with contextlib.closing(_answers(subjects, pictures, workers)) as answers:
        for index, answer in answers:
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
        raise UserError(f"{path} is no classifier of pictures: expected 3 channels and one number for each class")

    from ..bridge.twin import Twin

    torch.set_num_threads(1)  # workers share the cores, and a process forked from threads that are at work hangs
    module = Twin(net).eval()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in parameters.items()}, strict=False)

    def run(data: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(data)).numpy()

    how = preprocessing(net.size, found.preprocessing)
    layout = net.layers[0].attrs["layout"]
    return Subject(path, net.name, how, net.classes, found.class_names, run, layout)


def _here(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    library = load(path)
    return lambda data: library.run(data)[0]


def _on_board(board: Place, path: Path, manifest: dict) -> Callable[[np.ndarray], np.ndarray]:
    import tvm

    main = board.module(path)["main"]
    with board.explain("making room for the network"):
        buffers = [tvm.runtime.empty(shape, "float32", board.device) for shape in main_shapes(manifest)[1:]]

    def run(data: np.ndarray) -> np.ndarray:
        with board.explain(f"running {path.name}"):
            main(tvm.runtime.tensor(data, board.device), *buffers)
            return buffers[0].numpy()

    return run


def _answer(subjects: list[Subject], pictures: Pictures, index: int) -> list[np.ndarray] | str:
    """The logits of each subject, or why the picture cannot be read."""
    try:
        picture = open_picture(io.BytesIO(pictures.read(index)), pictures.names[index])
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{pictures.names[index]}: cannot be read: {error.strerror}"
    rows, prepared = [], {}
    for subject in subjects:
        key = json.dumps([subject.how, subject.layout])
        if key not in prepared:
            prepared[key] = prepare(picture, subject.how, subject.layout)
        rows.append(subject.run(prepared[key]).reshape(1, -1))
    return rows


def _answers(
    subjects: list[Subject], pictures: Pictures, workers: int
) -> Generator[tuple[int, list[np.ndarray] | str], None, None]:
    """The answer to each picture, by its index, in order."""
    if not workers:
        for index in range(len(pictures)):
            yield index, _answer(subjects, pictures, index)
        return
    # Forked, so that they have the libraries and weights that were opened, and the index of the pictures.
    global _work
    _work = subjects, pictures
    chunks = [range(start, min(start + CHUNK, len(pictures))) for start in range(0, len(pictures), CHUNK)]
    with multiprocessing.get_context("fork").Pool(workers, _ignore_ctrl_c) as pool:
        for chunk, answers in zip(chunks, pool.imap(_answer_chunk, chunks)):
            yield from zip(chunk, answers)


_work: tuple[list[Subject], Pictures]  # of the workers


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer_chunk(chunk: range) -> list:
    return [_answer(*_work, index) for index in chunk]
