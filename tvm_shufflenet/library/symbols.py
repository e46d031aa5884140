"""The names of what a library exports: those of `tvm_shufflenet.h`, or others with a prefix of the library's own.

renamed("tsn_run", "dogs")  # "dogs_run"
tvm_name("main", "dogs")  # "dogs_main", for load_module(path)["dogs_main"]
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import UserError

PREFIX = "tsn"  # of the functions in tvm_shufflenet.h, and of libraries without one of their own
HEADER = Path(__file__).with_name("tvm_shufflenet.h")
VALID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_TVM = "__tvm_ffi_"  # TVM's own mark of functions that load_module finds
_PROTOTYPE = re.compile(r"^(?!typedef)[a-z][^;{}()#]*?\btsn_\w+\([^;{}]*\);", re.M)

HEADER_TEXT = """\
/* The functions of one network, {prefix}_run for tsn_run and so on.
 * tvm_shufflenet.h says what each does.
 */
#ifndef TSN_PREFIX_{guard}
#define TSN_PREFIX_{guard}

#include "tvm_shufflenet.h"

#ifdef __cplusplus
extern "C" {{
#endif

{prototypes}

#ifdef __cplusplus
}}
#endif

#endif
"""


def check_prefix(prefix: str) -> None:
    """`UserError` for a prefix with which C could not name functions, or whose header would replace another."""
    if not VALID.fullmatch(prefix):
        raise UserError(
            f"--prefix {prefix}: expected the beginning of names in C: a letter, then letters, digits and _, 63 at most"
        )
    if prefix.lower() in (PREFIX, HEADER.stem):
        raise UserError(f"--prefix {prefix}: libraries without --prefix have that name, choose another")


def renamed(name: str, prefix: str) -> str:
    """The name of an exported symbol in a library with this prefix: dogs_run for `tsn_run`.

    `__tvm_ffi_main` keeps its beginning, which TVM looks for, and has the prefix behind it.
    """
    if prefix == PREFIX:
        return name
    if name.startswith(_TVM):
        return _TVM + tvm_name(name.removeprefix(_TVM), prefix)
    return prefix + name.removeprefix(PREFIX)


def tvm_name(name: str, prefix: str) -> str:
    """The name under which TVM finds the function: "main" or "team", of a library with a prefix "dogs_main"."""
    return name if prefix == PREFIX else f"{prefix}_{name}"


def prefix_in(manifest: dict) -> str:
    """The prefix of a library, by its manifest."""
    return manifest.get("prefix", PREFIX)


def of_size(prefix: str, size: tuple[int, int]) -> str:
    """The prefix of the functions for a further size, (height, width), in the library of that prefix."""
    return f"{prefix}_{size[0]}x{size[1]}"


def header_of(prefix: str, team: bool) -> str:
    """The text of the header PREFIX.h; without `team` it has no functions for several threads."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    found = [" ".join(each.split()) for each in _PROTOTYPE.findall(text)]
    if not team:
        found = [each for each in found if "team" not in each]
    names = re.compile(r"\btsn_(\w+)(?=\()")
    lines = [names.sub(lambda name: f"{prefix}_{name[1]}", each) for each in found]
    return HEADER_TEXT.format(prefix=prefix, guard=prefix.upper(), prototypes="\n".join(lines))


class Functions:
    """The functions of a loaded library for ctypes, by their names in `tvm_shufflenet.h`."""

    def __init__(self, handle: Any, prefix: str = PREFIX):
        self._handle, self._prefix = handle, prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, renamed(name, self._prefix))
