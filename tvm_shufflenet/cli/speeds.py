"""What `paper` and `guidelines` share: options of where speeds are from, and tables whose gaps have footnotes."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plotting import add_plot_option, check_plot
from .common import add_records_options, add_timing_options, check_timing_options, records_folder, tuned_kernels
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from ..papers.speeds import How, Meter, Speeds

MODEL = "model, not a measurement"
DEFAULT_CORE = "cortex-a72"
Column = tuple[str, str, str]  # heading, key of a cell, format of its number


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where speeds are from, and where libraries and figures go; see `how`."""
    parser.add_argument("--measure", action=argparse.BooleanOptionalAction, default=True, help="time the networks; "
                        "without, only what is counted is shown, at once (they are timed)")  # fmt: skip
    parser.add_argument("--estimate", action="store_true", help="no timing: cycles of the Arm core that --target names "
                        f"({DEFAULT_CORE}), by the model of `python -m tvm_shufflenet.estimate`")  # fmt: skip
    parser.add_argument("--target", help="a name from `python -m tvm_shufflenet.targets`, or a TVM target as JSON "
                        "(native; with --rpc arm)")  # fmt: skip
    add_records_options(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="keep the libraries in this folder")
    add_plot_option(parser)
    add_timing_options(parser, "each network")


def how(args: argparse.Namespace) -> How | None:
    """Where speeds are from, None for --no-measure; `UserError` for options that exclude each other."""
    check_timing_options(args)
    check_plot(args.plot)
    records = records_folder(args)
    if not args.measure:
        for option in ("rpc", "estimate", "target", "output", "threads"):
            if (given := getattr(args, option)) and (option != "threads" or given > 1):
                raise UserError(f"--no-measure builds and times nothing: leave out --{option}, or --no-measure")
        return None
    if args.estimate and args.threads > 1:
        raise UserError(f"--threads {args.threads}: the model is of one core: leave it out, or --estimate to measure")
    if args.estimate and args.rpc:
        raise UserError("--estimate needs no board: leave out --rpc, or --estimate to measure on it")

    from ..papers.speeds import How
    from ..targets.cores import core

    chosen = core(args.target or DEFAULT_CORE) if args.estimate else None
    return How(args.target, args.rpc, args.key, args.rounds, args.timeout, records, chosen, args.threads)


@contextlib.contextmanager
def meter(how: How | None, output: Path | None) -> Iterator[Meter | None]:
    """The function that finds speeds, None without `how`; libraries are gone at the end unless kept in `output`."""
    if how is None:
        yield None
        return
    from ..papers.speeds import open_meter

    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        yield open_meter(how, output or Path(folder), Terminal())


def speed_columns(how: How | None) -> list[Column]:
    """The columns of `speed` and `share`; none where nothing is measured."""
    if how is None:
        return []
    if how.core:
        return [("cycles,\nM", "speed", ".1f"), ("% of\nFMA\nbound", "share", ".0%")]
    return [("ms,\nmin", "speed", ".3g"), ("% of\npeak", "share", ".0%")]


def conditions_of(how: How | None, speeds: Speeds | None) -> list[str]:
    """What the speeds depend on, line by line."""
    if how is None or speeds is None:
        return ["nothing was measured (--no-measure)"]
    if how.core:
        from ..estimation.pricing import model_note

        lines = [f"{MODEL}: {how.core.name}; {model_note(how.core)}; cycles are with misses in simulated caches"]
        return lines + ["interrupted"] * speeds.interrupted
    from .compare import how_measured

    if speeds.comparison is None:
        return ["interrupted before anything was timed" if speeds.interrupted else "nothing was timed"]
    kernels = [entry.manifest["kernels"] for entry in speeds.comparison.entries]
    whole = {key: sum(each[key] for each in kernels) for key in ("tuned", "total")}
    if all("changed" in each for each in kernels):
        whole["changed"] = sum(each["changed"] for each in kernels)
    whole["tuned_by"] = sum((Counter(each.get("tuned_by")) for each in kernels), Counter())
    shares = [speed.share for speed in speeds.found.values() if not isinstance(speed, str)]
    above = ["more than 100 % of the peak: Winograd's kernels, or no round in which the peak was not disturbed"]
    return [*how_measured(speeds.comparison), *above * (max(shares) > 1), tuned_kernels(whole)]


def conditions_json(how: How | None, speeds: Speeds | None) -> dict:
    """The conditions of `conditions_of`, for --json."""
    if how is None or speeds is None:
        return {"what": "not measured"}
    if how.core:
        return {"what": MODEL, "core": how.core.name, "unit": "million cycles", "interrupted": speeds.interrupted}
    from .compare import conditions

    found = conditions(speeds.comparison) if speeds.comparison else {}
    return {"what": "measured", "unit": "ms", "interrupted": speeds.interrupted, **found}


def json_cells(cells: dict) -> dict:
    """Cells for --json: figures as they are, a missing figure as {"missing": why}."""
    return {key: {"missing": cell} if isinstance(cell, str) else cell for key, cell in cells.items()}


def draw(
    heads: Sequence[str], labels: Sequence[Sequence[str]], cells: Sequence[dict], columns: Sequence[Column]
) -> tuple[Table, list[str]]:
    """A table, for `rich`, and its footnotes: where there is no figure stands a letter, below it why.

    `heads` are of the columns of text `labels`.
    """
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 0))
    for index, head in enumerate(heads):
        drawn.add_column(head, overflow="fold", no_wrap=index > 0)
    for heading, _, _ in columns:
        drawn.add_column(heading, justify="right", no_wrap=True)
    reasons: dict[str, str] = {}
    for texts, row in zip(labels, cells, strict=True):
        shown = []
        for _, key, form in columns:
            cell = row[key]
            if isinstance(cell, str):
                shown.append(f"({reasons.setdefault(cell, _letter(len(reasons)))})")
            elif form == "g":
                shown.append(f"{cell:g}")
            else:
                shown.append(format(cell, form).rstrip("%"))
        drawn.add_row(*texts, *shown)
    return drawn, [f"({letter}) {reason}" for reason, letter in reasons.items()]


def _letter(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    first, last = divmod(index, 26)
    return (_letter(first - 1) if first else "") + chr(ord("a") + last)
