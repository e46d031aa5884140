"""The command `python -m benchmarks.camera`: how long a library prepares a camera's picture, beside the network."""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time

import numpy as np

from tvm_shufflenet import load
from tvm_shufflenet.cli.command import add_json_option, run
from tvm_shufflenet.cli.common import parse_size
from tvm_shufflenet.cli.terminal import Terminal
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json
from tvm_shufflenet.library.camera import FORMATS, Image, Pixels
from tvm_shufflenet.library.loading import Library
from tvm_shufflenet.measure.rounds import Timer, calibrate, interleave, one_core

PROGRAM = "python -m benchmarks.camera"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Times tsn_prepare_image for pictures of noise and tsn_run, on one core, in interleaved rounds.",
        epilog=f"example: {PROGRAM} build/shufflenet-v1-1x-g3-native.so --size 1080x1920",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`, built for "
                        "this machine")  # fmt: skip
    parser.add_argument("--size", default="1080x1920", help="of the pictures: height x width (1080x1920)")
    parser.add_argument("--rotation", type=int, default=0, help="degrees: 0, 90, 180 or 270 (0)")
    parser.add_argument("--rounds", type=int, default=100, help="turns of each (100)")
    add_json_option(parser, "the figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: expected 1 or more")
    library, size = load(args.library), parse_size(args.size)
    timers = {"network": calibrate(_network(library))}
    for format in FORMATS:
        pixels = noise(size, format)
        library.prepare_image(pixels, format, rotation=args.rotation)  # words what is wrong
        timers[format] = calibrate(_preparation(library, Image.of(pixels, format, args.rotation)))
    with one_core(timers["network"]), Terminal().rounds(args.rounds) as advance:
        done = interleave(list(timers.values()), args.rounds, on_round=advance)
    seconds = dict(zip(timers, zip(*done)))
    least = min(seconds["network"])
    print(f"{'':8}  ms, min  ms, median  % of the network")
    for name, values in seconds.items():
        print(f"{name:8}  {1e3 * min(values):7.3f}  {1e3 * statistics.median(values):10.3f}  "
              f"{100 * min(values) / least:16.1f}")  # fmt: skip
    print(
        f"{library.manifest['model']} for {library.manifest['cpu']}; pictures of {args.size}, rotation {args.rotation}"
    )
    if args.json:
        write_json(args.json, {"date": today(), "model": library.manifest["model"], "cpu": library.manifest["cpu"],
                               "size": list(size), "rotation": args.rotation, "seconds": seconds})  # fmt: skip
    return 0


def noise(size: tuple[int, int], format: str) -> Pixels:
    """A picture of random bytes, as `Image.of` takes it."""
    rng, (height, width) = np.random.default_rng(0), size
    if format in ("NV12", "NV21"):
        shapes = (height, width), ((height + 1) // 2, (width + 1) // 2 * 2)
        return rng.integers(0, 256, shapes[0], np.uint8), rng.integers(0, 256, shapes[1], np.uint8)
    return rng.integers(0, 256, (*size, *({"GREY": ()}.get(format, (len(format),)))), np.uint8)


def _network(library: Library):
    data = np.zeros(library.inputs[0].shape, np.float32)
    return lambda number: _timer(lambda: library.run(data, check=False), number)


def _preparation(library: Library, image: Image):
    data, workspace = np.zeros(library.inputs[0].shape, np.float32), library.workspace_for(image)

    def prepare() -> None:  # addresses are asked for here: the arrays live as long as this function
        library.functions.tsn_prepare_image(ctypes.byref(image), data.ctypes.data, workspace.ctypes.data)

    return lambda number: _timer(prepare, number)


def _timer(call, number: int) -> Timer:
    def turn() -> float:
        start = time.perf_counter()
        for _ in range(number):
            call()
        return (time.perf_counter() - start) / number

    return turn


if __name__ == "__main__":
    sys.exit(run(main))
