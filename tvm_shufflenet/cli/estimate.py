"""The command `python -m tvm_shufflenet.estimate`: what a network costs on an Arm core, by a model."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ..architectures import DEFAULT_MODEL, own_name
from ..errors import UserError
from ..files import write_json
from ..targets import TARGETS
from ..targets.cores import CORES, Core, core
from .common import parse_size

DEFAULT_CORE = "cortex-a72"
HEADING = "model, not a measurement"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.estimate",
        description="Counts what a network executes, in an emulated AArch64, and prices it by LLVM's model of a "
        "core and simulated caches: the same figures on every run.  Needs Debian's qemu-user and llvm.",
        epilog="example: python -m tvm_shufflenet.estimate shufflenet-v1-1x-g3 --target cortex-a53",
    )
    parser.add_argument("network", nargs="?", default=DEFAULT_MODEL, metavar="MODEL|LIBRARY", help="a network, which "
                        f"is compiled for the core, or a compiled .so ({DEFAULT_MODEL})")  # fmt: skip
    parser.add_argument("--target", metavar="CORE", help=f"{', '.join(CORES)} (the library's, else {DEFAULT_CORE})")
    parser.add_argument("--size", help="input in pixels: 224, or height x width as 480x640 (224)")
    parser.add_argument("--classes", type=int, help="outputs of the classifier (1000)")
    parser.add_argument("--no-cache", action="store_true", help="leave the caches out: every load and store hits")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    size = parse_size(args.size or "224")
    if args.classes is not None and args.classes < 1:
        raise UserError(f"--classes {args.classes}: expected 1 or more")
    chosen = core(args.target) if args.target else None

    from rich.console import Console

    from ..estimation import tools

    tools.qemu(), tools.llvm()  # before anything slow
    if own_name(args.network):
        with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
            from ..building.build_library import BuildOptions, build_library

            chosen = chosen or core(DEFAULT_CORE)
            options = BuildOptions(args.network, chosen.name, size, args.classes or 1000, output=Path(folder))
            with Console(stderr=True).status(f"building {args.network} for {chosen.name}"):
                library = build_library(options).path
            result = _estimate(library, chosen, not args.no_cache)
    else:
        library = Path(args.network)
        if not library.exists() and library.suffix != ".so":
            from ..architectures import network

            network(args.network, size, args.classes or 1000)  # says which networks there are
        if args.size or args.classes:
            raise UserError(f"--size and --classes are of networks: {library} is compiled already")
        result = _estimate(library, chosen or _core_of(library), not args.no_cache)
    if args.json:
        write_json(args.json, _to_json(result))
    _show(result, Console(highlight=False))


def _core_of(library: Path) -> Core:
    from ..library.loading import read_manifest

    name = read_manifest(library).get("target")
    return CORES[name] if name in CORES else core(DEFAULT_CORE)


def _estimate(library: Path, chosen: Core, caches: bool):
    from rich.console import Console

    from ..estimation.estimates import estimate

    with Console(stderr=True).status(f"counting and pricing {library.name}"):
        return estimate(library, chosen, caches)


def _to_json(result) -> dict:
    from ..estimation.pricing import model_note

    chosen = result.core
    return {
        "what": HEADING, "library": result.library.name, "model": result.manifest.get("model"),
        "compiled_for": result.manifest.get("target"), "core": chosen.name, "scheduling_model": model_note(chosen),
        "multiply_adds_per_cycle_bound": chosen.lanes,
        "caches": [{**vars(level), "cycles_per_line": level.cycles_per_line} for level in chosen.caches],
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
    console.print(f"[bold]{about.get('model')}[/bold], input {size}, compiled for {about.get('target')}: one inference "
                  f"on {chosen.name}.  In millions; lines in thousands.", soft_wrap=True)  # fmt: skip
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
            row += [f"{sum(pair) / 1e3:.1f}" for pair in kernel.misses]
            row += [f"{kernel.miss_cycles / 1e6:.2f}", f"{kernel.total_cycles / 1e6:.2f}"]
        table.add_row(*row)
    width = max(console.width, Measurement.get(console, console.options.update(width=200), table).maximum)
    Console(highlight=False, width=width).print(table)  # whole, however narrow the terminal is
    bound = about.get("multiply_adds", whole.multiply_adds) / chosen.lanes
    console.print(f"Bound by multiply-adds, {chosen.lanes} per cycle: {bound / 1e6:.1f} M cycles; by the scheduling "
                  f"model {whole.cycles / bound:.2f} times that" + (
                      f", with misses {whole.total_cycles / bound:.2f}." if cached else "."))  # fmt: skip
    if about.get("note"):
        console.print(f"Note: {about['note']}.", markup=False)
    console.print(f"Scheduling: {model_note(chosen)}.")
    if whole.refused:
        console.print(f"{whole.refused} instructions that it lacks count as nop.")
    for level in levels:
        console.print(f"{level.name}: {level.kilobytes} KiB, {level.ways} ways; a missed line takes "
                      f"{level.cycles_per_line:.1f} cycles, the larger of {level.latency} / {level.in_flight} lines in "
                      f"flight and 64 / {level.bytes_per_cycle:g} bytes per cycle (assumed).")  # fmt: skip
    console.print(f"\n[bold]{HEADING}[/bold]")
    for clock, board in chosen.clocks:
        console.print(f"  {result.milliseconds(clock):.1f} ms at {clock:g} GHz ({board})")
    if about.get("target") != chosen.name and about.get("target") in TARGETS:
        console.print(f"  compiled for {about['target']}, not for {chosen.name}")
