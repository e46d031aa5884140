"""The command `python -m tvm_shufflenet.guidelines`: ShuffleNet v2's four experiments, repeated."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_json
from ..plotting import save, tables
from ..published.guidelines import GUIDELINES, PAPER, PROCESSOR, Guideline
from .command import command_parser
from .speeds import Column, add_speed_options, conditions_json, conditions_of, draw, how, json_cells, meter
from .speeds import speed_columns as columns_of_speed
from .terminal import open_console

if TYPE_CHECKING:
    from ..papers.speeds import How, Meter

PROGRAM = "python -m tvm_shufflenet.guidelines"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "guidelines",
        description="Repeats the experiments behind ShuffleNet v2's four guidelines, ten blocks on planes of 56x56, "
        "and says of each guideline whether it holds on this machine, on a board, or by the model of a core.",
        epilog="examples:\n  python -m tvm_shufflenet.guidelines G1 G2 --plot guidelines.svg\n"
        "  python -m tvm_shufflenet.guidelines --estimate --target cortex-a72\n"
        "  python -m tvm_shufflenet.guidelines --rpc 192.168.1.20:9190 --target cortex-a72",
    )
    parser.add_argument("guidelines", nargs="*", metavar="GUIDELINE", help=f"{', '.join(GUIDELINES)} (all)")
    add_speed_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    chosen = [_guideline(name) for name in dict.fromkeys(args.guidelines or GUIDELINES)]
    where, command = how(args), f"{PROGRAM} {shlex.join(argv)}".strip()
    console, written, status = open_console(), [], 0
    with meter(where, args.output) as find:
        for guideline in chosen:
            shown, document, interrupted = _experiment(guideline, where, find)
            for line in shown:
                console.print(line, markup=False, soft_wrap=isinstance(line, str))
            written.append(document)
            if args.json:
                write_json(args.json, {"command": command, "paper": PAPER, "guidelines": written})
            if interrupted:
                status = 130
                break
    console.print(command, markup=False, soft_wrap=True)
    if args.plot:
        save(args.plot, tables(written))
    return status


def _guideline(name: str) -> Guideline:
    if name not in GUIDELINES:
        raise UserError(f"unknown guideline {ascii(name)[:60]}: expected {', '.join(GUIDELINES)}")
    return GUIDELINES[name]


def _experiment(guideline: Guideline, how: How | None, find: Meter | None) -> tuple[Sequence, dict, bool]:
    """What is shown of an experiment, what --json gets of it, and whether it was interrupted."""
    from ..papers.guidelines import known_times, networks, rows, sentence

    nets = networks(guideline)
    speeds = find(list(nets.values())) if find else None
    found = rows(guideline, nets, speeds)
    drawn, footnotes = draw(("variant", "channels"), [(row["network"], row["channels"]) for row in found],
                            [row["cells"] for row in found], _columns(guideline, how))  # fmt: skip
    verdict = sentence(guideline, nets, known_times(nets, speeds)) if speeds else ""
    lines = [
        *footnotes, guideline.note,
        "memory access: hw(c1 + c2) + c1 c2 / g of each convolution, and k k c1 c2 / g of one of kxk",
        f"paper: {PROCESSOR}", *conditions_of(how, speeds), verdict,
    ]  # fmt: skip
    document = {
        "guideline": guideline.name, "statement": guideline.statement, "note": guideline.note,
        "speeds": conditions_json(how, speeds), "verdict": verdict or None,
        "rows": [{**row, "cells": json_cells(row["cells"])} for row in found],
    }  # fmt: skip
    title = f"{guideline.name}: {guideline.varied} ({PAPER}, ten blocks, 56x56)"
    return [title, drawn, *filter(None, lines), ""], document, bool(speeds and speeds.interrupted)


def _columns(guideline: Guideline, how: How | None) -> list[Column]:
    base = f"times\n{guideline.good}"
    columns: list[Column] = [
        ("mult-\nadds,\nM", "multiply_adds", ".1f"),
        ("memory\naccess,\nM", "memory_access", ".2f"),
        *columns_of_speed(how),
    ]
    if how:
        columns.append((base, "speedup", ".2f"))
    same = "paper:\nsame" if how else f"paper:\n{base}"
    return [*columns, ("paper:\nper s", "images", "g"), (same, "published_speedup", ".2f")]
