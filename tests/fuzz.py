"""Random networks through the whole compiler, each against its PyTorch twin.

    python -m tests.fuzz --n 1000 --seed 0
    python -m tests.fuzz --n 100 --target cortex-a72
    python -m tests.fuzz --n 100 --precision fp16

A share of them goes through an ONNX file first.  TVM's own loader runs the object code that a library is linked from;
every tenth network is built as a library, loaded, and run between fences (`fences.py`).  For another target each one is
a library, and runs so in the emulator.  Ends with 0 only where nothing was wrong, crashed or was refused, and, for many
networks, no possible pair of neighbouring operators is missing.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import functools
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.bridge import random_parameters, torch_module
from tvm_shufflenet.bridge.ranges import OutOfRange, check_ranges
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import OURS, Imported, load_network, save_network
from tvm_shufflenet.targets import resolve, target_names
from tvm_shufflenet.targets.precision import PRECISIONS

from . import emulator, fences, graphs

TOLERANCES = {"fp32": 1e-5, "fp16": 2e-2}  # of the largest number of an output
SMALLEST = 1e-3  # what counts as the largest number of an output that is all but zero
LIBRARY_EVERY = 10
PAIRS_FROM = 1000  # networks: so many hold every pair
SHIM = """
static const float *weights;
void tsn_fuzz_weights(const float *array) { weights = array; }
const float *tsn_weights(void) { return weights; }
"""
Runner = Callable[[Network, dict, np.ndarray], tuple[np.ndarray, ...]]


@dataclass
class Failure:
    """What became of a network that did not come out right."""

    seed: int
    kind: str  # "wrong", "crash" or "refused"
    why: str
    network: Network


def picture(network: Network, seed: int) -> np.ndarray:
    """Standard normal numbers as the caller gives them: in the network's layout."""
    data = np.random.default_rng(seed).standard_normal(network.layers[0].shape).astype(np.float32)
    return np.ascontiguousarray(data.transpose(0, 2, 3, 1)) if network.layers[0].attrs["layout"] == "NHWC" else data


