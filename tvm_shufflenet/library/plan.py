"""The compiled plan in a manifest: kernels with their knobs, calls in order, and every place in the workspace.

    {"kernels": {"columns": ["kernel", ...], "rows": [["pointwise_1", ...], ...]}, "calls": ..., "memory": ...}

Tables and not objects, because a library carries them.  Columns that a reader does not know are of no harm.
"""

from __future__ import annotations

from collections.abc import Iterable

# `record`: the kind of record that chose the knobs, "" for the defaults; `choices`: how many sets of knobs there were.
# `inputs`, `output`: views of roots, as `View` prints them; `multiply_adds`, `bytes`: of the call, as `profile` counts.
# `offset`, `bytes`: in the workspace; `first`, `last`: calls between which the root is alive; `planes` of `height` rows
# of `width` floats, `pitch` floats apart, in `size` floats each.  Scratch of a call has no planes: 0.
COLUMNS = {
    "kernels": {"kernel": str, "knobs": dict, "record": str, "choices": int},
    "calls": {"kernel": str, "layer": str, "what": str, "inputs": list, "output": str, "multiply_adds": int,
              "bytes": int},
    "memory": {"root": str, "offset": int, "bytes": int, "first": int, "last": int, "planes": int, "height": int,
               "width": int, "pitch": int, "size": int},
}  # fmt: skip
MOST = 100_000  # rows
LARGEST = 1 << 60
TEXT = 100_000  # characters


def packed(table: str, rows: Iterable[dict]) -> dict:
    """Rows of a table of `COLUMNS` as the manifest has them."""
    columns = list(COLUMNS[table])
    return {"columns": columns, "rows": [[row[column] for column in columns] for row in rows]}


def unpacked(manifest: dict, table: str) -> list[dict] | None:
    """The rows of a table of a manifest's plan; None for a library of an older version, which recorded no plans."""
    if "plan" not in manifest:
        return None
    found = manifest["plan"][table]
    return [dict(zip(found["columns"], row)) for row in found["rows"]]


def sound(plan: object) -> bool:
    """Whether a plan from a file has all tables, and every row of them values of the right types."""
    return isinstance(plan, dict) and all(
        table in plan and _sound_table(plan[table], kinds) for table, kinds in COLUMNS.items()
    )


def _sound_table(table: object, kinds: dict[str, type]) -> bool:
    if not isinstance(table, dict) or not all(isinstance(table.get(key), list) for key in ("columns", "rows")):
        return False
    columns, rows = table["columns"], table["rows"]
    if not all(isinstance(column, str) for column in columns) or not kinds.keys() <= set(columns) or len(rows) > MOST:
        return False
    checks = [(place, kinds[column]) for place, column in enumerate(columns) if column in kinds]
    return all(
        isinstance(row, list) and len(row) == len(columns) and all(_is(row[place], kind) for place, kind in checks)
        for row in rows
    )


def _is(value: object, kind: type) -> bool:
    if kind is int:
        return type(value) is int and 0 <= value <= LARGEST
    if isinstance(value, str):
        return kind is str and len(value) <= TEXT
    if isinstance(value, list):
        return kind is list and all(_is(each, str) for each in value)
    return isinstance(value, dict) and kind is dict and all(_is(v, int) for v in value.values())
