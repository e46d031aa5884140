"""The command `python -m tvm_shufflenet.classify`: the five likeliest classes of pictures.

Boards have it too, with numpy and Pillow alone (runtime/).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_bytes, write_json
from .command import OutputFile, add_entry_option, add_json_option, add_threads_option, command_parser, parse_pixels

if TYPE_CHECKING:
    import numpy as np

    from ..library.loading import Library


def classify(library: Library, path: str, count: int = 5) -> list[dict]:
    """The likeliest classes of the picture at `path`, as `library` (from `load`) sees it."""
    return classify_all(library, [path], count)[0]


def classify_all(library: Library, paths: list[str], count: int = 5) -> list[list[dict]]:
    """The same for each of several pictures, as many in a call as the library takes."""
    from ..library.groups import run_in_groups
    from ..library.preprocess import check_classifier, load_picture

    check_classifier(library.path, library.manifest)
    pictures = [load_picture(path, library.manifest) for path in paths]
    rows = run_in_groups(lambda data: library.run(data)[0], library.batch, pictures)
    return [_likeliest(library, row.ravel(), count) for row in rows]


def _likeliest(library: Library, answer: np.ndarray, count: int) -> list[dict]:
    from ..library.preprocess import probabilities

    shares = answer if library.manifest["probabilities"] else probabilities(answer)
    names = library.manifest["class_names"]
    best = shares.argsort()[::-1][:count]
    return [
        {"class": int(i), "name": names[i] if names else f"class {i}", "probability": float(shares[i])} for i in best
    ]


def write_raw(manifest: dict, picture: str, path: str) -> None:
    """Writes what the library takes of a picture: float32, little endian, in the shape and layout of its input.

    All pictures of a call are this one.
    """
    from ..library.groups import filled
    from ..library.interface import batch_of
    from ..library.preprocess import load_picture

    data = filled([load_picture(picture, manifest)], batch_of(manifest))
    write_bytes(path, data.astype("<f4").tobytes())


def check_raw(path: str | None, pictures: list[str]) -> None:
    """`UserError` for `--raw` with several pictures."""
    if path and len(pictures) > 1:
        raise UserError(f"--raw {path} holds one picture, but {len(pictures)} are named: write them one by one")


def is_raw_all(path: str | None, picture: str, library: str, size: tuple[int, int] | None) -> bool:
    """Whether the library is for another machine; its picture is then written to `path`, which is said."""
    from ..library.elf import read_elf
    from ..library.loading import machine, read_manifest

    if not path or (arch := read_elf(Path(library)).arch) == machine():
        return False
    write_raw(read_manifest(library, size), picture, path)
    print(f"{path}: {picture}, as {library} takes it, which is for {arch}: it is not run here")
    return True


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "classify",
        description="Classifies pictures with a library built for this machine.",
        epilog="examples:\n  python -m tvm_shufflenet.classify build/shufflenet-v1-1x-g3-native.so picture.jpg\n"
        "  python -m tvm_shufflenet.classify LIBRARY picture.jpg --raw image.raw\n"
        "The C example reads image.raw with `./classify LIBRARY image.raw`, once it is compiled:\n"
        "  cc -O2 -I tvm_shufflenet/library examples/c/classify.c -o classify -ldl -lpthread",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`")
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", help="pictures in any format that Pillow reads")
    parser.add_argument("--raw", metavar="FILE", action=OutputFile,
                        help="also write the picture as the library takes it, prepared: raw "
                        "float32 for examples/c/classify.c; of a library for another machine only that")  # fmt: skip
    add_entry_option(parser)
    add_threads_option(parser)
    add_json_option(parser, "the classes")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    check_raw(args.raw, args.pictures)

    from .. import load
    from ..library.groups import groups
    from ..library.teams import check_threads

    check_threads(args.threads, option="--threads ")
    size = parse_pixels(args.size) if args.size else None
    if is_raw_all(args.raw, args.pictures[0], args.library, size):
        return
    library, results = load(args.library, args.threads, size=size), []
    each = (found for group in groups(args.pictures, library.batch) for found in classify_all(library, group))
    for picture, classes in zip(args.pictures, each):
        if args.raw:
            write_raw(library.manifest, picture, args.raw)
        results.append({"picture": picture, "classes": classes})
        width = max(len(row["name"]) for row in classes)
        print(f"{picture}\n  {'class':>5}  {'name':{width}}  probability")
        for row in classes:
            print(f"  {row['class']:5}  {row['name']:{width}}  {100 * row['probability']:9.2f} %")
    about = library.manifest
    print(f"{about['model']}, weights: {about['weights']['source']}")
    if about["weights"]["source"].startswith("random"):
        print("The weights are random: these classes mean nothing.  Build with --weights FILE, or --weights trained.")
    if args.json:
        write_json(args.json, {"model": about["model"], "weights": about["weights"], "pictures": results})
