"""The command `python -m benchmarks.model_trust`: the model of a core against published times of boards."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tvm_shufflenet.cli.common import run
from tvm_shufflenet.cli.terminal import open_console
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import write_json

from .rivals import install

PROGRAM = "python -m benchmarks.model_trust"


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Counts and prices ncnn as on boards whose times its authors published, and our builds beside the "
        "ShuffleNet paper's Table 8, and prints the factors by which the model is wrong.",
        epilog=f"example: {PROGRAM} --json trust.json",
    )
    parser.add_argument("--no-caches", action="store_true", help="leave out the simulated caches, which take longer")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    args = parser.parse_args(argv)
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise UserError(f"--json {args.json}: there is no such folder")

    from . import trust

    install.require((trust.ENGINE,))

    from rich.console import Console

    times, paper = [], []
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder, Console(stderr=True).status("") as status:
        for caches in (False,) if args.no_caches else (False, True):
            times += trust.times(caches, status.update)
            paper += trust.paper(caches, Path(folder), status.update)
    standing = trust.standing(times)
    ratios = trust.ratios(standing)
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(times, ratios, paper, command))
    console = open_console()
    for title, found in (("ncnn, milliseconds", standing), ("ncnn, ratios", ratios), ("our builds, ratios", paper)):
        console.print(table(title, found), "")
    for line in summary(standing, ratios, paper) + in_order(times, standing):
        console.print(line, markup=False, soft_wrap=True)
    console.print(command, markup=False, soft_wrap=True)


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


def in_order(times: list, standing: list) -> list[str]:
    """What came of kernels that ncnn has for one core alone, where the model finds its ordinary ones cheaper."""
    others = [time for time in times if time not in standing and time.kernels == time.board.core]
    lines = [f"{time.where}, {time.what}: {time.modelled:.1f} ms, factor {time.factor:.2f}"
             for time in others if time.factor < 0.9 * next(t.factor for t in standing if (t.where, t.what, t.caches)
                                                            == (time.where, time.what, time.caches))]  # fmt: skip
    return ["ncnn's kernels for the core itself, which the model misprices:", *lines] if lines else []


def to_json(times: list, ratios: list, paper: list, command: str) -> dict:
    from tvm_shufflenet.estimation.tools import llvm

    def ratio(entry) -> dict:
        return vars(entry) | {"factor": entry.factor}

    return {
        "command": command,
        "versions": {"llvm": llvm().version, **install.PINNED},
        "times": [ratio(entry) | {"board": vars(entry.board)} for entry in times],
        "ratios": [ratio(entry) for entry in ratios],
        "paper": [ratio(entry) for entry in paper],
    }


if __name__ == "__main__":
    sys.exit(run(main))
