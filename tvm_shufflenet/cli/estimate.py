"""The command `python -m tvm_shufflenet.estimate`: what a network costs on an Arm core, by a model."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL, own_name
from ..errors import UserError
from ..files import write_json
from ..library.teams import check_threads
from ..targets import TARGETS, resolve
from ..targets.calibration import Calibration
from ..targets.cores import CORES, Core, core
from ..targets.precision import precision_of
from ..words import weights_line
from .command import add_json_option, command_parser
from .common import add_precision_options, parse_size, precisions
from .terminal import Terminal, open_console

if TYPE_CHECKING:
    from ..estimation.barriers import Barriers
    from ..estimation.estimates import Estimate

DEFAULT_CORE = "cortex-a72"
HEADING = "model, not a measurement"
DIFFERENT = 0.1  # of two prices of a kernel: both are shown
LISTED = 6  # kernels in a sentence; --json has the prices of all


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "estimate",
        description="Counts what a network executes, in an emulated AArch64, and prices it by a model of a core (our "
        "own of Cortex-A53 and A55, LLVM's of others) and simulated caches: the same figures on every run.  Needs "
        "Debian's qemu-user and llvm.",
        epilog="examples:\n  python -m tvm_shufflenet.estimate shufflenet-v1-1x-g3 --target cortex-a53\n"
        "  python -m tvm_shufflenet.estimate shufflenet-v1-1x-g3 --threads 4",
    )
    parser.add_argument("network", nargs="?", default=DEFAULT_MODEL, metavar="MODEL|LIBRARY", help="a network, which "
                        f"is compiled for the core, or a compiled .so ({DEFAULT_MODEL})")  # fmt: skip
    parser.add_argument("--target", metavar="CORE", help=f"{', '.join(CORES)} (the library's, else {DEFAULT_CORE})")
    parser.add_argument("--size", help="input in pixels, 224 or height x width as 480x640: of a network (224), and "
                        "which of a library's sizes (its first)")  # fmt: skip
    parser.add_argument("--classes", type=int, help="outputs of the classifier (1000)")
    parser.add_argument("--model", metavar="NAME", help="another model of the core: llvm, or cortex-a55-r0 for the "
                        "first revision of Cortex-A55")  # fmt: skip
    add_precision_options(parser)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="also what the barriers of so many "
                        "threads would cost, each on a core of its own (1)")  # fmt: skip
    parser.add_argument("--no-cache", action="store_true", help="leave the caches out: every load and store hits")
    add_json_option(parser, "the figures")
    return parser


def _scales(args: argparse.Namespace, chosen: Core, size: tuple[int, int] | None) -> Calibration | None:
    """For int8, scales for the network of that name with random weights: cycles do not depend on them."""
    from ..architectures import network
    from ..bridge import random_parameters
    from ..pipeline import with_scales

    net = network(args.network, size, args.classes)
    precision = precision_of(args.precision, args.weights_precision, resolve(chosen.name))
    return with_scales(precision, net, random_parameters(net)).calibration


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    check_threads(args.threads, oversubscribe=True, option="--threads ")
    size = parse_size(args.size) if args.size else None
    if args.classes is not None and args.classes < 1:
        raise UserError(f"--classes {args.classes}: expected 1 or more")
    chosen = core(args.target) if args.target else None

    from ..estimation import tools

    tools.qemu(), tools.llvm()  # before anything slow
    if own_name(args.network):
        with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
            from ..building.build_library import BuildOptions, build_library
            from ..estimation.pricing import with_model

            chosen = chosen or core(DEFAULT_CORE)
            if args.model:
                with_model(chosen, args.model)
            options = BuildOptions(
                args.network, chosen.name, size, args.classes, output=Path(folder), precision=args.precision,
                weights_precision=args.weights_precision,
                calibration=_scales(args, chosen, size),
                team=args.threads > 1,
            )  # fmt: skip
            with Terminal().step(f"building {args.network} for {chosen.name}") as done:
                library = build_library(options, done).path
            result, barriers = _estimate(library, chosen, args)
    else:
        library = Path(args.network)
        if not library.exists() and library.suffix != ".so":
            from ..architectures import network

            network(args.network, size, args.classes)  # says which networks there are
        if args.classes or args.precision != "fp32" or args.weights_precision:
            raise UserError(f"--classes and precisions are of networks: {library} is compiled already")
        result, barriers = _estimate(library, chosen or _core_of(library), args, size)
    if args.json:
        waiting = {"threads": barriers.to_json(result.network.total_cycles)} if barriers else {}
        write_json(args.json, _to_json(result) | waiting)
    console = open_console()
    _show(result, console)
    if barriers:
        console.print(_of_barriers(barriers, result.network.total_cycles), soft_wrap=True)


def _core_of(library: Path) -> Core:
    from ..library.loading import read_manifest

    name = read_manifest(library).get("target")
    return CORES[name] if name in CORES else core(DEFAULT_CORE)


def _estimate(
    library: Path, chosen: Core, args: argparse.Namespace, size: tuple[int, int] | None = None
) -> tuple[Estimate, Barriers | None]:  # fmt: skip
    from ..estimation.barriers import count_barriers
    from ..estimation.estimates import estimate
    from ..estimation.pricing import with_model

    if args.model:
        chosen = with_model(chosen, args.model)
    with Terminal().step(f"counting and pricing {library.name}") as done:
        barriers = count_barriers(library, chosen, args.threads, size) if args.threads > 1 else None
        return estimate(library, chosen, not args.no_cache, size, done), barriers


def _of_barriers(barriers: Barriers, cycles: float) -> str:
    """What waiting costs beside the work, whose cycles of one thread are given."""
    from ..estimation.barriers import LINE_CYCLES

    shared = cycles / barriers.threads
    return (
        f"{barriers.threads} threads, each on a core of its own: {barriers.count} barriers, each of "
        f"{barriers.instructions} instructions ({barriers.cycles:.0f} cycles) and {barriers.lines} cache lines that "
        f"move one after the other ({LINE_CYCLES} cycles each: assumed).  That is {barriers.all_cycles / 1e6:.3f} M "
        f"cycles beside {shared / 1e6:.2f} M of work, if it is shared without a rest: {barriers.share(cycles):.1%} of "
        "the time."
    )


def _second_opinion(result: Estimate) -> str:
    """What the measured figures of the core's instructions say of the whole, and of kernels that cost otherwise."""
    whole = result.network
    differ = [kernel for kernel in result.kernels if abs(kernel.second_opinion) > DIFFERENT]
    share = sum(kernel.cycles for kernel in differ) / whole.cycles
    widest = sorted(differ, key=lambda kernel: -abs(kernel.second_cycles - kernel.cycles))[:LISTED]
    listed = ", ".join(f"{each.name} {each.cycles / 1e6:.2f} and {each.second_cycles / 1e6:.2f}" for each in widest)
    listed += f" and {len(differ) - LISTED} others" if len(differ) > LISTED else ""
    return (
        f"Second opinion: {whole.second_cycles / 1e6:.2f} M cycles ({whole.second_opinion:+.0%}) by measured latencies "
        "and rates of single instructions."
        + (f"  More than {DIFFERENT:.0%} apart, {share:.0%} of all cycles: {listed}." if differ else "")
    )


