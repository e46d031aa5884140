"""The command `python -m tvm_shufflenet.paper`: the papers' tables, each figure beside what it is here."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..architectures import SIZE
from ..architectures.entries import MARKS
from ..architectures.network import PARTS
from ..errors import UserError
from ..files import write_json
from ..plotting import save, tables
from ..published import TABLES
from ..published.figures import COLUMNS, Row, Size, Table
from .command import command_parser
from .common import parse_size
from .speeds import Column, add_speed_options, conditions_json, conditions_of, draw, how, json_cells, meter
from .speeds import speed_columns as columns_of_speed
from .terminal import open_console

if TYPE_CHECKING:
    from ..papers.speeds import How, Meter

PROGRAM = "python -m tvm_shufflenet.paper"
CLAIMS = "claims"
# Headings of published figures; errors are the papers', nothing was trained for them.
_PUBLISHED: dict[str, Column] = {
    "macs": ("paper:\nmult-\nadds,\nM", "macs", "g"),
    "macs_P": ("P:\nmult-\nadds,\nM", "macs_P", "g"),
    "macs_C": ("C:\nmult-\nadds,\nM", "macs_C", "g"),
    "error": ("publ.\nerror,\n%", "error", "g"),
    "error_P": ("P:\npubl.\nerror,\n%", "error_P", "g"),
    "error_C": ("C:\npubl.\nerror,\n%", "error_C", "g"),
    "ms": ("paper:\nms", "ms", "g"),
    "images": ("paper:\nper s", "images", "g"),
    "map": ("publ.\nmAP,\n%", "map", "g"),
    "map_P": ("P:\npubl.\nmAP,\n%", "map_P", "g"),
    "map_C": ("C:\npubl.\nmAP,\n%", "map_C", "g"),
    "mmap": ("publ.\nmmAP,\n%", "mmap", "g"),
}


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "paper",
        description="Shows the tables of the ShuffleNet papers: each published figure, and beside it what is counted "
        "and timed here, one thread, batch 1, fp32.",
        epilog="examples:\n  python -m tvm_shufflenet.paper --no-measure\n"
        "  python -m tvm_shufflenet.paper v1-8 claims --size all --plot paper.svg\n"
        "  python -m tvm_shufflenet.paper v1-8 --estimate --target cortex-a72\n"
        "  python -m tvm_shufflenet.paper v2-8 --rpc 192.168.1.20:9190 --target cortex-a72",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}, or {CLAIMS}, which are v1's "
                        "in prose (all, which builds and times over a hundred networks)")  # fmt: skip
    parser.add_argument("--size", action="append", metavar="SIZE", help="of tables with several: pixels of the input "
                        "as 224 or 480x640, may be repeated, or all (each table's first)")  # fmt: skip
    add_speed_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    names = _chosen(args.tables)
    sizes = _sizes(args.size, [TABLES[name] for name in names if name != CLAIMS])
    chosen, command = how(args), f"{PROGRAM} {shlex.join(argv)}".strip()
    console, written, status = open_console(), [], 0
    with meter(chosen, args.output) as find:
        for name in names:
            shown, document, interrupted = _claims(chosen, find) if name == CLAIMS else _table(
                TABLES[name], sizes, chosen, find)  # fmt: skip
            for line in shown:
                console.print(line, markup=False, soft_wrap=isinstance(line, str))
            written.append(document)
            if args.json:  # after each table, as they take long
                write_json(args.json, {"command": command, "tables": written})
            if interrupted:
                status = 130
                break
    console.print(command, markup=False, soft_wrap=True)
    if args.plot:
        save(args.plot, tables(written))
    return status


def _chosen(names: Sequence[str]) -> list[str]:
    known = [*TABLES, CLAIMS]
    for name in names:
        if name not in known:
            raise UserError(f"unknown table {ascii(name)[:60]}: expected {', '.join(known)}")
    return list(dict.fromkeys(names)) or known


def _sizes(texts: Sequence[str] | None, tables: Sequence[Table]) -> list[Size]:
    """The sizes that --size gives; `UserError` for a size that a table lacks.

    None leaves each table its first size.
    """
    several = [table for table in tables if table.sizes]
    if not texts:
        return []
    if not several:
        raise UserError("--size is of tables with several sizes, v1-7, v1-8, v2-7 and v2-a1: leave it out, or name one")
    if "all" in texts:
        return [size for table in several for size in table.sizes]
    sizes = [parse_size(text) for text in texts]
    for size in sizes:
        if not any(size in table.sizes for table in several):
            known = "; ".join(f"{table.name} has {', '.join(map(_pixels, table.sizes))}" for table in several)
            raise UserError(f"--size {_pixels(size)}: {known}")
    for table in several:
        if not set(sizes) & set(table.sizes):
            raise UserError(f"--size: {table.name} has none of these sizes, expected one of "
                            f"{', '.join(map(_pixels, table.sizes))}, or all")  # fmt: skip
    return sizes


def _table(table: Table, sizes: list[Size], how: How | None, find: Meter | None) -> tuple[list, dict, bool]:
    """What is shown of a table, what --json gets of it, and whether it was interrupted."""
    from ..papers.tables import chosen_rows, fill, find_network

    rows = chosen_rows(table, sizes)
    bases = [table.base_row(row) for row in rows]
    networks = [net for net in map(find_network, (*rows, *bases)) if not isinstance(net, str)]
    speeds = find(networks) if find else None
    filled = fill(table, rows, speeds)
    labels = [(_label(row), each["mark"]) for row, each in zip(rows, filled)]
    cells = [row["cells"] for row in filled]
    drawn, footnotes = draw(("network", "mark"), labels, cells, _columns(table, bases, how))
    lines = [
        *footnotes,
        *(f"{mark}: {text}" for mark, text in MARKS.items() if any(row["mark"] == mark for row in filled)),
    ]
    if any(column.startswith("error") for column in table.columns):
        lines.append("errors are the paper's: top-1 on ImageNet, %; nothing was trained for this table")
    if table.regions:
        what = "mmAP" if "mmap" in table.columns else "mAP"
        lines.append(f"{what} is the paper's, on COCO; nothing was trained for this table")
        lines.append(
            f"body: the backbone's maps; rpn: what proposes regions; head: what looks at {table.regions} of them"
        )
    if table.where:
        lines.append(f"paper: {table.where}")
    document = {
        "table": table.name, "title": table.title, "paper": table.paper, "where": table.where,
        "columns": {column: COLUMNS[column] for column in table.columns}, "marks": MARKS,
        "speeds": conditions_json(how, speeds),
        "rows": [{**row, "base": base.network, "cells": json_cells(row["cells"])} for row, base in zip(filled, bases)],
    }  # fmt: skip
    title = f"{table.name}: {table.title} ({table.paper})"
    return [title, drawn, *lines, *conditions_of(how, speeds), ""], document, bool(speeds and speeds.interrupted)


def _columns(table: Table, bases: Sequence[Row], how: How | None) -> list[Column]:
    names = list(dict.fromkeys(base.network for base in bases))
    base = f"times\n{_short(names[0])}" if len(names) == 1 else "times\nbase"
    columns = [_PUBLISHED[column] for column in table.columns]
    if table.regions:
        columns += [(f"here:\n{part},\nM", part, ".0f") for part in PARTS]
    columns += [("here:\nmult-\nadds,\nM", "multiply_adds", ".1f"), ("para-\nme-\nters,\nM", "parameters", ".2f")]
    columns += columns_of_speed(how)
    if how:
        columns.append((base, "speedup", ".2f"))
    if table.speed:
        columns.append(("paper:\nsame", "published_speedup", ".2f"))
    return [*columns, ("same,\nin\ntheory" if how or table.speed else f"{base},\nin\ntheory", "theory", ".2f")]


def _claims(how: How | None, find: Meter | None) -> tuple[list, dict, bool]:
    from rich import box
    from rich.table import Table as Drawn

    from ..papers.claims import claims, networks

    speeds = find(networks()) if find else None
    found = claims(speeds)
    drawn = Drawn("of", "ShuffleNet v1 claims", "here", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for claim in found:
        drawn.add_row(claim.name, claim.claim, claim.here)
    document = {"table": CLAIMS, "speeds": conditions_json(how, speeds), "claims": [vars(claim) for claim in found]}
    title = "claims: what ShuffleNet v1 says in prose"
    return [title, drawn, *conditions_of(how, speeds), ""], document, bool(speeds and speeds.interrupted)


def _label(row: Row) -> str:
    return row.network + ("" if row.size == SIZE else f" {_pixels(row.size)}")


def _short(name: str) -> str:
    """A network's name in a heading, broken at its hyphens."""
    return name.replace("shufflenet-", "").replace("-", "-\n")


def _pixels(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
