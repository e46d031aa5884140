"""The command `python -m tvm_shufflenet.evaluate`: how often libraries and checkpoints are right."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import UserError
from ..files import write_json
from ..library.processors import allowed_processors
from .command import OutputFile, add_threads_option, command_parser
from .common import check_count, check_key, check_seconds, check_threads, parse_size, workers

if TYPE_CHECKING:
    from ..measure.place import Place
    from ..training.box_evaluation import Agreement, BoxScore
    from ..training.evaluation import Difference, Score, Subject

T = TypeVar("T")

WORKERS = 1024


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "evaluate",
        description="Top-1 and top-5 of a library or a checkpoint on labelled pictures; of two, also how many "
        "decisions differ and the largest difference of their logits.  Of detectors COCO's mean average precision, and "
        "of two how many boxes are the same.  Checkpoints run in PyTorch.",
        epilog="example:\n  python -m tvm_shufflenet.evaluate build/shufflenet-v1-0.5x-g3-native.so \\\n"
        "      weights/shufflenet-v1-0.5x-g3.safetensors --data imagenette/val.tar",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="LIBRARY|CHECKPOINT", help="one, or two to compare: a "
                        "library of `build` (.so), or weights (.safetensors, .pth, .onnx)")  # fmt: skip
    parser.add_argument("--data", required=True, metavar="DIR|TAR", help="pictures, [SPLIT/]CLASS/NAME.jpeg; of "
                        "several "
                        "splits `val` is taken; for a detector pictures with the XML files of Pascal VOC or a JSON "
                        "file of COCO's")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="take N pictures, equally many of each class; for a "
                        "detector the first N (all)")  # fmt: skip
    parser.add_argument("--model", help="the network of a checkpoint that does not say it")
    parser.add_argument("--size", help="input in pixels, 224 or 480x640: of a checkpoint (the library's beside it, "
                        "else what the checkpoint says, else 224), and which of a library's sizes (its "
                        "first)")  # fmt: skip
    parser.add_argument(
        "--rpc", metavar="HOST:PORT", help="run the libraries on the board of this RPC server or tracker"
    )
    parser.add_argument("--key", help="of the board at its tracker (the target's name)")
    parser.add_argument("--timeout", type=float, default=10, metavar="S", help="seconds to wait for each answer of the "
                        "board "
                        "(10)")  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes that share the pictures (one for each core, or as many "
                        "as have --threads each; with --rpc none)")  # fmt: skip
    add_threads_option(parser)
    parser.add_argument("--json", metavar="FILE", action=OutputFile,
                        help="also write the result to this file: `top1`, `top5` and `images` of the first, `others`, "
                        "`difference`; of detectors `mean`, `at_half`, `classes`, `agreement`")  # fmt: skip
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    check(args)

    from ..library.interface import inputs
    from ..library.loading import read_manifest
    from ..training.evaluation import evaluate, is_library, open_subject
    from ..training.pictures import find_pictures

    asked = parse_size(args.size) if args.size else None
    libraries = [path for path in args.files if is_library(path)]
    manifests = [read_manifest(path, asked) for path in libraries]
    beside = asked or (inputs(manifests[0])[0].size if manifests else None)
    with open_board(args, libraries, manifests) as board:
        subjects = [
            open_subject(path, args.model, asked if path in libraries else beside, board, args.threads)
            for path in args.files
        ]
        if board:
            check_board(subjects, dict(zip(libraries, manifests)), board.name)
        processes = 0 if board else workers(args.workers, processes_for(args.threads))
        if any(subject.detects for subject in subjects):
            _detectors(args, subjects, processes)
            return
        pictures = find_pictures(args.data, "val")
        if args.limit:
            pictures = pictures.first(args.limit)
        scores, difference, skipped = show_progress(
            len(pictures), lambda advance, say: evaluate(subjects, pictures, processes, advance, say)
        )
    report(args.data, subjects, scores, difference, skipped)
    if args.json:
        rows = [{"file": str(s.path), "model": s.model, **asdict(score)} for s, score in zip(subjects, scores)]
        result = {**rows[0], "others": rows[1:], "data": args.data, "skipped": skipped}
        write_json(args.json, result | ({"difference": asdict(difference)} if difference else {}))


def _detectors(args: argparse.Namespace, subjects: list[Subject], processes: int) -> None:
    """Evaluates detectors on pictures with boxes."""
    from ..training.average_precision import require_pycocotools
    from ..training.box_evaluation import evaluate_boxes
    from ..training.boxes import find_boxes

    if other := next((subject for subject in subjects if not subject.detects), None):
        raise UserError(f"{other.path} is a classifier, the other a detector: they cannot be compared")
    require_pycocotools()
    boxed = find_boxes(args.data, "val")
    for notice in boxed.notices:
        print(notice, file=sys.stderr)
    boxed = boxed.first(args.limit) if args.limit else boxed
    scores, agreement, skipped = show_progress(
        len(boxed), lambda advance, say: evaluate_boxes(subjects, boxed, processes, advance, say)
    )
    report_boxes(args.data, subjects, scores, agreement, skipped)
    if args.json:
        rows = [
            {"file": str(s.path), "model": s.model, "images": score.images, **asdict(score.precision)}
            for s, score in zip(subjects, scores)
        ]
        result = {**rows[0], "others": rows[1:], "data": args.data, "skipped": skipped}
        write_json(args.json, result | ({"agreement": asdict(agreement)} if agreement else {}))


def report_boxes(
    data: str, subjects: list[Subject], scores: list[BoxScore], agreement: Agreement | None, skipped: int
) -> None:
    from rich.table import Table

    from ..training.box_evaluation import SAME, SURE
    from .terminal import open_console

    console = open_console()
    names = list(scores[0].precision.classes)
    table = Table("file", "network", box=None)
    for heading in ("mAP, %", "AP50, %", *(f"{name}, %" for name in names), "pictures"):
        table.add_column(heading, justify="right")
    for subject, score in zip(subjects, scores):
        its = score.precision
        each = ["-" if (pair := its.classes.get(name)) is None else f"{100 * pair[0]:.2f}" for name in names]
        table.add_row(str(subject.path), subject.model, f"{100 * its.mean:.2f}", f"{100 * its.at_half:.2f}", *each,
                      f"{score.images}")  # fmt: skip
    console.print(table)
    console.print(f"pictures of {data}; precision as COCO's, of each class as mAP"
                  + (f"; {skipped} could not be read" if skipped else ""), soft_wrap=True)  # fmt: skip
    if agreement:
        console.print(
            f"boxes with a score above {SURE:g}: {agreement.first} and {agreement.second}, {agreement.same} of them "
            f"the same in both (one class, overlap above {SAME:g})",
            soft_wrap=True,
        )


def check(args: argparse.Namespace) -> None:
    """`UserError` for options that do not fit together, before all the work."""
    if len(args.files) > 2:
        raise UserError(f"{len(args.files)} files are named: expected one, or two to compare")
    for name, least, most in (("limit", 1, 10**9), ("workers", 0, WORKERS)):
        if (value := getattr(args, name)) is not None:
            check_count(f"--{name}", value, least, most)
    check_seconds("--timeout", args.timeout)
    check_key(args.key, args.rpc)
    check_threads(args.threads, args.rpc)
    if args.threads > 1 and not args.rpc:
        most = processes_for(args.threads)
        if (args.workers or 0) > most:
            raise UserError(
                f"--workers {args.workers} with --threads {args.threads}: this process may use "
                f"{allowed_processors()} processors, expected at most {most} workers"
            )
    if args.rpc and args.workers:
        raise UserError("--workers and --rpc exclude each other: a board takes one picture after the other")


def processes_for(threads: int) -> int:
    """How many processes share the pictures, with so many threads each, unless --workers says it."""
    return (os.cpu_count() or 1) if threads == 1 else max(1, allowed_processors() // threads)


@contextlib.contextmanager
def open_board(args: argparse.Namespace, libraries: list[Path], manifests: list[dict]) -> Iterator[Place | None]:
    """The board of --rpc as a `Place`; None without."""
    if not args.rpc:
        yield None
        return
    if not libraries:
        raise UserError("--rpc: only libraries run on a board, and none is named")

    from ..boards.rpc import connect
    from ..library.elf import read_elf
    from ..measure.place import Place

    session = connect(args.rpc, args.key or manifests[0]["target"], args.timeout)
    try:
        yield Place(read_elf(libraries[0]).arch, session, args.rpc, args.threads)
    finally:
        with contextlib.suppress(Exception):  # a board that failed can't say goodbye
            session.close()


def check_board(subjects: list[Subject], manifests: dict[Path, dict], where: str) -> None:
    """`UserError` if a library computes something else on the board than on this machine, where that can be known."""
    from ..library.detection import split_outputs
    from ..measure.entries import Entry, check_outputs

    for subject in subjects:
        # The lambda is called before the loop goes on.
        if manifest := manifests.get(subject.path):
            entry = Entry(subject.path.stem, subject.path, manifest)
            shapes = [output.shape for output in entry.outputs]
            run = lambda: split_outputs(subject.run(entry.arguments[0]), shapes)  # noqa: B023, E731
            if check_outputs(entry, run, where) is None:
                print(
                    f"note: {subject.path}: its weights are not at hand, so the board is not checked", file=sys.stderr
                )


def show_progress(total: int, work: Callable[[Callable[[], None], Callable[[str], None]], T]) -> T:
    """`work(advance, say)` under a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("pictures", total=total)
        return work(lambda: bar.advance(task), lambda text: console.print(text, soft_wrap=True, markup=False))


def report(
    data: str, subjects: list[Subject], scores: list[Score], difference: Difference | None, skipped: int
) -> None:
    from rich.table import Table

    from .terminal import open_console

    console = open_console()
    table = Table("file", "network", box=None)
    for heading in ("top-1, %", "top-5, %", "pictures"):
        table.add_column(heading, justify="right")
    for subject, score in zip(subjects, scores):
        table.add_row(str(subject.path), subject.model, f"{100 * score.top1:.2f}", f"{100 * score.top5:.2f}",
                      f"{score.images}")  # fmt: skip
    console.print(table)
    classes = subjects[0].classes
    console.print(f"pictures of {data}, {classes} classes" + (f"; {skipped} could not be read" if skipped else ""))
    if difference:
        console.print(
            f"{difference.decisions} of {scores[0].images} decisions differ; "
            f"logits by at most {difference.logits:.2g}, "
            f"the largest is {difference.largest_logit:.3g}",
            soft_wrap=True,
        )
