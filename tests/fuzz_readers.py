"""Damaged files through everything that reads one: `python -m tests.fuzz_readers --minutes 10`.

A reader gives a result or a `UserError` of one line, in bounded time; all else is a failure, whose file is kept and
named.  Seeds are made here; a number makes the same damage again: `--reader elf --seed 1234`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import NetworkBuilder
from tvm_shufflenet.architectures.described import describe, from_description
from tvm_shufflenet.bridge import random_parameters, save_checkpoint
from tvm_shufflenet.cli import records as records_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import loading
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.preprocess import centre_crop, open_picture
from tvm_shufflenet.records import store as records
from tvm_shufflenet.records.remembered import Remembered
from tvm_shufflenet.targets import resolve

from .quantised_onnx import quantised

MEMORY = 16 << 30  # bytes
SECONDS = 60  # for a file: many times what the slowest takes on a busy machine
NUMBERS = [
    b"0",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"2147483648",
    b"true",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"NaN",
    b"0.5",
]


class TooLong(BaseException):
    """A reader does not end."""


@dataclass(frozen=True)
class Reader:
    """`seeds()` gives good files; `read` takes the path of a damaged one."""

    suffix: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Cuts, flips, repeats, zeroes and splices; in texts it also replaces numbers and words by others."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not damaged:
            break
        # What stands at the front decides how the rest is read.
        start = rng.randrange(len(damaged) if rng.random() < 0.5 else min(len(damaged), 600))
        length = rng.choice((1, 1, 2, 4, 8, 64, 1000))
        other = rng.randrange(len(damaged))
        kind = rng.randrange(8)
        if kind == 0:
            del damaged[start:]
        elif kind == 1:
            damaged[start] ^= 1 << rng.randrange(8)
        elif kind == 2:
            damaged[start : start + length] = rng.randbytes(length)
        elif kind == 3:
            damaged[start : start + length] = bytes(len(damaged[start : start + length]))
        elif kind == 4:
            damaged[start : start + length] = damaged[other : other + length]
        elif kind == 5:
            del damaged[start : start + length]
        elif kind == 6:
            damaged[start : start + length] = b"\xff" * length
        else:
            end = start
            while end < len(damaged) and chr(damaged[end]).isalnum():
                end += 1
            damaged[start:end] = rng.choice(NUMBERS)
    return bytes(damaged)


# ------------------------------------------------------------------------------------- what is read


def _written(suffix: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"seed{suffix}")
        write(path)
        return path.read_bytes()


def _small_network():
    net = NetworkBuilder((16, 16))
    x = net.relu("relu", net.batch_norm("bn", net.conv("conv", 0, 8, 3, 2, 1)))
    x = net.max_pool("pool", net.concat("cat", x, net.conv("branch", x, 4, groups=4)), 3, 2, 1)
    return net, net.dense("classifier", net.flatten("flat", net.global_avg_pool("mean", x)), 5)


def _described():
    net, last = _small_network()
    return net.network("small", outputs=[last])


def _library_seeds() -> list[bytes]:
    from tvm_shufflenet.building.build_library import BuildOptions, build_library

    def write(path: Path) -> None:
        built = build_library(BuildOptions("shufflenet-v1-0.25x-g3", "arm", (32, 32), 2, output=path.parent))
        built.path.rename(path)

    return [_written(".so", write)]


def _manifest_seeds() -> list[bytes]:
    (data,) = _library_seeds()
    start = data.index(b'{"format"')
    return [data[start : data.index(b"\0", start)]]


def _record_seeds() -> list[bytes]:
    path = next(iter(sorted(records.FOLDER.glob(f"*/{records.FILE}"))))
    return [b"".join(path.read_bytes().splitlines(keepends=True)[:4])]


def _onnx_seeds() -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "dense": (5, 4)}
    constants = [
        numpy_helper.from_array(rng.standard_normal(shape, np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["m"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "dense"], ["y"], transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 16, 16]), ("y", [1, 5]))
    ]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], constants)
    opset = [helper.make_opsetid("", 13)]
    floats = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return [floats.SerializeToString(), quantised(floats).SerializeToString()]


def _checkpoint_seeds(suffix: str) -> Callable[[], list[bytes]]:
    net = _described()
    metadata = {"network": describe(net), "class_names": json.dumps(list("abcde"))}
    return lambda: [_written(suffix, lambda path: save_checkpoint(path, random_parameters(net), metadata))]


def _picture_seeds() -> list[bytes]:
    from PIL import Image

    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8))
    kinds = {
        ".png": pixels,
        ".jpeg": pixels,
        ".gif": pixels.convert("P"),
        ".bmp": pixels,
        ".tiff": pixels.convert("CMYK"),
        ".webp": pixels,
    }
    return [_written(suffix, picture.save) for suffix, picture in kinds.items()]


def _read_network(path: Path) -> None:
    from tvm_shufflenet.exchange import load_network

    load_network(path)


@functools.cache
def _caffe_files() -> list[tuple[bytes, bytes]]:
    """A .prototxt with its .caffemodel in the present format, and one in that of 2014."""
    from .exchange import test_caffe as caffe

    new = caffe.Model(np.zeros((1, 3, 12, 12), np.float32))
    x = new.lrn("norm", new.relu(new.norm(new.conv("conv", "data", 4, 3, pad=1))))
    x = new.added("sum", x, new.negated("negated", new.conv("branch", "data", 4, 1, bias=False)))
    x = new.pool("pool", new.concat("cat", x, x), 3, 2)
    new.softmax(new.dense("ip", new.dropout(x), 5))
    old = caffe.Model(np.zeros((1, 3, 12, 12), np.float32), old=True)
    old.blobs("conv", old.random(4, 3, 3, 5), old.random(4))
    old.blobs("ip", old.random(5, 4 * 6 * 8))
    old.text = caffe.OLD
    return [(model.text.encode(), model.net.SerializeToString()) for model in (new, old)]


def _read_caffe(path: Path) -> None:
    """With a good file beside the damaged one, of the format that it seems to have."""
    from tvm_shufflenet.exchange import Reading, load_network

    weights, prototxt = path.with_suffix(".caffemodel"), path.with_suffix(".prototxt")
    new, old = _caffe_files()
    if path == prototxt:
        weights.write_bytes((old if b"layers {" in path.read_bytes() else new)[1])
    else:
        prototxt.write_bytes((new if b"branch" in path.read_bytes() else old)[0])
    load_network(weights, reading=Reading(prototxt=prototxt))


def _read_elf(path: Path) -> None:
    elf = read_elf(path)
    for symbol in elf.exported.values():
        elf.contents(symbol)
    loading.read_manifest(path)


def _read_manifest(path: Path) -> None:
    loading._manifest(path.read_bytes(), path)


def _read_records(path: Path) -> None:
    found = records.read_file(path)
    records_command.rows_of("cortex-a72", found, Remembered())
    records_command.best_of_each("cortex-a72", found, Remembered())


TARGETS = [
    b'{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon", "-sve"], '
    b'"num-cores": 4, '
    b'"keys": ["arm_cpu", "cpu"], "host": {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}}',
    b"llvm -mtriple=armv7l-linux-gnueabihf -mcpu=cortex-a7 -mattr=+neon,+vfp3 -mfloat-abi=hard",
    b'{"tag": "raspberry-pi/4b-aarch64", "mattr": "+neon"}', b"cortex-a53", b"arm/rasp3b",
]  # fmt: skip
READERS = {
    "records": Reader(".jsonl", _record_seeds, _read_records),
    "target": Reader(".json", lambda: TARGETS, lambda path: resolve(path.read_bytes().decode(errors="replace"))),
    "elf": Reader(".so", _library_seeds, _read_elf),
    "manifest": Reader(".json", _manifest_seeds, _read_manifest),
    "description": Reader(
        ".json",
        lambda: [describe(_described()).encode()],
        lambda path: from_description(path.read_bytes().decode(errors="replace")),
    ),  # fmt: skip
    "picture": Reader(".png", _picture_seeds, lambda path: centre_crop(open_picture(path, path), (16, 16))),
    "prototxt": Reader(".prototxt", lambda: [text for text, _ in _caffe_files()], _read_caffe),
    "caffemodel": Reader(".caffemodel", lambda: [weights for _, weights in _caffe_files()], _read_caffe),
    "onnx": Reader(".onnx", _onnx_seeds, _read_network),
    "safetensors": Reader(".safetensors", _checkpoint_seeds(".safetensors"), _read_network),
    "pth": Reader(".pth", _checkpoint_seeds(".pth"), _read_network),
}


# ------------------------------------------------------------------------------------- how it is done


def failure(reader: Reader, path: Path) -> str | None:
    """What a reader does wrong with a file, and where; None if it reads or refuses it."""

    def too_long(*_):
        raise TooLong(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except UserError as error:
        if len(str(error).splitlines()) > 1:
            return f"a UserError of several lines: {str(error).splitlines()[0]}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "tvm_shufflenet" in frame.filename] or frames
        text = (str(error).strip().splitlines() or [""])[-1]
        return (
            f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}: {text[:120]}"
        )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def damaged(name: str, seeds: list[bytes], number: int) -> bytes:
    """The file that a number stands for."""
    rng = random.Random(f"{name} {number}")
    return mutate(rng.choice(seeds), rng)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_readers", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1, help="how long (1)")
    parser.add_argument("--reader", choices=list(READERS), action="append", help="only this one (all)")
    parser.add_argument("--seed", type=int, default=0, help="the first number (0)")
    parser.add_argument("--keep", type=Path, default=Path("build", "fuzz"), help="where failing files go (build/fuzz)")
    args = parser.parse_args(argv)
    with contextlib.suppress(ValueError):  # it is lower already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    names = args.reader or list(READERS)
    seeds = {name: READERS[name].seeds() for name in names}
    found: dict[tuple[str, str], int] = {}
    done: collections.Counter = collections.Counter()
    deadline, number = time.monotonic() + 60 * args.minutes, args.seed
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < deadline:
            for name in names:
                reader, path = READERS[name], Path(folder, f"file{READERS[name].suffix}")
                path.write_bytes(data := damaged(name, seeds[name], number))
                done[name] += 1
                wrong = failure(reader, path)
                if wrong and (name, wrong.partition(": ")[0]) not in found:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    kept = args.keep / f"{name}-{number}{reader.suffix}"
                    kept.write_bytes(data)
                    print(f"{kept}: {wrong}", flush=True)
                if wrong:
                    key = name, wrong.partition(": ")[0]
                    found[key] = found.get(key, 0) + 1
            number += 1
    print(", ".join(f"{name} {count}" for name, count in done.items()) + " files")
    for (name, wrong), count in found.items():
        print(f"{count} times {name}: {wrong}")
    print(f"{sum(found.values())} failures of {len(found)} kinds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
