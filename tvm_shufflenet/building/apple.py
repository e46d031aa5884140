"""An XCFramework, which Xcode and Swift packages take: archives of a network for macOS and iOS, modules for Swift.

    built = {system: build_library(each) for system, each in apple_options(options, Path("build")).items()}
    write_xcframework(built, "dogs", Path("build"))

Swift says `import dogsNetwork` and takes the class Network; or `import dogs`, and calls dogs_run as C does.
"""

from __future__ import annotations

import dataclasses
import os
import plistlib
import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from ..architectures import DEFAULT_MODEL
from ..errors import UserError
from ..library.symbols import HEADER, PREFIX, VALID, check_prefix
from ..targets import APPLE, APPLE_LEAST, DEFAULT_TARGET
from .build_library import BuildOptions, Built
from .manifest import plain_name

SDK = "arm64"  # of LibraryIdentifier and SupportedArchitectures: no processor but this
# With a folder of its own within Headers: Xcode puts the Headers of all frameworks of a program into one folder.
MODULE_MAP = """\
module {name} {{
  header "{name}.h"
  export *
}}
"""
PACKAGE = """\
// swift-tools-version:5.5
import PackageDescription

let package = Package(
  name: "{name}",
  platforms: [.macOS("{macos}"), .iOS("{ios}")],
  products: [.library(name: "{name}", targets: ["{name}", "{swift}"])],
  targets: [
    .binaryTarget(name: "{name}", path: "{name}.xcframework"),
    .target(name: "{swift}", dependencies: ["{name}"]),
  ]
)
"""
SWIFT = Path(__file__).with_name("Network.swift")


def framework_name(options: BuildOptions) -> str:
    """The name of the module, of the framework and of the prefix: --name, or the network's in letters of C."""
    source = options.name or options.model or (options.weights.stem if options.weights else DEFAULT_MODEL)
    name = source if options.name else re.sub(r"[^A-Za-z0-9]+", "_", source)
    if not VALID.fullmatch(name):
        raise UserError(f"--name {name}: of an XCFramework, expected a letter, then letters, digits and _, 63 at most")
    check_prefix(name)
    return name


def apple_options(options: BuildOptions, folder: Path) -> dict[str, BuildOptions]:
    """What to build for each system, into folders of `folder`.  `UserError` for what no XCFramework has."""
    for option, given in (("--emit", options.emit != "so"), ("--cc", options.cc), ("--debug-dump", options.debug_dump),
                          ("--target", options.target != DEFAULT_TARGET),
                          ("--prefix", options.prefix != PREFIX)):  # fmt: skip
        if given:
            raise UserError(f"{option}: an XCFramework has archives for macOS and iOS, whose prefix is its name, "
                            f"leave {option} out")  # fmt: skip
    name = framework_name(options)
    return {
        system: dataclasses.replace(options, target=target, emit="static", prefix=name, name=f"lib{name}",
                                    output=folder / system)
        for target, (system, *_) in APPLE.items()
    }  # fmt: skip


def write_xcframework(built: dict[str, Built], name: str, folder: Path) -> Path:
    """Writes NAME.xcframework, Package.swift and the sources of NAMENetwork into the folder; gives the framework.

    They take the place of older ones.
    """
    path = folder / f"{name}.xcframework"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder) as scratch:
            made, old = Path(scratch, "made"), Path(scratch, "old")
            libraries = [_library(made, system, each, name) for system, each in sorted(built.items())]
            about = {"AvailableLibraries": libraries, "CFBundlePackageType": "XFWK", "XCFrameworkFormatVersion": "1.0"}
            (made / "Info.plist").write_bytes(plistlib.dumps(about))
            if path.exists():
                os.replace(path, old)
            os.replace(made, path)
        sources = folder / "Sources" / swift_module(name)
        sources.mkdir(parents=True, exist_ok=True)
        (sources / SWIFT.name).write_text(swift_source(next(iter(built.values())).manifest, name))
        (folder / "Package.swift").write_text(PACKAGE.format(name=name, swift=swift_module(name), **APPLE_LEAST))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


def swift_module(name: str) -> str:
    """The module of the class in Swift: another name than that of the C functions, and than the class Network."""
    return f"{name}Network"


def swift_source(manifest: dict, name: str) -> str:
    """The class `Network` in Swift over the module `name`; of several sizes it runs the first."""
    (given,), outputs = manifest["inputs"], manifest["outputs"]
    return Template(SWIFT.read_text(encoding="utf-8")).substitute(
        name=name,
        what=plain_name(manifest),
        input=given["shape"],
        outputs=[each["shape"] for each in outputs],
    )


def _library(framework: Path, system: str, built: Built, name: str) -> dict:
    """Puts the library of a system into the framework; gives its entry in Info.plist."""
    identifier = f"{system}-{SDK}"
    headers = framework / identifier / "Headers" / name
    headers.mkdir(parents=True)
    shutil.copyfile(built.path, framework / identifier / built.path.name)
    for header in (HEADER, *built.headers.values()):
        shutil.copyfile(header, headers / header.name)
    further = "".join(f'  header "{each.name}"\n' for each in built.headers.values() if each != built.header)
    (headers / "module.modulemap").write_text(MODULE_MAP.format(name=name).replace("  export", further + "  export"))
    return {
        "LibraryIdentifier": identifier, "LibraryPath": built.path.name, "HeadersPath": "Headers",
        "SupportedArchitectures": [SDK], "SupportedPlatform": system,
    }  # fmt: skip
