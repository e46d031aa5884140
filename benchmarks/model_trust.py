"""The command `python -m benchmarks.model_trust`: the model of a core against published times of boards."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tvm_shufflenet.cli.command import add_json_option, run
from tvm_shufflenet.cli.terminal import open_console
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json

from .rivals import install

PROGRAM = "python -m benchmarks.model_trust"


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Compares the models of cores with published figures: measured sequences and kernels with our "
        "model of cores in order; ncnn as on boards whose times its authors published; our builds beside Table 8 of "
        "the ShuffleNet paper.  Prints the factors by which the models are wrong.",
        epilog=f"example: {PROGRAM} --json trust.json",
    )
    parser.add_argument("--kernels", action="store_true", help="sequences and kernels alone, which takes a second")
    parser.add_argument("--sources", type=Path, metavar="DIR", help="folder with checkouts of github.com/sonos/tract "
                        "and github.com/google/XNNPACK, to price their kernels anew (the prices of then)")  # fmt: skip
    parser.add_argument("--no-caches", action="store_true", help="leave out the simulated caches, which take longer")
    add_json_option(parser, "all figures")
    args = parser.parse_args(argv)

    if args.kernels and args.no_caches:
        raise UserError("--kernels counts nothing: leave out --no-caches")

    from . import kernel_pairs, kernel_times

    judged, exact = kernel_times.judge(args.sources), kernel_times.exact_sequences()
    pairs = kernel_pairs.pairs(args.sources)
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    console = open_console()
    if args.kernels:
        if args.json:
            write_json(args.json, {"command": command, "date": today(), **kernels_json(judged, exact, pairs)})
        show_kernels(console, judged, exact, pairs)
        console.print(command, markup=False, soft_wrap=True)
        return

    from . import trust

    install.require((trust.ENGINE,))

    from rich.console import Console

    times, paper, own = [], [], []
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder, Console(stderr=True).status("") as status:
        for caches in (False,) if args.no_caches else (False, True):
            times += trust.times(caches, status.update)
            paper += trust.paper(caches, Path(folder), status.update)
        own = trust.kernels_of_their_own(status.update)
    ratios = trust.ratios(times)
    if args.json:
        write_json(args.json, to_json(times, [*ratios, *own], paper, command) | kernels_json(judged, exact, pairs))
    show_kernels(console, judged, exact, pairs)
    for title, found in (
        ("ncnn, milliseconds", times),
        ("ncnn, ratios", [*ratios, *own]),
        ("our builds, ratios", paper),
    ):
        console.print(table(title, found), "")
    for line in summary(times, ratios, paper):
        console.print(line, markup=False, soft_wrap=True)
    console.print(command, markup=False, soft_wrap=True)


def show_kernels(console, judged: list, exact: tuple[int, int], pairs: list) -> None:
    """The kernels and sequences that the model of cores in order is compared with."""
    from rich import box
    from rich.table import Table

    from .kernel_pairs import summary as ratios
    from .kernel_times import CORES, summary

    drawn = Table(title="tract's kernels, a step in L1", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False,
                  padding=(0, 1, 0, 0))  # fmt: skip
    drawn.add_column("kernel")
    for name in CORES:
        for heading in (f"{name}:\npublished, ns", "model,\ncycles", "factor"):
            drawn.add_column(heading, justify="right", no_wrap=True)
    for kernel in dict.fromkeys(each.kernel for each in judged):
        row = [each for each in judged if each.kernel == kernel]
        drawn.add_row(
            kernel, *(cell for e in row for cell in (f"{e.published:.1f}", f"{e.cycles:.2f}", f"{e.factor:.2f}"))
        )
    console.print(drawn, "")
    lines = [f"cortex-a53, measured sequences: {exact[0]} of {exact[1]} exact", *summary(judged), *ratios(pairs)]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def kernels_json(judged: list, exact: tuple[int, int], pairs: list) -> dict:
    """The same for --json."""
    kernels = [vars(each) | {"factor": each.factor} for each in judged]
    ratios = [vars(each) | {"modelled": each.modelled, "factor": each.factor} for each in pairs]
    return {"kernels": kernels, "kernel_pairs": ratios, "sequences": {"exact": exact[0], "of": exact[1]}}


def table(title: str, found: list):
    """Published figures beside the model's, without caches and with them, for `rich`."""
    from rich import box
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading, justify in (("where", "left"), ("what", "left"), ("pub-\nlished", "right"), ("model", "right"),
                             ("factor", "right"), ("model,\ncaches", "right"), ("factor", "right")):  # fmt: skip
        drawn.add_column(heading, justify=justify, no_wrap=justify == "right")
    merged: dict[tuple, dict] = {}
    for entry in found:
        merged.setdefault((entry.where, entry.what, entry.published), {})[entry.caches] = entry
    for (where, what, published), pair in sorted(merged.items(), key=lambda item: item[0][0]):
        cells = [f"{published:.2f}"]
        for caches in (False, True):
            entry = pair.get(caches)
            cells += [f"{entry.modelled:.2f}", f"{entry.factor:.2f}"] if entry else ["", ""]
        drawn.add_row(where, what, *cells)
    return drawn


def summary(times: list, ratios: list, paper: list) -> list[str]:
    """The ranges of the factors."""
    lines = [
        "factor: published over modelled; our builds are beside the ShuffleNet paper's Table 8, another implementation"
    ]
    for caches in sorted({time.caches for time in times}):
        for name, found in (("ncnn's times", times), ("ncnn's ratios", ratios), ("the paper's ratios", paper)):
            factors = [entry.factor for entry in found if entry.caches == caches]
            what = "with caches" if caches else "without caches"
            lines.append(f"{what}, {name}: factor {min(factors):.2f} to {max(factors):.2f}")
    return lines


def to_json(times: list, ratios: list, paper: list, command: str) -> dict:
    from tvm_shufflenet.estimation.tools import llvm

    def ratio(entry) -> dict:
        return vars(entry) | {"factor": entry.factor}

    return {
        "command": command,
        "date": today(),
        "versions": {"llvm": llvm().version, **install.PINNED},
        "times": [ratio(entry) | {"board": vars(entry.board)} for entry in times],
        "ratios": [ratio(entry) for entry in ratios],
        "paper": [ratio(entry) for entry in paper],
    }


if __name__ == "__main__":
    sys.exit(run(main))
