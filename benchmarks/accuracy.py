"""What groups, the shuffle, the unit and the structure are worth: networks trained alike, with several seeds.

    python -m benchmarks.accuracy v1-table-3 --data imagenette/train.tar --json docs/data/accuracy.json

Each run is one of `python -m tvm_shufflenet.train`.  What `--json` holds already is not trained again, and what was
broken off goes on, so the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tvm_shufflenet.bridge import load_checkpoint
from tvm_shufflenet.cli.command import OutputFile, run
from tvm_shufflenet.cli.terminal import Terminal
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json

from .tables import accuracy

PROGRAM = "python -m benchmarks.accuracy"
# The papers' questions, asked of the smaller networks of their tables: title, and the networks that answer.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "v1-table-2": ("groups (ShuffleNet v1, Table 2, 0.25x)", (
        "shufflenet-v1-0.25x-g1", "shufflenet-v1-0.25x-g3", "shufflenet-v1-0.25x-g8")),
    "v1-table-3": ("channel shuffle (ShuffleNet v1, Table 3)", (
        "shufflenet-v1-0.25x-g3", "shufflenet-v1-0.25x-g3-noshuffle", "shufflenet-v1-0.25x-g8",
        "shufflenet-v1-0.25x-g8-noshuffle", "shufflenet-v1-0.5x-g3", "shufflenet-v1-0.5x-g3-noshuffle")),
    "v1-table-4": ("units (ShuffleNet v1, Table 4, 38 M)", (
        "vgg-like-38m", "resnet-like-38m", "xception-like-38m", "resnext-like-38m", "shufflenet-v1-0.5x-g3")),
    "v1-table-5": ("networks (ShuffleNet v1, Table 5, 40 M)", (
        "shufflenet-v1-0.5x-g3", "shufflenet-v1-shallow-0.5x-g3", "mobilenet-v1-0.25")),
    "v2-table-8": ("networks (ShuffleNet v2, Table 8, 40 M)", (
        "shufflenet-v2-0.5x", "shufflenet-v1-0.5x-g3", "xception-0.5x", "mobilenet-v1-0.25")),
}  # fmt: skip
KEPT = ("model", "seed", "epochs", "size", "top1", "top5", "images")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Trains networks of the papers' tables with the recipe `small` and several seeds on a\n"
        "set of pictures of your own, and shows their top-1 on held-out pictures: the mean and half the range.",
        epilog="tables:\n" + "".join(f"  {name}  {title}\n" for name, (title, _) in GROUPS.items())
        + f"example: {PROGRAM} v1-table-3 --data imagenette/train.tar",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(GROUPS)} (all)")
    parser.add_argument("--data", required=True, metavar="DIR|TAR", help="training pictures; `val` beside them")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds 0 to N-1 (2)")
    parser.add_argument("--epochs", type=int, default=12, help="of each run (12)")
    parser.add_argument("--size", type=int, default=128, help="pixels of a side of the input (128)")
    parser.add_argument("--out", type=Path, default=Path("build", "accuracy"), metavar="DIR", help="of the runs "
                        "(build/accuracy/)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", action=OutputFile,
                        help="write the figures to this file, after each run; what is there is taken over")  # fmt: skip
    return parser


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    if min(args.seeds, args.epochs, args.size) < 1:
        raise UserError("--seeds, --epochs, --size: expected 1 or more")
    if unknown := [name for name in args.tables if name not in GROUPS]:
        raise UserError(f"no table is called {unknown[0]!r}: expected {', '.join(GROUPS)}")
    wanted = {name: GROUPS[name] for name in args.tables or GROUPS}

    runs = held(args) if args.json else []
    done = {(each["model"], each["seed"]) for each in runs}
    models = dict.fromkeys(model for _, models in wanted.values() for model in models)
    todo = [(model, seed) for seed in range(args.seeds) for model in models if (model, seed) not in done]
    terminal = Terminal()
    for number, (model, seed) in enumerate(todo, 1):
        with terminal.step(f"{model}, seed {seed} ({number} of {len(todo)})"):
            runs.append(trained(model, seed, args))
        if args.json:
            write_json(args.json, report(runs, args))
    print("\n".join(accuracy(report(runs, args))))
    return 0


def held(args: argparse.Namespace) -> list[dict]:
    """The runs of an earlier command.  Raises `UserError` for a file of another kind or another recipe."""
    if not Path(args.json).exists():
        return []
    try:
        runs = [{key: each[key] for key in KEPT} for each in json.loads(Path(args.json).read_text("utf-8"))["runs"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"--json {args.json}: holds no figures of {PROGRAM}: name another file") from None
    for each in runs:
        if (each["epochs"], each["size"]) != (args.epochs, args.size):
            raise UserError(f"--json {args.json}: its runs have {each['epochs']} epochs at {each['size']} pixels, not "
                            f"{args.epochs} at {args.size}: name another file")  # fmt: skip
    return runs


def trained(model: str, seed: int, args: argparse.Namespace) -> dict:
    """Accuracy of one run, which is made or finished first."""
    out = Path(args.out, f"{model}-{args.size}-{args.epochs}epochs-seed{seed}.safetensors")
    state = out.with_suffix(".pth")
    new = [model, "--size", args.size, "--epochs", args.epochs, "--seed", seed, "--out", out]
    how = ["--resume", state] if state.is_file() else new
    command = [sys.executable, "-m", "tvm_shufflenet.train", "--data", args.data, "--validate", args.epochs, *how]
    status = subprocess.run([*map(str, command)], stdout=subprocess.DEVNULL).returncode
    if status:
        raise KeyboardInterrupt if status == 130 else UserError(f"training {model} with seed {seed} failed")
    about = load_checkpoint(out)[1]
    return {
        "model": model, "seed": seed, "epochs": args.epochs, "size": args.size,
        **{key: float(about[key]) for key in ("top1", "top5")}, "images": int(about["validation_pictures"]),
    }  # fmt: skip


def report(runs: list[dict], args: argparse.Namespace) -> dict:
    """What `--json` writes: all runs, and the tables that they are for."""
    return {
        "command": f"{PROGRAM} --data {Path(args.data).absolute().parent.name}/{Path(args.data).name}",
        "date": today(),
        "note": f"recipe `small`, {args.epochs} epochs at {args.size}x{args.size}",
        "tables": [{"name": name, "title": title, "models": list(models)} for name, (title, models) in GROUPS.items()],
        "runs": runs,
    }


if __name__ == "__main__":
    sys.exit(run(main))
