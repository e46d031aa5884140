"""Tables in Markdown of what commands wrote with `--json`: each a function from that file to lines."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tvm_shufflenet import published

from .rivals import OURS, RIVALS


def latency(data: dict) -> list[str]:
    """Of `benchmarks.latency`: a row for each network, a column for each engine."""
    networks = data["networks"]
    engines = [name for name in RIVALS if any(name in fastest(each) for each in networks)]
    head = ["network", "ours, ms", "% of peak", *(RIVALS[name].title for name in engines), "best rival / ours"]
    rows = []
    for each in networks:
        found = fastest(each)
        ours = found[OURS]
        cells = [_milliseconds(found[name]["minimum_ms"]) if name in found else "-" for name in engines]
        ratio = each["best_rival_over_ours"]
        rows.append([_name(each), _milliseconds(ours["minimum_ms"]), f"{100 * ours['share_of_peak']:.0f}",
                     *cells, "-" if ratio is None else f"{ratio:.2f}"])  # fmt: skip
    return _table(head, rows) + _conditions(data)


def brief(data: dict) -> list[str]:
    """Of `benchmarks.latency`, for the README: ours, the best rival's time and name, and the ratio."""
    rows = []
    for each in data["networks"]:
        found = fastest(each)
        ours = found.pop(OURS)
        best = min(found.values(), key=lambda engine: engine["minimum_ms"])
        rows.append([_name(each), _milliseconds(ours["minimum_ms"]),
                     f"{_milliseconds(best['minimum_ms'])} ({RIVALS[best['engine']].title})",
                     f"{each['best_rival_over_ours']:.2f}"])  # fmt: skip
    return _table(["network", "ours, ms", "best rival, ms", "best rival / ours"], rows) + _conditions(data)


def compare(data: dict) -> list[str]:
    """Of `compare`: times, rates and what the paper measured."""
    columns: tuple[tuple[str, str, Callable], ...] = (
        ("multiply-adds, M", "multiply_adds", lambda value: f"{value / 1e6:.1f}"),
        ("ms, min", "minimum_ms", _milliseconds),
        ("ms, median", "median_ms", _milliseconds),
        ("GMAC/s", "multiply_adds_per_second", lambda value: f"{value / 1e9:.1f}"),
        ("% of peak", "share_of_peak", lambda value: f"{100 * value:.0f}"),
        ("times AlexNet", "speedup", _times),
        ("in theory", "theoretical_speedup", _times),
        ("paper: ms", "paper_ms", str),
        ("paper: times AlexNet", "paper_speedup", _times),
    )
    rows = [[_name(each), *("" if each[key] is None else form(each[key]) for _, key, form in columns)]
            for each in data["networks"]]  # fmt: skip
    return _table(["network", *(heading for heading, _, _ in columns)], rows) + _conditions(data)


def arm(data: dict) -> list[str]:
    """Of `benchmarks.arm_rivals`: million cycles of all engines, and ours over the cheapest rival's."""
    costs = data["costs"]
    cores = list(dict.fromkeys(cost["core"] for cost in costs))
    engines = list(dict.fromkeys(cost["engine"] for cost in costs))
    rows = []
    for model in dict.fromkeys(cost["model"] for cost in costs):
        cells = []
        for core in cores:
            these = [c for c in costs if c["core"] == core and c["model"] == model]
            found = {c["engine"]: c["cycles"] for c in reversed(these)}  # of ours the first: with records
            rivals = [cycles for engine, cycles in found.items() if engine != OURS]
            # Transcribed cycles are rounded, and their ratio was printed of exact ones.
            printed = next((c["over_best_rival"] for c in these if "over_best_rival" in c), None)
            shown = ", ".join(f"{found[engine] / 1e6:.1f}" if engine in found else "-" for engine in engines)
            cells.append(shown + (f" ({printed or found[OURS] / min(rivals):.2f})" if rivals else ""))
        rows.append([model, *cells])
    titles = [RIVALS[engine].title if engine in RIVALS else engine for engine in engines]
    return _table([f"million cycles: {', '.join(titles)}", *cores], rows) + _conditions(data)