def expected(network: Network, parameters: dict, data: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the twin computes in double precision, one array for each output."""
    import torch

    module = torch_module(network).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()}, strict=False)
    with torch.inference_mode():
        found = module.double()(torch.from_numpy(data).double())
    return tuple(array.numpy() for array in (found if isinstance(found, tuple) else (found,)))


def difference(found: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...]) -> float:
    """The largest difference of all outputs, of the largest number of each; infinite for other shapes or numbers."""
    if [array.shape for array in found] != [array.shape for array in wanted]:
        return float("inf")
    if not all(np.isfinite(array).all() for array in found):
        return float("inf")
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), SMALLEST)) for a, b in zip(found, wanted))


@functools.cache
def _shim() -> ctypes.CDLL:
    """What a library has beside the object code: the way to its weights."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-fuzz-") as folder:
        source, path = Path(folder, "shim.c"), Path(folder, "shim.so")
        source.write_text(SHIM)
        subprocess.run([sys.executable, "-m", "ziglang", "cc", "-shared", "-o", str(path), str(source)], check=True)
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def run_object(network: Network, parameters: dict, data: np.ndarray, precision: str = "fp32") -> tuple[np.ndarray, ...]:
    """Compiles for this machine and runs the object code in this process, from a workspace full of NaN."""
    import tvm

    from tvm_shufflenet.pipeline import compile_network

    if precision != "fp32":
        check_ranges(network, parameters, PRECISIONS[precision].largest, precision)
    compiled = compile_network(network, parameters, resolve("native"), precision=PRECISIONS[precision])
    weights = _aligned(np.concatenate([np.zeros(64, np.uint8), *compiled.weights])[64:])
    _shim().tsn_fuzz_weights(ctypes.c_void_p(weights.ctypes.data))
    outputs = [tvm.runtime.empty(network.layers[index].shape, "float32") for index in network.outputs]
    workspace = tvm.runtime.tensor(np.full(compiled.plan.bytes // 4, np.nan, np.float32))
    compiled.code["main"](tvm.runtime.tensor(data), *outputs, workspace)
    return tuple(output.numpy() for output in outputs)


def _aligned(array: np.ndarray, alignment: int = 64) -> np.ndarray:
    room = np.empty(array.nbytes + alignment, np.uint8)
    start = -room.ctypes.data % alignment
    room[start : start + array.nbytes] = array
    return room[start : start + array.nbytes]


def build(network: Network, parameters: dict, target: str, folder: Path, precision: str = "fp32") -> Path:
    """The library of the network for a target, as the command builds it from a file."""
    from tvm_shufflenet.building.build_library import BuildOptions, build_library

    path = folder / f"{network.name}.safetensors"
    save_network(path, Imported(network, parameters, OURS))
    return build_library(BuildOptions(None, target, weights=path, output=folder, precision=precision)).path


def run_library(
    network: Network, parameters: dict, data: np.ndarray, target: str = "native", precision: str = "fp32"
) -> tuple[np.ndarray, ...]:
    """Builds a library and runs it between fences; on this machine also as a user does, with the same result."""
    from tvm_shufflenet.library.loading import load

    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-fuzz-") as folder:
        path = build(network, parameters, target, Path(folder), precision)
        found = fences.check(path, data)
        if target == "native":
            loaded = load(path)(data)
            for one, other in zip(found, loaded if isinstance(loaded, tuple) else (loaded,), strict=True):
                np.testing.assert_array_equal(one, other)
    return found


def runner(target: str, number: int, precision: str = "fp32") -> Runner:
    """How the network of that number is run for a target."""
    if target != "native":
        return functools.partial(run_library, target=target, precision=precision)
    return functools.partial(run_library if number % LIBRARY_EVERY == 0 else run_object, precision=precision)


def through_onnx(network: Network, parameters: dict) -> tuple[Network, dict]:
    """The network and its parameters as the reader finds them in the file that the writer makes."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-fuzz-") as folder:
        path = Path(folder, f"{network.name}.onnx")
        save_network(path, Imported(network, parameters, OURS))
        found = load_network(path)
        return found.network, found.parameters


def examine(network: Network, seed: int, run: Runner, onnx: bool = False, precision: str = "fp32") -> Failure | None:
    """Runs the network; what went wrong, if anything did.  The twin is always that of the network itself.

    Numbers that are too large for a precision are to be refused.
    """
    parameters, data = random_parameters(network, seed), picture(network, seed)
    wanted = expected(network, parameters, data)
    try:
        given = through_onnx(network, parameters) if onnx else (network, parameters)
        found = run(*given, data)
    except OutOfRange:
        return None
    except UserError as error:
        return Failure(seed, "refused", str(error), network)
    except Exception as error:  # whatever it is, it is a crash of the compiler, and the other networks count too
        place = traceback.extract_tb(error.__traceback__)[-1]
        line = str(error).strip().splitlines()[-1:] or [""]
        why = f"{type(error).__name__}: {line[0][:200]} ({Path(place.filename).name}:{place.lineno})"
        return Failure(seed, "crash", why, network)
    differs = difference(found, wanted)
    return None if differs < TOLERANCES[precision] else Failure(seed, "wrong", f"differs by {differs:.1e}", network)


def shrink(failure: Failure, run: Runner, onnx: bool = False, precision: str = "fp32") -> Failure:
    """The same failure in the smallest network that ends at one layer of the failing one."""
    for index in range(1, len(failure.network.layers)):
        smaller = dataclasses.replace(failure.network, **_ending_at(failure.network, index))
        found = examine(smaller, failure.seed, run, onnx, precision)
        if found and (found.kind, found.why[:20]) == (failure.kind, failure.why[:20]):
            return found
    return failure


def _ending_at(network: Network, last: int) -> dict:
    """Fields of the network that has this layer as its only output, and nothing that it does not need."""
    needed, queue = {0}, [last]
    while queue:
        if (index := queue.pop()) not in needed:
            needed.add(index)
            queue += network.layers[index].inputs
    place = {index: number for number, index in enumerate(sorted(needed))}
    layers = tuple(
        dataclasses.replace(network.layers[index], inputs=tuple(place[i] for i in network.layers[index].inputs))
        for index in place
    )
    return {"layers": layers, "outputs": (place[last],)}


def describe(network: Network) -> str:
    """One line for each layer."""
    return "\n".join(
        f"    {index} {layer.op}{list(layer.inputs)} {'x'.join(map(str, layer.shape))} {layer.attrs or ''}"
        for index, layer in enumerate(network.layers)
    ) + f"\n    outputs {list(network.outputs)}"  # fmt: skip


def networks(n: int, seed: int, seen: set[tuple[str, str]]) -> Iterator[tuple[int, Network]]:
    """`n` networks from that seed on; the pairs of neighbours in them are added to `seen`."""
    for number in range(seed, seed + n):
        network = graphs.random_network(number, seen)
        seen |= graphs.pairs(network)
        yield number, network


def goes_through_onnx(number: int, share: float) -> bool:
    """Whether the network of that number does, where a share of all shall."""
    return int((number + 1) * share) > int(number * share)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="how many networks (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (%(default)s)")
    parser.add_argument("--onnx-share", type=float, default=0.5, help="of the networks, through a file (%(default)s)")
    parser.add_argument("--target", default="native", choices=target_names(), metavar="NAME",
                        help="the processor; another than this machine is emulated (%(default)s)")  # fmt: skip
    parser.add_argument("--precision", default="fp32", choices=tuple(TOLERANCES), help="(%(default)s)")
    args = parser.parse_args(argv)
    if resolve(args.target).arch != resolve("native").arch:
        emulator.command()  # says at once that there is none

    import torch
    from rich.console import Console
    from rich.progress import track

    torch.set_num_threads(1)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    seen: set[tuple[str, str]] = set()
    failures = []
    for seed, network in track(networks(args.n, args.seed, seen), "networks", args.n, console=console):
        run = runner(args.target, seed, args.precision)
        onnx = goes_through_onnx(seed, args.onnx_share)
        if failure := examine(network, seed, run, onnx, args.precision):
            failure = shrink(failure, run, onnx, args.precision)
            failures.append(failure)
            how = " through ONNX" if onnx else ""
            console.print(f"seed {seed}{how}: {failure.kind}: {failure.why}\n{describe(failure.network)}")
    counts = {kind: sum(f.kind == kind for f in failures) for kind in ("wrong", "crash", "refused")}
    console.print(f"{args.n} networks: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    missing = graphs.missing_pairs(seen)
    console.print(f"{len(seen)} of {len(graphs.possible_pairs())} possible pairs of neighbours")
    if args.n < PAIRS_FROM:
        return int(bool(failures))
    for pair in missing:
        console.print(f"  missing: {' -> '.join(pair)}")
    return int(bool(failures or missing))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except emulator.EmulatorUnavailable as error:
        sys.exit(f"error: {error}")
