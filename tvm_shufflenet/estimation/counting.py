"""Counts what an AArch64 program executes, block by block, in the emulator.

    more = count([program, "2"], caches=core("cortex-a72").caches)
    once = straighten(subtract(more, count([program, "1"])))  # start-up and end are gone

Any program of `qemu-aarch64` will do.  Its figures are the same on every run if it behaves the same,
those of caches only if its addresses are the same as well.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..targets.cores import Level
from .tools import plugin, qemu

WORD = 4  # bytes of an instruction
Misses = tuple[int, int, int]  # lines missed: streamed, lone, stored


@dataclass(frozen=True)
class Block:
    """Code that is executed from its first instruction to its last.

    `module` is the file that is mapped there and `offset` where in that file the code is; of the
    program itself, "" and the address.  `misses` are missed lines for each cache: of loads that go on with a stream, of
    other loads, of stores.
    """

    address: int
    code: bytes
    executions: int
    module: str = ""
    offset: int = 0
    misses: tuple[Misses, ...] = ()

    @property
    def instructions(self) -> int:
        return len(self.code) // WORD * self.executions


def count(
    argv: Sequence[str | os.PathLike],
    *,
    caches: Sequence[Level] = (),
    cpu: str = "max",
    emulator_options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> list[Block]:
    """Runs a program and returns its blocks as the emulator translated them, the first executed first.

    With `caches` their misses are simulated as well.  `cpu` is the emulator's name of the processor that
    the program sees; `environment` replaces this process's.  Raises `UserError` where the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        output = Path(folder, "blocks")
        setting = f"{plugin()},out={str(output).replace(',', ',,')}"
        if caches:
            setting += ",cache=" + ":".join(f"{level.kilobytes << 10}:{level.ways}:{level.latency}" for level in caches)
        command = [qemu(), "-cpu", cpu, "-plugin", setting, *emulator_options, *map(str, argv)]
        name = Path(argv[0]).name
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                env=environment, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UserError(f"{name} was not done within {timeout:g} s in the emulator") from None
        if done.returncode or not output.exists():
            lines = (done.stderr + done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            raise UserError(f"{name} failed in the emulator: {lines[-1]}")
        return _read(output)


def subtract(more: Sequence[Block], fewer: Sequence[Block]) -> list[Block]:
    """What the first run executed beyond the second, in the first run's order."""
    before = {(block.address, block.code): block for block in fewer}
    result = []
    for block in more:
        other = before.pop((block.address, block.code), None)
        if other:
            misses = tuple(_minus(a, b) for a, b in zip(block.misses, other.misses))
            block = _with(block, executions=block.executions - other.executions, misses=misses)
        result.append(block)
    result += [_with(block, executions=-block.executions, misses=tuple(_minus((0, 0, 0), a) for a in block.misses))
               for block in before.values()]  # fmt: skip
    return [block for block in result if block.executions or any(map(any, block.misses))]


def _minus(one: Misses, other: Misses) -> Misses:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def straighten(blocks: Sequence[Block]) -> list[Block]:
    """The same executions as basic blocks: runs of code, ended by branches, whose count is one.

    The emulator also ends a block at the end of a page, and has one block twice that is entered at two
    places: a loop's body behind what precedes it, and on its own.
    """
    words: dict[tuple[int, bytes], int] = {}
    origin: dict[tuple[int, bytes], tuple[int, Block]] = {}
    misses: dict[tuple[int, bytes], list[Block]] = {}
    for order, block in enumerate(blocks):
        for start in range(0, len(block.code), WORD):
            key = (block.address + start, block.code[start : start + WORD])
            words[key] = words.get(key, 0) + block.executions
            origin.setdefault(key, (order, block))
        if block.misses:
            misses.setdefault((block.address, block.code[:WORD]), []).append(block)

    runs: list[list[tuple[int, bytes]]] = []
    for key in sorted(words):
        last = runs[-1][-1] if runs else None
        joins = last and key[0] == last[0] + WORD and words[key] == words[last] and not is_branch(last[1])
        if joins:
            runs[-1].append(key)
        else:
            runs.append([key])
    runs.sort(key=lambda run: min(origin[key][0] for key in run))
    return [_joined(run, words[run[0]], origin[run[0]][1], [b for key in run for b in misses.get(key, ())])
            for run in runs]  # fmt: skip


def is_branch(word: bytes) -> bool:
    """Whether an instruction may continue elsewhere: branches, calls and returns."""
    value = int.from_bytes(word, "little")
    return (
        value & 0x7C00_0000 == 0x1400_0000  # b, bl
        or value & 0xFF00_0000 == 0x5400_0000  # b.eq and so on
        or value & 0x7C00_0000 == 0x3400_0000  # cbz, cbnz, tbz, tbnz
        or value & 0xFE00_0000 == 0xD600_0000  # br, blr, ret
    )


def _joined(run: list[tuple[int, bytes]], executions: int, origin: Block, missed: list[Block]) -> Block:
    address = run[0][0]
    levels = max((len(block.misses) for block in missed), default=0)
    sums = [[sum(block.misses[level][kind] for block in missed) for kind in range(3)] for level in range(levels)]
    misses = tuple((streamed, lone, stored) for streamed, lone, stored in sums)
    code = b"".join(word for _, word in run)
    return Block(address, code, executions, origin.module, origin.offset + address - origin.address, misses)


def _with(block: Block, executions: int, misses: tuple[Misses, ...]) -> Block:
    return Block(block.address, block.code, executions, block.module, block.offset, misses)


def _read(path: Path) -> list[Block]:
    """What the plugin wrote."""
    blocks: list[Block] = []
    maps: list[tuple[int, int, int, str]] = []
    with path.open(errors="surrogateescape") as file:
        for line in file:
            kind, *fields = line.rstrip("\n").split(" ")
            if kind == "map":
                start, size, offset = (int(field, 16) for field in fields[:3])
                maps.insert(0, (start, start + size, offset, " ".join(fields[3:])))  # later ones cover earlier ones
            elif kind == "block":
                address, code = int(fields[0], 16), bytes.fromhex(fields[2])
                triples = [triple.split(":") for triple in fields[3:]]
                misses = tuple((int(streamed), int(lone), int(stored)) for streamed, lone, stored in triples)
                module, offset = "", address
                for start, end, begin, name in maps:
                    if start <= address < end:
                        module, offset = name, address - start + begin
                        break
                blocks.append(Block(address, code, int(fields[1]), module, offset, misses))
    return blocks
