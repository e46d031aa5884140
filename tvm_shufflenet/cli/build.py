"""The command `python -m tvm_shufflenet.build`: compiles networks into libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL, own_name
from ..bridge.shipped import shipped
from ..errors import UserError
from ..files import write_json
from ..targets import DEFAULT_TARGET
from .common import add_reading_options, add_records_options, reading, records_folder, tuned_kernels

if TYPE_CHECKING:
    from ..building.build_library import Built

RANDOM = "random"  # in place of the name of a checkpoint
NAMED = 6  # layers of a line of the report


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.build",
        description="Compiles networks into libraries (.so) that need nothing at run time.",
        epilog="example: python -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target cortex-a72 --size 480x640",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"networks to build ({DEFAULT_MODEL}); "
                        "`python -m tvm_shufflenet.models` lists them")  # fmt: skip
    parser.add_argument("--target", default=DEFAULT_TARGET, help="a name from `python -m tvm_shufflenet.targets`, or "
                        "a TVM target as JSON (arm)")  # fmt: skip
    parser.add_argument("--size", help="input in pixels: 224, or height x width as 480x640 (224)")
    parser.add_argument("--classes", type=int, help="outputs of the classifier (1000, or those of the weights)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint, .safetensors or .pth, ours or in "
                        "another's style, or .onnx; it also tells the network, where no MODEL is named, its classes "
                        "and its size; or `random` (the file in weights/ for a network that has one there, unless "
                        "--classes or --seed is given; else random)")  # fmt: skip
    add_reading_options(parser)
    parser.add_argument("--seed", type=int, help="of random weights (0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("build"), metavar="DIR", help="folder (build/)")
    parser.add_argument("--cc", metavar="COMMAND", help="a C cross compiler to link with, instead of ziglang's")
    add_records_options(parser)
    parser.add_argument("--debug-dump", type=Path, metavar="DIR", help="write the IR after each phase to this folder")
    parser.add_argument("--json", metavar="FILE", help="also write what was built to this file")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    random = str(args.weights) == RANDOM
    models = args.models or [None if args.weights and not random else DEFAULT_MODEL]
    how = reading(args)
    if args.weights and not random and len(models) > 1:
        raise UserError(
            f"--weights {args.weights} fits one network, but {len(models)} are named: build them one by one"
        )
    if (random or not args.weights) and how.given:
        raise UserError(f"{', '.join(how.given)} say how to read a checkpoint: name one with --weights")
    if (args.seed or 0) < 0:
        raise UserError(f"--seed {args.seed}: expected 0 or more")
    unknown = [model for model in models if model and not own_name(model)]
    # Before any is built; `network` words the error.
    models = unknown or [model and own_name(model) for model in models]

    from rich.console import Console

    from ..building.build_library import BuildOptions, build_library

    console, results = Console(highlight=False), []
    for model in models:
        dump = args.debug_dump / model if args.debug_dump and len(models) > 1 else args.debug_dump
        weights = None if random else args.weights or trained(args, model)
        options = BuildOptions(
            model, args.target, how.size, args.classes, weights, args.seed or 0, args.output, dump, args.cc,
            records_folder(args), how,
        )  # fmt: skip
        with console.status(f"building {model or weights} for {args.target}"):
            built = build_library(options)
        console.print(report(built), soft_wrap=True)
        if weights and not args.weights:
            names = ", ".join(built.manifest["class_names"])
            console.print(
                f"  these are the weights that the project holds, see weights/; classes: {names}", soft_wrap=True
            )
        results.append({"library": str(built.path), "bytes": built.path.stat().st_size, **built.manifest})
    if args.json:
        write_json(args.json, results)


def trained(args: argparse.Namespace, model: str) -> Path | None:
    """The file in weights/ for a network, unless other classes or random weights are asked for."""
    return shipped(model) if args.classes is None and args.seed is None else None


def generic_kernels(layers: list[str]) -> list[str]:
    """What is said of a manifest's "generic", "layer (kernel)" each: the layers by name, of copies the number."""
    named = [layer for layer in layers if not layer.endswith(" (copy)")]
    copies = len(layers) - len(named)
    lines = []
    if named:
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        runs = "layers run in generic kernels" if len(named) > 1 else "layer runs in a generic kernel"
        lines.append(f"{len(named)} {runs}: {', '.join(named[:NAMED])}{more}")
    if copies:
        lines.append(f"{copies} {'copies of tensors' if copies > 1 else 'copy of a tensor'}")
    return lines


def report(built: Built) -> str:
    """What the user is told about a library: where it is, how large, and what it was made of."""
    about, kernels = built.manifest, built.manifest["kernels"]
    shape = "x".join(map(str, about["inputs"][0]["shape"]))
    lines = [
        f"[bold]{built.path}[/bold]",
        f"  {about['cpu']}, input {shape}, {about['multiply_adds'] / 1e6:.1f} M multiply-adds",
        f"  {built.path.stat().st_size / 1e6:.2f} MB; workspace {about['workspace_bytes'] / 1e6:.2f} MB",
        f"  weights: {about['weights']['source']}",
        f"  {tuned_kernels(kernels)}; {len(kernels['default_schedule'])} use their default schedule",
    ]
    if kernels["tuned"] and kernels["default_schedule"]:
        lines[-1] += ": " + ", ".join(
            name + " (nothing to tune)" * (name in kernels["nothing_to_tune"]) for name in kernels["default_schedule"]
        )
    lines += [f"  {count} tuning records ignored: {why}" for why, count in kernels["records_ignored"].items()]
    lines += [f"  {line}" for line in generic_kernels(kernels["generic"])]
    if about["note"]:
        lines.append(f"  {about['note']}")
    return "\n".join(lines)
