"""A64 instructions as text, and what they do: loads, stores, multiply-adds."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UserError
from .tools import llvm

BYTES = {"sdot": 16, "smmla": 32}  # multiply-adds of an instruction
# Whatever the emulator may have executed is to be read, also what the core itself lacks.
FEATURES = "+v8.6a,+sve2,+crypto,+fullfp16"


@dataclass(frozen=True)
class Kind:
    """What one execution of an instruction counts as."""

    load: bool
    store: bool
    vector_fma: bool  # a multiply-add, or multiplication, of vectors of fp32, fp16 or bytes
    lanes: int  # multiply-adds of these, also those of scalars


_known: dict[bytes, str | None] = {}


def words_of(code: bytes) -> list[bytes]:
    return [code[start : start + 4] for start in range(0, len(code), 4)]


def disassemble(words: Iterable[bytes]) -> dict[bytes, str | None]:
    """The text of each instruction, for LLVM's assembler; None for what LLVM does not know."""
    wanted = set(words)
    if missing := sorted(wanted - _known.keys()):
        text = "\n".join(",".join(f"0x{byte:02x}" for byte in word) for word in missing)
        argv = [llvm().mc, "--disassemble", "-triple=aarch64", f"-mattr={FEATURES}"]
        done = subprocess.run(argv, input=text + "\n", capture_output=True, text=True)
        invalid = {int(line) - 1 for line in re.findall(r"^<stdin>:(\d+):\d+: warning: invalid", done.stderr, re.M)}
        found = [" ".join(line.split("//")[0].split()) for line in done.stdout.splitlines()]
        found = [line for line in found if line and not line.startswith(".")]
        if len(found) + len(invalid) != len(missing):
            raise UserError(f"llvm-mc failed: {(done.stderr.strip().splitlines() or ['unexpected output'])[0]}")
        texts = iter(found)
        _known.update((word, None if i in invalid else next(texts)) for i, word in enumerate(missing))
    return {word: _known[word] for word in wanted}


@functools.cache
def kind(text: str | None) -> Kind:
    """What the instruction of this text does; an unknown one does nothing."""
    name, _, operands = (text or "").partition(" ")
    lanes = vector = 0
    if name in ("fmla", "fmls", "fmul"):
        shape = re.search(r"\.(4s|2s|8h|4h)\b", operands)
        if shape and re.match(r"v\d+\.", operands):
            vector, lanes = 1, int(shape[1][0])
    if name in BYTES or (name == "smull" and ".8h" in operands):
        vector, lanes = 1, BYTES.get(name, 8)
    if name in ("fmadd", "fmsub", "fnmadd", "fnmsub", "fmul", "fmla", "fmls") and re.match(r"[sh]\d+,", operands):
        lanes = 1
    atomic = re.match(r"(ldadd|ldclr|ldeor|ldset|ldsmax|ldsmin|ldumax|ldumin|swp|cas)", name)
    load = bool(re.match(r"ld", name) or atomic)
    store = bool(re.match(r"st(?!g|zg|2g)", name) or atomic)
    return Kind(load, store, bool(vector), lanes)
