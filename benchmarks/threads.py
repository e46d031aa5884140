"""The command `python -m benchmarks.threads`: a library on several threads beside one, also on too few processors."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from tvm_shufflenet.boards.processor import describe_processor
from tvm_shufflenet.cli.command import add_json_option, run
from tvm_shufflenet.cli.common import check_count
from tvm_shufflenet.files import write_json
from tvm_shufflenet.library.loading import load
from tvm_shufflenet.library.processors import allowed_processors
from tvm_shufflenet.measure.entries import standard_picture
from tvm_shufflenet.measure.rounds import TURN_SECONDS, calibrate, interleave
from tvm_shufflenet.words import counted

PROGRAM = "python -m benchmarks.threads"
LONG_TURN = 0.2  # seconds: many slices of processes that share a processor


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Times pictures on one thread and on a team, through Python's loader, in interleaved rounds, and "
        "compares the results bit by bit.",
        epilog=f"example: {PROGRAM} build/shufflenet-v1-1x-g3-native.so --threads 4 --oversubscribe --load 1",
    )
    parser.add_argument("library", metavar="LIBRARY", help="a library of `python -m tvm_shufflenet.build`")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads of the team (2)")
    parser.add_argument("--oversubscribe", action="store_true", help="also more threads than processors")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="processes that compute beside, all the time "
                        "(0)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (10)")
    add_json_option(parser, "the figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    check_count("--rounds", args.rounds, 1, 10_000)
    check_count("--load", args.load, 0, 1000)
    networks = [load(args.library), load(args.library, args.threads, oversubscribe=args.oversubscribe)]
    picture = standard_picture(networks[0].inputs[0].shape)
    one, team = (network.run(picture) for network in networks)
    equal = all(np.array_equal(a.view("uint32"), b.view("uint32")) for a, b in zip(one, team, strict=True))
    seconds = LONG_TURN if args.load or args.oversubscribe else TURN_SECONDS
    with load_beside(args.load):
        timers = [calibrate(lambda number, n=network: turn(n, picture, number), seconds) for network in networks]
        rows = list(zip(*interleave(timers, args.rounds)))
    found = [{"threads": n.threads, "minimum_ms": 1e3 * min(row), "median_ms": 1e3 * statistics.median(row)}
             for n, row in zip(networks, rows)]  # fmt: skip
    ratio = found[1]["median_ms"] / found[0]["median_ms"]
    for each in found:
        print(f"{each['threads']:2} threads: {each['minimum_ms']:.3f} ms, median {each['median_ms']:.3f} ms")
    allowed = allowed_processors()
    print(f"{ratio:.2f} times one thread, of medians; results {'equal to the bit' if equal else 'DIFFER'}")
    beside = f"; {counted(args.load, 'process')} computing beside" if args.load else ""
    print(f"{describe_processor().name}; {allowed} processors allowed{beside}; {args.rounds} interleaved rounds")
    if args.json:
        write_json(
            args.json,
            {"library": args.library, "processors": allowed, "load": args.load, "rounds": args.rounds, "equal": equal,
             "times_one_thread": ratio, "runs": found},
        )  # fmt: skip
    return 0 if equal else 1


@contextlib.contextmanager
def load_beside(processes: int) -> Iterator[None]:
    """So many processes compute until the block ends."""
    endless = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(endless) for _ in range(processes)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.wait()


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
