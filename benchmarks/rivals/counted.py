"""One inference of a rival on an AArch64 core, counted block by block: start-up and exit are left out.

    with Exported(network("shufflenet-v1-1x-g3")) as exported:
        blocks = inference("ncnn", exported, core("cortex-a72"))

What is counted once is kept in `.rivals/counts`, so that a run which was interrupted goes on where
it was.  A count depends on the engine, the network and the processor shown to it, and on nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.counting import Block, count, straighten, subtract
from tvm_shufflenet.files import write_bytes
from tvm_shufflenet.library.build_library import BuildOptions, build_library
from tvm_shufflenet.runtime.library import load
from tvm_shufflenet.targets.cores import Core, Level

from . import RIVALS, install
from .board import board

FORMAT = 1  # of what is kept: raise it where counting changes
FEWER, MORE = 2, 3  # inferences of the two runs: the first ones still allocate and pack
TOLERANCE = 1e-4  # Winograd's transformation in fp32 costs some digits
TIMEOUT = 600  # seconds, of one run
SOURCES = Path(__file__).parent


class Exported:
    """A network as files for the rivals, with an input and our own output; made when first asked for."""

    def __init__(self, net: Network):
        self.net = net

    def __enter__(self) -> Exported:
        self._scratch = tempfile.TemporaryDirectory(prefix="tvm_shufflenet-")
        self.folder = Path(self._scratch.name)
        return self

    def __exit__(self, *_) -> None:
        self._scratch.cleanup()

    @functools.cached_property
    def expected(self) -> np.ndarray:
        """Our own logits, from the library for this machine; writes the input beside."""
        image = np.random.default_rng(0).standard_normal(self.net.layers[0].shape).astype(np.float32)
        image.tofile(self.folder / "input.raw")
        options = BuildOptions(self.net.name, "native", self.net.size, self.net.classes, output=self.folder)
        return load(build_library(options).path)(image)

    def of(self, rival: str) -> Path:
        """The folder with the rival's files, after the rival gave our logits on this machine."""
        folder = self.folder / rival
        if not folder.exists():
            install.use()
            folder.mkdir()
            importlib.import_module(f"{__package__}.{rival}").export(self.net, random_parameters(self.net), folder)
            (folder / "shape.json").write_text(json.dumps(self.net.layers[0].shape))
            self.check(rival, "on this machine", self.run_here(rival, folder))
        return folder

    def run_here(self, rival: str, folder: Path) -> np.ndarray:
        """The logits of the rival on this machine; in a process of its own, as its crash ends that one."""
        assert self.expected is not None  # the input is written with it
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(install.path("host"))]),
        }
        argv = [sys.executable, *self.arguments(rival, folder, 1)]
        done = subprocess.run(
            argv, capture_output=True, text=True, env=environment, cwd=install.PROJECT, timeout=TIMEOUT
        )
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            raise UserError(f"{RIVALS[rival][0]} failed on this machine: {lines[-1]}")
        return self.logits()

    def arguments(self, rival: str, folder: Path, times: int) -> list[str]:
        """For python: runs the rival and writes its logits to `output.raw`."""
        files = (folder, self.folder / "input.raw", self.folder / "output.raw")
        return ["-m", f"{__package__}.run", rival, *map(str, files), str(times)]

    def logits(self) -> np.ndarray:
        """What the last run wrote."""
        return np.fromfile(self.folder / "output.raw", np.float32)

    def check(self, rival: str, where: str, found: np.ndarray) -> None:
        """`UserError` where a rival's logits are not ours."""
        expected, name = self.expected.ravel(), f"{RIVALS[rival][0]} {where}, {self.net.name}"
        if found.shape != expected.shape:
            raise UserError(f"{name}: {found.size} logits instead of {expected.size}")
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not difference < TOLERANCE:
            raise UserError(f"{name}: its logits differ from ours by {difference:.1e} of the largest")


def inference(rival: str, exported: Exported, shown: Core, caches: Sequence[Level] = ()) -> list[Block]:
    """The blocks of one inference on a board with the core `shown`; with `caches`, their misses, too."""
    path = _path(rival, exported.net, shown, caches)
    with contextlib.suppress(OSError, ValueError, EOFError):
        return _read(path)
    folder, place = exported.of(rival), board(shown)
    runs = []
    for times in (FEWER, MORE):
        argv = [place.python, *exported.arguments(rival, folder, times)]
        runs.append(count(argv, caches=caches, cpu=place.cpu, emulator_options=place.options,
                          environment=place.environment, timeout=TIMEOUT))  # fmt: skip
        exported.check(rival, f"on an emulated {shown.name}", exported.logits())
    blocks = straighten(subtract(runs[1], runs[0]))
    _write(path, blocks)
    return blocks


def counted(rival: str, net: Network, shown: Core, caches: Sequence[Level] = ()) -> bool:
    """Whether `inference` need not run anything."""
    return _path(rival, net, shown, caches).exists()


def _path(rival: str, net: Network, shown: Core, caches: Sequence[Level]) -> Path:
    sources = [SOURCES / f"{name}.py" for name in ("folded", "run", "board", rival)]
    if b"import onnx_model" in sources[-1].read_bytes():
        sources.append(SOURCES / "onnx_model.py")
    key = {
        "format": FORMAT,
        "sources": hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest(),
        "rival": [rival, install.PINNED[RIVALS[rival][1]]],
        "network": repr(net),
        "shown": [shown.name, shown.clocks[0][0], [level.kilobytes for level in shown.caches]],
        "caches": [(level.kilobytes, level.ways) for level in caches],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return install.ROOT / "counts" / f"{rival}-{net.name}-{shown.name}-{digest}.json.gz"


def _write(path: Path, blocks: list[Block]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[b.address, b.code.hex(), b.executions, b.module, b.offset, b.misses] for b in blocks]
    write_bytes(path, gzip.compress(json.dumps(rows).encode(), mtime=0))


def _read(path: Path) -> list[Block]:
    rows = json.loads(gzip.decompress(path.read_bytes()))
    return [Block(a, bytes.fromhex(code), times, module, offset, tuple(map(tuple, misses)))
            for a, code, times, module, offset, misses in rows]  # fmt: skip
