"""Assembly that LLVM emitted for AArch64: the blocks of its functions, and which registers are read behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..targets.inorder import FLAGS, Instruction, Model, instruction

EVERYTHING = frozenset([f"x{i}" for i in range(31)] + [f"v{i}" for i in range(32)] + ["sp", FLAGS])
RETURNED = EVERYTHING - {f"x{i}" for i in range(2, 19)} - {f"v{i}" for i in range(16, 32)} - {FLAGS}
LABEL = re.compile(r"(\.LBB\w+|[A-Za-z_][\w.$]*):")


@dataclass
class Block:
    """Instructions between a label and a branch or the next label, by the numbers of their lines."""

    label: str
    lines: list[int]
    live: frozenset[str] = frozenset()  # registers that are read behind it before they are written


def instruction_of(line: str) -> str:
    """The instruction of a line as LLVM's disassembler writes it; "" for labels, directives and comments."""
    text = " ".join(line.split("//")[0].split())
    return "" if not line[:1].isspace() or text.startswith(".") else text


def functions_of(lines: list[str], texts: list[str]) -> Iterator[list[Block]]:
    """The blocks of each function, in their order."""
    blocks: list[Block] = []
    for number, line in enumerate(lines):
        if line.startswith(".Lfunc_end"):
            yield blocks
            blocks = []
        elif label := LABEL.match(line):
            if not label[1].startswith(".LBB"):
                blocks = []
            blocks.append(Block(label[1], []))
        elif texts[number] and blocks:
            if blocks[-1].lines and jumps(texts[blocks[-1].lines[-1]]):
                blocks.append(Block("", []))
            blocks[-1].lines.append(number)


def jumps(text: str) -> bool:
    return bool(re.match(r"(b|b\.\w+|br|ret|cbn?z|tbn?z)\b", text))


def uses(one: Instruction) -> set[str]:
    return {*one.reads, *filter(None, (one.part, one.addend))}


def written_by(one: Instruction) -> set[str]:
    return {result.register for result in one.results}


def touched(one: Instruction) -> set[str]:
    return uses(one) | written_by(one)


def find_live(blocks: list[Block], texts: list[str], model: Model) -> None:
    """Finds which registers are read behind each block; all of them where the pass does not know better."""
    places = {block.label: index for index, block in enumerate(blocks) if block.label}
    before: list[frozenset[str]] = [frozenset()] * len(blocks)
    changes = True
    while changes:
        changes = False
        for index in reversed(range(len(blocks))):
            block = blocks[index]
            following = before[index + 1] if index + 1 < len(blocks) else EVERYTHING
            last = texts[block.lines[-1]] if block.lines else ""
            if last.startswith("ret"):
                following = RETURNED
            elif jumps(last):
                target = places.get(last.split()[-1])
                there = EVERYTHING if target is None else before[target]
                following = there if re.match(r"br?\b(?!\.)", last) else following | there
            block.live = following
            for line in reversed(block.lines):
                one = instruction(texts[line], model)
                if not one.known or one.text.startswith(("bl ", "blr ", "svc")):
                    following = EVERYTHING
                else:
                    written = written_by(one) - {one.part}
                    following = (following - written) | uses(one)
            changes = changes or following != before[index]
            before[index] = frozenset(following)
