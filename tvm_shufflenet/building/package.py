"""What CMake and pkg-config read of a library: files beside it, which hold no path but their own place."""

from __future__ import annotations

from ..errors import UserError
from ..files import write_bytes
from ..library import FORMAT
from .build_library import Built

PKG_CONFIG = """\
# PKG_CONFIG_PATH=this_folder pkg-config --cflags --libs {name}; the version is tsn_abi().
here=${{pcfiledir}}

Name: {name}
Description: {what}, compiled by tvm_shufflenet
Version: {abi}
Cflags: -I"${{here}}"
Libs: "${{here}}/{file}"
"""
CMAKE = """\
# {what}, compiled by tvm_shufflenet:
#
#     find_package({name} {abi} CONFIG REQUIRED)  # with -DCMAKE_PREFIX_PATH=this_folder
#     target_link_libraries(program PRIVATE {name}::{name})
if(NOT TARGET {name}::{name})
  add_library({name}::{name} {kind} IMPORTED)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/{file}"
    INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}")
endif()
"""
CMAKE_VERSION = """\
# The version is tsn_abi(): a library serves programs of its number and of lower ones.
set(PACKAGE_VERSION {abi})
if(PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
"""
KINDS = {".so": "SHARED", ".dylib": "SHARED", ".a": "STATIC"}


def check_package(emit: str) -> None:
    """`UserError` for what these files cannot describe."""
    if emit == "object":
        raise UserError("--package describes a library: --emit so or --emit static, not an object file")


def write_package(built: Built) -> None:
    """Writes NAME.pc, NAMEConfig.cmake and NAMEConfigVersion.cmake beside the library NAME.so or NAME.a."""
    name, about = built.path.stem, built.manifest
    values = {
        "name": name, "abi": FORMAT, "file": built.path.name, "kind": KINDS[built.path.suffix],
        "what": f"{about['model']} for {about['target']}",
    }  # fmt: skip
    files = {".pc": PKG_CONFIG, "Config.cmake": CMAKE, "ConfigVersion.cmake": CMAKE_VERSION}
    for ending, text in files.items():
        write_bytes(built.path.with_name(name + ending), text.format(**values).encode())
