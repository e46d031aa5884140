"""The command `python -m tvm_shufflenet.classify`: the five likeliest classes of pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..files import write_json

if TYPE_CHECKING:
    from ..library.loading import Library


def classify(library: Library, path: str, count: int = 5) -> list[dict]:
    """The likeliest classes of the picture at `path`, as `library` (from `load`) sees it."""
    from ..library.preprocess import check_classifier, load_picture, probabilities

    check_classifier(library.path, library.manifest)
    (output,) = library.run(load_picture(path, library.manifest))
    answer = output.ravel()
    shares = answer if library.manifest["probabilities"] else probabilities(answer)
    names = library.manifest["class_names"]
    best = shares.argsort()[::-1][:count]
    return [
        {"class": int(i), "name": names[i] if names else f"class {i}", "probability": float(shares[i])} for i in best
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tvm_shufflenet.classify",
        description="Classifies pictures with a library built for this machine.",
        epilog="example: python -m tvm_shufflenet.classify build/shufflenet-v1-1x-g3-native.so picture.jpg",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`")
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", help="pictures in any format that Pillow reads")
    parser.add_argument("--json", metavar="FILE", help="also write the classes to this file")
    args = parser.parse_args(argv)

    from rich.console import Console
    from rich.table import Table

    from .. import load

    library, console, results = load(args.library), Console(highlight=False), []
    for picture in args.pictures:
        classes = classify(library, picture)
        results.append({"picture": picture, "classes": classes})
        table = Table("class", "name", "probability", title=picture, title_justify="left")
        for row in classes:
            table.add_row(str(row["class"]), row["name"], f"{100 * row['probability']:.2f} %")
        console.print(table)
    about = library.manifest
    console.print(f"{about['model']}, weights: {about['weights']['source']}", soft_wrap=True)
    if about["weights"]["source"].startswith("random"):
        console.print("The weights are random: these classes mean nothing.  Build with --weights for real ones.")
    if args.json:
        write_json(args.json, {"model": about["model"], "weights": about["weights"], "pictures": results})
