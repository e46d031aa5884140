"""The command `python -m benchmarks.latency`: our networks against other engines on this machine, timed."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tvm_shufflenet.cli.command import add_json_option, run, split_names
from tvm_shufflenet.cli.common import parse_size, tuned_kernels
from tvm_shufflenet.cli.terminal import Terminal, open_console
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json
from tvm_shufflenet.targets.precision import PRECISIONS

from .rivals import FP32, INSTALL, RIVALS, THREADS, VARIABLE
from .rivals.agreement import DIFFERING, TOLERANCES
from .rivals.calibration import COUNT
from .rivals.passing import COUNT as SCORES

PROGRAM = "python -m benchmarks.latency"
MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g3", "shufflenet-v1-1x-g8", "shufflenet-v1-2x-g3",
          "mobilenet-v1-1.0", "mobilenet-v1-0.25", "alexnet")  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Times networks, ours and other engines', on one core of this machine: one thread, batch 1, "
        "in interleaved rounds with the core's FMA peak.  All outputs are checked against ours in fp32.  With "
        f"{VARIABLE}=2 in the environment each engine has two threads, and the peak is that of two at once.",
        epilog=f"examples: {INSTALL}\n"
        f"          {PROGRAM} shufflenet-v1-1x-g3 --rivals openvino,ncnn\n"
        f"          {PROGRAM} --size 480x640 --keep build/rivals --markdown\n"
        f"          {PROGRAM} shufflenet-v1-1x-g3 --precision int8\n"
        f"          {PROGRAM} nanodet-m ssdlite-shufflenet-v2-1x --rivals onnxruntime,openvino,ncnn",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="networks (ShuffleNet 0.5x, 1x and 2x g=3 and 1x "
                        "g=8, MobileNet 1.0 and 0.25, AlexNet)")  # fmt: skip
    parser.add_argument("--rivals", type=split_names, metavar="NAME[,NAME]",
                        help=f"engines (all that are installed of {','.join(RIVALS)})")  # fmt: skip
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default=FP32, help="of all engines; those that do "
                        "not run in it are named with the reason (fp32)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels: 224, or height x width as 480x640 (224; detectors: their own)")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each engine (30)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what is built and exported in this folder, and "
                        "use what is still current there")  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="only build and export, for a later run with --keep")
    parser.add_argument("--markdown", action="store_true", help="print one table of all networks, in Markdown")
    add_json_option(parser, "all figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    size = parse_size(args.size) if args.size else None
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: expected 1 or more")
    if args.prepare and not args.keep:
        raise UserError("--prepare makes files for a later run: say where with --keep DIR")

    from tvm_shufflenet.architectures import network, own_name

    nets = [network(name, size) for name in dict.fromkeys(own_name(model) or model for model in args.models or MODELS)]
    rivals, missing = choose(args.rivals)
    finder = next((net.name for net in nets if net.detector), None)
    if finder and args.precision != FP32:
        raise UserError(f"--precision {args.precision}: {finder} finds boxes, which are compared in {FP32} only")

    if args.keep:
        try:
            args.keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--keep {args.keep}: the folder cannot be made: {error.strerror}") from None

    from .contest import Files, measure, prepare

    progress, measured = Terminal(), []
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as scratch:
        files = Files(args.keep or Path(scratch))
        contests = [prepare(net, rivals, files, progress, args.precision) for net in nets]
        for contest in () if args.prepare else contests:
            measure(contest, rivals, args.rounds, files, progress)
            measured.append(contest)
            if contest.rounds < args.rounds:  # Ctrl-C
                break
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    console = open_console()
    lines = not_run(contests, missing)
    if measured:
        if args.json:
            write_json(args.json, to_json(measured, missing, command))
        for line in markdown(measured) if args.markdown else ():
            console.print(line, markup=False, soft_wrap=True)
        if not args.markdown:
            console.print(table(measured))
        lines = footer(measured) + lines
    for line in (*lines, command):
        console.print(line, markup=False, soft_wrap=True)
    return 130 if measured and measured[-1].rounds < args.rounds else 0


def choose(wanted: list[str] | None) -> tuple[list[str], list[str]]:
    """The rivals to run, and those that are not installed; `UserError` for what is wanted and cannot be had."""
    for name in wanted or ():
        if name not in RIVALS:
            raise UserError(f"unknown rival {name!r}: expected {', '.join(RIVALS)}")
    for name in wanted or ():
        if not RIVALS[name].version:
            raise UserError(f"{RIVALS[name].title} is not installed; run: {INSTALL}")
    missing = [] if wanted else [name for name, rival in RIVALS.items() if not rival.version]
    chosen = wanted or [name for name in RIVALS if name not in missing]
    if not chosen:
        raise UserError(f"no rival is installed; run: {INSTALL}")
    return chosen, missing


def table(contests: list):
    """Each network with all engines that ran it, the fastest rival first, for `rich`."""
    from rich import box
    from rich.table import Table

    sizes = ", ".join(dict.fromkeys("x".join(map(str, contest.net.size)) for contest in contests))
    threads = "one thread" if THREADS == 1 else f"{THREADS} threads"
    drawn = Table(title=f"{sizes} pixels, {threads}, {contests[0].precision}", title_justify="left",
                  box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    for heading, justify in (("network", "left"), ("engine", "left"), ("ms,\nmin", "right"), ("ms,\nmedian", "right"),
                             ("% of\npeak", "right"), ("rival /\nours", "right"), ("output's\ndifference", "right"),
                             ("peak,\nGMAC/s", "right")):  # fmt: skip
        drawn.add_column(heading, justify=justify, no_wrap=True)
    for contest in contests:
        standing = contest.standing
        for each in standing:
            ours = each is contest.ours
            drawn.add_row(
                contest.net.name if ours else "", each.title,
                milliseconds(each.minimum), milliseconds(each.median), f"{100 * contest.share_of_peak(each):.0f}",
                "" if ours else f"{contest.ratio(each):.2f}",
                "" if ours and contest.precision == FP32 else f"{each.difference:.0e}",
                f"{contest.peak / 1e9:.1f}" if ours else "", end_section=each is standing[-1],
            )  # fmt: skip
    return drawn


def markdown(contests: list) -> list[str]:
    """A row for each network, a column for each engine: milliseconds, and how many times as long as ours."""
    engines = [name for name in RIVALS if any(each.engine == name for c in contests for each in c.standing)]
    lines = [
        "| ms | ours | % of peak | " + " | ".join(RIVALS[name].title for name in engines) + " | best rival / ours |"
    ]
    lines.append("|---" * (len(engines) + 4) + "|")
    for contest in contests:
        found = {each.engine: each for each in contest.standing[1:]}
        cells = [
            contest.net.name,
            milliseconds(contest.ours.minimum),
            f"{100 * contest.share_of_peak(contest.ours):.0f}",
        ]
        cells += [milliseconds(found[name].minimum) if name in found else "-" for name in engines]
        cells.append(f"{min(map(contest.ratio, found.values())):.2f}" if found else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def footer(contests: list) -> list[str]:
    """What the figures depend on."""
    from tvm_shufflenet.boards.processor import describe_processor

    rounds = min(contest.rounds for contest in contests)
    cores = ", ".join(str(core) for core in sorted({c.core for c in contests if c.core is not None}))
    where = f"core {cores}" if cores else f"{THREADS} threads"
    lines = [f"{describe_processor().name}, {where}; {rounds} interleaved rounds; ratios and shares of the minimum"]
    lines.append("ours: " + "; ".join(f"{c.net.name} {tuned_kernels(c.kernels)}" for c in contests))
    lines.append("% of peak: of all the network's multiply-adds, also those that an engine saves by Winograd's method")
    lines.append(", ".join(f"{title} {version}" for title, version in versions(contests).items()))
    if any(contest.net.detector for contest in contests):
        lines.append(
            f"detectors: from the picture to the boxes; of random weights, shifted so that about {SCORES} scores pass; "
            "post-processing of OpenVINO and ONNX Runtime by NonMaxSuppression and TopK in the ONNX model, of ncnn by "
            f"ONNX Runtime; at most {100 * DIFFERING:.0f} % of the boxes may differ, all else is wrong"
        )
    if (precision := contests[0].precision) != FP32:
        lines.append(
            f"{precision}: the largest difference of logits from ours in fp32, of the largest, is less than "
            f"{TOLERANCES[precision]:g}; ranges of int8 are from the same {COUNT} pictures of noise for all"
        )
    return lines


def not_run(contests: list, missing: list[str]) -> list[str]:
    """Which rivals are left out, and why."""
    lines = [f"{RIVALS[name].title}: not run, it is not installed ({INSTALL})" for name in missing]
    reasons: dict[tuple[str, str], list[str]] = {}
    for contest in contests:
        for name, why in contest.absent.items():
            reasons.setdefault((name, why), []).append(contest.net.name)
    return lines + [f"{RIVALS[name].title}: no {', '.join(names)}: {why}" for (name, why), names in reasons.items()]


def versions(contests: list) -> dict[str, str]:
    engines = [name for name in RIVALS if any(each.engine == name for c in contests for each in c.contestants)]
    return {RIVALS[name].title: RIVALS[name].version for name in engines}


def to_json(contests: list, missing: list[str], command: str) -> dict:
    """All that was measured; seconds are of one inference, one figure for each round."""
    from tvm_shufflenet import __version__
    from tvm_shufflenet.boards.processor import describe_processor

    return {
        "command": command,
        "date": today(),
        "processor": vars(describe_processor()),
        "threads": THREADS,
        "precision": contests[0].precision,
        "batch": 1,
        "versions": {"tvm_shufflenet": __version__, **versions(contests)},
        "not_installed": missing,
        "networks": [
            {
                "network": contest.net.name, "size": contest.net.size, "multiply_adds": contest.net.multiply_adds(),
                "kernels": contest.kernels, "core": contest.core, "rounds": contest.rounds,
                "not_run": contest.absent,
                "peak_multiply_adds_per_second": contest.peak,
                "best_rival_over_ours": min(map(contest.ratio, contest.standing[1:]), default=None),
                "engines": [
                    {
                        "engine": each.engine, "variant": each.variant, "minimum_ms": 1e3 * each.minimum,
                        "median_ms": 1e3 * each.median, "share_of_peak": contest.share_of_peak(each),
                        "over_ours": contest.ratio(each), "output_difference": each.difference,
                        "seconds_of_rounds": each.seconds,
                    }
                    for each in contest.contestants
                ],
            }
            for contest in contests
        ],
    }  # fmt: skip


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}" if seconds < 1e-2 else f"{1e3 * seconds:.2f}"


if __name__ == "__main__":
    sys.exit(run(main))
