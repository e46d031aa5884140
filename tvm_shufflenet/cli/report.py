"""The command `python -m tvm_shufflenet.report`: networks, their times and their memory as one page of HTML."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL, own_name
from ..errors import UserError
from ..files import write_bytes, write_json
from .command import OutputFile, command_parser
from .common import add_timing_options, check_timing_options, parse_size
from .terminal import Terminal

if TYPE_CHECKING:
    from ..reporting.subjects import Subject

PROGRAM = "python -m tvm_shufflenet.report"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "report",
        description="Draws networks as one page of HTML that needs nothing beside itself: units and folded shuffles, "
        "time and share of peak of each kernel, the workspace over time, rivals, the paper, and what tuning found.",
        epilog=f"examples:\n  {PROGRAM} -o report.html shufflenet-v1-1x-g3 mobilenet-v1-1.0\n"
        f"  {PROGRAM} -o report.html LIBRARY --rivals latency.json\n"
        f"  {PROGRAM} -o report.html profile.json\n"
        f"  {PROGRAM} -o report.html results.json  # of a program of `bench`\n"
        f"  {PROGRAM} -o report.html --no-measure --target cortex-a72",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL|LIBRARY|PROFILE|RESULTS", help="networks and .so "
                        "files, which are profiled, or files of `profile --json` and of programs of `bench` "
                        f"({DEFAULT_MODEL})")  # fmt: skip
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        action=OutputFile,
        required=True,
        metavar="FILE",
        help="the page, such as report.html",
    )
    parser.add_argument("--no-measure", action="store_true", help="time nothing: what the compiler planned")
    parser.add_argument("--target", help="of networks: a name from `python -m tvm_shufflenet.targets`, or a TVM target "
                        "as JSON (native; with --rpc arm)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels, 224 or height x width as 480x640: of networks (224), and "
                        "which of a library's sizes (its first)")  # fmt: skip
    parser.add_argument("--rivals", type=Path, action="append", default=[], metavar="FILE", help="what other engines "
                        "take, of `python -m benchmarks.latency --json FILE` (those in docs/data/)")  # fmt: skip
    add_timing_options(parser, "library, clocked copy and peak kernel")
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    check_timing_options(args)
    size = parse_size(args.size) if args.size else None
    if args.no_measure and args.threads > 1:
        raise UserError(f"--no-measure times nothing: leave out --threads {args.threads}")
    if args.no_measure and args.rpc:
        raise UserError(f"--no-measure times nothing: leave out --rpc {args.rpc}")

    from ..measure.bench_results import is_results, read_results
    from ..reporting.page import page
    from ..reporting.rivals import at_hand, read

    rivals = {path.name: read(path) for path in args.rivals} or at_hand()
    files = [name for name in args.names if not own_name(name) and is_results(Path(name))]
    boards = [read_results(Path(name)) for name in files]  # before anything slow
    others = [name for name in args.names if name not in files]
    subjects = [_subject(name, args, size) for name in others or ([] if boards else [DEFAULT_MODEL])]
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    write_bytes(args.output, page(subjects, rivals, command, boards).encode())
    if args.json:
        write_json(args.json, {"command": command, "profiles": [subject.profile for subject in subjects]})
    print(f"{args.output} written: {', '.join([*(subject.label for subject in subjects), *files])}")
    cut = [s for s in subjects if s.profile and s.profile["rounds"] < s.profile["rounds_asked"]]
    return 130 if cut else 0


def _subject(name: str, args: argparse.Namespace, size: tuple[int, int] | None) -> Subject:
    from ..reporting import subjects

    path, is_network = Path(name), bool(own_name(name))
    if path.suffix == ".json" and not is_network:
        return subjects.load_profile(path)
    if args.no_measure and not is_network and path.is_file():
        if args.target:
            raise UserError(f"--target is of networks: {name} is compiled already")
        return subjects.from_library(path, size)
    if args.no_measure:
        with Terminal().step(f"planning {name}"):
            return subjects.from_model(name, args.target or "native", size)

    from ..measure.profiling import ProfileOptions, profile
    from .profile import PROGRAM as PROFILE
    from .profile import to_json

    options = ProfileOptions(name, args.target, size, args.rpc, args.key, args.rounds, args.timeout, args.threads)
    result = profile(options, Terminal())
    return subjects.from_profile(to_json(result, f"{PROFILE} {shlex.quote(name)}"), name)
