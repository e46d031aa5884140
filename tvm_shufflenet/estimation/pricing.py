"""Prices blocks of code: cycles by LLVM's scheduling model of a core.

    prices = price(blocks, core("cortex-a72"))
    cycles = sum(price.cycles * block.executions for price, block in zip(prices, blocks))

llvm-mca takes each block as if it repeated back to back, with every load a hit and every branch
foreseen.  Prices are kept in the user's cache folder by code, model and version of LLVM.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import UserError
from ..targets.cores import Core
from .counting import Block
from .instructions import FEATURES, disassemble, words_of
from .tools import Llvm, cache_folder, llvm

REPETITIONS = 100
PROCESSES = 2
BATCH = 3000  # instructions in one call of llvm-mca
FORMAT = 2  # of the cache: raise it where prices are computed in another way


@dataclass(frozen=True)
class Price:
    """Of one execution.  `refused`: instructions that the model does not know, priced as nop."""

    cycles: float
    refused: int


def price(blocks: Sequence[Block], core: Core) -> list[Price]:
    """The price of each block, in their order."""
    tools = llvm()
    with _Kept(f"prices-{FORMAT}-{core.model}-llvm-{tools.version}.sqlite") as kept:
        keys = [hashlib.sha256(block.code).hexdigest()[:24] for block in blocks]
        known = kept.find(keys)
        missing = {key: block.code for key, block in zip(keys, blocks) if key not in known}
        if missing:
            priced = _priced(missing, core, tools)
            kept.add(priced)
            known |= priced
    return [Price(known[key][0] / REPETITIONS, known[key][1]) for key in keys]


def model_note(core: Core) -> str:
    """What is to be known of the model: whose it is, and whether this LLVM has it."""
    version = llvm()
    if version.major >= core.since:
        return f"{core.note} (LLVM {version.version})"
    return (f"{core.note}; LLVM {version.version} lacks that and takes Cortex-A57's: "
            f"apt-get install llvm-19 or another from {core.since} on")  # fmt: skip


class _Kept:
    """Prices in a file of the cache folder, which processes share; a file that is damaged starts anew."""

    def __init__(self, name: str):
        self.path = cache_folder() / name

    def __enter__(self) -> _Kept:
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise UserError(f"cannot keep prices in {self.path}: {error}") from None
        except sqlite3.DatabaseError:
            self._base.close()
            self.path.unlink()
            self._open()
        return self

    def __exit__(self, *_) -> None:
        self._base.close()

    def _open(self) -> None:
        self._base = sqlite3.connect(self.path, timeout=60)
        self._base.execute("PRAGMA synchronous = OFF")  # what a power cut takes is computed again
        with self._base:
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS prices (key TEXT PRIMARY KEY, cycles, refused) WITHOUT ROWID"
            )

    def find(self, keys: list[str]) -> dict[str, tuple[int, int]]:
        rows = (self._base.execute("SELECT * FROM prices WHERE key = ?", (key,)).fetchone() for key in set(keys))
        return {row[0]: row[1:] for row in rows if row}

    def add(self, prices: dict[str, tuple[int, int]]) -> None:
        with self._base:
            self._base.executemany(
                "INSERT OR REPLACE INTO prices VALUES (?, ?, ?)", ((k, *v) for k, v in prices.items())
            )


def _priced(missing: dict[str, bytes], core: Core, tools: Llvm) -> dict[str, tuple[int, int]]:
    """Total cycles of all repetitions, and instructions refused, of each block."""
    text = disassemble({word for code in missing.values() for word in words_of(code)})
    regions = {key: [_modelled(text[word]) for word in words_of(code)] for key, code in missing.items()}
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(lambda batch: _run(batch, core, tools), _batches(regions))
        return {key: value for part in parts for key, value in part.items()}


def _modelled(text: str | None) -> str | None:
    """What llvm-mca is given: it would take a call for 100 cycles, so calls are jumps."""
    if text is None:
        return None
    return re.sub(r"^bl(r?)\b", r"b\1", text)


def _batches(regions: dict[str, list]) -> Iterator[dict[str, list]]:
    batch, size = {}, 0
    for key, lines in regions.items():
        batch[key] = lines
        size += len(lines)
        if size >= BATCH:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _run(batch: dict[str, list], core: Core, tools: Llvm) -> dict[str, tuple[int, int]]:
    """Calls llvm-mca until nothing is left that it refuses."""
    refused = dict.fromkeys(batch, 0)
    lines: list[str] = []
    owner: list[str | None] = []
    for key, texts in batch.items():
        for text in (f"# LLVM-MCA-BEGIN {key}", *texts, "# LLVM-MCA-END"):
            comment = text is not None and text.startswith("#")
            refused[key] += text is None
            lines.append("nop" if text is None else text)
            owner.append(None if comment else key)

    argv = [tools.mca, "-mtriple=aarch64", f"-mcpu={core.model}", f"-mattr={FEATURES}",
            f"-iterations={REPETITIONS}", "-instruction-info=0", "-resource-pressure=0"]  # fmt: skip
    while True:
        done = subprocess.run(argv, input="\n".join(lines) + "\n", capture_output=True, text=True)
        wrong = {int(number) - 1 for number in re.findall(r"^<stdin>:(\d+):\d+: error", done.stderr, re.M)}
        if unsupported := re.search(r"unsupported instruction.*\nnote: instruction:(.*)", done.stderr):
            wrong |= {i for i, line in enumerate(lines) if line.split() == unsupported[1].split()}
        if not wrong:
            break
        for index in wrong:
            region = owner[index]
            if region is None or lines[index] == "nop":
                raise UserError(f"llvm-mca refuses a nop: {done.stderr.strip().splitlines()[0]}")
            lines[index] = "nop"
            refused[region] += 1
    totals = re.findall(r"^\[\d+\] Code Region - (\w+)\n(?:.*\n)*?Total Cycles: +(\d+)", done.stdout, re.M)
    if len(totals) != len(batch):
        raise UserError(f"llvm-mca failed: {(done.stderr.strip().splitlines() or ['it says nothing'])[0]}")
    return {key: (int(cycles), refused[key]) for key, cycles in totals}
