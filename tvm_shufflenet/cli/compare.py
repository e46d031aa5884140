"""The command `python -m tvm_shufflenet.compare`: latency of networks side by side, and the paper's."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import UserError
from ..files import today, write_json
from ..plotting import add_plot_option, check_plot, compared, save
from ..words import counted, weights_line
from .command import command_parser
from .common import (
    add_records_options,
    add_timing_options,
    check_timing_options,
    parse_size,
    precisions,
    records_folder,
    tuned_kernels,
)
from .terminal import WIDTH, Terminal, open_console

if TYPE_CHECKING:
    from rich.table import Table

    from ..measure.comparison import Comparison
    from ..measure.profiling import Profile

PROGRAM = "python -m tvm_shufflenet.compare"
MODEL = "model, not a measurement"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "compare",
        description="Times networks side by side, on this machine or on a board over TVM RPC: batch 1, fp32, beside "
        "Table 8 of the ShuffleNet paper.",
        epilog="examples:\n  python -m tvm_shufflenet.compare --size 480x640 --plot compare.svg\n"
        "  python -m tvm_shufflenet.compare --estimate --target cortex-a72\n"
        "  python -m tvm_shufflenet.compare --rpc 192.168.1.20:9190 --target cortex-a72",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL|LIBRARY|RESULTS", help="networks to build, .so files as "
                        "they are, or one .json file that a program of `python -m tvm_shufflenet.bench` printed (the "
                        "ShuffleNets 0.5x, 1x and 2x g=3, MobileNet 1.0 and AlexNet)")  # fmt: skip
    parser.add_argument("--target", help="a name from `python -m tvm_shufflenet.targets`, or a TVM target as JSON "
                        "(native; with --rpc arm)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels, 224 or height x width as 480x640: of networks (224), and "
                        "which of a library's sizes (its first)")  # fmt: skip
    parser.add_argument("--estimate", action="store_true", help="no timing: cycles of the Arm core that --target names "
                        "(cortex-a72), by the model of `python -m tvm_shufflenet.estimate`")  # fmt: skip
    add_records_options(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep the libraries in this folder")
    add_plot_option(parser)
    add_timing_options(parser, "each network")
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    size = parse_size(args.size) if args.size else None
    check_timing_options(args)
    check_plot(args.plot)
    if recorded := [name for name in args.names if name.endswith(".json")]:
        _check_alone(recorded[0], args)
    if args.estimate:
        return _estimates(args, size, f"{PROGRAM} {shlex.join(argv)}")

    from ..measure.comparison import MODELS, CompareOptions, compare

    if recorded:
        from ..measure.bench_results import read_results

        result = read_results(Path(recorded[0]))
    else:
        result = compare(
            CompareOptions(tuple(args.names) or MODELS, args.target, size, args.rpc, args.key, args.rounds,
                           args.timeout, args.output, records_folder(args), args.threads),
            Terminal(),
        )  # fmt: skip
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(result, command))
    if args.plot and result.rounds:
        save(args.plot, compared(result.rows(), title(result)))
    console = open_console()
    console.print(title(result), markup=False, soft_wrap=True)
    console.print(table(result, console.width))
    if args.plot and not result.rounds:
        console.print(f"{args.plot} not written: nothing was timed", markup=False, soft_wrap=True)
    for line in footer(result, command):
        console.print(line, markup=False, soft_wrap=True)
    return 130 if result.processor.measurable and result.rounds < result.rounds_asked else 0


def _check_alone(file: str, args: argparse.Namespace) -> None:
    """`UserError` for what is said beside a file of figures, whose networks are measured already."""
    usual, kept = arguments().parse_args([file]), ("json", "plot")
    if args.names != [file]:
        raise UserError(f"{file} holds the figures of one machine: name it alone")
    if given := [key for key, value in vars(args).items() if value != getattr(usual, key) and key not in kept]:
        raise UserError(f"{file} holds figures: leave out --{given[0].replace('_', '-')}, which is for measuring")


def title(result: Comparison) -> str:
    """The title of a comparison: processor, target, and the size where all networks have the same."""
    sizes = {entry.size for entry in result.entries}
    common = [_pixels(sizes.pop())] if len(sizes) == 1 else []
    return ", ".join([result.processor.name, f"target {result.target.name}", *common])


def table(result: Comparison, width: int = WIDTH) -> Table:
    """The networks, for `rich`, in 80 characters.  A column is there if some network has a figure for it."""
    rows = result.rows()
    several = any(row["batch"] > 1 for row in rows)
    columns = [
        *([("batch", "batch", str)] if several else []),
        ("mult-\nadds,\nM", "multiply_adds", lambda value: f"{value / 1e6:.1f}"),
        ("output\ndiffer-\nence", "output_difference", lambda value: f"{value:.0e}" if value else "0"),
        ("ms,\nmin", "minimum_ms", _milliseconds),
        ("ms,\nmedian", "median_ms", _milliseconds),
        *([("pic-\ntures\n/s", "pictures_per_second", lambda value: f"{value:.0f}")] if several else []),
        ("GMAC\n/s", "multiply_adds_per_second", lambda value: f"{value / 1e9:.1f}"),
        ("% of\npeak", "share_of_peak", lambda value: f"{100 * value:.0f}"),
        ("times\nAlex-\nNet", "speedup", _times),
        ("same,\nin\ntheory", "theoretical_speedup", _times),
    ]
    if result.rounds:
        columns += [("paper:\nms", "paper_ms", str), ("paper:\ntimes\nAlex-\nNet", "paper_speedup", _times)]
    return _draw(rows, columns, width)


def _draw(rows: list[dict], columns: list[tuple], width: int):
    """A table of the columns (heading, key, format) for which some row has a figure."""
    from rich import box
    from rich.table import Table

    columns = [column for column in columns if any(row[column[1]] is not None for row in rows)]
    padding = (0, 1 if width >= 90 else 0, 0, 0)  # beside a space that parts columns anyway
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding)
    drawn.add_column("network", overflow="fold")  # the only one that gives way
    for heading, _, _ in columns:
        drawn.add_column(heading, justify="right", no_wrap=True)
    sizes_differ = len({tuple(row["size"]) for row in rows}) > 1
    for row in rows:
        name = row["network"] + (f" {_pixels(row['size'])}" if sizes_differ else "")
        drawn.add_row(name, *("" if row[key] is None else form(row[key]) for _, key, form in columns))
    return drawn


def _estimates(args, size: tuple[int, int] | None, command: str) -> int:
    """The same comparison in cycles of a model."""
    import tempfile

    from .. import published
    from ..estimation import tools
    from ..estimation.networks import estimate_networks
    from ..estimation.pricing import model_note
    from ..measure.comparison import MODELS
    from ..targets.cores import core

    if args.threads > 1:
        raise UserError(f"--threads {args.threads}: the model is of one core: leave it out, or --estimate to measure")
    if args.rpc:
        raise UserError("--estimate needs no board: leave out --rpc, or --estimate to measure on it")
    chosen = core(args.target or "cortex-a72")
    tools.qemu(), tools.llvm()  # before anything slow
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm_shufflenet-"))
        folder = args.output or Path(temporary)
        rows = estimate_networks(tuple(args.names) or MODELS, chosen, size, folder, Terminal().step,
                                 records=records_folder(args))  # fmt: skip
    if args.json:
        write_json(args.json, {"what": MODEL, "command": command, "core": chosen.name,
                               "scheduling_model": model_note(chosen), "networks": rows})  # fmt: skip
    if args.plot:
        drawn = f"{MODEL}: {chosen.name}"
        save(args.plot, compared(rows, drawn, "cycles", "cycles", "share_of_fma_bound"))
    millions = "{:.1f}".format
    columns = [
        ("mult-\nadds,\nM", "multiply_adds", lambda value: millions(value / 1e6)),
        ("cycles,\nM", "cycles", lambda value: millions(value / 1e6)),
        ("% of\nFMA\nbound", "share_of_fma_bound", lambda value: f"{100 * value:.0f}"),
        ("with\nmisses,\nM", "total_cycles", lambda value: millions(value / 1e6)),
        ("times\nAlex-\nNet", "speedup", _times),
        ("same,\nin\ntheory", "theoretical_speedup", _times),
        ("paper:\nms", "paper_ms", str),
        ("paper:\ntimes\nAlex-\nNet", "paper_speedup", _times),
    ]
    console = open_console()
    console.print(f"{MODEL}: one inference on {chosen.name}, {_pixels(rows[0]['size'])}", markup=False, soft_wrap=True)
    console.print(_draw(rows, columns, console.width))
    lines = [f"scheduling: {model_note(chosen)}; speed-ups are of the cycles with misses in simulated caches"]
    if any(row["paper_ms"] for row in rows):
        lines.append(f"paper: Table 8 of the ShuffleNet paper, {published.PROCESSOR}, one thread")
    lines += dict.fromkeys(f"{row['network']}: {row['note']}" for row in rows if row["note"])
    for line in (*lines, command):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def footer(result: Comparison, command: str) -> list[str]:
    """What the figures depend on, line by line."""
    from .. import published
    from ..measure.doubts import doubts_of_comparison, warnings

    entries = result.entries
    lines = how_measured(result)
    if result.rounds and any(published.milliseconds(entry.model, entry.size) for entry in entries):
        lines.append(f"paper: Table 8 of the ShuffleNet paper, {published.PROCESSOR}, one thread")
    if result.checked:
        lines.append("output checked: largest difference from the same network on this machine, relative")
    kernels = [entry.manifest["kernels"] for entry in entries]
    whole = {key: sum(each[key] for each in kernels) for key in ("tuned", "total")}
    if all("changed" in each for each in kernels):
        whole["changed"] = sum(each["changed"] for each in kernels)
    whole["tuned_by"] = sum((Counter(each.get("tuned_by")) for each in kernels), Counter())
    lines.append(tuned_kernels(whole) + "; default schedules:" * (whole["tuned"] < whole["total"]))
    for entry in entries:
        for why, count in entry.manifest["kernels"].get("records_ignored", {}).items():
            lines.append(f"  {entry.label}: {counted(count, 'tuning record')} ignored: {why}")
        if default := entry.manifest["kernels"]["default_schedule"]:
            names = ", ".join(default) if entry.manifest["kernels"]["tuned"] else f"all {len(default)}"
            lines.append(f"  {entry.label}: {names}")
    lines += dict.fromkeys(notice for entry in entries for notice in entry.notices)
    lines += [*notes(result), *warnings(doubts_of_comparison(result))]
    lines.append(", ".join(f"{name} {version}" for name, version in versions().items()))
    lines.append(command)
    return lines


def how_measured(result: Comparison) -> list[str]:
    """Where and in which rounds the times were taken, or why there are none."""
    processor = result.processor
    if result.peak is None:
        return [f"{processor.name}: {processor.why_no_latency}" + ("; outputs checked" if result.checked else "")]
    core = "" if result.core is None else f" (core {result.core})"
    done = counted(result.rounds, "interleaved round")
    if result.rounds < result.rounds_asked:
        done = f"interrupted: {result.rounds} of {result.rounds_asked} rounds, interleaved"
    kept = precisions(*(entry.manifest for entry in result.entries))
    lines = [
        f"{result.place}: {processor.name}; threads {result.threads}{core}, {_batches(result)}, {kept}",
        f"{done}; rates and speed-ups are of the minimum",
        f"FMA peak of {of_cores(result.threads)} in the same rounds: {result.peak / 1e9:.1f} GMAC/s",
    ]
    if result.place != "this machine" and " + " in processor.name:
        lines.append("cores differ: start the board's RPC server under `taskset -c CORE` to choose one")
    return lines


def _batches(result: Comparison) -> str:
    batches = result.batches
    return f"batch {' and '.join(map(str, batches))}" + (", ms of a call" if batches[-1] > 1 else "")


def of_cores(threads: int) -> str:
    """Whose peak is shown: that of one core, or of several threads together."""
    return "one core" if threads == 1 else f"{threads} threads at once"


def notes(result: Comparison) -> list[str]:
    """What the manifests have to say, each line once, and which outputs could not be checked."""
    found: dict[str, list[str]] = {}
    for entry in result.entries:
        told = [weights_line(entry.manifest), entry.manifest["note"]]
        if result.checked and entry.difference is None:
            told.append("output not checked: its weights are not at hand")
        for note in filter(None, told):
            found.setdefault(note, []).append(entry.label)
    everywhere = len(result.entries)
    return [note if len(labels) == everywhere else f"{', '.join(labels)}: {note}" for note, labels in found.items()]


def versions() -> dict[str, str]:
    packages = ("apache-tvm", "apache-tvm-ffi")
    return {"tvm_shufflenet": __version__, **{name: importlib.metadata.version(name) for name in packages}}


def conditions(result: Comparison | Profile) -> dict:
    """Where and how something was timed beside the peak, for the JSON of the commands that do so."""
    from ..measure.peak import multiply_adds

    macs = multiply_adds(result.target.machine, result.threads)
    return {
        "date": today(),
        "place": result.place,
        "processor": vars(result.processor) | {"measurable": result.processor.measurable},
        "target": {"name": result.target.name, **result.target.tvm},
        "threads": result.threads,
        "batch": result.batch,
        "core": result.core,
        "rounds": result.rounds,
        "rounds_asked": result.rounds_asked,
        "versions": versions(),
        "peak_multiply_adds_per_second": result.peak,
        "peak_multiply_adds_per_second_of_rounds": [macs / seconds for seconds in result.peak_seconds],
    }


def to_json(result: Comparison, command: str) -> dict:
    """All that was measured.  Times are of one call each, in milliseconds."""
    from ..measure.doubts import doubts_of_comparison

    return {
        "command": command,
        **conditions(result),
        **({"date": result.date} if result.date else {}),
        "networks": [
            {**row, "library": entry.path.name, "kernels_tuned": entry.manifest["kernels"]["tuned"],
             "kernels": entry.manifest["kernels"]["total"], "weights": entry.manifest["weights"],
             "built_with": entry.manifest["versions"],
             "ms_of_rounds": [1e3 * seconds for seconds in entry.seconds]}
            for row, entry in zip(result.rows(), result.entries)
        ],
        "notes": notes(result),
        "doubts": doubts_of_comparison(result),
    }  # fmt: skip


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:.1f}"


def _times(value: float) -> str:
    return f"{value:.1f}x"


def _pixels(size) -> str:
    return "x".join(map(str, size))
