"""The command `python -m tvm_shufflenet.inspect`: what a library, checkpoint, model or file of records holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import UserError
from ..files import write_json
from .command import add_json_option, command_parser
from .common import add_reading_options, reading
from .inspection import library_view, network_view, records_view
from .terminal import open_console

PROGRAM = "python -m tvm_shufflenet.inspect"
RECORDS = ".jsonl"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "inspect",
        description="Says what a file is and what it holds: of a library (.so) its kernels with their knobs, calls and "
        "places in memory; of a checkpoint, an ONNX or a Caffe model its layers and where it is from; of tuning "
        "records what they found.  Nothing is compiled or run.",
        epilog=f"examples:\n  {PROGRAM} build/shufflenet-v1-1x-g3-arm.so\n"
        f"  {PROGRAM} found.pth --json found.json\n"
        f"  {PROGRAM} tuning_logs/cortex-a72",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a .so, .safetensors, .pth, .onnx, .caffemodel or "
                        ".jsonl file, or a folder of tuning records")  # fmt: skip
    parser.add_argument("--size", help="input in pixels, 224 or height x width as 480x640: of a checkpoint or model, "
                        "and which of a library's sizes (its first)")  # fmt: skip
    add_reading_options(parser)
    add_json_option(parser, "all of it")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    how = reading(args)
    given = ", ".join([*how.given, *["--size"] * bool(how.size)])
    if args.file.is_dir() or args.file.suffix == RECORDS:
        if given:
            raise UserError(f"{args.file} holds tuning records: leave out {given}")
        found, view = record_facts(args.file), records_view
    else:
        from ..reporting.facts import facts

        found = facts(args.file, how)
        view = library_view if found["kind"] == "library" else network_view
        if found["kind"] == "library" and how.given:
            raise UserError(f"{args.file} is compiled already: leave out {', '.join(how.given)}")
    if args.json:
        write_json(args.json, found)
    console = open_console()
    for part in view(found):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def record_facts(path: Path) -> dict:
    """What the records of a file, of a target's folder or of all targets say, kernel by kernel."""
    from ..records.remembered import remembered
    from ..records.store import FILE, read_file
    from .records import rows_of_all

    paths = [path] if path.is_file() else sorted([*path.glob(FILE), *path.glob(f"*/{FILE}")])
    if not paths:
        raise UserError(f"{path}: no such file, and no folder with {FILE} in it or in a folder of it")
    files = [(each, read_file(each)) for each in paths]
    if not any(records.all for _, records in files):
        raise UserError(f"{path} holds no tuning records: expected lines of JSON such as `tune` writes")
    with remembered() as kernels:
        rows = rows_of_all([(each.absolute().parent.name, records) for each, records in files], kernels)
    return {
        "kind": "records", "file": str(path), "files": list(map(str, paths)),
        "notices": [notice for _, records in files for notice in records.notices],
        "kernels": rows,
    }  # fmt: skip
