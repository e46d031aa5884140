"""The command `python -m tvm_shufflenet.records`: shows, prunes and merges what tuning has found."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from ..errors import UserError
from ..files import write_json
from ..records import store
from ..records.remembered import Remembered, remembered
from ..records.store import (
    FILE,
    FOLDER,
    UNITS,
    Record,
    Records,
    fastest,
    priced_by,
    read_file,
    same_model,
    settle,
    tvm_version,
)
from ..targets.generation import digest_of_options
from .command import add_json_option, command_parser
from .terminal import Terminal, open_console


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "records",
        description="What tuning has found, in tuning_logs/TARGET/.",
        epilog="examples:\n  python -m tvm_shufflenet.records show --target cortex-a72\n"
        "  python -m tvm_shufflenet.records prune\n"
        "  python -m tvm_shufflenet.records merge from-board-1/ from-board-2/",
    )
    commands = parser.add_subparsers(dest="command", metavar="show|prune|merge", required=True)
    for name, text in (
        ("show", "each kernel's best knobs, and how much faster they are than the default"),
        ("prune", "keep only the best record of each kernel, none of older versions"),
        ("merge", "take in the records of other folders"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--records", type=Path, default=FOLDER, metavar="DIR", help="the folder (tuning_logs/)")
        if name == "merge":
            command.add_argument("sources", nargs="+", type=Path, metavar="DIR", help="folders such as tuning_logs/")
        else:
            command.add_argument("--target", help="only this one (all)")
        if name == "show":
            add_json_option(command, "the table")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    {"show": show, "prune": prune, "merge": merge}[args.command](args)


def show(args: argparse.Namespace) -> None:
    files = _files(args.records, args.target)
    with remembered() as kernels:
        rows = rows_of_all(files, kernels)
        labels = {row["kernel"]: kernels.label(row["kernel"]) for row in rows}
    if args.json:
        write_json(args.json, rows)

    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = open_console()
    for group in dict.fromkeys((row["target"], row["processor"], row["kind"]) for row in rows):
        console.print(f"\n{group[0]}, {group[2]}: {group[1]}", markup=False, soft_wrap=True)
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for heading in ("kernel", "default", "best", "gain", "tried", "failed", "knobs"):
            table.add_column(heading, justify="left" if heading in ("kernel", "knobs") else "right", overflow="fold")
        for row in rows:
            if (row["target"], row["processor"], row["kind"]) == group:
                figures = [""] * 3
                if row["gain"]:
                    figures = [_figure(row["default"], row["unit"]), _figure(row["best"], row["unit"]),
                               f"{row['gain']:.3f}x"]  # fmt: skip
                knobs = " ".join(f"{name}={value}" for name, value in (row["knobs"] or {}).items())
                stale = "" if row["applies"] else " (another version or model: not used)"
                table.add_row(labels[row["kernel"]] + stale, *figures, str(row["tried"]), str(row["failed"]), knobs)
        console.print(table)
    print(f"{len(rows)} kernels")


def rows_of_all(files: list[tuple[str, Records]], kernels: Remembered) -> list[dict]:
    """`rows_of` for the records of several targets, by the names of these; the first time takes long, and says so."""
    rows, progress = [], Terminal()
    for number, (name, records) in enumerate(files, 1):
        with progress.step(f"scheduling the kernels in the records of {name}", number, len(files)):
            rows += rows_of(name, records, kernels)
    return rows


def rows_of(name: str, records: Records, kernels: Remembered) -> list[dict]:
    """A row for each kernel, version, processor and kind."""
    groups: dict[tuple, list[Record]] = {}
    for record in records.all:
        groups.setdefault((*record.kernel, _applies(name, record, records, kernels)), []).append(record)
    rows = []
    for (task, _, target, kind, applies), tried in groups.items():
        settled = settle(tried).values()
        best = fastest(settled)
        about = records.targets.get(target, {})
        rows.append({
            "target": name, "processor": " ".join([about.get("cpu", target), *about.get("features", [])]),
            "kind": kind, "kernel": task, "applies": applies, "unit": UNITS[kind],
            "default": best and best.default, "best": best and best.value, "gain": best and 1 / best.relative,
            "knobs": best and best.knobs, "tried": len(settled), "failed": sum(bool(r.failure) for r in settled),
            "where": tried[-1].where,
        })  # fmt: skip
    return rows


def prune(args: argparse.Namespace) -> None:
    for name in _names(args.records, args.target):
        with remembered() as kernels:
            choose = functools.partial(best_of_each, name, kernels=kernels)
            before, kept = store.prune(args.records / name / FILE, choose)
        _tell(before)
        print(f"{name}: {len(kept)} of {len(before.all)} records kept")


def best_of_each(name: str, records: Records, kernels: Remembered) -> list[Record]:
    """The best record of each kernel, kind and processor; records of other versions and models are left out."""
    groups: dict[tuple, list[Record]] = {}
    for record in records.all:
        if _applies(name, record, records, kernels):
            groups.setdefault(record.kernel, []).append(record)
    return [best for group in groups.values() if (best := fastest(settle(group).values()))]


def merge(args: argparse.Namespace) -> None:
    for source in args.sources:
        if source.resolve() == args.records.resolve():
            raise UserError(f"{source} is the folder that records are merged into: name others")
        for name, theirs in _files(source, None):
            new = store.merge(args.records / name / FILE, theirs)
            print(f"{name}: {len(new)} new records from {source}")


def _names(folder: Path, target: str | None) -> list[str]:
    """The targets of which a folder has records; only `target` if that is given."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of tuning records: expected such as tuning_logs/")
    names = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
    if target and target not in names:
        raise UserError(f"no records of {target} in {folder}: it has those of {', '.join(names) or 'no target'}")
    return [target] if target else names


def _files(folder: Path, target: str | None) -> list[tuple[str, Records]]:
    """The record files of a folder by the names of their targets; what is wrong with them is told on stderr."""
    files = [(name, read_file(folder / name / FILE)) for name in _names(folder, target)]
    for _, records in files:
        _tell(records)
    return files


def _tell(records: Records) -> None:
    for notice in records.notices:
        print(f"note: {notice}", file=sys.stderr)


def _applies(name: str, record: Record, records: Records, kernels: Remembered) -> bool:
    """Whether the record is of a kernel as it is now, by the TVM that is installed and the model of target `name`."""
    try:
        options = digest_of_options(**records.targets[record.target])
    except KeyError:  # no line says what its target is
        return False
    now = record.tvm == tvm_version() and same_model(record, priced_by(name))
    return now and record.version == kernels.version(record.task, record.knobs, options)


def _figure(value: float, unit: str) -> str:
    return f"{1e6 * value:.4g} us" if unit == "seconds" else f"{value / 1e3:.4g} k cycles"
