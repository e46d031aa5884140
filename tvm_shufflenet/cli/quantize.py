"""The command `python -m tvm_shufflenet.quantize`: finds the scales that int8 needs, and writes them beside weights."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import own_name
from ..bridge.shipped import trained
from ..errors import UserError
from ..files import write_json
from ..words import counted
from .command import add_json_option, command_parser
from .common import check_count, parse_size, workers

if TYPE_CHECKING:
    from ..exchange import Imported
    from ..targets.calibration import Calibration
    from ..training.evaluation import Difference, Score
    from ..training.losses import Loss
    from ..training.pictures import Pictures

MOST = 10**6
WORST = 10  # layers of the table
COMPARED = 16  # pictures at most on which layers are compared
CHOICES = ("histogram", "minmax")


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "quantize",
        description="Finds the scales of a network's tensors from pictures, and writes the weights with them, for "
        "`build --precision int8`.  Also says which layers lose most, and how often the network is right with floats "
        "and with bytes.  Ctrl-C keeps what was seen: the same command then goes on.",
        epilog="example:\n  python -m tvm_shufflenet.quantize shufflenet-v1-0.5x-g3 --data imagenette "
        "-o int8.safetensors",
    )
    parser.add_argument("weights", metavar="CHECKPOINT|MODEL", help="a file that `build` reads, or a network whose "
                        "trained weights the project holds")  # fmt: skip
    parser.add_argument("--data", required=True, metavar="DIR|TAR", help="pictures, [SPLIT/]CLASS/NAME.jpeg; of "
                        "several splits `train` is taken, and `val` to try the result on")  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help=".safetensors, .pth or .pt")
    parser.add_argument("--pictures", type=int, default=128, metavar="N", help="to look at, equally many of each class "
                        "(128)")  # fmt: skip
    parser.add_argument("--check", type=int, default=200, metavar="N", help="pictures to try the result on, if they "
                        "are of the network's classes; 0 for none (200)")  # fmt: skip
    parser.add_argument("--observer", choices=CHOICES, default=CHOICES[0], help="histogram: ranges of the least "
                        "squared error; minmax: all that occurs (histogram)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels: 224, or 480x640 (what the weights say, else 224)")
    parser.add_argument("--workers", type=int, help="processes that share the pictures of --check (one for each core)")
    add_json_option(parser, "what was found")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    check_count("--pictures", args.pictures, 1, MOST)
    check_count("--check", args.check, 0, MOST)

    from ..bridge.checkpoints import SUFFIXES
    from ..building.build_library import make_writable
    from ..exchange import Reading, load_network, save_network
    from ..library.preprocess import preprocessing
    from ..pipeline import check_int8
    from ..training.calibration import Watch
    from ..training.calibration_state import fingerprint, look_at_all, state_file
    from ..training.losses import losses
    from ..training.pictures import find_pictures

    if args.output.suffix not in SUFFIXES:
        raise UserError(f"{args.output}: unknown suffix {args.output.suffix!r}, expected {', '.join(SUFFIXES)}")
    name = own_name(args.weights)
    path = Path(args.weights)
    if not path.is_file():
        if name is None:
            raise UserError(f"{args.weights} is neither a file of weights nor a network: `python -m "
                            "tvm_shufflenet.models` lists networks")  # fmt: skip
        path = trained(name)
    found = load_network(path, reading=Reading(parse_size(args.size) if args.size else None))
    check_int8(found.network, found.parameters)
    pictures = find_pictures(args.data, "train").first(args.pictures)
    make_writable(args.output.parent)
    watch = Watch(found.network, found.parameters, args.observer)
    how = preprocessing(found.network.size, found.preprocessing, whole=bool(found.network.detector))
    state = state_file(args.output)
    key = fingerprint(
        pictures, weights=watch.weights, network=found.network.name, size=found.network.size, how=how,
        observer=watch.observer,
    )  # fmt: skip
    prepared = _preparation(found, pictures, how)
    _show_progress("looking at pictures", len(pictures), lambda advance: look_at_all(
        watch, prepared, len(pictures), state, key, advance, lambda text: print(f"note: {text}", file=sys.stderr)
    ))  # fmt: skip
    calibration = watch.calibration()
    seen = list(itertools.islice((one for one in map(prepared, range(len(pictures))) if one is not None), COMPARED))
    lost = _show_progress("comparing layers", len(seen), lambda advance: losses(
        found.network, found.parameters, calibration, seen, advance
    ))  # fmt: skip
    scores = check(args, found, calibration)
    found.metadata |= calibration.to_metadata()
    save_network(args.output, found)
    state.unlink(missing_ok=True)
    print(f"{args.output}: {path.name} with the scales of {len(calibration.tensors)} tensors, by "
          f"{calibration.observer}, from {counted(calibration.pictures, 'picture')} of {args.data}")  # fmt: skip
    _print_losses(lost, len(seen))
    result: dict = {
        "output": str(args.output), "calibration": asdict(calibration), "losses": [asdict(loss) for loss in lost],
    }  # fmt: skip
    if scores:
        where, (floats, integers), difference = scores
        print(f"  top-1 on {counted(floats.images, 'picture')} of {where}: floats {100 * floats.top1:.2f} %, bytes "
              f"{100 * integers.top1:.2f} %; {difference.decisions} decisions differ, logits by at most "
              f"{difference.logits:.2g} of {difference.largest_logit:.3g}")  # fmt: skip
        result |= {
            "floats": asdict(floats), "integers": asdict(integers), "difference": asdict(difference), "checked": where,
        }  # fmt: skip
    if args.json:
        write_json(args.json, result)


def check(
    args: argparse.Namespace, found: Imported, calibration: Calibration
) -> tuple[str, list[Score], Difference] | None:
    """The scores of floats and of integers; None of a detector or of other classes' pictures, which is said."""
    from ..library.preprocess import preprocessing
    from ..training.calibration import float_network, integer_network
    from ..training.evaluation import Subject, evaluate
    from ..training.pictures import beside, find_pictures, labels_for

    if not args.check:
        return None
    net, where = found.network, str(beside(args.data, "val") or args.data)
    if net.detector:
        print("note: top-1 is not measured of a detector: `evaluate` compares libraries", file=sys.stderr)
        return None
    pictures = find_pictures(where, "val").first(args.check)
    try:
        labels_for(pictures, net.classes, found.class_names, args.weights)
    except UserError as error:
        print(f"note: top-1 is not measured: {error}", file=sys.stderr)
        return None
    how = preprocessing(net.size, found.preprocessing, whole=False)
    runs = float_network(net, found.parameters), integer_network(net, found.parameters, calibration)
    subjects = [
        Subject(Path(args.weights), net.name, how, net.classes, found.class_names, run, net.layout) for run in runs
    ]
    processes = workers(args.workers, 1)
    scores, difference, _ = _show_progress(
        "trying it", len(pictures), lambda advance: evaluate(subjects, pictures, processes, advance)
    )
    assert difference
    return where, scores, difference


def _print_losses(lost: list[Loss], pictures: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer")
    table.add_column("operator")
    for title in ("alone, dB", "so far, dB"):
        table.add_column(title, justify="right")
    for loss in lost[:WORST]:
        table.add_row(loss.layer, loss.operator, f"{loss.alone:.1f}", f"{loss.so_far:.1f}")
    print(f"  signal to quantisation noise on {counted(pictures, 'picture')}, the layers that lose most:")
    Console(width=120, highlight=False).print(table)


def _preparation(found: Imported, pictures: Pictures, how: dict) -> Callable[[int], np.ndarray | None]:
    """A function from a picture's number to the picture as the network takes it; None, said once, if unreadable."""
    import io

    from ..library.preprocess import open_picture, prepare

    unread = set()

    def prepared(index: int) -> np.ndarray | None:
        try:
            picture = open_picture(io.BytesIO(pictures.read(index)), pictures.names[index])
        except (UserError, OSError) as error:
            if index not in unread:
                print(f"picture skipped: {error}", file=sys.stderr)
            unread.add(index)
            return None
        return prepare(picture, how, found.network.layout)

    return prepared


def _show_progress(text: str, total: int, work: Callable):
    """`work(advance)` under a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        return work(lambda: bar.advance(task))
