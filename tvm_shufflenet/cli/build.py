"""The command `python -m tvm_shufflenet.build`: compiles networks into libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import DEFAULT_MODEL, own_name
from ..bridge.shipped import trained
from ..errors import UserError
from ..files import write_json
from ..library.link import SUFFIXES
from ..library.symbols import PREFIX
from ..targets import DEFAULT_TARGET
from ..words import batch_lines, counted, origin_notes, size_lines, weights_line
from .command import add_json_option, command_parser
from .common import (
    add_precision_options,
    add_reading_options,
    add_records_options,
    parse_size,
    precisions,
    reading,
    records_folder,
    tuned_kernels,
)

if TYPE_CHECKING:
    from ..building.build_library import Built

RANDOM, TRAINED = "random", "trained"  # in place of the name of a checkpoint
NAMED = 6  # layers of a line of the report


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "build",
        description="Compiles networks into libraries (.so) that need nothing at run time.",
        epilog="examples:\n  python -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target cortex-a72 --size 480x640\n"
        "  python -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target native --weights trained\n"
        "  python -m tvm_shufflenet.build shufflenet-v1-1x-g3 --size 224 --size 480x640",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"networks to build ({DEFAULT_MODEL}), the others "
                        "also where one fails; "
                        "`python -m tvm_shufflenet.models` lists them")  # fmt: skip
    parser.add_argument("--target", default=DEFAULT_TARGET, help="a name from `python -m tvm_shufflenet.targets`, or "
                        "a TVM target as JSON (arm)")  # fmt: skip
    parser.add_argument("--size", action="append", help="input in pixels: 224, or height x width as 480x640; given "
                        "again, a further size in the same library, whose weights are there once (224)")  # fmt: skip
    parser.add_argument("--classes", type=int, help="outputs of the classifier (1000, or those of the weights)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint, .safetensors or .pth, ours or in "
                        "another's style, or .onnx; it also tells the network, where no MODEL is named, its classes "
                        "and its size; or `trained`, the file in weights/ for each network; or `random` "
                        "(random)")  # fmt: skip
    add_reading_options(parser)
    parser.add_argument("--seed", type=int, help="of random weights (0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("build"), metavar="DIR", help="folder (build/)")
    parser.add_argument("--cc", metavar="COMMAND", help="a C cross compiler to link with, instead of ziglang's")
    parser.add_argument("--emit", choices=list(SUFFIXES), default="so", help="a shared library; a static library, an "
                        "archive to link into programs; or its object file. The latter two export the interface "
                        "alone (so)")  # fmt: skip
    parser.add_argument("--prefix", default=PREFIX, metavar="NAME", help="call the functions NAME_run for tsn_run and "
                        "so on, as NAME.h declares them: so one program links several networks")  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="of the file, without its ending, and of a shared library's "
                        "SONAME (MODEL-TARGET)")  # fmt: skip
    parser.add_argument("--package", action="store_true", help="also write files for CMake's find_package(NAME) and "
                        "for pkg-config, of the name of the library")  # fmt: skip
    parser.add_argument("--android", metavar="PACKAGE", help="make NAME.aar, an Android archive: libraries for "
                        "--target and armv7, the class PACKAGE.Network for Kotlin and Java, headers for "
                        "CMake")  # fmt: skip
    parser.add_argument("--apple", action="store_true", help="make NAME.xcframework and Package.swift: archives for "
                        "macOS and iOS, with the modules NAME, functions NAME_run and so on, and NAMENetwork, "
                        "a class for Swift")  # fmt: skip
    add_precision_options(parser)
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures of a call, 1 to 64: its arrays "
                        "hold so many, and weights are read less often; results are equal to the bit (1)")  # fmt: skip
    parser.add_argument("--one-thread", action="store_true", help="without the code for several threads, which takes "
                        "as long to compile as that for one")  # fmt: skip
    add_records_options(parser)
    parser.add_argument("--debug-dump", type=Path, metavar="DIR", help="write the IR after each phase to this folder")
    add_json_option(parser, "what was built")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    word = str(args.weights) if str(args.weights) in (RANDOM, TRAINED) else None
    file = None if word else args.weights
    models = args.models or [None if file else DEFAULT_MODEL]
    args.size, *further = args.size or [None]
    how = reading(args)
    if file and len(models) > 1:
        raise UserError(f"--weights {file} fits one network, but {len(models)} are named: build them one by one")
    if len(models) > 1:
        for option, value in (("--name", args.name), ("--prefix", args.prefix if args.prefix != PREFIX else None),
                              ("--android", args.android), ("--apple", "" if args.apple else None)):  # fmt: skip
            if value is not None:
                raise UserError(
                    f"{option} {value}".rstrip()
                    + f" is of one network, but {len(models)} are named: build them one by one"
                )
    if not file and how.given:
        raise UserError(f"{', '.join(how.given)} say how to read a checkpoint: name one with --weights")
    if args.seed is not None and args.weights and word != RANDOM:
        raise UserError(f"--seed {args.seed} is of random weights: leave it out, or --weights {args.weights}")
    if (args.seed or 0) < 0:
        raise UserError(f"--seed {args.seed}: expected 0 or more")
    unknown = [model for model in models if model and not own_name(model)]
    # Before any is built; `network` words the error.
    models = unknown or [model and own_name(model) for model in models]
    files = {model: trained(model) if word == TRAINED and not unknown else file for model in models}

    from rich.console import Console

    from ..building.android import android_options, archive_name, write_aar
    from ..building.apple import apple_options, framework_name, swift_module, write_xcframework
    from ..building.build_library import BuildOptions, build_library
    from ..building.package import check_package, write_package
    from ..building.work import part
    from .terminal import Terminal

    if args.package and args.android is not None:
        raise UserError("--package: an AAR has files for CMake of its own, leave it out")
    if args.apple and (args.package or args.android is not None):
        raise UserError("--apple goes with neither --package nor --android: build these one by one")
    if args.package:
        check_package(args.emit)
    progress = Terminal()

    console, results, failed = Console(highlight=False), [], {}
    for number, model in enumerate(models, 1):
        dump = args.debug_dump / model if args.debug_dump and len(models) > 1 else args.debug_dump
        options = BuildOptions(
            model, args.target, how.size, args.classes, files[model], args.seed or 0, args.output, dump, args.cc,
            records_folder(args), how, team=not args.one_thread, precision=args.precision,
            weights_precision=args.weights_precision, emit=args.emit, prefix=args.prefix, name=args.name,
            batch=args.batch, further=tuple(map(parse_size, further)),
        )  # fmt: skip
        try:
            with progress.step(f"building {model or file} for {args.target}", number, len(models)) as done:
                several = android_options(options, args.android) if args.android is not None else {"": options}
                if args.apple:
                    several = apple_options(options, args.output)
                made = {
                    abi: build_library(each, part(done, index, len(several)))
                    for index, (abi, each) in enumerate(several.items())
                }
        except UserError as error:
            if len(models) == 1:
                raise
            failed[model] = str(error)  # the others are built all the same
            continue
        for built in made.values():
            if args.package:
                write_package(built)
            console.print(report(built), soft_wrap=True)
            results.append({"library": str(built.path), "bytes": built.path.stat().st_size,
                            "library_sha256": built.sha256, **built.manifest})  # fmt: skip
        if args.apple:
            framework = write_xcframework(made, framework_name(options), args.output)
            console.print(
                f"[bold]{framework}[/bold]\n  modules {framework.stem} and {swift_module(framework.stem)}; "
                "Package.swift beside it"
            )
        if args.android is not None:
            archive = args.output / f"{archive_name(options)}.aar"
            write_aar(made, args.android, archive)
            console.print(
                f"[bold]{archive}[/bold]\n  {archive.stat().st_size / 1e6:.2f} MB; class {args.android}.Network"
            )
    if args.json:
        write_json(args.json, results)
    if failed:
        lines = "".join(f"\n  {model}: {why}" for model, why in failed.items())
        raise UserError(f"{len(failed)} of {counted(len(models), 'network')} not built{lines}")


def generic_kernels(layers: list[str]) -> list[str]:
    """Lines about a manifest's "generic", a list of "layer (kernel)": layers by name, and the number of copies."""
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
    from rich.markup import escape

    about, kernels = built.manifest, built.manifest["kernels"]
    default = len(kernels["default_schedule"])
    shape = "x".join(map(str, about["inputs"][0]["shape"]))
    lines = [
        f"[bold]{built.path}[/bold]",
        f"  {about['cpu']}, input {shape}, {about['multiply_adds'] / 1e6:.1f} M multiply-adds, {precisions(about)}",
        *(f"  {line}" for line in [*batch_lines(about), *size_lines(about)]),
        f"  {built.path.stat().st_size / 1e6:.2f} MB; workspace {about['workspace_bytes'] / 1e6:.2f} MB",
        f"  {escape(weights_line(about))}",
        *(f"    {escape(note)}" for note in origin_notes(about)),
        f"  {tuned_kernels(kernels)}; {default} {'uses its' if default == 1 else 'use their'} default schedule",
    ]
    if kernels["tuned"] and kernels["default_schedule"]:
        lines[-1] += ": " + ", ".join(
            name + " (nothing to tune)" * (name in kernels["nothing_to_tune"]) for name in kernels["default_schedule"]
        )
    lines += [
        f"  {counted(count, 'tuning record')} ignored: {why}" for why, count in kernels["records_ignored"].items()
    ]
    lines += [f"  {escape(notice)}" for notice in built.notices]
    lines += [f"  {line}" for line in generic_kernels(kernels["generic"])]
    if about["note"]:
        lines.append(f"  of the network: {about['note']}")
    return "\n".join(lines)
