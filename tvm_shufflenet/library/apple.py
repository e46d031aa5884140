"""Libraries for Apple's systems out of object files in Mach-O: a shared library for macOS, archives for macOS and iOS.

Zig's linker knows libSystem of macOS, and of iOS no library.  Zig does not join object files here, so an archive has
several, whose hidden functions get names of the library's own: a program may link several libraries.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..zig import call, zig
from .macho import defined, rename

# What all have in common: libSystem is in every program there is.
LINK = ["-Wl,-dead_strip", "-Wl,-S"]


def check_emit(name: str, system: str, emit: str, cc: str | None) -> None:
    """`UserError` for what there is not, of a target for "macos" or "ios" with this name."""
    if cc is not None:
        raise UserError(f"--cc {cc}: ziglang links for {name}, leave it out")
    if emit == "object":
        raise UserError(f"--emit object: a library for {name} is several objects, take --emit static")
    if system == "ios" and emit != "static":
        raise UserError(f"--target {name}: apps of iOS link a static library, add --emit static")


def put_together(
    folder: Path, groups: list[list[Path]], data: Path, names: list[dict[str, str]], file: str, emit: str, target: str
) -> Path:
    """Links the objects of each network, and their `data`, to what `emit` says, called `file`; `target` is Zig's name.

    `names` are the exported symbols of each network, by those in the objects.
    """
    own = names[0]["tsn_abi"].removesuffix("_abi")
    shared = {each: f"{own}_own_{each}" for each in defined(data.read_bytes())}
    public = frozenset(new for each in names for new in each.values())
    objects = []
    for number, (group, kept) in enumerate(zip(groups, names, strict=True)):
        files = [each.read_bytes() for each in group]
        hidden = {each: f"{own}_own{number}_{each}" for one in files for each in defined(one)}
        for place, one in enumerate(files):
            objects.append(folder / f"{number}_{place}.o")
            objects[-1].write_bytes(rename(one, {**shared, **hidden, **kept}, public))
    objects.append(folder / "data.o")
    objects[-1].write_bytes(rename(data.read_bytes(), shared, public))
    library = folder / "library"
    if emit == "static":
        call("making the archive", [zig(), "ar", "rcsD", str(library), *map(str, objects)])
        return library
    name = f"-Wl,-install_name,@rpath/{file}"
    call("linking", [zig(), "cc", "-target", target, "-shared", *LINK, name, "-o", str(library), *map(str, objects)])
    return library
