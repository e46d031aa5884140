"""The command `python -m tvm_shufflenet.detect`: boxes around what pictures show.

It needs no more than numpy and Pillow.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_bytes, write_json
from .classify import check_raw, is_raw_all, write_raw
from .command import OutputFile, add_entry_option, add_json_option, add_threads_option, command_parser, parse_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..library.detection import Detected
    from ..library.loading import Library

LEAST = 0.3
# Of boxes, by class in turn: colours that differ also to those who see few (Okabe and Ito).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def detect(library: Library, picture: Image, least: float = LEAST) -> Detected:
    """The boxes with a score above `least` in an RGB picture, in its pixels, as `library` (from `load`) sees it.

    `UserError` for a library that is no detector, or whose preprocessing leaves something open.
    """
    from ..library.detection import Detected, joined_outputs
    from ..library.groups import filled
    from ..library.preprocess import WHOLE, check_detector, complete, prepare

    check_detector(library.path, library.manifest)
    how = complete(library.manifest["preprocessing"], f"{library.path}: its manifest")
    data = prepare(picture, how, library.manifest["inputs"][0]["layout"])
    row = joined_outputs(library.run(filled([data], library.batch)))[0]
    return Detected.of(row, how["crop"]).on(picture.size, how.get("resize", WHOLE)).above(least)


def drawn(picture: Image, found: Detected, names: list[str]) -> Image:
    """The picture with the boxes, each with its class and score."""
    from PIL import ImageDraw, ImageFont

    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 320))
    font = ImageFont.load_default(max(11, round(max(picture.size) / 45)))
    for sides, score, label in reversed(list(zip(found.sides, found.scores, found.labels))):  # the surest on top
        colour = COLOURS[label % len(COLOURS)]
        draw.rectangle(tuple(sides), outline=colour, width=width)
        text = f"{names[label]} {100 * score:.0f} %"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = max(0, min(sides[0], picture.width - right - 2 * width))
        y = max(0, sides[1] - bottom - width)
        draw.rectangle((x, y, x + right + 2 * width, y + bottom + width), fill=colour)
        dark = colour in ("#e69f00", "#56b4e9", "#f0e442")
        draw.text((x + width, y), text, fill="black" if dark else "white", font=font)
    return picture


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "detect",
        description="Finds boxes in pictures with a library of a detector built for this machine.",
        epilog="examples:\n  python -m tvm_shufflenet.detect LIBRARY picture.jpg "
        "-o boxes.png\n"
        "  python -m tvm_shufflenet.detect LIBRARY picture.jpg --raw image.raw\n"
        "The C example reads image.raw with `./detect LIBRARY image.raw`, once it is compiled:\n"
        "  cc -O2 -I tvm_shufflenet/library examples/c/detect.c -o detect -ldl",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`")
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", help="pictures in any format that Pillow reads")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="also write the picture with its boxes "
                        "(.png, .jpg or .webp); of several pictures a folder")  # fmt: skip
    parser.add_argument("--least", type=float, default=LEAST, metavar="SCORE", help="show boxes with a score above "
                        f"this, from 0 to 1 ({LEAST:g})")  # fmt: skip
    parser.add_argument("--raw", metavar="FILE", action=OutputFile,
                        help="also write the picture as the library takes it, prepared: raw float32 for "
                        "examples/c/detect.c")  # fmt: skip
    add_entry_option(parser)
    add_threads_option(parser)
    add_json_option(parser, "the boxes")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    if not 0 <= args.least < 1:
        raise UserError(f"--least {args.least:g}: expected a score from 0 to below 1")
    check_raw(args.raw, args.pictures)
    targets = _targets(args.output, args.pictures)

    from .. import load
    from ..library.preprocess import check_detector, open_picture
    from ..library.teams import check_threads

    check_threads(args.threads, option="--threads ")

    size = parse_pixels(args.size) if args.size else None
    if is_raw_all(args.raw, args.pictures[0], args.library, size):
        return
    library, results = load(args.library, args.threads, size=size), []
    classes = check_detector(library.path, library.manifest)
    names = library.manifest["class_names"] or [f"class {number}" for number in range(classes)]
    for path, target in zip(args.pictures, targets):
        picture = open_picture(path, path)
        found = detect(library, picture, args.least)
        if args.raw:
            write_raw(library.manifest, path, args.raw)
        rows = [
            {"class": int(label), "name": names[label], "score": float(score), "box": [round(float(v), 2) for v in box]}
            for box, score, label in zip(found.sides, found.scores, found.labels)
        ]
        results.append({"picture": path, "size": picture.size, "boxes": rows})
        _print(path, rows)
        if target:
            _save(drawn(picture, found, names), target)
            print(f"  drawn: {target}")
    about = library.manifest
    print(f"{about['model']}, weights: {about['weights']['source']}")
    if about["weights"]["source"].startswith("random"):
        print("The weights are random: these boxes mean nothing.  Build with --weights for real ones.")
    if args.json:
        write_json(args.json, {"model": about["model"], "weights": about["weights"], "pictures": results})


def _print(path: str, rows: list[dict]) -> None:
    width = max([len(row["name"]) for row in rows] + [5])
    print(f"{path}\n  {'class':{width}}  score, %    left     top   right  bottom")
    for row in rows:
        box = "".join(f"{value:8.1f}" for value in row["box"])
        print(f"  {row['name']:{width}}  {100 * row['score']:8.1f}{box}")
    if not rows:
        print("  no boxes")


def _targets(output: Path | None, pictures: list[str]) -> list[Path | None]:
    """Where each picture with its boxes goes; `UserError`, before all the work, where none can be written."""
    if output is None:
        return [None] * len(pictures)
    if len(pictures) == 1 and not output.is_dir():
        targets = [output]
    else:
        if not output.is_dir():
            raise UserError(f"-o {output}: {len(pictures)} pictures need a folder that is there")
        targets = [output / f"{Path(picture).stem}-boxes.png" for picture in pictures]
    for target in targets:
        if target.suffix.lower() not in FORMATS:
            raise UserError(f"-o {target}: expected a name that ends in {', '.join(FORMATS)}")
        if not target.absolute().parent.is_dir():
            raise UserError(f"-o {target}: there is no such folder")
    twice = [target for target in targets if targets.count(target) > 1]
    if twice:
        raise UserError(f"-o {output}: two pictures would become {twice[0]}")
    return list(targets)


def _save(picture: Image, target: Path) -> None:
    import io

    data = io.BytesIO()
    picture.save(data, FORMATS[target.suffix.lower()], quality=92)
    write_bytes(target, data.getvalue())
