"""What `inspect` prints of the facts of a file, in 100 columns: lines of text, and tables for `rich`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..words import batch_lines, counted, origin_notes, size_lines
from .common import precisions, tuned_kernels

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "not recorded: the library was built by an earlier version"
BEST = 10  # kernels of records that gained most


def library_view(found: dict) -> Iterator[str | Table]:
    """Lines and tables about a compiled library; `found` is as `reporting.facts` gives it."""
    size = "x".join(map(str, found["inputs"][0]["shape"]))
    yield f"{found['file']}: a compiled library of format {found['format']}, {found['bytes'] / 1e6:.2f} MB"
    described = "model" in found
    if described:
        yield f"  {found['model']}, {found['multiply_adds'] / 1e6:.1f} M multiply-adds"
        yield f"  for {found['triple']}, {found['cpu']} {' '.join(found['features'])}".rstrip()
        yield f"  precision {precisions(found)}"
        if calibration := found.get("calibration"):
            seen = f", from {counted(calibration['pictures'], 'picture')}" if calibration["pictures"] else ""
            yield f"  scales of {calibration['tensors']} tensors, by {calibration['observer']}{seen}"
    else:
        yield f"  for {found.get('arch', 'an architecture that is not recorded')}; of its network nothing is recorded"
    for port in found["inputs"]:
        yield f"  input {port['name']}: {size} {port['dtype']}, {port['layout']}"
    for port in found["outputs"]:
        yield f"  output {port['name']}: {'x'.join(map(str, port['shape']))} {port['dtype']}, {port['layout']}"
    if described:
        yield f"  weights: {found['weights']['source']}; sha256 {found['weights']['sha256'][:16]}..."
        yield from (f"    {note}" for note in origin_notes(found))
        yield from _pictures(found["preprocessing"], found["class_names"])
        yield f"  {tuned_kernels(found['kernels'])}"
        yield from (f"  {n} tuning records ignored: {why}" for why, n in found["kernels"]["records_ignored"].items())
        yield f"  built with {', '.join(f'{name} {version}' for name, version in found['versions'].items())}"
        if found["note"]:
            yield f"  note: {found['note']}"
    yield from (f"  {line}" for line in [*batch_lines(found), *size_lines(found)])
    yield f"  workspace: {found['workspace_bytes']} bytes"
    yield f"  exports {', '.join(found['exports'])}"
    plan = found["plan"]
    yield from _kernels(plan["kernels"])
    yield from _calls(plan["calls"])
    yield from _memory(plan["memory"])


def _kernels(rows: list[dict] | None) -> Iterator[str | Table]:
    if rows is None:
        yield f"\nkernels, calls and memory: {MISSING}"
        return
    yield f"\n{len(rows)} kernels; by: the kind of tuning record that chose the knobs; of: how many choices there were"
    cells = (
        (row["kernel"], row["record"] or "default", row["choices"],
         " ".join(f"{name}={value}" for name, value in row["knobs"].items()))
        for row in rows
    )  # fmt: skip
    yield table(("kernel", "by", "of", "knobs"), cells, right=(2,))


def _calls(rows: list[dict] | None) -> Iterator[str | Table]:
    if rows is None:
        return
    yield f"\n{len(rows)} calls; a tensor is root[planes]; MB: read and written, each once"
    cells = (
        (index, row["kernel"], row["layer"], row["what"], ", ".join(row["inputs"]), row["output"],
         f"{row['multiply_adds'] / 1e6:.2f}" if row["multiply_adds"] else "", f"{row['bytes'] / 1e6:.3f}")
        for index, row in enumerate(rows)
    )  # fmt: skip
    headings = ("", "kernel", "layer", "computes", "reads", "writes", "mult-\nadds,\nM", "MB")
    yield table(headings, cells, right=(0, 6, 7))


def _memory(rows: list[dict] | None) -> Iterator[str | Table]:
    if rows is None:
        return
    yield f"\n{len(rows)} places in the workspace; alive: from call to call; pitch: floats from row to row"
    cells = (
        (row["root"], row["offset"], row["bytes"], f"{row['first']}-{row['last']}",
         row["planes"] or "", f"{row['height']}x{row['width']}" if row["planes"] else "",
         row["pitch"] or "", row["size"] or "")
        for row in rows
    )  # fmt: skip
    headings = ("root", "offset", "bytes", "alive", "planes", "of", "pitch", "floats\na plane")
    yield table(headings, cells, right=range(1, 8))


def network_view(found: dict) -> Iterator[str | Table]:
    """Lines and tables about a checkpoint or a model; `found` is as `reporting.facts` gives it."""
    yield f"{found['file']}: {found['kind']}, {found.get('bytes', 0) / 1e6:.2f} MB"
    if "operators" in found:
        opsets = ", ".join(f"{domain} {version}" for domain, version in found["opsets"].items())
        yield f"  producer: {found['producer'] or 'not said'}; opset {opsets}"
        yield f"  nodes: {', '.join(f'{n} {op}' for op, n in found['operators'].items())}"
    if "refused" in found:
        yield f"  the compiler refuses it: {found['refused']}"
        if "tensors" in found:
            tensors = ((row["tensor"], _shape(row["shape"]), row["dtype"], row["bytes"]) for row in found["tensors"])
            yield table(("tensor", "shape", "dtype", "bytes"), tensors, right=(3,))
        return
    results = f"{found['classes']} classes" if found["classes"] else f"{len(found['outputs'])} outputs, no classes"
    yield f"  read as: {found['style']}"
    yield (
        f"  {found['model']}, input {_shape(found['input'])} {found['layout']}, {results}, "
        f"{found['multiply_adds'] / 1e6:.1f} M multiply-adds, {found['parameters'] / 1e6:.2f} M parameters"
    )
    yield from (f"  {note}" for note in filter(None, [found["note"], *found["notes"]]))
    yield from _pictures(found["preprocessing"], found["class_names"])
    yield from (f"  {key}: {_short(value)}" for key, value in found["metadata"].items())
    yield f"\n{len(found['layers'])} layers; from: the layers that it reads; parameters with running statistics"
    cells = (
        (row["layer"], row["name"], row["op"], ", ".join(map(str, row["inputs"])), _attributes(row["attributes"]),
         _shape(row["shape"]), row["parameters"] or "",
         f"{row['multiply_adds'] / 1e6:.2f}" if row["multiply_adds"] else "")
        for row in found["layers"]
    )  # fmt: skip
    yield table(
        ("", "layer", "op", "from", "attributes", "output", "para-\nmeters", "mult-\nadds,\nM"), cells, right=(0, 6, 7)
    )


def records_view(found: dict) -> Iterator[str | Table]:
    """Lines and tables about tuning records: for each target, processor and kind the kernels that gained most."""
    yield f"{found['file']}: tuning records of {len(found['kernels'])} kernels"
    yield from (f"  note: {notice}" for notice in found["notices"])
    groups: dict[tuple, list[dict]] = {}
    for row in found["kernels"]:
        groups.setdefault((row["target"], row["kind"], row["processor"]), []).append(row)
    for (target, kind, processor), rows in groups.items():
        gains = [row["gain"] for row in rows if row["gain"]]
        yield f"\n{target}, {kind}: {processor}"
        yield (
            f"  {len(rows)} kernels, {sum(row['applies'] for row in rows)} of them as this version compiles them; "
            f"{sum(row['tried'] for row in rows)} trials, {sum(row['failed'] for row in rows)} failed"
        )
        if gains:
            yield f"  gain over the default knobs: median {statistics.median(gains):.3f}x, best {max(gains):.3f}x"
        yield from (f"  on {where}" for where in dict.fromkeys(filter(None, (row["where"] for row in rows))))
        best = sorted((row for row in rows if row["gain"]), key=lambda row: -row["gain"])[:BEST]
        yield table(("the kernels that gained most", "gain", "knobs"), map(_gain, best), right=(1,))
    yield "\n`python -m tvm_shufflenet.records show` lists all"


def _gain(row: dict) -> tuple[str, str, str]:
    from ..records.kernels import label_of

    knobs = " ".join(f"{name}={value}" for name, value in row["knobs"].items())
    return label_of(row["kernel"]), f"{row['gain']:.3f}x", knobs


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> Table:
    """For `rich`: columns of text fold, columns of numbers, those of `right`, do not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    numbers = set(right)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(headings):
        is_number = place in numbers
        drawn.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    return drawn


def _pictures(how: dict | None, names: list[str] | None) -> Iterator[str]:
    if how:
        yield f"  pictures: {', '.join(f'{key} {value}' for key, value in how.items())}"
    if names:
        yield f"  {len(names)} classes by name: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def _shape(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."


def _attributes(attributes: dict) -> str:
    """The attributes that are not at their usual values, in short."""
    idle = {"stride": (1, 1), "dilation": (1, 1), "pad": (0, 0, 0, 0), "groups": 1, "bias": False}
    words = []
    for key, value in attributes.items():
        plain = tuple(value) if isinstance(value, list | tuple) else value
        if idle.get(key) != plain:
            shown = "x".join(map(str, plain)) if isinstance(plain, tuple) else value
            words.append(f"{key} {_short(str(shown))[:40]}")
    return ", ".join(words)
