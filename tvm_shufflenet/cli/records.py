"""The command `python -m tvm_shufflenet.records`: shows, prunes and merges what tuning has found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import UserError
from ..files import write_json
from ..records import store
from ..records.store import FILE, FOLDER, UNITS, Record, Records, fastest, read_file, settle, tvm_version
from ..targets.generation import digest_of_options
from .terminal import open_console


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.records",
        description="What tuning has found, in tuning_logs/TARGET/.",
        epilog="examples: python -m tvm_shufflenet.records show --target cortex-a72\n"
        "          python -m tvm_shufflenet.records prune\n"
        "          python -m tvm_shufflenet.records merge from-board-1/ from-board-2/",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
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
            command.add_argument("--json", metavar="FILE", help="also write the table to this file")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    {"show": show, "prune": prune, "merge": merge}[args.command](args)


def show(args: argparse.Namespace) -> None:
    from ..tuning.tasks import label_of

    rows = [row for name, records in _files(args.records, args.target) for row in rows_of(name, records)]
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
                stale = "" if row["applies"] else " (another version: not used)"
                table.add_row(label_of(row["kernel"]) + stale, *figures, str(row["tried"]), str(row["failed"]), knobs)
        console.print(table)
    print(f"{len(rows)} kernels")


def rows_of(name: str, records: Records) -> list[dict]:
    """A row for each kernel, version, processor and kind."""
    groups: dict[tuple, list[Record]] = {}
    for record in records.all:
        groups.setdefault((*record.kernel, _applies(record, records)), []).append(record)
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
        before, kept = store.prune(args.records / name / FILE, best_of_each)
        _tell(before)
        print(f"{name}: {len(kept)} of {len(before.all)} records kept")


def best_of_each(records: Records) -> list[Record]:
    """The best record of each kernel, kind and processor, none of other versions."""
    groups: dict[tuple, list[Record]] = {}
    for record in records.all:
        if _applies(record, records):
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
    """Of the targets that a folder has records of; only `target` if that is given."""
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


def _applies(record: Record, records: Records) -> bool:
    """Whether the record is of a kernel as it is now, by the TVM that is installed."""
    from ..records.keys import version
    from ..tuning.tasks import workload_of

    try:
        workload = workload_of(record.task)
        options = digest_of_options(**records.targets[record.target])
        return record.tvm == tvm_version() and record.version == version(workload, record.knobs, options)
    except Exception:  # whatever fields or knobs that no kernel has lead to
        return False


def _figure(value: float, unit: str) -> str:
    return f"{1e6 * value:.4g} us" if unit == "seconds" else f"{value / 1e3:.4g} k cycles"
