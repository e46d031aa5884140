"""Options that several commands share, and what is wrong with them."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..architectures import checks
from ..errors import UserError
from ..records.store import FOLDER
from ..targets.precision import PRECISIONS, WEIGHTS, precision_in
from ..words import counted
from .command import add_json_option, add_threads_option, parse_pixels

if TYPE_CHECKING:
    from ..exchange import Reading

DAY = 24 * 3600
MOST = 1_000_000  # rounds, trials, pictures
TUNED_BY = {"estimated": "by estimate", "emulated": "by times in an emulator"}


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in pixels from "224" (a square) or "480x640"; `UserError` for others, and too large ones."""
    size = parse_pixels(text)
    if 3 * math.prod(size) > checks.ELEMENTS:
        raise UserError(
            f"--size {text}: a picture takes {12 * math.prod(size) / 2**30:.1f} GiB, "
            f"expected at most {4 * checks.ELEMENTS / 2**30:g}"
        )
    return size


def check_count(option: str, value: int, least: int, most: int) -> None:
    """`UserError` unless the number that `option` gives is in this range."""
    if not least <= value <= most:
        raise UserError(f"{option} {value}: expected {least} or more, at most {most}")


def check_seconds(option: str, value: float) -> None:
    """`UserError` unless `option` gives seconds that can be waited for: a hundredth to a day."""
    if not 0.01 <= value <= DAY:
        raise UserError(f"{option} {value:g}: expected seconds, more than 0.01, at most {DAY}")


def check_key(key: str | None, rpc: str | None) -> None:
    """`UserError` for --key without --rpc."""
    if key and not rpc:
        raise UserError(f"--key {key} names a board at a tracker: give its address with --rpc HOST:PORT")


def workers(given: int | None, usual: int) -> int:
    """What --workers gives, else `usual`; 0 where a system cannot fork, `UserError` if some are asked for."""
    forks = hasattr(os, "fork")
    if given and not forks:
        raise UserError(f"--workers {given}: this system cannot fork processes, expected 0")
    return usual * forks if given is None else given


def add_timing_options(parser: argparse.ArgumentParser, turns: str) -> None:
    """Adds the options of commands that time networks: the board, the rounds, the threads, and --json."""
    parser.add_argument("--rpc", metavar="HOST:PORT", help="measure on the board of this RPC server or tracker")
    parser.add_argument("--key", help="of the board at its tracker (the target's name)")
    parser.add_argument("--rounds", type=int, default=30, help=f"turns of {turns} (30)")
    parser.add_argument(
        "--timeout", type=float, default=10, metavar="S", help="seconds to wait for each answer of a board (10)"
    )
    add_threads_option(parser)
    add_json_option(parser, "all that was measured")


def check_timing_options(args: argparse.Namespace) -> None:
    """`UserError`, before all the work, for wrong values of the options that `add_timing_options` adds."""
    check_count("--rounds", args.rounds, 1, MOST)
    check_seconds("--timeout", args.timeout)
    check_key(args.key, args.rpc)
    check_threads(args.threads, args.rpc)


def check_threads(threads: int, rpc: str | None = None) -> None:
    """`UserError` for a number of threads that cannot be; how many processors a board has, its TVM says."""
    from ..library.teams import check_threads as check

    check(threads, oversubscribe=bool(rpc), option="--threads ")


def add_records_options(parser: argparse.ArgumentParser) -> None:
    """Adds --records and --default-schedules, which decide whether kernels get tuned knobs; see `records_folder`."""
    parser.add_argument("--records", type=Path, metavar="DIR", help="where tuning records are (tuning_logs/)")
    parser.add_argument("--default-schedules", action="store_true", help="use no tuning records")


def add_precision_options(parser: argparse.ArgumentParser) -> None:
    """Adds --precision and --weights-precision, in which a network is compiled."""
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of activations, weights and "
                        "arithmetic; fp16 needs Armv8.2 with halves (Cortex-A55, A75 and newer; on x86-64 it is slow, "
                        "and a check of correctness); int8 needs weights that `quantize` has seen (fp32)")  # fmt: skip
    parser.add_argument("--weights-precision", choices=tuple(WEIGHTS), help="of the weights of fully connected layers, "
                        "whose sums stay fp32 (that of --precision)")  # fmt: skip


def precisions(*manifests: dict) -> str:
    """The precisions of libraries, each once."""
    return " and ".join(dict.fromkeys(str(precision_in(manifest)) for manifest in manifests))


