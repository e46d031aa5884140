"""Networks side by side in a core's model cycles: the paper's Table 8 without a board."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from .. import published
from ..building.work import Share
from ..measure.entries import check_name, make_entry, usual_of
from ..records.store import FOLDER
from ..targets import resolve
from ..targets.cores import Core
from .estimates import estimate


def estimate_networks(
    names: tuple[str, ...], core: Core, size: tuple[int, int] | None, folder: Path,
    step: Callable[[str], AbstractContextManager[Share]], caches: bool = True, records: Path | None = FOLDER,
) -> list[dict]:  # fmt: skip
    """A row for each network or AArch64 library; networks are compiled for `core` into `folder`.

    Cycles are of one inference: by the scheduling model, and with what missed lines cost.  Speed-ups
    over AlexNet are there if it is among the networks.  `step(text)` shows what is being done.
    """
    for name in names:
        check_name(name, usual_of(name, size), resolve(core.name).arch, core.name)
    rows = []
    for name in names:
        with step(f"building {name} for {core.name}") as done:
            entry = make_entry(name, core.name, usual_of(name, size), folder, records, done=done)
        with step(f"counting and pricing {entry.label}") as done:
            result = estimate(entry.path, core, caches, entry.size, done)
        rows.append({
            "network": entry.label, "model": entry.model, "size": entry.size, "multiply_adds": entry.multiply_adds,
            "cycles": result.network.cycles, "total_cycles": result.network.total_cycles,
            "share_of_fma_bound": entry.multiply_adds / core.lanes / result.network.cycles,
            "note": entry.manifest["note"],
        })  # fmt: skip
    for row in rows:
        rival = next((r for r in rows if r["model"] == "alexnet" and r["size"] == row["size"]), None)
        row["speedup"] = rival["total_cycles"] / row["total_cycles"] if rival else None
        row["theoretical_speedup"] = rival["multiply_adds"] / row["multiply_adds"] if rival else None
        row["paper_ms"] = published.milliseconds(row["model"], row["size"])
        row["paper_speedup"] = published.speedup(row["model"], row["size"])
    return rows
