"""The command `python -m tvm_shufflenet.targets`: every name that --target takes."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from ..errors import UserError
from ..files import write_json
from ..targets import TargetSpec, resolve, target_names
from ..targets.cores import CORES


def _describe(spec: TargetSpec) -> dict:
    return {
        "name": spec.name, "description": spec.description, "arch": spec.arch,
        "lanes": spec.lanes, "registers": spec.registers, "tvm": spec.tvm,
        "core": dataclasses.asdict(CORES[spec.name]) if spec.name in CORES else None,
    }  # fmt: skip


def _table(specs: list[TargetSpec]):
    from rich.table import Table

    table = Table(caption='or any TVM target as JSON: {"kind": "llvm", "mtriple": ..., "mcpu": ...}')
    table.add_column("target", no_wrap=True)
    table.add_column("processor")
    table.add_column("CPU, triple and features for LLVM", min_width=24)
    table.add_column("lanes x\nregs", justify="right")
    for spec in specs:
        llvm = f"{spec.tvm['mcpu']} {spec.tvm['mtriple']}\n{' '.join(spec.tvm['mattr'])}"
        if spec.name in CORES:
            llvm += f"\nmodel: {CORES[spec.name].model}"
        table.add_row(spec.name, spec.description, llvm, f"{spec.lanes} x {spec.registers}")
    return table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.targets",
        description="Lists the processors to compile for: LLVM's name and features of each, fp32 lanes and "
        "number of vector registers, and the scheduling model that `estimate` prices it by.",
        epilog="example: python -m tvm_shufflenet.targets --json targets.json",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the table to this file")
    args = parser.parse_args(argv)
    specs = []
    for name in target_names():
        try:
            specs.append(resolve(name))
        except UserError as error:  # native, on a machine that nothing can be compiled for
            print(f"note: {error}", file=sys.stderr)
    if args.json:
        write_json(args.json, [_describe(spec) for spec in specs])

    from rich.console import Console

    Console().print(_table(specs))