def records_folder(args: argparse.Namespace) -> Path | None:
    """The folder that `BuildOptions.records` wants; `UserError` if there is none of that name."""
    if args.records and args.default_schedules:
        raise UserError(f"--records {args.records} and --default-schedules exclude each other")
    if args.records and not args.records.is_dir():
        raise UserError(f"--records {args.records}: there is no such folder")
    return None if args.default_schedules else args.records or FOLDER


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for what a foreign checkpoint leaves open; see `reading`."""
    group = parser.add_argument_group("what the tensors of a foreign checkpoint do not tell")
    group.add_argument("--style", metavar="NAME", help="all of it: as in the code of own (the paper's), megvii, "
                        "pytorchcv, jaxony...")  # fmt: skip
    group.add_argument("--shuffle", choices=("gn", "ng", "gn-all", "ng-all", "none"), help="into which shape channels "
                        "are brought before they are transposed, (g, n) as in the paper or (n, g); -all: also in units "
                        "whose "
                        "first convolution has no groups")  # fmt: skip
    group.add_argument("--stem", type=int, choices=(4, 2, 1), help="by how much the stem makes pictures smaller; 4 is "
                        "stride 2 and max pooling, 2 stride 2, 1 neither")  # fmt: skip
    group.add_argument("--strides", metavar="N[,N...]", help="of the first unit of each stage, 1 or 2; one number for "
                        "all")  # fmt: skip
    group.add_argument("--pool", metavar="N[,N...]", help="window of the average pooling beside that unit, 3, 2, or 1 "
                        "for none; one number for all")  # fmt: skip
    group.add_argument("--concat", choices=("pooled-first", "pooled-last"), help="order of the pooled input and the "
                        "branch")  # fmt: skip
    group.add_argument("--activation", metavar="NAME", help="relu, relu6, leaky or leaky:SLOPE")
    group.add_argument("--padding", choices=("symmetric", "same"), help="same: as TensorFlow pads")
    group.add_argument("--eps", type=float, help="epsilon of the batch norms (1e-5)")
    group.add_argument("--prototxt", type=Path, metavar="FILE", help="the structure of a .caffemodel")


def reading(args: argparse.Namespace) -> Reading:
    """The `Reading` that these options and --size say."""
    from ..exchange import Reading
    from ..exchange.reading import parse_activation, parse_numbers

    if args.eps is not None and not 0 < args.eps < 1:
        raise UserError(f"--eps {args.eps:g}: expected a small number such as 1e-5")
    if args.activation is not None:
        parse_activation(args.activation)
    return Reading(
        parse_size(args.size) if args.size else None, args.shuffle, args.style, args.stem, args.eps,
        parse_numbers("--strides", args.strides, (1, 2)), parse_numbers("--pool", args.pool, (1, 2, 3)), args.concat,
        args.activation, args.padding, args.prototxt,
    )  # fmt: skip


def add_preprocessing_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how pictures are prepared for the weights; see `given_preprocessing`."""
    group = parser.add_argument_group("how pictures are prepared for these weights (as PyTorch's of ImageNet)")
    group.add_argument("--mean", metavar="A,B,C", help="of each channel, subtracted from pixels * scale")
    group.add_argument("--std", metavar="A,B,C", help="of each channel, by which that is divided")
    group.add_argument("--channels", choices=("rgb", "bgr"), help="order in which the network takes colours")
    group.add_argument("--scale", type=float, help="of pixels from 0 to 255 (0.00392157, that is 1/255)")
    group.add_argument("--resize", metavar="RATIO", help="shorter side of the picture by that of the crop out of its "
                        "middle (1.142857, that is 256/224); of a detector stretch, or fit, which keeps the picture's "
                        "shape (stretch)")  # fmt: skip


def given_preprocessing(args: argparse.Namespace) -> dict:
    """The preprocessing that these options give, checked by `library.preprocess.checked`."""
    from ..library.preprocess import checked

    said = {
        "channels": args.channels and args.channels.upper(), "mean": _numbers("--mean", args.mean),
        "std": _numbers("--std", args.std), "scale": args.scale, **_resize(args.resize),
    }  # fmt: skip
    return checked({key: value for key, value in said.items() if value is not None}, "options")


def _resize(text: str | None) -> dict:
    from ..library.preprocess import RESIZINGS

    if text in RESIZINGS:
        return {"resize": text}
    try:
        return {"resize_shorter_side_ratio": None if text is None else float(text)}
    except ValueError:
        raise UserError(f"--resize {text:.60}: expected a number such as 1.0357, {' or '.join(RESIZINGS)}") from None


def _numbers(option: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text:.60}: expected three numbers such as 0.485,0.456,0.406") from None


def tuned_kernels(kernels: dict) -> str:
    """How many kernels have tuned knobs, by what, and how many of them other knobs than the defaults.

    `kernels` is a manifest's "kernels", or the sum of several; older manifests lack the number of other knobs.
    """
    kinds = [f"{n} {TUNED_BY[kind]}" for kind, n in kernels.get("tuned_by", {}).items() if kind in TUNED_BY]
    if kernels["tuned"] and kernels.get("changed") is not None:
        kinds.append(f"{kernels['changed']} with other knobs than the defaults")
    return f"{kernels['tuned']} of {counted(kernels['total'], 'kernel')} tuned" + (
        f" ({', '.join(kinds)})" if kinds else ""
    )
