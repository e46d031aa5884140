"""A published table  =>  its rows with what is computed here and, where it was asked for, how fast that is."""

from __future__ import annotations

from collections.abc import Sequence

from ..architectures import Network, experiments, model_names, network
from ..architectures.experiments import experiment
from ..architectures.network import PARTS
from ..architectures.registry import LEFT_OUT, about
from ..errors import UserError
from ..published.figures import Row, Size, Table
from .speeds import Speeds

Cell = float | str  # a text says why there is no figure


def chosen_rows(table: Table, sizes: Sequence[Size]) -> list[Row]:
    """The rows of these sizes, by default of its first; all where the table has but one size."""
    wanted = (sizes or table.sizes[:1]) if table.sizes else ()
    return [row for row in table.rows if not wanted or row.size in wanted]


def find_network(row: Row) -> Network | str:
    """The network of a row, or why there is none."""
    if row.network in LEFT_OUT:
        return f"network left out: {LEFT_OUT[row.network]}"
    try:
        return experiment(row.network, row.size) or network(row.network, row.size)
    except UserError as error:  # unknown, or too small
        return str(error)


def mark(row: Row) -> str:
    """How sure the description of a row's network is, one of `MARKS`; empty where there is none."""
    if row.network in model_names():
        return about(row.network).mark
    return experiments.MARK if experiment(row.network, row.size) else ""


def fill(table: Table, rows: Sequence[Row], speeds: Speeds | None) -> list[dict]:
    """Each row's figures by column: the published ones, and ours.

    Ours are `multiply_adds`, of detectors of two stages also those of their `body`, `rpn` and `head`, and `parameters`
    in millions, `theory` (times fewer multiply-adds than the base row) and
    with `speeds` the `speed` (see `Speed.amount`), its `share` of the peak, and `speedup` over the base row.
    """
    return [_filled(table, row, speeds) for row in rows]


def _filled(table: Table, row: Row, speeds: Speeds | None) -> dict:
    base_row = table.base_row(row)
    net, base = find_network(row), find_network(base_row)

    def ratio(mine: Cell, others: Cell) -> Cell:
        """The figure of the base row divided by this row's, or why one of them is missing."""
        if isinstance(mine, str) or isinstance(others, str):
            return mine if isinstance(mine, str) else f"{base_row.network}, the base: {others}"
        return others / mine

    cells: dict[str, Cell] = {column: row.figure(column) for column in table.columns}
    cells |= {
        "multiply_adds": net if isinstance(net, str) else net.multiply_adds() / 1e6,
        "parameters": net if isinstance(net, str) else net.parameter_count() / 1e6,
        "theory": ratio(_multiply_adds(net), _multiply_adds(base)),
    }
    if table.regions:
        parts = dict.fromkeys(PARTS, net) if isinstance(net, str) else net.parts()
        cells |= {part: count if isinstance(count, str) else count / 1e6 for part, count in parts.items()}
    if table.speed:
        cells["published_speedup"] = table.published_speedup(row)
    if speeds:
        speed = net if isinstance(net, str) else speeds.of(net)
        cells |= {
            "speed": speed if isinstance(speed, str) else speed.amount,
            "share": speed if isinstance(speed, str) else speed.share,
            "speedup": ratio(_amount(net, speeds), _amount(base, speeds)),
        }
    return {"network": row.network, "size": row.size, "mark": mark(row), "cells": cells}


def _multiply_adds(net: Network | str) -> Cell:
    return net if isinstance(net, str) else net.multiply_adds()


def _amount(net: Network | str, speeds: Speeds) -> Cell:
    return net if isinstance(net, str) else speeds.amount(net)