def _to_json(result) -> dict:
    from ..estimation.pricing import model_note

    chosen = result.core
    return {
        "what": HEADING, "library": result.library.name, "model": result.manifest.get("model"),
        "weights": result.manifest.get("weights"),
        "compiled_for": result.manifest.get("target"), "precision": precisions(result.manifest),
        "core": chosen.name, "scheduling_model": model_note(chosen),
        "multiply_adds_per_cycle_bound": chosen.lanes,
        "board": chosen.board, "caches": [{**vars(level), "cycles_per_streamed_line": level.cycles_per_line,
            "cycles_per_lone_line": chosen.cycles_per_lone_line(level),
            "cycles_per_stored_line": level.cycles_per_stored_line} for level in chosen.caches],
        "milliseconds": {f"{clock} GHz, {board}": result.milliseconds(clock) for clock, board in chosen.clocks},
        "network": result.network.to_json(chosen),
        "kernels": [kernel.to_json(chosen) for kernel in result.kernels],
    }  # fmt: skip


def _show(result, console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    from ..estimation.pricing import model_note

    chosen, about, whole = result.core, result.manifest, result.network
    cached = whole.miss_cycles is not None
    levels = chosen.caches if cached else ()
    size = "x".join(map(str, about["inputs"][0]["shape"]))
    console.print(
        f"[bold]{about.get('model')}[/bold], input {size}, {precisions(about)}, compiled for {about.get('target')}: "
        f"one inference on {chosen.name}.  In millions; lines in thousands.", soft_wrap=True,
    )  # fmt: skip
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("kernel", no_wrap=True)
    columns = ["calls", "instruc-\ntions", "loads", "stores", "vector\nFMA", "MAC/\ncycle", "of FMA\nbound", "cycles"]
    columns += [f"{level.name} lines\nmissed" for level in levels] + ["miss\ncycles", "sum"] * cached
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for kernel in [*result.kernels, whole]:
        if kernel is whole:
            table.add_section()
        cycles = kernel.cycles or 1
        row = [kernel.name, str(kernel.calls or ""), *(f"{n / 1e6:.2f}" for n in
               (kernel.instructions, kernel.loads, kernel.stores, kernel.vector_fma)),
               f"{kernel.multiply_adds / cycles:.2f}", f"{kernel.multiply_adds / chosen.lanes / cycles:.0%}",
               f"{kernel.cycles / 1e6:.2f}"]  # fmt: skip
        if cached:
            row += [f"{sum(kinds) / 1e3:.1f}" for kinds in kernel.misses]
            row += [f"{kernel.miss_cycles / 1e6:.2f}", f"{kernel.total_cycles / 1e6:.2f}"]
        table.add_row(*row)
    width = max(console.width, Measurement.get(console, console.options.update(width=200), table).maximum)
    Console(highlight=False, width=width).print(table)  # whole, however narrow the terminal is
    bound = about.get("multiply_adds", whole.multiply_adds) / chosen.lanes
    console.print(f"Bound by multiply-adds, {chosen.lanes} per cycle: {bound / 1e6:.1f} M cycles; by the scheduling "
                  f"model {whole.cycles / bound:.2f} times that" + (
                      f", with misses {whole.total_cycles / bound:.2f}." if cached else "."),
                  soft_wrap=True)  # fmt: skip
    if about.get("weights"):
        console.print(weights_line(about).capitalize(), markup=False, soft_wrap=True)
    if about.get("note"):
        console.print(f"Note: {about['note']}.", markup=False, soft_wrap=True)
    console.print(f"Scheduling: {model_note(chosen)}.", soft_wrap=True)
    if whole.second_cycles:
        console.print(_second_opinion(result), markup=False, soft_wrap=True)
    if whole.refused:
        names = ", ".join(f"{name} ({times})" for name, times in whole.refused.most_common())
        how = "plain instructions of their registers" if chosen.in_order else "nop"
        console.print(f"Instructions that the model lacks count as {how}: {names}.", markup=False, soft_wrap=True)
    if levels:
        console.print(f"Memory of {chosen.board}; cycles of a missed line:", markup=False, soft_wrap=True)
    for level in levels:
        assumed = f"; assumed: {', '.join(level.assumed.split())}" if level.assumed else ""
        console.print(f"  {level.name}, {level.kilobytes} KiB, {level.ways} ways: {level.cycles_per_line:.1f} in a "
                      f"stream, {chosen.cycles_per_lone_line(level):.1f} alone, {level.cycles_per_stored_line:.1f} "
                      f"stored ({level.source or 'no source'}{assumed})", markup=False, soft_wrap=True)  # fmt: skip
    console.print(f"\n[bold]{HEADING}[/bold]")
    for clock, board in chosen.clocks:
        console.print(f"  {result.milliseconds(clock):.1f} ms at {clock:g} GHz ({board})")
    if about.get("target") != chosen.name and about.get("target") in TARGETS:
        console.print(f"  compiled for {about['target']}, not for {chosen.name}")
