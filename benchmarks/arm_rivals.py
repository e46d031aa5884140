"""The command `python -m benchmarks.arm_rivals`: our networks against other engines on AArch64 cores, counted."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tvm_shufflenet.cli.command import add_json_option, run, split_names
from tvm_shufflenet.cli.terminal import open_console
from tvm_shufflenet.files import today, write_json

from .rivals import COUNTED, OURS, RIVALS, install

PROGRAM = "python -m benchmarks.arm_rivals"
LONGEST = "kernels\nchosen for"  # the column that is wrapped where the terminal is narrow
MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g3", "shufflenet-v1-1x-g8", "shufflenet-v1-2x-g3",
          "mobilenet-v1-1.0", "alexnet")  # fmt: skip
CORES = ("cortex-a72", "cortex-a53", "cortex-a55", "cortex-a76", "snapdragon-820")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Counts what one inference executes on AArch64, ours and other engines', and prices it with a "
        "model of each core: fp32, one thread, batch 1, start-up excluded.  Counts are kept: an "
        "interrupted run goes on.",
        epilog=f"example: {PROGRAM} shufflenet-v1-1x-g3 --core cortex-a72,cortex-a53 --rivals ncnn,mnn",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="networks (ShuffleNet 0.5x, 1x and 2x g=3 and 1x "
                        "g=8, MobileNet 1.0 and AlexNet)")  # fmt: skip
    parser.add_argument(
        "--core", type=split_names, default=CORES, metavar="NAME[,NAME]", help=f"cores ({','.join(CORES)})"
    )
    parser.add_argument("--rivals", type=split_names, default=COUNTED, metavar="NAME[,NAME]",
                        help=f"engines ({','.join(COUNTED)})")  # fmt: skip
    parser.add_argument("--caches", action="store_true", help="simulate the caches as well, and add what misses cost")
    add_json_option(parser, "all figures")
    return parser


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)

    from tvm_shufflenet.architectures import own_name

    from .yardstick import check_names, costs

    models = list(dict.fromkeys(own_name(model) or model for model in args.models or MODELS))
    check_names(models, args.rivals, args.core)
    install.require(args.rivals)

    from rich.console import Console

    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder, Console(stderr=True).status("") as status:
        absent: list[str] = []
        found = list(costs(models, args.rivals, args.core, Path(folder), args.caches, status.update, absent))
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(found, absent, command))
    console = open_console()
    for name in args.core:
        console.print(table([cost for cost in found if cost.core == name], name))
    for line in (*footer(found, args.caches), *absent, command):
        console.print(line, markup=False, soft_wrap=True)


def table(costs: list, name: str):
    """All engines on one core, for `rich`."""
    from rich import box
    from rich.table import Table

    drawn = Table(
        title=f"{name}: one inference, millions",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading, justify in (("network", "left"), ("engine", "left"), ("instruc-\ntions", "right"),
                             ("vector\nfmla", "right"), ("model\ncycles", "right"), ("ours /\nrival", "right"),
                             (LONGEST, "left")):  # fmt: skip
        drawn.add_column(heading, justify=justify, no_wrap=heading != LONGEST)
    models = list(dict.fromkeys(cost.model for cost in costs))
    for model in models:
        rows = [cost for cost in costs if cost.model == model]
        for cost in rows:
            engine, ratio = (RIVALS[cost.engine].title if cost.engine in RIVALS else cost.engine), ""
            if cost.engine in RIVALS and cost.engine != OURS:
                ratio = f"{rows[0].cycles / cost.cycles:.2f}"
            figures = [f"{n / 1e6:.1f}" for n in (cost.figures.instructions, cost.figures.vector_fma, cost.cycles)]
            drawn.add_row(model if cost is rows[0] else "", engine, *figures, ratio, cost.kernels,
                          end_section=cost is rows[-1])  # fmt: skip
    return drawn


def footer(costs: list, caches: bool) -> list[str]:
    """What the figures depend on."""
    from tvm_shufflenet.estimation.pricing import model_note
    from tvm_shufflenet.targets.cores import core

    how = "misses of simulated caches included, of prefetches ours alone" if caches else "every load hits its cache"
    lines = [f"model, not a measurement: {how}"]
    lines += [f"{name}: {model_note(core(name))}" for name in dict.fromkeys(cost.core for cost in costs)]
    versions = ", ".join(f"{engine.title} {install.PINNED[engine.package]}" for engine in _counted(costs))
    lines.append(f"{versions}; ours / rival: of ours with tuning records, the first row; below 1, ours is faster")
    return lines


def _counted(costs: list) -> list:
    """The rivals that were counted."""
    return [RIVALS[engine] for engine in COUNTED if any(cost.engine == engine for cost in costs)]


def to_json(costs: list, absent: list[str], command: str) -> dict:
    from tvm_shufflenet import __version__
    from tvm_shufflenet.estimation.tools import llvm

    packages = {engine.package: install.PINNED[engine.package] for engine in _counted(costs)}
    return {
        "command": command,
        "date": today(),
        "versions": {"tvm_shufflenet": __version__, "llvm": llvm().version, **packages},
        "not_run": absent,
        "costs": [cost.to_json() for cost in costs],
    }


if __name__ == "__main__":
    sys.exit(run(main))
