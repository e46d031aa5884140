"""The command `python -m tvm_shufflenet.models`: every network, its cost and what the papers print."""

from __future__ import annotations

import argparse

from ..architectures import CLASSES, SIZE, checks, model_names, network
from ..architectures.entries import NOWHERE
from ..architectures.registry import LEFT_OUT, about, aliases, backbone, usual_classes, usual_size
from ..errors import UserError
from ..files import write_json
from ..published import ERRORS, MULTIPLY_ADDS
from .command import add_json_option, command_parser
from .common import check_count, parse_size

PAPERS = {"v1": "ShuffleNet", "v2": "ShuffleNet V2"}
COLUMNS = ("multiply-\nadds, M", "published,\nat 224", "para-\nmeters, M", "published\nerror, %")


def describe(name: str, size: tuple[int, int] | None = None, classes: int | None = None) -> dict:
    """The figures of one network, of its usual size and classes by default; `error` says why there is none."""
    its = about(name)
    row: dict = {"name": name, "aliases": aliases(name), "paper": its.paper, "table": its.table}
    try:
        net = network(name, size, classes)
        row |= {"size": net.size, "classes": net.classes}
        row |= {"multiply_adds": net.multiply_adds(), "parameters": net.parameter_count()}
        row |= {"parts": parts} if (parts := net.parts()) else {}
    except UserError as error:
        row |= {"error": str(error)}
    return row | {
        "published_multiply_adds_millions": MULTIPLY_ADDS.get(name),
        "published_top1_error_percent": ERRORS.get(name),
        "mark": its.mark,
        "note": its.note,
    }


def _tables(rows: list[dict]):
    """For each table of each paper what to print: its title, the figures, and the notes, which the marks number."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    width = max(len(row["name"]) for row in rows)
    places: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        places.setdefault((row["paper"], row["table"]), []).append(row)
    for (paper, place), group in sorted(places.items(), key=lambda item: (item[0][0], item[0][1] == NOWHERE)):
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        notes: dict[str, int] = {}
        table.add_column("model", no_wrap=True, min_width=width)
        for column in COLUMNS:
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("mark", no_wrap=True)
        for row in group:
            number = notes.setdefault(row["note"], len(notes) + 1) if row["note"] else ""
            table.add_row(row["name"], *_figures(row), f"{row['mark']} {number}".strip())
        parts = [
            f"{row['name']}: " + ", ".join(f"{part} {count / 1e6:.0f} M" for part, count in row["parts"].items())
            for row in group if "parts" in row
        ]  # fmt: skip
        yield f"{PAPERS[paper]}, {place}", table, [*(f"{number}: {note}" for note, number in notes.items()), *parts]


def _figures(row: dict) -> list[str]:
    adds, error = row["published_multiply_adds_millions"], row["published_top1_error_percent"]
    if "error" in row:
        told = {"too small": "too small", "GiB": "too large"}
        return [next((says for key, says in told.items() if key in row["error"]), "other size"), "", "", ""]
    return [
        f"{row['multiply_adds'] / 1e6:.1f}", _figure(adds), f"{row['parameters'] / 1e6:.2f}", _figure(error)
    ]  # fmt: skip


def _figure(value: float | None) -> str:
    return "" if value is None else str(value)


def _detectors(args: argparse.Namespace) -> str:
    """What is said of detectors, where others differ."""
    families: dict[str, dict[str, None]] = {}  # names in order, by what is said
    for name in filter(backbone, model_names()):
        (height, width), classes = usual_size(name), usual_classes(name)
        said = [] if args.size else [f"{height}x{width} pixels"]
        said += [] if args.classes else [f"{classes} classes"]
        if said:
            families.setdefault(", ".join(said), {})[name.removesuffix(f"-{backbone(name)}")] = None
    return "".join(f"; {', '.join(names)}: {said}" for said, names in families.items())


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "models",
        description="Lists every network: multiply-adds and parameters in millions, beside the papers' figures.  Its "
        "mark says how sure its description is: settled by a paper or public code, fitted to published figures, or "
        "uncertain.",
        epilog="example:\n  python -m tvm_shufflenet.models --size 480x640 --json models.json",
    )
    parser.add_argument("--size", help="input in pixels: 224, or height x width as 480x640 (224; detectors: their own)")
    parser.add_argument("--classes", type=int, help="outputs of the classifier (1000; of detectors 80 or 90)")
    add_json_option(parser, "the figures")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    size = parse_size(args.size) if args.size else None
    if args.classes is not None:
        check_count("--classes", args.classes, 1, checks.ELEMENTS)
    rows = [describe(name, size, args.classes) for name in model_names()]
    if args.json:
        left_out = [{"name": name, "reason": reason} for name, reason in LEFT_OUT.items()]
        what = {"size": size or SIZE, "classes": args.classes or CLASSES}
        write_json(args.json, {**what, "networks": rows, "left_out": left_out})

    from rich.console import Console

    console = Console(highlight=False)
    # Tables are whole, however narrow the terminal is.
    wide = Console(highlight=False, width=max(console.width, 100))
    height, width = size or SIZE
    console.print(
        f"{len(rows)} networks, {height}x{width} pixels, {args.classes or CLASSES} classes" + _detectors(args)
    )
    for title, table, notes in _tables(rows):
        console.print(f"\n[bold]{title}[/bold]")
        wide.print(table)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)
    console.print("\n[bold]Left out[/bold]")
    for reason in dict.fromkeys(LEFT_OUT.values()):
        names = [name for name, why in LEFT_OUT.items() if why == reason]
        console.print(f"{', '.join(names)}: {reason}", markup=False, soft_wrap=True)
