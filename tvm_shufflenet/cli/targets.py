"""The command `python -m tvm_shufflenet.targets`: every name that --target takes."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from ..errors import UserError
from ..files import write_json
from ..targets import TargetSpec, resolve, target_names
from ..targets.cores import CORES, Core
from .command import add_json_option, command_parser

JSON = 'or any TVM target as JSON: {"kind": "llvm", "mtriple": ..., "mcpu": ...}; `targets NAME` says more'


def _describe(spec: TargetSpec) -> dict:
    return {
        "name": spec.name, "description": spec.description, "arch": spec.arch,
        "lanes": spec.lanes, "registers": spec.registers, "tvm": spec.tvm,
        "core": dataclasses.asdict(CORES[spec.name]) if spec.name in CORES else None,
    }  # fmt: skip


def _table(specs: list[TargetSpec]):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 0))
    table.add_column("target", no_wrap=True)
    table.add_column("processor", no_wrap=True, overflow="ellipsis")  # gives way in a narrow terminal
    for heading in ("arch", "CPU", "model"):
        table.add_column(heading, no_wrap=True)
    table.add_column("lanes\nx regs", justify="right", no_wrap=True)
    for spec in specs:
        model = _model(CORES[spec.name]) if spec.name in CORES else "-"
        table.add_row(spec.name, spec.description, spec.arch, spec.tvm["mcpu"], model,
                      f"{spec.lanes} x {spec.registers}")  # fmt: skip
    return table


def _model(entry: Core) -> str:
    """The model of a core: LLVM's name of it, or ours."""
    return f"our {entry.in_order}" if entry.in_order else entry.model


def _details(spec: TargetSpec) -> list[str]:
    """All that is known of a target, line by line."""
    lines = [
        f"{spec.name}: {spec.description}",
        f"  architecture: {spec.arch}, {spec.lanes} fp32 lanes, {spec.registers} vector registers",
        *(f"  {key}: {' '.join(value) if isinstance(value, list) else value}" for key, value in spec.tvm.items()),
    ]
    if spec.name in CORES:
        lines.append(f"  scheduling model of `estimate`: {_model(CORES[spec.name])}")
    return lines


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "targets",
        description="Lists the processors to compile for: LLVM's name of each, the scheduling model that `estimate` "
        "prices it by, fp32 lanes and number of vector registers.  Of a TARGET, also all that TVM is told.",
        epilog="examples:\n  python -m tvm_shufflenet.targets --json targets.json\n"
        "  python -m tvm_shufflenet.targets cortex-a72",
    )
    parser.add_argument("names", nargs="*", metavar="TARGET", help="targets to describe, names or TVM's JSON (a table "
                        "of all)")  # fmt: skip
    add_json_option(parser, "the table")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    specs = [resolve(name) for name in args.names]
    for name in () if specs else target_names():
        try:
            specs.append(resolve(name))
        except UserError as error:  # native, on a machine that nothing can be compiled for
            print(f"note: {error}", file=sys.stderr)
    if args.json:
        write_json(args.json, [_describe(spec) for spec in specs])

    from .terminal import open_console

    console = open_console()
    if not args.names:
        console.print(_table(specs))
        console.print(JSON, markup=False, soft_wrap=True)
    for line in (line for spec in (specs if args.names else []) for line in _details(spec)):
        console.print(line, markup=False, soft_wrap=True)
