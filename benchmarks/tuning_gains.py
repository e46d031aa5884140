"""The command `python -m benchmarks.tuning_gains`: what the records of tuning are worth by the model of a core."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tvm_shufflenet.cli.command import add_json_option, run, split_names
from tvm_shufflenet.cli.terminal import Terminal, open_console
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json
from tvm_shufflenet.records.store import FOLDER

PROGRAM = "python -m benchmarks.tuning_gains"
# Those whose kernels the shipped records are of, and the cores.
MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-1x-g3", "shufflenet-v1-1x-g8", "mobilenet-v1-1.0", "alexnet")
CORES = ("cortex-a72", "cortex-a76", "snapdragon-820")


@dataclass(frozen=True)
class Gain:
    """A network on a core, with default schedules and with records.

    `default` and `tuned` are cycles of one inference where every load hits its cache, `default_total` and
    `tuned_total` with what misses cost.  `kernels` says how many have a record, and how many of these other knobs
    than the defaults.
    """

    core: str
    model: str
    default: float
    tuned: float
    default_total: float
    tuned_total: float
    kernels: str


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Counts the cycles of networks that are built with default schedules, and with tuning records, by "
        "the model of each core: fp32, one thread, batch 1, 224x224.",
        epilog=f"example: {PROGRAM} shufflenet-v1-1x-g3 --core cortex-a72,cortex-a76",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"networks ({', '.join(MODELS)})")
    parser.add_argument(
        "--core", type=split_names, default=CORES, metavar="NAME[,NAME]", help=f"cores ({','.join(CORES)})"
    )
    parser.add_argument("--records", type=Path, default=FOLDER, metavar="DIR", help="where the records are "
                        "(tuning_logs/)")  # fmt: skip
    add_json_option(parser, "all figures")
    return parser


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    if not args.records.is_dir():
        raise UserError(f"--records {args.records}: there is no such folder")

    from tvm_shufflenet.architectures import own_name

    from .yardstick import check_names

    models = list(dict.fromkeys(own_name(model) or model for model in args.models or MODELS))
    check_names(models, (), args.core)
    progress, found = Terminal(), []
    pairs = [(name, model) for name in args.core for model in models]
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        for number, (name, model) in enumerate(pairs, 1):
            with progress.step(f"building and counting {model} for {name}, twice", number, len(pairs)):
                found.append(gain(name, model, args.records, Path(folder)))
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(found, command))
    console = open_console()
    for each in found:
        console.print(told(each), markup=False, soft_wrap=True)
    for line in (*notes(found), command):
        console.print(line, markup=False, soft_wrap=True)


def gain(name: str, model: str, records: Path, folder: Path) -> Gain:
    """Builds a network twice for the core called `name`, into `folder`, and counts both libraries."""
    from .yardstick import ours

    default, tuned = (ours(model, name, folder, caches=True, records=used) for used in (None, records))
    return Gain(name, model, default.figures.cycles, tuned.figures.cycles, default.cycles, tuned.cycles, tuned.kernels)


def told(each: Gain) -> str:
    """A line for a person."""
    return (
        f"{each.model}: {each.default / 1e6:.2f} -> {each.tuned / 1e6:.2f} M cycles "
        f"({each.tuned / each.default:.3f}), with misses {each.default_total / 1e6:.2f} -> "
        f"{each.tuned_total / 1e6:.2f} ({each.tuned_total / each.default_total:.3f}); {each.kernels}"
    )


def notes(found: list[Gain]) -> list[str]:
    """What the figures depend on: a line for each core."""
    from tvm_shufflenet.estimation.pricing import model_note
    from tvm_shufflenet.targets.cores import core

    names = dict.fromkeys(each.core for each in found)
    return ["model, not a measurement", *(f"{name}: {model_note(core(name))}" for name in names)]


def to_json(found: list[Gain], command: str) -> dict:
    from tvm_shufflenet import __version__
    from tvm_shufflenet.estimation.tools import llvm

    return {
        "command": command,
        "date": today(),
        "versions": {"tvm_shufflenet": __version__, "llvm": llvm().version},
        "note": "model, not a measurement",
        "gains": [asdict(each) for each in found],
    }


if __name__ == "__main__":
    sys.exit(run(main))
