"""Object files whose only global symbols are an interface: others become local, these may get other names.

A program that links two networks would otherwise find each hidden function twice.  Linkers cannot do this for
relocatable output, and Zig brings no tool that can.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from .elf import FIELDS

_SYMBOLS, _RELOCATIONS, _GROUP = 2, (4, 9), 17  # types of sections
_LARGE = 18  # SHT_SYMTAB_SHNDX, of a file of more than 65,279 sections
_HINT, _NONE = 0x6FFF4C03, 0  # SHT_LLVM_ADDRSIG, numbers of symbols for a step of LLVM's linker that nobody asks for
_COMMON = 0xFFF2  # SHN_COMMON, in the place of a section: the linker finds one, and cannot for a local symbol
_VISIBILITY = 3  # bits of a symbol's "other"


def only_interface(file: bytearray, names: Mapping[str, str]) -> None:
    """Changes an ELF object file: the symbols of `names` stay global, under the names that they map to.

    All others that the file defines become local; what it does not define stays as it is.  `ValueError`, and a file
    that is of no use, where it lacks one of `names`, or has what is not known here.
    """
    bits = 64 if file[4] == 2 else 32
    header = _row(file, bits, "header", 0)
    places = [header.sections + index * header.section_size for index in range(header.section_count)]
    sections = [_row(file, bits, "section", place) for place in places]
    if any(section.type == _LARGE for section in sections):
        raise ValueError("there are too many sections")
    (number,) = [index for index, section in enumerate(sections) if section.type == _SYMBOLS]
    table, texts = sections[number], sections[sections[number].link]
    symbols = [
        _row(file, bits, "symbol", table.offset + at * table.entry_size)
        for at in range(table.size // table.entry_size)
    ]  # fmt: skip
    strings = bytes(file[texts.offset : texts.offset + texts.size])
    new, found = bytearray(strings), set()
    for symbol in symbols[1:]:
        name = strings[symbol.name : strings.index(b"\0", symbol.name)].decode()
        if not symbol.info >> 4 or not symbol.section:
            continue  # local already, or not defined here
        if name in names:
            found.add(name)
            if names[name] != name:
                symbol.name = len(new)
                new += names[name].encode() + b"\0"
        elif symbol.section == _COMMON:
            raise ValueError(f"{name} has no section")
        else:
            symbol.info &= 15
            symbol.other &= ~_VISIBILITY
    if missing := names.keys() - found:
        raise ValueError(f"{min(missing)} is missing")

    # Local symbols come first, as ELF asks for, and relocations call symbols by their numbers.
    order = sorted(range(len(symbols)), key=lambda index: symbols[index].info >> 4 != 0)
    where = np.empty(len(order), np.uint64)
    where[order] = np.arange(len(order))
    for at, index in enumerate(order):
        _put(file, bits, "symbol", table.offset + at * table.entry_size, symbols[index])
    for section in sections:
        if section.type in _RELOCATIONS and section.link == number:
            _renumber(file, bits, section, where)
        elif section.type == _GROUP and section.link == number:
            section.info = int(where[section.info])
        elif section.type == _HINT:
            section.type = _NONE
    table.info = sum(symbol.info >> 4 == 0 for symbol in symbols)
    texts.offset, texts.size = len(file), len(new)
    file += new
    for place, section in zip(places, sections):
        _put(file, bits, "section", place, section)


def _row(file: bytearray, bits: int, table: str, offset: int) -> SimpleNamespace:
    kinds, names = FIELDS[bits][table]
    return SimpleNamespace(**dict(zip(names.split(), struct.unpack_from("<" + kinds, file, offset))))


def _put(file: bytearray, bits: int, table: str, offset: int, row: SimpleNamespace) -> None:
    kinds, names = FIELDS[bits][table]
    struct.pack_into("<" + kinds, file, offset, *(getattr(row, name) for name in names.split()))


def _renumber(file: bytearray, bits: int, section: SimpleNamespace, where: np.ndarray) -> None:
    """Of each relocation the second word has the symbol's number in its upper bits."""
    word, shift = (np.dtype("<u8"), 32) if bits == 64 else (np.dtype("<u4"), 8)
    count = section.size // word.itemsize
    entries = np.frombuffer(file, word, count, section.offset).reshape(-1, section.entry_size // word.itemsize)
    info = entries[:, 1].astype(np.uint64)
    low = np.uint64((1 << shift) - 1)
    entries[:, 1] = where[info >> np.uint64(shift)] << np.uint64(shift) | info & low
