"""The command `python -m benchmarks.footprint`: memory, size and build time of our libraries, beside their bounds."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tvm_shufflenet.architectures import Network, network, own_name
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.cli.command import add_json_option, run
from tvm_shufflenet.cli.common import parse_size
from tvm_shufflenet.cli.terminal import Terminal, open_console
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import today, write_json
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.targets import resolve

from .latency import MODELS
from .rivals import PROJECT
from .rivals.folded import fold

PROGRAM = "python -m benchmarks.footprint"
WORKSPACE = 1.2  # times the largest set of activations alive at once
EXCESS = 1_000_000  # bytes of a library beyond its weights
BUILD = 60.0  # seconds
IMPORT = 0.2  # seconds
IMPORTS = 7
IMPORT_CODE = "import time; start = time.perf_counter(); import tvm_shufflenet; print(time.perf_counter() - start)"
# What is computed in the memory of its input, and, of an addition or product, in that of either.
IN_PLACE = (
    "batch_norm", "relu", "clip", "sigmoid", "multiply", "dropout", "shuffle", "flatten", "add", "concat",
)  # fmt: skip


@dataclass(frozen=True)
class Footprint:
    """One network for one target; bytes and seconds."""

    model: str
    workspace: int
    alive: int
    library: int
    weights: int
    build_seconds: float
    build_memory: int  # resident, of the largest of the processes

    @property
    def over_alive(self) -> float:
        return self.workspace / self.alive

    @property
    def excess(self) -> int:
        return self.library - self.weights

    def missed(self) -> list[str]:
        """The bounds that do not hold, by the name of the figure."""
        bounds = {"over_alive": WORKSPACE, "excess": EXCESS, "build_seconds": BUILD}
        return [name for name, bound in bounds.items() if getattr(self, name) > bound]


def alive_bytes(net: Network) -> int:
    """The largest set of activations alive at once, where layers run one after the other.

    Reckoned from the description alone: fp32, without padding, scratch, and the caller's input and output; additions,
    ReLUs and shuffles work in place, and the parts of a concatenation lie in it from the start.
    """
    home = list(range(len(net.layers)))  # of each layer the first one in the same memory

    def root(index: int) -> int:
        while home[index] != index:
            index = home[index]
        return index

    for index, layer in enumerate(net.layers):
        if layer.op in IN_PLACE:
            first, *others = sorted(root(source) for source in (*layer.inputs, index))
            for other in others:
                home[other] = first
    spans: dict[int, list[int]] = {}  # first and last layer that touches the memory, and its bytes
    for index, layer in enumerate(net.layers):
        for touched in (*layer.inputs, index):
            span = spans.setdefault(root(touched), [index, index, 0])
            span[1] = index
        span = spans[root(index)]
        channels, *pixels = layer.shape[1:]
        span[2] = max(span[2], 4 * channels * math.prod(pixels))
    outside = {root(0), root(len(net.layers) - 1)}
    inside = [span for key, span in spans.items() if key not in outside]
    return max(sum(size for first, last, size in inside if first <= i <= last) for i in range(len(net.layers)))


def weight_bytes(net: Network) -> int:
    """The weights that remain once the batch norms are folded, fp32."""
    steps = fold(net, random_parameters(net))
    return sum(step.weight.nbytes + step.bias.nbytes for step in steps if step.weight is not None)


def footprint(net: Network, target: str, folder: Path) -> Footprint:
    """Builds the network in a fresh process and looks at what came of it."""
    argv = [sys.executable, "-m", "tvm_shufflenet.build", net.name, "--target", target, "--output", str(folder),
            "--size", "x".join(map(str, net.size)), "--classes", str(net.classes)]  # fmt: skip
    start = time.perf_counter()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=PROJECT)
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise UserError(f"{net.name}: the build failed: {(message.strip().splitlines() or ['it said nothing'])[-1]}")
    (path,) = folder.glob(f"{net.name}-{target}*.so")
    return Footprint(net.name, read_manifest(path)["workspace_bytes"], alive_bytes(net), path.stat().st_size,
                     weight_bytes(net), seconds, 1024 * usage.ru_maxrss)  # fmt: skip


def import_seconds() -> float:
    """The median time of `import tvm_shufflenet` in fresh interpreters."""
    argv = [sys.executable, "-c", IMPORT_CODE]
    times = [float(subprocess.run(argv, capture_output=True, check=True, cwd=PROJECT).stdout) for _ in range(IMPORTS)]
    return statistics.median(times)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Builds each network in a fresh process and prints its workspace beside the largest set of "
        "activations alive at once, the size of the library beside its weights, the time and memory of the build, and "
        f"the time of `import tvm_shufflenet`.  Bounds: {WORKSPACE} times, {EXCESS / 1e6:g} MB more, {BUILD:g} s, "
        f"{IMPORT} s; what misses its bound is marked.",
        epilog=f"example: {PROGRAM} shufflenet-v1-1x-g3 --target arm --json footprint.json",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="networks (ShuffleNet 0.5x, 1x and 2x g=3 and 1x "
                        "g=8, MobileNet 1.0 and 0.25, AlexNet)")  # fmt: skip
    parser.add_argument("--target", default="native", help="a name from `python -m tvm_shufflenet.targets` (native)")
    parser.add_argument("--size", default="224", help="input in pixels: 224, or height x width as 480x640 (224)")
    add_json_option(parser, "all figures")
    return parser


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    args = arguments().parse_args(argv)
    size = parse_size(args.size)
    nets = [network(name, size) for name in dict.fromkeys(own_name(model) or model for model in args.models or MODELS)]
    resolve(args.target)

    imported = import_seconds()
    found = []
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        for net in nets:
            with Terminal().step(f"building {net.name} for {args.target}"):
                found.append(footprint(net, args.target, Path(folder)))
    command = f"{PROGRAM} {shlex.join(argv)}".strip()
    if args.json:
        write_json(args.json, to_json(found, imported, args.target, size, command))
    console = open_console()
    console.print(table(found))
    late = " *" if imported > IMPORT else ""
    console.print(f"import tvm_shufflenet: {imported:.3f} s, median of {IMPORTS}{late}", markup=False)
    console.print(f"target {args.target}, {size[0]}x{size[1]}; *: misses its bound ({WORKSPACE} times the activations, "
                  f"{EXCESS / 1e6:g} MB beyond the weights, {BUILD:g} s, import {IMPORT} s)",
                  markup=False, soft_wrap=True)  # fmt: skip
    console.print(command, markup=False, soft_wrap=True)


def table(found: list[Footprint]):
    """A row for each network, for `rich`."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("network", no_wrap=True)
    for heading in ("workspace,\nkB", "alive at\nonce, kB", "work-\nspace /\nalive", "library,\nkB", "weights,\nkB",
                    "beyond\nweights,\nkB", "build,\ns", "build's\nmemory,\nMB"):  # fmt: skip
        drawn.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        mark = {name: " *" for name in each.missed()}
        drawn.add_row(
            each.model, f"{each.workspace / 1e3:.0f}", f"{each.alive / 1e3:.0f}",
            f"{each.over_alive:.2f}{mark.get('over_alive', '')}", f"{each.library / 1e3:.0f}",
            f"{each.weights / 1e3:.0f}", f"{each.excess / 1e3:.0f}{mark.get('excess', '')}",
            f"{each.build_seconds:.1f}{mark.get('build_seconds', '')}", f"{each.build_memory / 1e6:.0f}",
        )  # fmt: skip
    return drawn


def to_json(found: list[Footprint], imported: float, target: str, size: tuple[int, int], command: str) -> dict:
    """All figures, in bytes and seconds, and the bounds that are missed."""
    from tvm_shufflenet import __version__
    from tvm_shufflenet.boards.processor import describe_processor

    networks = [vars(each) | {"over_alive": each.over_alive, "excess": each.excess, "missed": each.missed()}
                for each in found]  # fmt: skip
    bounds = {"over_alive": WORKSPACE, "excess": EXCESS, "build_seconds": BUILD, "import_seconds": IMPORT}
    return {"command": command, "date": today(), "processor": vars(describe_processor()),
            "versions": {"tvm_shufflenet": __version__}, "target": target, "size": size, "import_seconds": imported,
            "bounds": bounds, "networks": networks}  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main))
