"""The command `python -m tvm_shufflenet.bench`: a static program that times networks on a board or a phone."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..architectures import own_name
from ..errors import UserError
from ..files import write_json
from ..targets import DEFAULT_TARGET
from ..words import counted
from .command import add_json_option, command_parser
from .common import add_records_options, parse_size, records_folder

PROGRAM = "python -m tvm_shufflenet.bench"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "bench",
        description="Makes one static program that times networks on one core of a board or a phone, which needs "
        "neither Python nor TVM.  What it prints there, `python -m tvm_shufflenet.compare FILE` reads.  With --serve "
        "PORT the program is an RPC server there, which `tune`, `compare` and `profile --rpc` reach.",
        epilog=f"examples:\n  {PROGRAM} --target cortex-a72 -o bench-a72 shufflenet-v1-1x-g3 alexnet\n"
        "  scp bench-a72 board: && ssh board ./bench-a72 --core 3 > results.json\n"
        "  python -m tvm_shufflenet.compare results.json\n"
        f"  {PROGRAM} --target cortex-a76 --no-networks -o serve-a76",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL|LIBRARY", help="networks to build, or static libraries of "
                        "`build --emit static --prefix NAME` beside their .json (those of `compare`)")  # fmt: skip
    parser.add_argument("--target", default=DEFAULT_TARGET, help="a name from `python -m tvm_shufflenet.targets`, or "
                        "a TVM target as JSON (arm)")  # fmt: skip
    parser.add_argument("--size", help="of networks: input in pixels, 224 or height x width as 480x640 (224)")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench"), metavar="FILE", help="the program "
                        "(build/bench)")  # fmt: skip
    parser.add_argument("--cc", metavar="COMMAND", help="a C compiler for the target that links statically, instead "
                        "of ziglang's with musl")  # fmt: skip
    parser.add_argument("--no-networks", action="store_true", help="pack none: a small program for --serve alone")
    add_records_options(parser)
    add_json_option(parser, "what was packed")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    size = parse_size(args.size) if args.size else None

    from ..measure.comparison import MODELS
    from ..measure.packing import PackOptions, pack
    from .terminal import Terminal

    if args.no_networks and (args.names or size):
        raise UserError("--no-networks: name no networks beside it, and no --size of any")
    names = () if args.no_networks else tuple(args.names) or MODELS
    if len(set(names)) < len(names):
        raise UserError(f"{max(names, key=names.count)} is named twice: once is enough")
    if size and (compiled := [name for name in names if not own_name(name)]):
        raise UserError(f"--size is of networks: {compiled[0]} is compiled already")
    options = PackOptions(names, args.target, size, args.output, records_folder(args), args.cc)
    made = pack(options, Terminal())
    whole = made.path.stat().st_size
    print(f"{made.path}: {counted(len(made.entries), 'network')}, for {made.target.name}, {whole / 1e6:.2f} MB, "
          f"from archives of {made.library_bytes / 1e6:.2f} MB")  # fmt: skip
    for label, why in made.unchecked.items():
        print(f"  {label}: its outputs will not be checked: {why}")
    for notice in dict.fromkeys(notice for entry in made.entries for notice in entry.notices):
        print(f"  {notice}")
    if args.json:
        write_json(args.json, {
            "program": str(made.path), "bytes": whole, "library_bytes": made.library_bytes,
            "target": {"name": made.target.name, **made.target.tvm}, "unchecked": [*made.unchecked],
            "networks": [entry.label for entry in made.entries],
        })  # fmt: skip
