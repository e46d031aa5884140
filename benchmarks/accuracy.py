"""What the channel shuffle and the architecture are worth: networks trained with one recipe and several seeds.

    python -m benchmarks.accuracy --data imagenette/train.tar --json accuracy.json

Each run is one of `python -m tvm_shufflenet.train`.  What is there already is not trained again, and what was
broken off goes on, so the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from tvm_shufflenet.bridge import load_checkpoint
from tvm_shufflenet.cli.common import run
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import write_json

MODELS = ("shufflenet-v1-0.5x-g3", "shufflenet-v1-0.5x-g3-noshuffle", "mobilenet-v1-0.25")


def trained(model: str, seed: int, args) -> dict:
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
        "model": model,
        "seed": seed,
        "epochs": args.epochs,
        "size": args.size,
        **{key: float(about[key]) for key in ("top1", "top5")},
        "images": int(about["validation_pictures"]),
    }


def table(rows: list[dict]) -> str:
    """Markdown: for each network the mean of its runs, and their spread."""
    lines = ["| network | runs | top-1, % | of each seed | top-5, % | pictures |", "|---|---|---|---|---|---|"]
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        first, fifth = ([100 * row[key] for row in mine] for key in ("top1", "top5"))
        each = ", ".join(f"{value:.2f}" for value in first)
        spread = f" ± {(max(first) - min(first)) / 2:.2f}" if len(mine) > 1 else ""
        lines.append(
            f"| {model} | {len(mine)} | {statistics.mean(first):.2f}{spread} | {each} | "
            f"{statistics.mean(fifth):.2f} | {mine[0]['images']} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description="Trains networks with the recipe `small` and several seeds, and shows their top-1 on held-out "
        "pictures: the mean and half the range.",
        epilog="example: python -m benchmarks.accuracy --data imagenette/train.tar",
    )
    parser.add_argument("--data", required=True, metavar="DIR|TAR", help="training pictures; `val` beside them")
    parser.add_argument("--models", default=",".join(MODELS), help=f"separated by commas ({','.join(MODELS)})")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds 0 to N-1 (2)")
    parser.add_argument("--epochs", type=int, default=12, help="of each run (12)")
    parser.add_argument("--size", type=int, default=128, help="pixels of a side of the input (128)")
    parser.add_argument("--out", type=Path, default=Path("build", "accuracy"), metavar="DIR", help="of the runs "
                        "(build/accuracy/)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    args = parser.parse_args(argv)
    if min(args.seeds, args.epochs, args.size) < 1:
        raise UserError("--seeds, --epochs, --size: expected 1 or more")

    rows = []
    for seed in range(args.seeds):
        for model in args.models.split(","):
            rows.append(trained(model, seed, args))
            if args.json:  # after each run, as they take long
                write_json(args.json, rows)
    print(table(rows))


if __name__ == "__main__":
    sys.exit(run(main))
