"""The command `python -m tvm_shufflenet.doctor`: does everything between here and a board work?"""

from __future__ import annotations

import argparse

from ..targets import resolve
from .command import command_parser
from .common import check_seconds


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "doctor",
        description="Checks the whole way to a board over TVM RPC: connect, compile, upload, run, compare, time.  "
        "Names what is wrong at the first step that fails.",
        epilog="example:\n  python -m tvm_shufflenet.doctor --rpc 192.168.1.20:9190 --target cortex-a72",
    )
    parser.add_argument("--rpc", required=True, metavar="HOST:PORT", help="of the RPC server or tracker")
    parser.add_argument("--key", help="of the board at its tracker (the target's name)")
    parser.add_argument("--target", default="arm", help="a name from `python -m tvm_shufflenet.targets`, or a TVM "
                        "target as JSON (arm)")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=10, metavar="S", help="seconds to wait for the board (10)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    check_seconds("--timeout", args.timeout)
    target = resolve(args.target)

    from rich.console import Console

    from ..boards.rpc import count_boards
    from ..tuning.links import round_trip

    console = Console(highlight=False)
    boards = count_boards(args.rpc, args.key or target.name, args.timeout)
    for step in round_trip(args.rpc, args.key, target, args.timeout):
        console.print(f"{step.what + ':':16} {step.found} ({step.seconds:.1f} s)", markup=False, soft_wrap=True)
    console.print(f"all is well; {boards} board{'s' * (boards != 1)} there" + (", one of them checked" * (boards > 1)))
