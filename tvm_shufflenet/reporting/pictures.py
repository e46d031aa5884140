"""Pictures of a report as inline SVG without text, which so may be stretched to any width; words stand beside them.

Each says in `data-items` how many things it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .subjects import Subject

KINDS = 8  # colours, --k0 to --k7 of the style sheet


def colours(subject: Subject) -> dict[str, str]:
    """A class for each kind of kernel: those with most calls have colours of their own, the others share the last."""
    kinds: dict[str, int] = {}
    for call in subject.calls:
        kinds[kind(call["kernel"])] = kinds.get(kind(call["kernel"]), 0) + 1
    ranked = sorted(kinds, key=lambda name: -kinds[name])
    return {name: f"k{min(place, KINDS - 1)}" for place, name in enumerate(ranked)}


def kind(kernel: str) -> str:
    """`pointwise` of `pointwise_3`."""
    return kernel.rpartition("_")[0]


def picture(name: str, width: float, height: float, shapes: Sequence[str], label: str, stretched: bool = True) -> str:
    """An SVG of the class `name`, `label` being what it shows."""
    aspect = ' preserveAspectRatio="none"' if stretched else ""
    return (
        f'<svg class="picture {name}" role="img" aria-label="{escape(label)}" data-items="{len(shapes)}" '
        f'viewBox="0 0 {width:g} {height:g}"{aspect}>{"".join(shapes)}</svg>'
    )


def box(x: float, y: float, width: float, height: float, css: str, tip: str = "") -> str:
    """A rectangle with a text that is shown when it is pointed at."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    place = f'x="{x:.3f}" y="{y:.3f}" width="{max(width, 0.01):.3f}" height="{height:.3f}"'
    return f'<rect class="{css}" {place}>{title}</rect>'


def bar(share: float, css: str, label: str) -> str:
    """A bar of that share of its place, 1 at most."""
    return picture("bar", 100, 10, [box(0, 0, 100 * min(share, 1), 10, css)], label)


def timeline(subject: Subject) -> str:
    """The calls one behind the other, as wide as they take; the height is the share of peak."""
    css, starts = colours(subject), subject.starts
    shapes = []
    for index, call in enumerate(subject.calls):
        share, tip = 1.0, f"{index}: {call['layer']}: {call['what']}"
        if subject.profile:
            row = subject.profile["calls"][index]
            share = row["share_of_peak"] if row["multiply_adds"] else 0.0
            tip += f", {1e3 * row['ms']:.1f} us, {100 * share:.0f} % of peak"
        height = 3 + 57 * min(share, 1.2) / 1.2
        x, width = (1000 * t / starts[-1] for t in (starts[index], starts[index + 1] - starts[index]))
        shapes.append(box(x, 60 - height, width, height, css[kind(call["kernel"])], tip))
    return picture("timeline", 1000, 60, shapes, "the calls over time")


def workspace(subject: Subject) -> str:
    """The roots over time: from left to right the calls, from below to above the addresses."""
    css, starts, total = colours(subject), subject.starts, subject.workspace
    writers = {call["output"].partition("[")[0]: kind(call["kernel"]) for call in reversed(subject.calls)}
    shapes = []
    for row in subject.memory:
        x = 1000 * starts[row["first"]] / starts[-1]
        width = 1000 * starts[row["last"] + 1] / starts[-1] - x
        height = 300 * row["bytes"] / total
        layout = f", {row['planes']} planes of {row['height']}x{row['width']}" if row["planes"] else ""
        tip = f"{row['root']}{layout}, {row['bytes']} bytes at {row['offset']}, calls {row['first']} to {row['last']}"
        y = 300 - 300 * row["offset"] / total - height
        shapes.append(box(x, y, width, height, f"room {css.get(writers.get(row['root'], ''), 'k7')}", tip))
    return picture("workspace", 1000, 300, shapes, "the workspace over time")


def curve(best: Sequence[float], label: str) -> str:
    """The best so far after each trial, of the default's time: from left to right, 1 above, half of it below."""
    across = [1000 * place / max(len(best) - 1, 1) for place in range(len(best))]
    points = " ".join(f"{x:.1f},{100 - 200 * max(value - 0.5, 0):.1f}" for x, value in zip(across, best))
    line = f'<polyline class="line" points="{points}"><title>{escape(label)}</title></polyline>'
    return picture("curve", 1000, 100, [line], label)
