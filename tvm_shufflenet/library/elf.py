"""Looks into a shared library of any architecture: for whom it is, what it exports, what it needs.

    library = read_elf("model.so")
    library.arch, library.needed, library.exported

The file is not loaded, and of its contents only headers and tables are read, however large it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

from ..errors import UserError

ARCHITECTURES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
TABLES = 16  # of symbols and dynamic entries, at most
ROWS = 1 << 20  # of a table, at most
_SHARED = 3  # type of a file
_LOAD = 1  # type of a segment
_SYMBOLS, _DYNAMIC, _DYNAMIC_SYMBOLS = 2, 6, 11  # types of sections
_NEEDED = 1  # tag of a dynamic entry
_LOCAL, _WEAK = 0, 2  # bindings of symbols
_FUNCTION = 2  # type of a symbol

# The tables of an ELF file: format and field names, in files of 32 and of 64 bits.
_SECTION = "name type flags address offset size link info alignment entry_size"
_HEADER = (
    "ident type machine version entry segments sections flags size "
    "segment_size segment_count section_size section_count names"
)
FIELDS = {
    32: {
        "header": ("16sHHIIIIIHHHHHH", _HEADER),
        "segment": ("8I", "type offset address physical size memory flags alignment"),
        "section": ("10I", _SECTION),
        "dynamic": ("iI", "tag value"),
        "symbol": ("IIIBBH", "name address size info other section"),
    },
    64: {
        "header": ("16sHHIQQQIHHHHHH", _HEADER),
        "segment": ("IIQQQQQQ", "type flags offset address physical size memory alignment"),
        "section": ("IIQQQQIIQQ", _SECTION),
        "dynamic": ("qQ", "tag value"),
        "symbol": ("IBBHQQ", "name info other section address size"),
    },
}


@dataclass(frozen=True)
class Symbol:
    """A symbol, by its address and size in the memory of a program."""

    name: str
    address: int
    size: int
    defined: bool
    weak: bool


@dataclass(frozen=True)
class Segment:
    """A part of the file that is mapped into memory with one protection: some of "r", "w", "x"."""

    offset: int
    address: int
    size: int
    alignment: int
    protection: str


@dataclass(frozen=True)
class Elf:
    """What `read_elf` found.  `arch` is as in `TargetSpec.arch` if it is one of those.

    `symbols` are the dynamic ones.  `functions` are all, also local ones, unless the file was stripped.
    """

    path: Path
    bits: int
    machine: int
    shared: bool
    needed: tuple[str, ...]
    symbols: tuple[Symbol, ...]
    segments: tuple[Segment, ...]
    functions: tuple[Symbol, ...]

    @property
    def arch(self) -> str:
        return ARCHITECTURES.get(self.machine, f"ELF machine {self.machine}")

    @property
    def exported(self) -> dict[str, Symbol]:
        return {symbol.name: symbol for symbol in self.symbols if symbol.defined}

    @property
    def undefined(self) -> dict[str, Symbol]:
        return {symbol.name: symbol for symbol in self.symbols if not symbol.defined}

    def contents(self, symbol: Symbol) -> bytes:
        """The bytes of a symbol, as they are in the file."""
        for segment in self.segments:
            start = symbol.address - segment.address
            if 0 <= start and start + symbol.size <= segment.size:
                with self.path.open("rb") as file:
                    return _read(file, segment.offset + start, symbol.size)
        raise UserError(f"{self.path} is damaged: it does not hold its symbol {symbol.name}")


def read_elf(path: str | Path) -> Elf:
    """The file at `path`; `UserError` where there is none, and where it is no ELF file or damaged."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            if (start := file.read(4)) != b"\x7fELF":
                raise UserError(
                    f"{path} is a static archive: link it into a program; its manifest is the .json beside it"
                    if start == b"!<ar"
                    else f"{path} is not an ELF library: expected a .so file; of weights or an .onnx file "
                    f"`python -m tvm_shufflenet.build --weights FILE` makes one"
                )
            try:
                return _parse(path, file)
            except (struct.error, LookupError, ArithmeticError, ValueError):
                raise UserError(f"{path} is damaged: its ELF tables contradict each other or end early") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _parse(path: Path, file: BinaryIO) -> Elf:
    file_class, encoding = _read(file, 4, 2)
    bits, order = {1: 32, 2: 64}[file_class], {1: "<", 2: ">"}[encoding]

    def rows(table: str, offset: int, size: int | None = None, count: int = 1) -> Iterator[SimpleNamespace]:
        kinds, names = FIELDS[bits][table]
        layout = struct.Struct(order + kinds)
        size = size or layout.size
        if size < layout.size or count > ROWS:
            raise ValueError("a table that is no table")
        data = _read(file, offset, size * count)
        for start in range(0, size * count, size):
            yield SimpleNamespace(**dict(zip(names.split(), layout.unpack_from(data, start))))

    (header,) = rows("header", 0)
    segments = []
    for row in rows("segment", header.segments, header.segment_size, header.segment_count):
        if row.type == _LOAD:
            protection = "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if row.flags & bit)
            segments.append(Segment(row.offset, row.address, row.size, row.alignment, protection))
            _read(file, row.offset + row.size, 0)

    needed: list[str] = []
    symbols: list[Symbol] = []
    functions: list[Symbol] = []
    looked = 0
    sections = list(rows("section", header.sections, header.section_size, header.section_count))
    for section in sections:
        if section.type not in (_SYMBOLS, _DYNAMIC, _DYNAMIC_SYMBOLS):
            continue
        if (looked := looked + 1) > TABLES:
            raise ValueError("more tables than any library has")
        texts = _read(file, sections[section.link].offset, sections[section.link].size)
        table = "dynamic" if section.type == _DYNAMIC else "symbol"
        for row in rows(table, section.offset, section.entry_size, section.size // section.entry_size):
            if table == "symbol":
                binding, kind = row.info >> 4, row.info & 15
                dynamic = section.type == _DYNAMIC_SYMBOLS
                if binding != _LOCAL if dynamic else kind == _FUNCTION and row.section:
                    symbol = Symbol(_text(texts, row.name), row.address, row.size, row.section != 0, binding == _WEAK)
                    (symbols if dynamic else functions).append(symbol)
            elif row.tag == _NEEDED:
                needed.append(_text(texts, row.value))
    return Elf(
        path, bits, header.machine, header.type == _SHARED,
        tuple(needed), tuple(symbols), tuple(segments), tuple(functions),
    )  # fmt: skip


def _text(texts: bytes, start: int) -> str:
    return texts[start : texts.index(b"\0", start)].decode()


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    """`size` bytes of the file from `offset` on; an error where the file ends before."""
    end = file.seek(0, 2)
    if offset + size > end:
        raise ValueError("the file ends early")
    file.seek(offset)
    return file.read(size)
