"""Prices blocks of code by LLVM's scheduling model of a core: llvm-mca, each block as if it repeated back to back."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ..building.work import Share, unheard
from ..errors import UserError
from .instructions import FEATURES, disassemble, words_of
from .tools import Llvm

REPETITIONS = 100
PROCESSES = 2
BATCH = 3000  # instructions in one call of llvm-mca
NOTHING = ".inst"  # the name of a word that LLVM's disassembler does not know


def cycles_of(
    missing: dict[str, bytes], model: str, tools: Llvm, done: Share = unheard
) -> dict[str, tuple[float, str]]:
    """Cycles of a round of each block, and the mnemonics that LLVM's model lacks, which count as nop.

    `done` is told what share of the blocks is priced.
    """
    text = disassemble({word for code in missing.values() for word in words_of(code)})
    regions = {key: [_modelled(text[word]) for word in words_of(code)] for key, code in missing.items()}
    with ThreadPoolExecutor(PROCESSES) as pool:
        batches = list(_batches(regions))
        found: dict[str, tuple[float, str]] = {}
        for number, priced in enumerate(pool.map(lambda batch: _run(batch, model, tools), batches), 1):
            found |= priced
            done(number / len(batches))
        return found


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


def _run(batch: dict[str, list], model: str, tools: Llvm) -> dict[str, tuple[float, str]]:
    """Calls llvm-mca until nothing is left that it refuses."""
    refused: dict[str, list[str]] = {key: [] for key in batch}
    lines: list[str] = []
    owner: list[str | None] = []
    for key, texts in batch.items():
        for text in (f"# LLVM-MCA-BEGIN {key}", *texts, "# LLVM-MCA-END"):
            comment = text is not None and text.startswith("#")
            refused[key] += [NOTHING] * (text is None)
            lines.append("nop" if text is None else text)
            owner.append(None if comment else key)

    argv = [tools.mca, "-mtriple=aarch64", f"-mcpu={model}", f"-mattr={FEATURES}",
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
            refused[region].append(lines[index].split()[0])
            lines[index] = "nop"
    totals = re.findall(r"^\[\d+\] Code Region - (\w+)\n(?:.*\n)*?Total Cycles: +(\d+)", done.stdout, re.M)
    if len(totals) != len(batch):
        raise UserError(f"llvm-mca failed: {(done.stderr.strip().splitlines() or ['it says nothing'])[0]}")
    return {key: (int(cycles) / REPETITIONS, " ".join(refused[key])) for key, cycles in totals}
