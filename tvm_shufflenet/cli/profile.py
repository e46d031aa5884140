"""The command `python -m tvm_shufflenet.profile`: what each kernel of a network takes, on this machine or a board."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL
from ..files import write_json
from ..library.interface import inputs
from ..reporting.trace import trace
from ..words import counted, weights_line
from .command import OutputFile, command_parser
from .common import add_timing_options, check_timing_options, parse_size, precisions
from .compare import conditions, of_cores, versions
from .terminal import Terminal, open_console

if TYPE_CHECKING:
    from rich.table import Table

    from ..measure.profiling import Profile

PROGRAM = "python -m tvm_shufflenet.profile"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "profile",
        description="Times each kernel of a network in its place, and holds the sum against the "
        "whole.  A clocked copy of the library reads the clock between the kernels; the library itself is not changed.",
        epilog="examples:\n  python -m tvm_shufflenet.profile shufflenet-v1-1x-g8\n"
        "  python -m tvm_shufflenet.profile build/shufflenet-v1-1x-g3-native.so --calls\n"
        "  python -m tvm_shufflenet.profile --trace trace.json\n"
        "  python -m tvm_shufflenet.profile --rpc 192.168.1.20:9190 --target cortex-a72",
    )
    parser.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="MODEL|LIBRARY",
                        help=f"a network to build, or a .so file ({DEFAULT_MODEL})")  # fmt: skip
    parser.add_argument("--calls", action="store_true", help="each call in the order of execution, not each kernel")
    parser.add_argument("--target", help="of a network: a name from `python -m tvm_shufflenet.targets`, or a TVM "
                        "target as JSON (native; with --rpc arm)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels, 224 or height x width as 480x640: of a network (224), and "
                        "which of a library's sizes (its first)")  # fmt: skip
    parser.add_argument("--trace", metavar="FILE", action=OutputFile,
                        help="also write the calls as a trace, which ui.perfetto.dev and "
                        "chrome://tracing show")  # fmt: skip
    add_timing_options(parser, "library, clocked copy and peak kernel")
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    check_timing_options(args)
    size = parse_size(args.size) if args.size else None

    from ..measure.profiling import ProfileOptions, profile

    result = profile(
        ProfileOptions(args.name, args.target, size, args.rpc, args.key, args.rounds, args.timeout, args.threads),
        Terminal(),
    )
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(result, command))
    if args.trace:
        write_json(args.trace, trace(to_json(result, command)))
    console = open_console()
    console.print(title(result), markup=False, soft_wrap=True)
    console.print(table(result, args.calls))
    for line in footer(result, command):
        console.print(line, markup=False, soft_wrap=True)
    return 130 if result.rounds < result.rounds_asked else 0


def title(result: Profile) -> str:
    """The title of a profile: network, target, size and the number of calls."""
    size = "x".join(map(str, inputs(result.manifest)[0].size))
    return f"{result.label}, target {result.target.name}, {size}: {len(result.calls)} calls"


def table(result: Profile, calls: bool = False) -> Table:
    """A row per kernel, slowest first, or per call; for `rich`."""
    from rich import box
    from rich.table import Table

    columns: list[tuple[str, str, Callable]] = [
        ("calls", "calls", str),
        ("ms", "ms", "{:.4f}".format),
        ("% of\nsum", "share_of_sum", lambda value: f"{100 * value:.1f}"),
        ("mult-\nadds,\nM", "multiply_adds", lambda value: f"{value / 1e6:.2f}" if value else ""),
        ("GMAC\n/s", "multiply_adds_per_second", lambda value: f"{value / 1e9:.1f}" if value else ""),
        ("% of\npeak", "share_of_peak", lambda value: f"{100 * value:.0f}" if value else ""),
        ("MB", "bytes", lambda value: f"{value / 1e6:.3f}"),
        ("GB/s", "bytes_per_second", lambda value: f"{value / 1e9:.1f}"),
    ]
    if calls:
        columns[0] = ("call", "call", str)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("kernel", no_wrap=True)
    drawn.add_column("computes", overflow="fold")  # gives way in a narrow terminal
    for heading, _, _ in columns:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows() if calls else result.kernels():
        drawn.add_row(row["kernel"], row["what"], *(form(row[key]) for _, key, form in columns))
    return drawn


def footer(result: Profile, command: str) -> list[str]:
    """The sum against the whole, and what the figures depend on, line by line."""
    from ..measure.doubts import doubts_of_profile, warnings

    whole, macs = min(result.library_seconds), result.manifest["multiply_adds"]
    core = "" if result.core is None else f" (core {result.core})"
    done = counted(result.rounds, "interleaved round")
    if result.rounds < result.rounds_asked:
        done = f"interrupted: {result.rounds} of {result.rounds_asked} rounds, interleaved"
    looks, look = min(result.twin_seconds), min(result.tick_seconds)
    lines = [
        f"kernels together: {1e3 * result.sum:.4f} ms, {100 * result.sum / whole:.1f} % of the whole",
        f"the whole, the library as it is: {1e3 * whole:.4f} ms, {macs / 1e6:.1f} M multiply-adds, "
        f"{macs / whole / 1e9:.1f} GMAC/s, {100 * macs / whole / result.peak:.0f} % of peak",
        f"its copy, which looks at the clock between kernels: {1e3 * looks:.4f} ms; a look takes {1e9 * look:.0f} ns, "
        "subtracted from each call",
        f"FMA peak of {of_cores(result.threads)} in the same rounds: {result.peak / 1e9:.1f} GMAC/s",
        f"{result.place}: {result.processor.name}; threads {result.threads}{core}, batch {result.batch}, "
        f"{precisions(result.manifest)}",
        f"{done}; the least of all rounds, for each call by itself, so that the sum is no round's",
        "MB: activations and weights read, results written, each once",
        *(["times and MB of one picture"] if result.batch > 1 else []),
        weights_line(result.manifest),
    ]
    lines += attention_line(result)
    if result.manifest["note"]:
        lines.append(f"note: {result.manifest['note']}")
    if result.differences:
        lines.append(f"NOT the kernels of {result.label}: {'; '.join(result.differences)}; build it anew to profile it")
    lines += warnings(doubts_of_profile(result))
    lines.append(", ".join(f"{name} {version}" for name, version in versions().items()))
    lines.append(command)
    return lines


def attention_line(result: Profile) -> list[str]:
    """The time of channel attention and of its parts; no line for networks without attention."""
    parts = []
    for name, part in (found := result.attention()).items():
        text = f"{name} {part['ms']:.4f} ms"
        if size := part["weight_bytes"]:
            text += f" (which read {size / 1e6:.3f} MB of weights, each once: {size / part['ms'] / 1e6:.1f} GB/s)"
        parts.append(text)
    if not parts:
        return []
    whole = sum(part["ms"] for part in found.values())
    share = whole / (1e3 * result.sum)
    inside = "" if "multiplications" in found else "; planes are multiplied inside the convolutions before"
    return [f"channel attention: {whole:.4f} ms, {100 * share:.1f} % of the sum: {', '.join(parts)}{inside}"]


def to_json(result: Profile, command: str) -> dict:
    """All that was measured.  Times are of one picture each, in milliseconds."""
    from ..measure.doubts import doubts_of_profile

    whole, macs = min(result.library_seconds), result.manifest["multiply_adds"]
    about = result.manifest

    def milliseconds(values):
        return [1e3 * float(value) for value in values]

    return {
        "command": command,
        "network": result.label,
        "model": about["model"],
        "size": list(inputs(about)[0].size),
        "multiply_adds": macs,
        "built_with": about["versions"],
        "twin_differs": result.differences,
        "doubts": doubts_of_profile(result),
        **conditions(result),
        "library": {
            "ms": 1e3 * whole,
            "ms_of_rounds": milliseconds(result.library_seconds),
            "multiply_adds_per_second": macs / whole,
            "share_of_peak": macs / whole / result.peak,
        },
        "sum_of_kernels_ms": 1e3 * result.sum,
        "sum_of_kernels_share_of_library": result.sum / whole,
        "channel_attention": result.attention(),
        "twin_ms_of_rounds": milliseconds(result.twin_seconds),
        "tick_ns_of_rounds": [1e9 * seconds for seconds in result.tick_seconds],
        "kernels": result.kernels(),
        "calls": [
            {**row, "ms_of_rounds": milliseconds(call.seconds)} for row, call in zip(result.rows(), result.calls)
        ],
        # What `report` draws beside the times.
        "manifest": {**about, "plan": result.plan},
    }
