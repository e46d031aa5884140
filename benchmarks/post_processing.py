"""The command `python -m benchmarks.post_processing`: which share of a detector's time its post-processing takes.

The network is timed in place, kernel by kernel, with its weights and real pictures (`measure.profiling`): how many
boxes pass decides how long the choice among them takes.  Beside it stands the worst case, in which every score passes.
"""

from __future__ import annotations

import argparse
import io
import shlex
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network, own_name
from tvm_shufflenet.bridge.shipped import trained
from tvm_shufflenet.cli.command import add_json_option, run
from tvm_shufflenet.cli.terminal import Terminal
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import load_network
from tvm_shufflenet.files import today, write_json
from tvm_shufflenet.library.preprocess import open_picture, prepare, preprocessing
from tvm_shufflenet.measure.clocked import Clocked, seconds_of
from tvm_shufflenet.measure.place import Place
from tvm_shufflenet.measure.rounds import interleave, one_core
from tvm_shufflenet.records.store import FOLDER, Records
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.training.boxes import find_boxes

from .rivals.passing import parameters_of_all

PROGRAM = "python -m benchmarks.post_processing"
CASES = ("these weights", "every score passes")
COLUMNS = ["", "softmax, ms", "boxes, ms", "whole, ms", "% of the whole", "of one picture at most"]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Times a detector of one stage kernel by kernel, with its weights and pictures, in fp32 on one "
        "core: what lies behind its heads (softmax, choice and suppression of boxes), and the whole.",
        epilog=f"example: {PROGRAM} ssdlite-shufflenet-v2-0.5x --data bccd/val.tar",
    )
    parser.add_argument("weights", metavar="FILE|NETWORK", help="a checkpoint of a detector, or a network of which "
                        "the project holds trained weights")  # fmt: skip
    parser.add_argument("--data", required=True, metavar="PICTURES", help="pictures with boxes, as `evaluate` takes "
                        "them")  # fmt: skip
    parser.add_argument("--limit", type=int, help="of the pictures, take the first so many")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each picture (5)")
    add_json_option(parser, "the figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    for name, value in (("--rounds", args.rounds), ("--limit", args.limit)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: expected 1 or more")
    file = trained(args.weights) if own_name(args.weights) else Path(args.weights)
    found = load_network(file)
    net = found.network
    if not net.detector:
        raise UserError(f"{file}: {net.name} is no detector")
    net.heads()  # words what has none
    boxed = find_boxes(args.data, "val")
    how = preprocessing(net.size, found.preprocessing, whole=True)
    pictures = boxed.first(args.limit or len(boxed)).pictures
    data = [
        prepare(open_picture(io.BytesIO(pictures.read(index)), name), how) for index, name in enumerate(pictures.names)
    ]
    figures = {}
    for case, parameters in zip(CASES, (found.parameters, parameters_of_all(net, found.parameters))):
        with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
            figures[case] = _figures(net, parameters, data, args.rounds, Path(folder))
    rows = [row(case, *seconds) for case, seconds in figures.items()]
    widths = [max(map(len, cells)) for cells in zip(COLUMNS, *rows)]
    for cells in (COLUMNS, *rows):
        print(cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])), sep="  ")
    note = f"{net.name} with {file.name}, medians of {len(data)} pictures, the least of {args.rounds} rounds of each"
    print(note)
    if args.json:
        from tvm_shufflenet import __version__
        from tvm_shufflenet.boards.processor import describe_processor

        seconds = {case: dict(zip(("softmax", "boxes", "whole"), map(list, each))) for case, each in figures.items()}
        write_json(args.json, {
            "command": f"{PROGRAM} {shlex.join(argv)}", "date": today(), "processor": vars(describe_processor()),
            "threads": 1, "batch": 1, "versions": {"tvm_shufflenet": __version__}, "note": note,
            "columns": COLUMNS, "rows": rows, "pictures": pictures.names, "seconds": seconds,
        })  # fmt: skip
    return 0


def row(case: str, softmax: np.ndarray, boxes: np.ndarray, whole: np.ndarray) -> list[str]:
    """What the table says of the seconds of each picture."""
    shares = 100 * (softmax + boxes) / whole
    return [case, *(f"{1e3 * statistics.median(each):.4f}" for each in (softmax, boxes, whole)),
            *(f"{share:.1f}" for share in (statistics.median(shares), max(shares)))]  # fmt: skip


def _figures(
    net: Network, parameters: dict[str, np.ndarray], data: list[np.ndarray], rounds: int, folder: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds of the softmax, of all else behind the heads, and of the whole: for each picture the least."""
    target, terminal = resolve("native"), Terminal()
    with terminal.step(f"building the clocked copy of {net.name}"):
        records = Records.read(FOLDER, target)
        clocked = Clocked(net, target, folder / "clocked.so", records, parameters=parameters)
    turn = clocked.load(Place(target.arch))
    with one_core(lambda: float(seconds_of([turn()], clocked.steps)[1][0])), terminal.rounds(rounds) as advance:
        done = interleave([partial(turn, picture) for picture in data], rounds, on_round=advance)
    program = clocked.compiled.program
    maps = net.layers[net.detector].inputs
    scores = {net.layers[index].name for index in maps[: len(maps) // 2] if net.layers[index].op == "softmax"}
    heads = {layer.name for layer in net.heads().layers} - scores

    def kind(layer: str) -> int:
        return 1 if layer in scores else 2 if layer not in heads else 0

    kinds = np.array([kind(program.calls[index].layer) for index, _ in program.steps()])
    least = []
    for turns in zip(*done):
        steps = np.array([seconds_of([each], clocked.steps)[0][0] for each in turns]).min(axis=0)
        least.append((steps[kinds == 1].sum(), steps[kinds == 2].sum(), steps.sum()))
    softmax, boxes, whole = np.array(least).T
    return softmax, boxes, whole


if __name__ == "__main__":
    sys.exit(run(main))
