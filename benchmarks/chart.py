"""A bar chart of latency as SVG, readable on light and on dark pages."""

from __future__ import annotations

from html import escape

from .rivals import OURS, RIVALS
from .tables import fastest

WIDTH, LEFT, BAR, GAP, TOP = 760, 190, 13, 12, 64
COLOURS = {OURS: "#d9480f", "openvino": "#1c7ed6", "onnxruntime": "#7048e8", "executorch": "#0ca678",
           "litert": "#f08c00", "ncnn": "#868e96", "mnn": "#c2255c", "torch_compile": "#5c940d"}  # fmt: skip
STYLE = """text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.line { stroke: #8c959f } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .page { fill: #0d1117 } }"""


def chart(data: dict) -> str:
    """Each network's times over ours, engines below one another, from a file of `benchmarks.latency`."""
    networks = [(each["network"], fastest(each)) for each in data["networks"]]
    engines = [name for name in COLOURS if any(name in found for _, found in networks)]
    most = max(each["minimum_ms"] / found[OURS]["minimum_ms"] for _, found in networks for each in found.values())
    scale = (WIDTH - LEFT - 50) / most
    parts, y = [], TOP
    for name, found in networks:
        shown = [engine for engine in engines if engine in found]
        ours = found[OURS]["minimum_ms"]
        parts.append(_text(LEFT - 8, y + len(shown) * BAR / 2 + 4, name, "end"))
        for engine in shown:
            over = found[engine]["minimum_ms"] / ours
            label = f"{ours:.3g} ms" if engine == OURS else f"{over:.2f}"
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{over * scale:.1f}" height="{BAR - 2}" '
                         f'fill="{COLOURS[engine]}"/>')  # fmt: skip
            parts.append(_text(LEFT + over * scale + 5, y + BAR - 3, label))
            y += BAR
        y += GAP
    x = LEFT + scale
    parts.append(f'<line class="line" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{y}" stroke-dasharray="3 3"/>')
    keys, across = [], 12
    for engine in engines:
        title = "tvm_shufflenet" if engine == OURS else RIVALS[engine].title
        keys.append(f'<rect x="{across}" y="32" width="11" height="11" fill="{COLOURS[engine]}"/>')
        keys.append(_text(across + 16, 42, title))
        across += 31 + 7 * len(title)
    heading = _text(12, 20, f"Time of one inference, as a multiple of ours: {data['processor']['name']}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">',
        "<title>Latency beside other engines</title>", f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{y}"/>', heading, *keys, *parts, "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
