"""The command `python -m tvm_shufflenet.tune`: finds faster knobs for the kernels of networks."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL, network
from ..errors import UserError
from ..files import is_installed, write_json
from ..plotting import add_plot_option, check_plot, save, tuned
from ..records.store import FOLDER, Records, fastest
from ..targets import resolve
from ..targets.cores import cores_of, mean_cycles
from ..targets.precision import FP32, precision_of
from ..words import counted
from .command import add_json_option, command_parser
from .common import (
    MOST,
    add_precision_options,
    check_count,
    check_key,
    check_seconds,
    parse_size,
    tuned_kernels,
)
from .terminal import open_console

if TYPE_CHECKING:
    from ..measure.doubts import Gain

NETWORK_ROUNDS = 60  # of each network before and after: the bounds of a gain get narrow by rounds alone


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "tune",
        description="Tries schedules of each kernel of networks, on this machine, on boards over TVM RPC or by the "
        "model of a core, and keeps what it finds in tuning_logs/, where `build` looks.  Run it again to go on.",
        epilog="examples:\n  python -m tvm_shufflenet.tune --target native --plot tuning.svg\n"
        "  python -m tvm_shufflenet.tune --target cortex-a72 --rpc 192.168.1.20:9190\n"
        "  python -m tvm_shufflenet.tune mobilenet-v1-1.0 --target cortex-a53 --estimate --op depthwise\n"
        "  python -m tvm_shufflenet.tune shufflenet-v1-1x-g3 --target cortex-a72 --estimate --precision int8",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"whose kernels, equal ones once ({DEFAULT_MODEL})")
    parser.add_argument("--target", help="a name from `python -m tvm_shufflenet.targets`, or a TVM target as JSON "
                        "(native; with --rpc arm, with --estimate cortex-a72)")  # fmt: skip
    parser.add_argument("--size", default="224", help="input in pixels: 224, or height x width as 480x640 (224)")
    add_precision_options(parser)
    parser.add_argument("--op", choices=("depthwise", "grouped", "all"), default="all", help="which kernels (all)")
    parser.add_argument("--trials", type=int, default=64, help="of each kernel, earlier ones included (64)")
    parser.add_argument("--rpc", metavar="HOST:PORT", help="on the board of this RPC server, or on all of a tracker")
    parser.add_argument("--key", help="of the boards at their tracker (the target's name)")
    parser.add_argument("--estimate", action="store_true", help="no board: cycles of the core that --target names, by "
                        "the model of `python -m tvm_shufflenet.estimate`; for arm the geometric mean of "
                        "Cortex-A72's and A76's")  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=10, metavar="S", help="seconds for a trial, for a session (10)"
    )
    parser.add_argument("--wait", type=float, default=120, metavar="S", help="seconds to wait for a lost board (120)")
    parser.add_argument("--records", type=Path, default=FOLDER, metavar="DIR", help="where records are kept "
                        "(tuning_logs/)")  # fmt: skip
    parser.add_argument("--emulated", action="store_true", help="time on an emulated board all the same, to try the "
                        "machinery: needs --records, so that its times stay apart")  # fmt: skip
    parser.add_argument("--no-network", action="store_true", help="don't time the whole networks at the end")
    parser.add_argument("--seed", type=int, default=0, help="of the search (0)")
    add_plot_option(parser)
    add_json_option(parser, "what was found")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    models = args.models or [DEFAULT_MODEL]
    size = parse_size(args.size)
    networks = [network(model, size) for model in dict.fromkeys(models)]
    target = resolve(args.target or ("arm" if args.rpc else "cortex-a72" if args.estimate else "native"))
    _check(args, target)
    precision = precision_of(args.precision, args.weights_precision, target)

    from ..measure.rounds import stop_on_interrupt
    from ..tuning.hints import add_hints
    from ..tuning.show import Display, summary
    from ..tuning.tasks import tasks_of
    from ..tuning.tuner import Tuner

    console = open_console()
    records = Records.read(args.records, target)
    for notice in records.notices:
        console.print(f"note: {notice}", markup=False, soft_wrap=True)
    if is_installed(args.records):
        console.print(
            "note: these records become a part of the installed package, and go with it: name a folder of yours with "
            "--records to keep them",
            soft_wrap=True,
        )
    judge = _judge(args, target, console)
    start = time.monotonic()
    with judge, stop_on_interrupt() as stop:
        judge.stop = stop
        records.describe_target(target)
        tasks = tasks_of(networks, target, args.op, precision)
        add_hints(tasks, args.records, target)
        which = "" if precision == FP32 else f", {precision}"
        what = f"{counted(len(tasks), 'kernel')} of {', '.join(n.name for n in networks)} for {target.name}{which}"
        console.print(f"{what}; {judge.kind}: {judge.where}; records: {records.path}", markup=False, soft_wrap=True)
        with Display(console, tasks, args.trials) as display:
            results = Tuner(judge, records, args.trials, args.seed, display).run(tasks)
        interrupted = stop.is_set()
    seconds = time.monotonic() - start
    summary(console, results, judge.kind, seconds)
    if args.rpc:
        each = ", ".join(str(board.trials) for board in judge.boards)
        console.print(
            f"turns of {counted(len(judge.boards), 'board')}: {each}" + "".join(f"; {why}" for why in judge.lost)
        )
    whole = []
    if not (interrupted or args.no_network):
        try:
            if judge.kind == "measured":
                _in_place(args, networks, tasks, target, precision, records, console)
                for result in results:
                    result.best = fastest(records.known(result.task.workload, judge.kind, result.task.space).values())
            whole = _whole(args, networks, size, target, precision, judge, console)
        except KeyboardInterrupt:
            interrupted = True
    document = _to_json(results, judge, target, precision, seconds, whole)
    if args.json:
        write_json(args.json, document)
    if args.plot and any(result.curve for result in results):
        save(args.plot, tuned(document))
    elif args.plot:
        console.print(f"{args.plot} not written: nothing new was tried", markup=False, soft_wrap=True)
    unmeasured = [result for result in results if result.best is None]
    for result in unmeasured:
        print(f"warning: no good measurement of {result.task.label}: {_reasons(result)}", file=sys.stderr)
    if interrupted:
        print(f"interrupted: {len(results)} of {len(tasks)} kernels; run it again to go on", file=sys.stderr)
        return 130
    return 1 if results and len(unmeasured) == len(results) else 0


def _check(args, target) -> None:
    """`UserError` for what does not fit together, before anything slow."""
    check_count("--trials", args.trials, 1, MOST)
    check_count("--seed", args.seed, 0, 2**32 - 1)
    check_seconds("--timeout", args.timeout)
    check_seconds("--wait", args.wait)
    check_plot(args.plot)
    if args.estimate:
        if args.rpc:
            raise UserError("--estimate needs no board: leave out --rpc, or --estimate to measure on it")
        cores_of(target.name)
    elif not args.rpc and target.arch != (here := resolve("native").arch):
        raise UserError(
            f"--target {args.target} is for {target.arch}, but this machine is {here}: expected --rpc HOST:PORT of a "
            "board, or --estimate, or a target for this machine such as native"
        )
    check_key(args.key, args.rpc)
    if args.emulated and args.records.resolve() == FOLDER.resolve():
        raise UserError("--emulated: times in an emulator are no latencies; name a folder of their own with --records")


def _judge(args, target, console):
    """Where candidates are tried, with its boards checked."""
    from ..tuning.judges import Estimated, Timed

    if args.estimate:
        return Estimated(target)
    links = [None]
    if args.rpc:
        from ..tuning.links import links_to, round_trip

        with console.status(f"checking {args.rpc}"):
            list(round_trip(args.rpc, args.key, target, args.timeout))
        links = links_to(args.rpc, args.key, target, args.timeout)
    judge = Timed(target, links, args.timeout, args.wait)
    try:
        if not judge.open():
            if not args.emulated:
                raise UserError(
                    f"{judge.where}: wall time there says nothing, so nothing is tuned; use --estimate, or --emulated "
                    "with --records DIR to try the machinery"
                )
            judge.kind = "emulated"
    except BaseException:
        judge.__exit__()
        raise
    return judge


def _in_place(args, networks, tasks, target, precision, records, console) -> None:
    """The best candidates of all kernels once more, in the networks."""
    from ..measure.place import open_place
    from ..tuning.in_place import compete
    from .terminal import Terminal

    with open_place(target, args.rpc, args.key, args.timeout) as place:
        for net in networks:
            kept = compete(net, tasks, target, records, place, Terminal(), precision)
            if kept is not None:
                console.print(f"in {net.name} the finalists were timed once more: {kept} defaults won", soft_wrap=True)


def _whole(args, networks, size, target, precision, judge, console) -> list[dict]:
    """Each network with default schedules and with the records: milliseconds or cycles."""
    from ..bridge import random_parameters
    from ..building.build_library import BuildOptions, build_library
    from ..pipeline import with_scales
    from .terminal import Terminal

    rows, progress = [], Terminal()
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        for net in networks:
            model, built = net.name, []
            scales = with_scales(precision, net, random_parameters(net)).calibration
            for name, records in (("default", None), ("tuned", args.records)):
                with progress.step(f"building {model}, {name}") as done:
                    options = BuildOptions(
                        model, args.target or target.name, size, output=Path(folder, name), records=records,
                        precision=args.precision, weights_precision=args.weights_precision, calibration=scales,
                    )  # fmt: skip
                    built.append(build_library(options, done))
            row = _before_and_after(args, built, target, judge, progress)
            kernels = built[1].manifest["kernels"]
            found = row["gain"]
            plain = found if found is None or isinstance(found, float) else asdict(found)
            rows.append({"model": model, **row, "gain": plain, "kernels": kernels})
            told = "not timed" if row["before"] is None else (
                f"{row['before']:.4g} -> {row['after']:.4g} {row['unit']}, "
                f"{gain_in_words(found)}"
            )  # fmt: skip
            console.print(f"{model}: {told}; {tuned_kernels(kernels)}", soft_wrap=True)
    return rows


def _before_and_after(args, built, target, judge, progress) -> dict:
    if judge.kind == "estimated":
        from ..building.work import part
        from ..estimation.estimates import estimate

        cycles = []
        for number, library in enumerate(built, 1):
            with progress.step(f"counting and pricing {library.path.name}", number, len(built)) as done:
                judged = cores_of(target.name)
                cycles.append(mean_cycles(
                    estimate(library.path, core, done=part(done, i, len(judged))).network.total_cycles / 1e6
                    for i, core in enumerate(judged)
                ))  # fmt: skip
        return {"unit": "M cycles", "before": cycles[0], "after": cycles[1], "gain": cycles[0] / cycles[1]}
    from ..measure.comparison import CompareOptions, compare
    from ..measure.doubts import gain

    names = tuple(str(library.path) for library in built)
    result = compare(CompareOptions(names, args.target, rpc=args.rpc, key=args.key, rounds=NETWORK_ROUNDS,
                                    timeout=args.timeout), progress)  # fmt: skip
    before, after = (entry.seconds for entry in result.entries)
    best = [min(entry.seconds) * 1e3 if entry.seconds else None for entry in result.entries]
    return {"unit": "ms", "before": best[0], "after": best[1], "gain": gain(before, after), "checked": result.checked}


def gain_in_words(gain: Gain | float | None) -> str:
    """How much faster a network became; "within noise" where it may as well have become slower.

    A number is by a model, which has no noise; None is of too few rounds.
    """
    if gain is None:
        return "too few rounds to compare them"
    if isinstance(gain, float):
        return f"{gain:.3f} times as fast"
    told = "within noise" if gain.is_noise else f"{gain.median:.3f} times as fast"
    return f"{told} ({gain.rounds} rounds: between {gain.low:.3f} and {gain.high:.3f} times, 95 % sure)"


def _reasons(result) -> str:
    return ", ".join(dict.fromkeys(result.failures)) or "nothing was tried"


def _to_json(results, judge, target, precision, seconds, whole) -> dict:
    return {
        "target": {"name": target.name, **target.tvm}, "precision": str(precision), "kind": judge.kind,
        "where": judge.where, "seconds": seconds,
        "networks": whole,
        "tasks": [
            {"task": r.task.key, "label": r.task.label, "calls": r.task.calls, "trials": r.trials, "new_trials": r.new,
             "failures": r.failures, "gain": r.gain, "seconds": r.seconds, "best_after_each_trial": r.curve,
             "knobs": r.best and r.best.knobs, "value": r.best and r.best.value, "default": r.best and r.best.default}
            for r in results
        ],
    }  # fmt: skip
