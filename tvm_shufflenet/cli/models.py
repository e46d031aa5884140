"""The command `python -m tvm_shufflenet.models`: every network, its cost and what the paper prints."""

from __future__ import annotations

import argparse

from ..architectures import checks, model_names, network
from ..errors import UserError
from ..files import write_json
from .common import check_count, parse_size


def describe(name: str, size: tuple[int, int] = (224, 224), classes: int = 1000) -> dict:
    """The figures of one network; `error` says why there is none of that size."""
    try:
        net = network(name, size, classes)
    except UserError as error:
        return {"name": name, "error": str(error)}
    return {
        "name": name,
        "multiply_adds": net.multiply_adds(),
        "parameters": net.parameter_count(),
        "paper_multiply_adds_millions": net.paper["macs"],
        "paper_top1_error_percent": net.paper["error"],
        "note": net.note,
    }


def _table(rows: list[dict], size: tuple[int, int], classes: int):
    from rich.table import Table

    table = Table(title=f"{size[0]}x{size[1]} pixels, {classes} classes")
    table.add_column("model", no_wrap=True)
    for column in ("multiply-\nadds, M", "paper,\nat 224", "para-\nmeters, M", "paper's\nerror, %"):
        table.add_column(column, justify="right")
    for row in rows:
        if "error" in row:
            table.add_row(row["name"], "too small" if "too small" in row["error"] else "too large", "", "", "")
        else:
            table.add_row(
                row["name"],
                f"{row['multiply_adds'] / 1e6:.1f}",
                _figure(row["paper_multiply_adds_millions"]),
                f"{row['parameters'] / 1e6:.2f}",
                _figure(row["paper_top1_error_percent"]),
            )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else str(value)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.models",
        description="Lists every network: multiply-adds and parameters in millions, beside the paper's figures.",
        epilog="example: python -m tvm_shufflenet.models --size 480x640 --json models.json",
    )
    parser.add_argument("--size", default="224", help="input in pixels: 224, or height x width as 480x640 (224)")
    parser.add_argument("--classes", type=int, default=1000, help="outputs of the classifier (1000)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    args = parser.parse_args(argv)
    size = parse_size(args.size)
    check_count("--classes", args.classes, 1, checks.ELEMENTS)
    rows = [describe(name, size, args.classes) for name in model_names()]
    if args.json:
        write_json(args.json, {"size": size, "classes": args.classes, "networks": rows})

    from rich.console import Console

    Console().print(_table(rows, size, args.classes))
