"""Mach-O files of 64-bit Arm, as Apple's systems have them: what one is, exports and needs; and object files joined.

    library = read_macho("dogs.dylib")
    library.system, library.least, library.needed, library.exported, library.undefined

Sources of the layout: mach-o/loader.h and mach-o/nlist.h of Apple's open-source releases (cctools).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

_MAGIC, _ARM64 = 0xFEEDFACF, 0x0100000C
_HEADER, _SYMBOL = struct.Struct("<8I"), struct.Struct("<IBBHQ")
_OBJECT, _DYLIB = 1, 6  # types of a file
_SYMTAB, _LOAD_DYLIB, _ID_DYLIB, _SIGNATURE, _BUILD = 0x2, 0xC, 0xD, 0x1D, 0x32  # load commands
_DEBUG, _PRIVATE, _TYPE, _EXTERNAL = 0xE0, 0x10, 0x0E, 0x01  # bits of a symbol's type
_SYSTEMS = {1: "macos", 2: "ios"}


@dataclass(frozen=True)
class MachO:
    """What `read_macho` found.  Names are those of C, without the _ in front.

    `least` is the least version of the `system`, as (11, 0); `name` is the install name of a shared library, `needed`
    are those of the libraries that it needs.  `private` symbols are seen by no other program or library.
    """

    shared: bool
    system: str
    least: tuple[int, int]
    name: str
    needed: tuple[str, ...]
    signed: bool
    exported: tuple[str, ...]
    private: tuple[str, ...]
    undefined: tuple[str, ...]


def read_macho(path: str | Path) -> MachO:
    """Reads an object file or a shared library; `UserError` for what is none, of 64-bit Arm."""
    path = Path(path)
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no Mach-O file of 64-bit Arm: {error}") from None


def defined(file: bytes) -> list[str]:
    """The global symbols that an object file defines, private ones included."""
    return [name for _, name, kind in _symbols(file) if kind & _EXTERNAL and kind & _TYPE]


def rename(file: bytes, names: Mapping[str, str], public: frozenset[str]) -> bytes:
    """An object file whose global symbols have the names that `names` maps theirs to, wherever they are defined.

    Of those that the file defines, only the ones that then are in `public` are seen outside of what is linked.
    """
    changed = bytearray(file)
    command = _one(file, _SYMTAB)
    (texts,) = struct.unpack_from("<I", file, command + 16)
    length = struct.unpack_from("<I", file, command + 20)[0]
    new = bytearray(file[texts : texts + length])
    for place, name, kind in _symbols(file):
        if not kind & _EXTERNAL:
            continue
        if (other := names.get(name, name)) != name:
            struct.pack_into("<I", changed, place, len(new))
            new += b"_" + other.encode() + b"\0"
        if kind & _TYPE and other not in public:
            changed[place + 4] |= _PRIVATE
    changed += bytes(-len(changed) % 8)
    struct.pack_into("<II", changed, command + 16, len(changed), len(new))
    return bytes(changed + new)


def _read(file: bytes) -> MachO:
    commands = list(_commands(file))
    (_, _, _, kind, *_) = _HEADER.unpack_from(file)
    if kind not in (_OBJECT, _DYLIB):
        raise ValueError(f"type {kind}, expected an object file or a shared library")
    system, version = struct.unpack_from("<II", file, _one(file, _BUILD) + 8)
    if system not in _SYSTEMS:
        raise ValueError(f"for platform {system}, expected {' or '.join(_SYSTEMS.values())}")
    dylibs: dict[int, list[str]] = {each: [] for each in (_LOAD_DYLIB, _ID_DYLIB)}
    for what, place in commands:
        if what & 0x7FFFFFFF in dylibs:
            at = place + struct.unpack_from("<I", file, place + 8)[0]
            dylibs[what & 0x7FFFFFFF].append(file[at : file.index(b"\0", at)].decode())
    found: dict[str, list[str]] = {"exported": [], "private": [], "undefined": []}
    for _, name, kind_of in _symbols(file):
        if kind_of & _EXTERNAL:
            which = "undefined" if not kind_of & _TYPE else "private" if kind_of & _PRIVATE else "exported"
            found[which].append(name)
    return MachO(
        kind == _DYLIB, _SYSTEMS[system], (version >> 16, version >> 8 & 255), "".join(dylibs[_ID_DYLIB]),
        tuple(dylibs[_LOAD_DYLIB]), any(what == _SIGNATURE for what, _ in commands),
        **{which: tuple(sorted(names)) for which, names in found.items()},
    )  # fmt: skip


def _commands(file: bytes) -> Iterator[tuple[int, int]]:
    """The load commands: type and place."""
    magic, processor, _, _, count, size, *_ = _HEADER.unpack_from(file)
    if magic != _MAGIC or processor != _ARM64:
        raise ValueError("it begins otherwise")
    place = _HEADER.size
    for _ in range(count):
        what, length = struct.unpack_from("<II", file, place)
        if length < 8 or place + length > min(_HEADER.size + size, len(file)):
            raise ValueError("its load commands end early")
        yield what, place
        place += length


def _one(file: bytes, which: int) -> int:
    """Where the only load command of a type is."""
    places = [place for what, place in _commands(file) if what == which]
    if len(places) != 1:
        raise ValueError(f"it has {len(places)} load commands 0x{which:x}, expected 1")
    return places[0]


def _symbols(file: bytes) -> Iterator[tuple[int, str, int]]:
    """Symbols, not those of a debugger: place of the row, name in C, bits of the type."""
    table, count, texts, length = struct.unpack_from("<4I", file, _one(file, _SYMTAB) + 8)
    if max(table + count * _SYMBOL.size, texts + length) > len(file):
        raise ValueError("the file ends early")
    strings = file[texts : texts + length]
    for place in range(table, table + count * _SYMBOL.size, _SYMBOL.size):
        at, kind, *_ = _SYMBOL.unpack_from(file, place)
        if not kind & _DEBUG:
            yield place, strings[at : strings.index(b"\0", at)].decode().removeprefix("_"), kind
