"""The command `python -m benchmarks.threads`: a library on several threads beside one, also on too few processors."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from tvm_shufflenet.boards.processor import describe_processor
from tvm_shufflenet.cli.command import run
from tvm_shufflenet.cli.common import check_count, check_json
from tvm_shufflenet.files import write_json
from tvm_shufflenet.library.loading import load
from tvm_shufflenet.library.processors import allowed_processors
from tvm_shufflenet.measure.entries import standard_picture
from tvm_shufflenet.measure.rounds import TURN_SECONDS, calibrate, interleave

PROGRAM = "python -m benchmarks.threads"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Times pictures on one thread and on a team, through Python's loader, in interleaved rounds, and "
        "compares the results bit by bit.",
        epilog=f"example: {PROGRAM} build/shufflenet-v1-1x-g3-native.so --threads 4 --oversubscribe",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of the team (2)")
    parser.add_argument("--oversubscribe", action="store_true", help="also more threads than processors")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (10)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    check_count("--rounds", args.rounds, 1, 10_000)
    check_json(args.json)
    networks = [load(args.library), load(args.library, args.threads, oversubscribe=args.oversubscribe)]
    picture = standard_picture(networks[0].inputs[0].shape)
    one, team = (network.run(picture) for network in networks)
    equal = all(np.array_equal(a.view("uint32"), b.view("uint32")) for a, b in zip(one, team, strict=True))
    timers = [calibrate(lambda number, n=network: turn(n, picture, number), TURN_SECONDS) for network in networks]
    rows = list(zip(*interleave(timers, args.rounds)))
    found = [{"threads": n.threads, "minimum_ms": 1e3 * min(row), "median_ms": 1e3 * statistics.median(row)}
             for n, row in zip(networks, rows)]  # fmt: skip
    ratio = found[1]["median_ms"] / found[0]["median_ms"]
    for each in found:
        print(f"{each['threads']:2} threads: {each['minimum_ms']:.3f} ms, median {each['median_ms']:.3f} ms")
    allowed = allowed_processors()
    print(f"{ratio:.2f} times one thread, of medians; results {'equal to the bit' if equal else 'DIFFER'}")
    print(f"{describe_processor().name}; {allowed} processors allowed; {args.rounds} interleaved rounds")
    if args.json:
        write_json(args.json, {"library": args.library, "processors": allowed, "rounds": args.rounds, "equal": equal,
                               "times_one_thread": ratio, "runs": found})  # fmt: skip
    return 0 if equal else 1


def turn(network, picture: np.ndarray, number: int) -> Callable[[], float]:
    """A turn of `number` pictures: seconds of one."""

    def timed() -> float:
        start = time.perf_counter()
        for _ in range(number):
            network.run(picture, check=False)
        return (time.perf_counter() - start) / number

    return timed


if __name__ == "__main__":
    sys.exit(run(main))
