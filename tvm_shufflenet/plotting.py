"""Plots of what commands measure, as SVG or PNG: from what they write with --json."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .files import write_bytes

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
CURVES = 12  # with a name in the legend; the others are thin and grey
# Bars of a table: the key of a cell, and what it is called.
SPEEDUPS = {"speedup": "here", "published_speedup": "paper", "theory": "in theory"}


def add_plot_option(parser: ArgumentParser) -> None:
    """--plot; see `check_plot`."""
    parser.add_argument(
        "--plot", metavar="FILE", help="also draw it to this file, .svg or .png (needs the extra train)"
    )


def check_plot(path: str | None) -> None:
    """`UserError`, before all the work, for a plot that cannot be drawn or written."""
    if path is None:
        return
    if Path(path).suffix not in SUFFIXES:
        raise UserError(f"--plot {path}: expected a file that ends in {' or '.join(SUFFIXES)}")
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"--plot {path}: there is no such folder")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib, of the extra train: run `pip install -e .[train]`")


def encoded(figure: Figure, form: str) -> bytes:
    """The bytes of a file of that form, "svg" or "png"."""
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=150)
    return data.getvalue()


def save(path: str, figure: Figure) -> None:
    """Writes a plot, all or nothing."""
    write_bytes(path, encoded(figure, Path(path).suffix[1:]))


def compared(rows: Sequence[dict], title: str, key: str = "minimum_ms", unit: str = "ms, minimum",
             share: str = "share_of_peak") -> Figure:  # fmt: skip
    """Networks by their time, or by their cycles, and by their share of the peak.

    `UserError` where no row has a figure.
    """
    rows = [row for row in rows if row[key]]
    if not rows:
        raise UserError("--plot: no network has a time, so there is nothing to draw")
    figure = _figure(9, 1.6 + 0.35 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    names = [f"{row['network']} {row['size'][0]}x{row['size'][1]}" for row in rows]
    _bars(left, names, {"": [row[key] for row in rows]}, unit)
    _bars(right, names, {"": [100 * (row[share] or math.nan) for row in rows]}, "% of the peak")
    figure.suptitle(title, fontsize=10)
    return figure


def tables(documents: Sequence[dict]) -> Figure:
    """Tables of `paper` or guidelines: of each row how many times as fast as the base, here, in the paper, in theory.

    `UserError` where no table has such figures.
    """
    drawn = []
    for document in documents:
        rows = document.get("rows", [])
        cells = {label: [_number(row["cells"].get(key)) for row in rows] for key, label in SPEEDUPS.items()}
        cells = {label: values for label, values in cells.items() if not all(map(math.isnan, values))}
        if rows and cells:
            names = [row["network"] + (f" {row['channels']}" if row.get("channels") else "") for row in rows]
            title = document.get("table") or f"{document['guideline']}: {document['statement']}"
            drawn.append((title, names, cells))
    if not drawn:
        raise UserError("--plot: these tables have no speeds to draw")
    heights = [1.2 + 0.3 * len(names) for _, names, _ in drawn]
    figure = _figure(9, sum(heights))
    panels = figure.subplots(len(drawn), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (title, names, cells) in zip(panels, drawn):
        (only, *more) = cells
        _bars(axes, names, cells, "times as fast as the base" + ("" if more else f", {only}"))
        axes.set_title(title, fontsize=10, loc="left")
    return figure


def tuned(document: dict) -> Figure:
    """Kernels by their gain over the default knobs after each trial, those that gained most in colour.

    `UserError` where nothing was tried.
    """
    tasks = [task for task in document["tasks"] if task["best_after_each_trial"]]
    if not tasks:
        raise UserError("--plot: no kernel has a trial to draw")
    tasks = sorted(tasks, key=lambda task: -(task["gain"] or 0))
    figure = _figure(9, 5)
    axes = figure.subplots()
    for place, task in enumerate(tasks):
        curve = [1 / relative for relative in task["best_after_each_trial"]]  # 0 before any trial was good
        named = place < CURVES
        style = {"label": task.get("label", task["task"][:60])} if named else {"color": "0.8", "linewidth": 0.8}
        axes.step(range(1, len(curve) + 1), curve, where="post", **style)
    axes.set(xlabel="trials", ylabel="times as fast as the default knobs",
             title=f"{document['target']['name']}, {document['kind']}: {document['where']}")  # fmt: skip
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _bars(axes, names: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> None:
    """Horizontal bars, the first row above."""
    thick = 0.8 / len(series)
    for number, (label, values) in enumerate(series.items()):
        places = [row + thick * (number - (len(series) - 1) / 2) for row in range(len(names))]
        bars = axes.barh(places, [0 if math.isnan(value) else value for value in values], thick, label=label or None)
        axes.bar_label(bars, ["" if math.isnan(value) else f"{value:.3g}" for value in values], fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(unit, fontsize=8)
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize=7)


def _number(cell: object) -> float:
    return float(cell) if isinstance(cell, int | float) else math.nan
