"""A report: one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..measure.comparison import Comparison
from ..targets.precision import precision_in
from ..words import origin_notes, weights_line
from .pictures import bar, colours, curve, kind, timeline, workspace
from .rivals import Standing, paper, standings
from .style import STYLE
from .subjects import TRIALS, Subject
from .units import units

CURVES = 12  # at most


def page(subjects: Sequence[Subject], rivals: dict[str, dict], command: str, boards: Sequence[Comparison] = ()) -> str:
    """The whole page; `rivals` are documents of `latency --json` by their names, `boards` what `bench` found there."""
    title = ", ".join([*(subject.label for subject in subjects), *(board.processor.name for board in boards)])
    parts = [part for subject in subjects for part in _sections(subject, standings(subject, rivals), rivals)]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{_overview(subjects) if len(subjects) > 1 else ''}{_boards(boards) if boards else ''}{''.join(parts)}"
        f"<footer>{_paragraph(command)}</footer>\n</main>\n</body>\n</html>\n"
    )


def _overview(subjects: Sequence[Subject]) -> str:
    timed = [subject.profile["library"]["ms"] for subject in subjects if subject.profile]
    rows = []
    for subject in subjects:
        macs, cells = subject.net.multiply_adds(), ["not timed", "", ""]
        if subject.profile:
            whole = subject.profile["library"]
            cells = [f"{whole['ms']:.3f}", f"{100 * whole['share_of_peak']:.0f}",
                     bar(whole["ms"] / max(timed), "k0", f"{whole['ms']:.3f} ms")]  # fmt: skip
        rows.append([escape(subject.label), f"{macs / 1e6:.1f}", *cells])
    return "<h1>Networks side by side</h1>" + _table(("network", "M multiply-adds", "ms", "% of peak", ""), rows)


def _boards(boards: Sequence[Comparison]) -> str:
    """The networks of each board; a bar compares those of one board alone."""
    parts = ["<h1>On boards</h1>"]
    for board in boards:
        found = board.rows()
        most = max(row["minimum_ms"] for row in found)
        parts.append(f"<h2>{escape(board.processor.name)}</h2>")
        parts.append(_table(("network", "M multiply-adds", "ms", "ms, median", "% of peak", ""), [
            [escape(row["network"]), f"{row['multiply_adds'] / 1e6:.1f}", f"{row['minimum_ms']:.3f}",
             f"{row['median_ms']:.3f}", f"{100 * row['share_of_peak']:.0f}",
             bar(row["minimum_ms"] / most, "k0", f"{row['minimum_ms']:.3f} ms")]
            for row in found
        ]))  # fmt: skip
        batches = ", ".join(map(str, board.batches))
        parts.append(_paragraph(f"{board.place}: built for {board.target.name}; core {board.core}, 1 thread, batch "
                                f"{batches}; least of {board.rounds} interleaved rounds, FMA peak of the same rounds "
                                f"{(board.peak or 0) / 1e9:.1f} GMAC/s; {board.date}"))  # fmt: skip
    return "".join(parts)


def _sections(subject: Subject, standing: list[Standing], rivals: dict[str, dict]) -> Iterable[str]:
    yield f"<section><h1>{escape(subject.label)}</h1>{_summary(subject)}"
    yield f"<h2>The network, unit by unit</h2>{_legend(subject)}{units(subject)}"
    yield _paragraph("A box is a call of a kernel, batch norm and activation inside.  Crossing lines are a channel "
                     "shuffle that became no kernel: its neighbours store and read channels so.")  # fmt: skip
    yield f"<h2>{'Time of each kernel' if subject.profile else 'Multiply-adds of each kernel'}</h2>{_kernels(subject)}"
    yield f"<h2>One inference, call by call</h2>{_legend(subject)}<figure>{timeline(subject)}{_axis(subject)}</figure>"
    if subject.profile:
        yield _paragraph("The height is the share of the FMA peak, 120 % at the top; a flat box does no multiply-adds.")
    yield f"<h2>The workspace over time</h2><figure>{workspace(subject)}{_axis(subject)}</figure>"
    yield _paragraph("A box is a piece of memory, as wide as it is alive and as high as it is large; the "
                     f"whole height is {subject.workspace / 1e6:.3f} MB.  Colour: its first writer.")  # fmt: skip
    yield f"<h2>Beside other engines and the paper</h2>{_rivals(subject, standing, rivals)}"
    yield f"<h2>Tuning</h2>{_tuning(subject)}<h2>Conditions</h2>{_conditions(subject)}</section>"


def _summary(subject: Subject) -> str:
    height, width = subject.net.size
    facts = [
        ("input", f"{height}x{width}"), ("multiply-adds", f"{subject.net.multiply_adds() / 1e6:.1f} M"),
        ("parameters", f"{subject.net.parameter_count() / 1e6:.2f} M"), ("target", subject.target),
        ("calls of kernels", f"{len(subject.calls)}"), ("workspace", f"{subject.workspace / 1e6:.2f} MB"),
    ]  # fmt: skip
    if subject.profile:
        whole = subject.profile["library"]
        facts[:0] = [
            ("one inference", f"{whole['ms']:.3f} ms"),
            ("of the core's peak", f"{100 * whole['share_of_peak']:.0f} %"),
        ]
    cards = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts)
    note = _paragraph(f"Note: {subject.net.note}") if subject.net.note else ""
    return f'<div class="cards">{cards}</div>{note}'


def _legend(subject: Subject) -> str:
    items = "".join(f'<span><i class="{css}"></i>{escape(name)}</span>' for name, css in colours(subject).items())
    return f'<p class="legend">{items}</p>'


def _kernels(subject: Subject) -> str:
    css = colours(subject)
    if not subject.profile:
        totals: dict[str, list] = {}
        for call in subject.calls:
            entry = totals.setdefault(call["kernel"], [call["what"], 0, 0])
            entry[1], entry[2] = entry[1] + 1, entry[2] + call["multiply_adds"]
        most = max(entry[2] for entry in totals.values()) or 1
        ranked = sorted(totals.items(), key=lambda item: -item[1][2])
        return _table(("kernel", "computes", "calls", "M", ""), [
            [escape(name), escape(words), str(count), f"{macs / 1e6:.2f}",
             bar(macs / most, css[kind(name)], f"{macs / 1e6:.2f} M multiply-adds")]
            for name, (words, count, macs) in ranked
        ])  # fmt: skip
    most = max(row["ms"] for row in subject.profile["kernels"])
    return _table(("kernel", "computes", "calls", "us", "time", "% of peak", "wide"), [
        [escape(row["kernel"]), escape(row["what"]), str(row["calls"]), f"{1e3 * row['ms']:.1f}",
         bar(row["ms"] / most, css[kind(row["kernel"])], f"{1e3 * row['ms']:.1f} us"),
         f"{100 * row['share_of_peak']:.0f}" if row["multiply_adds"] else "",
         _share(row)]
        for row in subject.profile["kernels"]
    ])  # fmt: skip


def _share(row: dict) -> str:
    """Always a cell of its class, which narrow pages hide."""
    share = row["share_of_peak"] if row["multiply_adds"] else 0.0
    return bar(share, "share", f"{100 * share:.0f} % of peak")


def _axis(subject: Subject) -> str:
    end, unit = subject.starts[-1], "ms" if subject.profile else "calls"
    marks = "".join(f"<span>{end * part / 4:.3g}</span>" for part in range(4))
    return f'<figcaption class="axis">{marks}<span>{end:.3g} {unit}</span></figcaption>'


def _rivals(subject: Subject, found: list[Standing], rivals: dict[str, dict]) -> str:
    parts = []
    for standing in found:
        most, ours = max(standing.milliseconds.values()), standing.milliseconds.get("ours")
        rows = [
            [escape(name), f"{ms:.3f}", f"{ms / ours:.2f}" if ours else "",
             bar(ms / most, "k0" if name == "ours" else "k7", f"{name}: {ms:.3f} ms")]
            for name, ms in sorted(standing.milliseconds.items(), key=lambda item: item[1])
        ]  # fmt: skip
        parts.append(_table(("engine", "ms", "times ours", ""), rows))
        parts.append(_paragraph(f"{standing.source}: {standing.conditions}"))
    if not found:
        where = f"not in {', '.join(rivals)}" if rivals else "no file of rivals was given: --rivals FILE"
        parts.append(_paragraph(f"Other engines: not measured here ({where})."))
    if printed := paper(subject):
        parts.append(_table(("the paper prints", ""), [[escape(what), escape(value)] for what, value in printed]))
    else:
        parts.append(_paragraph("The papers print no figure of this network at this size."))
    return "".join(parts)


def _tuning(subject: Subject) -> str:
    if not subject.tuned:
        return _paragraph(f"No tuning records of these kernels for {subject.target}.")
    most = max(tuned.gain for tuned in subject.tuned) - 1
    rows = [
        [escape(tuned.kernel), escape(tuned.what), tuned.kind, str(tuned.tried), f"{tuned.gain:.3f}",
         bar((tuned.gain - 1) / most if most > 0 else 0, "k0", f"{tuned.gain:.3f} times as fast")]
        for tuned in subject.tuned
    ]  # fmt: skip
    curves = [tuned for tuned in subject.tuned if len(tuned.best) >= TRIALS][:CURVES]
    drawn = "".join(
        f"<figure>{curve(tuned.best, tuned.kernel)}<figcaption>{escape(tuned.kernel)}: {tuned.tried} trials, "
        f"{tuned.gain:.3f}x</figcaption></figure>" for tuned in curves
    )  # fmt: skip
    why = "" if curves else _paragraph("The records keep only the best trial of each kernel: there are no curves.")
    return (
        _table(("kernel", "computes", "by", "trials", "times as fast as default", ""), rows)
        + (f'<div class="curves">{drawn}</div>' if curves else "") + why
    )  # fmt: skip


def _conditions(subject: Subject) -> str:
    profile = subject.profile
    if not profile:
        return _paragraph("Nothing was timed; this is the plan of the compiler.")
    core = "" if profile["core"] is None else f", core {profile['core']}"
    peak, kept = profile["peak_multiply_adds_per_second"], precision_in(profile["manifest"])
    whose = "one core" if profile["threads"] == 1 else f"{profile['threads']} threads at once"
    lines = [
        f"{profile['place']}: {profile['processor']['name']}; threads {profile['threads']}{core}, batch 1, {kept}",
        f"{profile['rounds']} interleaved rounds; the least of all rounds, for each call by itself",
        f"kernels together {profile['sum_of_kernels_ms']:.4f} ms, the library {profile['library']['ms']:.4f} ms",
        f"FMA peak of {whose} in the same rounds: {peak / 1e9:.1f} GMAC/s",
        weights_line(profile["manifest"]),
        *origin_notes(profile["manifest"]),
        ", ".join(f"{name} {version}" for name, version in profile["versions"].items()),
        profile["command"],
    ]
    if profile["twin_differs"]:
        lines.insert(0, f"NOT the kernels of the library: {'; '.join(profile['twin_differs'])}")
    return "".join(map(_paragraph, lines))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join('<th class="wide"></th>' if text == "wide" else f"<th>{escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"
