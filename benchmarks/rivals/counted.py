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
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tvm_shufflenet.architectures import Network
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.counting import Block, count, straighten, subtract
from tvm_shufflenet.exchange import onnx_writer
from tvm_shufflenet.files import write_bytes
from tvm_shufflenet.targets.cores import Core, Level

from . import OURS, RIVALS, install
from .agreement import check
from .board import board
from .worker import INPUT, OUTPUT, Failed, Worker, export

FORMAT = 1  # of what is kept: raise it where counting changes
FEWER, MORE = 2, 3  # inferences of the two runs: the first ones still allocate and pack
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
        """Our own logits, from the library for this machine."""
        try:
            return self._here(OURS, self.folder / OURS)
        except Failed as error:  # no rival's failure
            raise UserError(f"{self.net.name}: ours failed on this machine: {error}") from None

    def of(self, rival: str) -> Path:
        """The folder with the rival's files, after the rival gave our logits on this machine.

        `Failed` where it cannot have or run the network, `UserError` where it computes something else.
        """
        folder = self.folder / rival
        if not folder.exists():
            try:
                found = self._here(rival, folder)
            except Failed as error:
                shutil.rmtree(folder, ignore_errors=True)  # for the next core to fail as well
                raise Failed(f"{RIVALS[rival].title} failed on this machine: {error}") from None
            self.check(rival, "on this machine", found)
        return folder

    def _here(self, engine: str, folder: Path) -> np.ndarray:
        export(engine, self.net, folder)
        worker = Worker(engine, folder)
        worker.close()
        return worker.logits

    def arguments(self, rival: str, folder: Path, times: int) -> list[str]:
        """For python: runs the rival and writes its logits to `output.raw`."""
        files = (folder, folder / INPUT, self.folder / OUTPUT)
        return ["-m", f"{__package__}.run", rival, *map(str, files), str(times)]

    def logits(self) -> np.ndarray:
        """What the last run wrote."""
        return np.fromfile(self.folder / OUTPUT, np.float32)

    def check(self, rival: str, where: str, found: np.ndarray) -> None:
        """`UserError` where a rival's logits are not ours."""
        check(found, self.expected, f"{RIVALS[rival].title} {where}, {self.net.name}")


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
        sources += [SOURCES / "onnx_model.py", Path(onnx_writer.__file__)]
    key = {
        "format": FORMAT,
        "sources": hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest(),
        "rival": [rival, install.PINNED[RIVALS[rival].package]],
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
