"""Prices blocks of code: cycles by our model of a core in order, or by LLVM's scheduling model of another.

    prices = price(blocks, core("cortex-a72"))
    cycles = sum(price.cycles * block.executions for price, block in zip(prices, blocks))

Each block is taken as if it repeated back to back, with every load a hit and every branch foreseen.
LLVM's prices are kept in the user's cache folder by code, model and version of LLVM.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..building.work import Share, unheard
from ..errors import UserError
from ..targets.cores import CORES, FOUND, IN_ORDER_VERSION, NOT_FOUND, Core
from ..targets.inorder import MODELS, cycles_per_round, instruction
from ..targets.measured import bound
from .counting import Block
from .instructions import disassemble, words_of
from .mca import NOTHING, cycles_of
from .tools import cache_folder, llvm

LLVM = "llvm"
FORMAT = 3  # of the cache: raise it where prices are computed in another way


@dataclass(frozen=True)
class Price:
    """The price of one execution; `refused` are the mnemonics that the model lacks, once for each instruction."""

    cycles: float
    refused: tuple[str, ...] = ()


def with_model(core: Core, name: str) -> Core:
    """The core, priced by LLVM's model ("llvm") or by the in-order model of this name; else `UserError`."""
    if name == LLVM:
        return replace(core, in_order="")
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}: expected {', '.join((LLVM, *MODELS))}")
    if not core.in_order:
        raise UserError(f"{core.name} runs out of order: model {name} is of a core in order, leave out --model")
    return replace(core, in_order=name)


def price(blocks: Sequence[Block], core: Core, done: Share = unheard) -> list[Price]:
    """The price of each block, in their order.  `done` is told what share of them is priced."""
    return _in_order(blocks, core, done) if core.in_order else _by_llvm(blocks, core, done)


def price_measured(blocks: Sequence[Block]) -> list[Price]:
    """The price of each block of a core of `MEASURED`, by the measured figures of its instructions."""
    text = disassemble({word for block in blocks for word in words_of(block.code)})
    known: dict[bytes, Price] = {}
    for block in blocks:
        if block.code not in known:
            known[block.code] = Price(*bound([text[word] or NOTHING for word in words_of(block.code)]))
    return [known[block.code] for block in blocks]


def _in_order(blocks: Sequence[Block], core: Core, done: Share) -> list[Price]:
    """By our model; an instruction without a row in its table has the price of a plain one of its registers."""
    model = MODELS[core.in_order]
    text = disassemble({word for block in blocks for word in words_of(block.code)})
    known: dict[bytes, Price] = {}
    for number, block in enumerate(blocks):
        done(number / len(blocks))
        if block.code not in known:
            lines = [text[word] or NOTHING for word in words_of(block.code)]
            lacking = [line.split()[0] for line in lines if not instruction(line, model).known]
            known[block.code] = Price(cycles_per_round(lines, model), tuple(lacking))
    return [known[block.code] for block in blocks]


def _by_llvm(blocks: Sequence[Block], core: Core, done: Share) -> list[Price]:
    tools = llvm()
    with _Kept(f"prices-{FORMAT}-{core.model}-llvm-{tools.version}.sqlite") as kept:
        keys = [hashlib.sha256(block.code).hexdigest()[:24] for block in blocks]
        known = kept.find(keys)
        missing = {key: block.code for key, block in zip(keys, blocks) if key not in known}
        if missing:
            priced = cycles_of(missing, core.model, tools, done)
            kept.add(priced)
            known |= priced
    return [Price(known[key][0], tuple(known[key][1].split())) for key in keys]


def model_note(core: Core) -> str:
    """What is to be known of the model: whose it is, how wrong it was found, whether this LLVM has it."""
    found = FOUND.get(core.name, NOT_FOUND) if core.in_order == CORES[core.name].in_order else NOT_FOUND
    if core.in_order:
        model = MODELS[core.in_order]
        return f"in-order model of {model.name}, version {IN_ORDER_VERSION}, {model.error}; {found}"
    version = llvm()
    if version.major >= core.since:
        return f"{core.note} (LLVM {version.version}); {found}"
    return (f"{core.note}; LLVM {version.version} lacks that and takes an older core's: "
            f"apt-get install llvm-19 or another from {core.since} on; {found}")  # fmt: skip


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

    def find(self, keys: list[str]) -> dict[str, tuple[float, str]]:
        rows = (self._base.execute("SELECT * FROM prices WHERE key = ?", (key,)).fetchone() for key in set(keys))
        return {row[0]: row[1:] for row in rows if row}

    def add(self, prices: dict[str, tuple[float, str]]) -> None:
        with self._base:
            self._base.executemany(
                "INSERT OR REPLACE INTO prices VALUES (?, ?, ?)", ((k, *v) for k, v in prices.items())
            )