def footprint(data: dict) -> list[str]:
    """Of `benchmarks.footprint`: memory, size of the library, and what building takes."""
    rows = [
        [each["model"], f"{each['workspace'] / 1e3:.0f}", f"{each['alive'] / 1e3:.0f}", f"{each['over_alive']:.2f}",
         f"{each['library'] / 1e3:.0f}", f"{each['excess'] / 1e3:.0f}", f"{each['build_seconds']:.1f}",
         f"{each['build_memory'] / 1e6:.0f}"]
        for each in data["networks"]
    ]  # fmt: skip
    head = ["network", "workspace, kB", "alive, kB", "ratio", "library, kB", "beyond its weights, kB", "build, s",
            "its memory, MB"]  # fmt: skip
    return _table(head, rows) + _conditions(data)


def rows(data: dict) -> list[str]:
    """A table that was kept as it was printed."""
    return _table(data["columns"], data["rows"]) + _conditions(data)


def gains(data: dict) -> list[str]:
    """Of `benchmarks.tuning_gains`: million cycles, misses included, with default schedules and with records."""
    cells = {(each["core"], each["model"]): each for each in data["gains"]}
    cores, models = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    rows = []
    for model in models:
        row = [model]
        for core in cores:
            default, tuned = (cells[core, model][key] for key in ("default_total", "tuned_total"))
            row.append(f"{default / 1e6:.2f}, {tuned / 1e6:.2f} ({tuned / default:.3f})")
        rows.append(row)
    return _table(["million cycles with misses: default, tuned", *cores], rows) + _conditions(data)


def accuracy(data: dict) -> list[str]:
    """Of `benchmarks.accuracy`: for each network of each table the mean of its runs and half their range."""
    rows = []
    for each in data["tables"]:
        for model in each["models"]:
            runs = [run for run in data["runs"] if run["model"] == model]
            first, fifth = ([100 * run[key] for run in runs] for key in ("top1", "top5"))
            cells = ["-"] * 4
            if runs:
                spread = f" ± {(max(first) - min(first)) / 2:.2f}" if len(runs) > 1 else ""
                cells = [f"{statistics.mean(first):.2f}{spread}", ", ".join(f"{value:.2f}" for value in first),
                         f"{statistics.mean(fifth):.2f}", str(runs[0]["images"])]  # fmt: skip
            error = published.ERRORS.get(model)
            rows.append([each["title"], model, *cells, "-" if error is None else f"{error:g}"])
    head = ["question", "network", "top-1, %", "of each seed", "top-5, %", "pictures", "published ImageNet error, %"]
    return _table(head, rows) + _conditions(data)


TABLES: dict[str, Callable[[dict], list[str]]] = {
    "latency": latency, "brief": brief, "compare": compare, "arm": arm, "footprint": footprint, "accuracy": accuracy,
    "rows": rows, "gains": gains,
}  # fmt: skip


def fastest(network: dict) -> dict[str, dict]:
    """The fastest variant of each engine, by name, of a network in a file of `benchmarks.latency`."""
    found: dict[str, dict] = {}
    for each in network["engines"]:
        held = found.get(each["engine"])
        if held is None or each["minimum_ms"] < held["minimum_ms"]:
            found[each["engine"]] = each
    return found


def _conditions(data: dict) -> list[str]:
    """Where, when, with what and by which command the figures came about."""
    parts = []
    if processor := data.get("processor"):
        parts.append(processor["name"])
    if "threads" in data:
        threads = data["threads"]
        cores = "one core, 1 thread" if threads == 1 else f"{threads} cores, {threads} threads"
        parts.append(f"{cores}, batch {data['batch']}, {data.get('precision', 'fp32')}")
    rounds = {data["rounds"]} if "rounds" in data else {each["rounds"] for each in data.get("networks", ())
                                                        if "rounds" in each}  # fmt: skip
    if rounds:
        parts.append(f"least of {min(rounds)} interleaved rounds")
    if peak := data.get("peak_multiply_adds_per_second"):
        parts.append(f"FMA peak of the same rounds {peak / 1e9:.1f} GMAC/s")
    parts += [data[key] for key in ("note", "date") if data.get(key)]
    parts.append(", ".join(f"{name} {version}" for name, version in data.get("versions", {}).items()))
    parts += [f"`{data['command']}`", data.get("source", "")]
    return ["", "; ".join(filter(None, parts)) + "."]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    marks = ["---", *("---:" for _ in head[1:])]
    return ["", *("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows))]


def _name(network: dict) -> str:
    size = network.get("size", [224, 224])
    return network["network"] + ("" if list(size) == [224, 224] else " " + "x".join(map(str, size)))


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}"


def _times(value: float) -> str:
    return f"{value:.1f}x"
