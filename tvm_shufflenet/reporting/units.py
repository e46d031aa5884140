"""The picture of a network: each unit with its kernels in order, and with the shuffles that became no kernel."""

from __future__ import annotations

from html import escape

from ..architectures import Layer
from .pictures import box, colours, kind, picture
from .subjects import Subject

WIDTH, LINE, HEAD = 176, 20, 22
ROOM = 26  # on the left, for the way around the unit


def units(subject: Subject) -> str:
    """The units in the order of execution, side by side as far as there is room."""
    groups: dict[str, list[Layer]] = {}
    for layer in subject.net.layers[1:]:
        groups.setdefault(unit_of(layer.name), []).append(layer)
    calls: dict[str, list[tuple[int, dict]]] = {}
    for index, call in enumerate(subject.calls):
        calls.setdefault(call["layer"], []).append((index, call))
    drawn = []
    for name, layers in groups.items():
        steps = _steps(layers, calls)
        if steps:
            drawn.append(_unit(name, layers, steps, subject))
    return f'<div class="units">{"".join(drawn)}</div>'


def unit_of(layer: str) -> str:
    """`stage2.0` of `stage2.0.conv1`, `stem` of `stem.conv`."""
    first, *rest = layer.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


def _steps(layers: list[Layer], calls: dict[str, list[tuple[int, dict]]]) -> list[tuple[str, int, dict | Layer]]:
    """Calls of a unit, and shuffles that no call does: ("call", its number, it) or ("shuffle", -1, the layer)."""
    found: list[tuple[str, int, dict | Layer]] = []
    for layer in layers:
        if layer.name in calls:
            found += [("call", index, call) for index, call in calls[layer.name]]
        elif layer.op == "shuffle":
            found.append(("shuffle", -1, layer))
    return found


def _unit(name: str, layers: list[Layer], steps: list, subject: Subject) -> str:
    css, shapes = colours(subject), []
    joins = [layer for layer in layers if layer.op in ("add", "concat")]
    left = ROOM if joins else 4
    height = HEAD + LINE * len(steps) + (14 if joins else 4)
    for place, (what, index, step) in enumerate(steps):
        y = HEAD + LINE * place
        if what == "shuffle":
            shapes.append(_shuffle(step, left, y))
            continue
        words, tip = step["what"], f"{step['layer']}: {step['kernel']}, {step['what']}"
        if subject.profile:
            row = subject.profile["calls"][index]
            tip += f", {1e3 * row['ms']:.1f} us, {100 * row['share_of_peak']:.0f} % of peak"
        shapes.append(
            box(left, y + 1, WIDTH - left - 4, LINE - 3, css[kind(step["kernel"])], tip)
            + f'<text class="in" x="{left + 4}" y="{y + 14}">{escape(_short(words))}</text>'
        )
    text = f'<text class="head" x="{left}" y="15">{escape(name)}</text>'
    if joins:
        sign, end = ("+" if joins[0].op == "add" else "||"), height - 8
        shapes.append(
            f'<path class="way" d="M{left + 60},{HEAD - 3} H10 V{end} H{left + 60}"><title>the way around the kernels, '
            f'{escape(joins[0].op)}</title></path><circle class="join" cx="10" cy="{end - 12}" r="8"></circle>'
            f'<text class="sign" x="10" y="{end - 8}">{sign}</text>'
        )
    svg = picture("unit", WIDTH, height, [text, *shapes], f"{name}: {len(steps)} steps", stretched=False)
    return svg.replace("<svg ", f'<svg width="{WIDTH}" height="{height}" ', 1)


def _shuffle(layer: Layer, left: int, y: int) -> str:
    """Crossing lines: channels are read in another order, and nothing moves."""
    groups = layer.attrs.get("groups", 2)
    count, width = 6, WIDTH - left - 8
    lines = ""
    for i in range(count):
        to = (i % 2) * (count // 2) + i // 2
        a, b = left + 4 + width * (i + 0.5) / count, left + 4 + width * (to + 0.5) / count
        lines += f"M{a:.1f},{y + 1} L{b:.1f},{y + LINE - 3} "
    return (
        f'<path class="shuffle" d="{lines}"><title>{escape(layer.name)}: shuffle of {groups} groups, folded into the '
        f"order in which its neighbours store and read channels</title></path>"
    )


def _short(words: str) -> str:
    words = words.removesuffix(", shuffle").removesuffix(", residual")  # which the lines beside it show
    return words if len(words) <= 26 else f"{words[:25]}…"
