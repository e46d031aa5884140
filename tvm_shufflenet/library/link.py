"""Links TVM's object, the runtime, the weights and the manifest into one library.

    inputs, outputs = ports(network)
    link(object_file, weights, manifest, inputs=inputs, outputs=outputs, workspace_bytes=1_600_000,
         spec=resolve("cortex-a72"), output=Path("model.so"))

By default Zig does it, whose Python package is a cross compiler for every target.  The weights take
`zig clang` and `zig ld.lld`: `zig cc` would keep a copy of them in its cache for ever, and hand it
out again whatever the file of that name holds by then.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..targets import TargetSpec
from ..zig import zig
from . import FORMAT, FUNCTIONS_OF, MANIFEST, TEAM_FUNCTIONS, THREADS, TVM_FUNCTION
from .elf import read_elf
from .extras import EXTRAS, labels, network_of, variant, vector_options
from .instructions import macros as needs_macros
from .interface import ALIGNMENT, TEAM_BYTES, Port, room, round_up
from .relocatable import only_interface
from .symbols import PREFIX, renamed

SOURCE, MEMORY = (Path(__file__).with_name(name) for name in ("runtime.c", "memory.c"))
ZIG_TARGETS = {"aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "x86_64": "x86_64-linux-gnu"}
# What a library is put out as, and the end of its file: a shared library; an archive to link into programs; its one
# member alone.
SUFFIXES = {"so": ".so", "static": ".a", "object": ".o"}
# No unwinding tables, which name functions of a C library.
COMPILE = (
    "-std=c11 -O2 -fPIC -ffreestanding -fomit-frame-pointer -fvisibility=hidden -ffunction-sections "
    "-fno-stack-protector -fno-sanitize=all -fno-unwind-tables -fno-asynchronous-unwind-tables"
).split()
# -Bsymbolic: a program may load several networks, and each must call its own functions.
# max-page-size: Android and some boards have pages of 16 KiB.  hash-style: old Androids know one only.
JOIN = "--strip-debug --build-id=none -z noexecstack".split()  # into one object
LINK = (
    "-Bsymbolic --gc-sections --strip-debug --build-id=none --hash-style=both -z defs -z now "
    "-z relro -z noexecstack -z max-page-size=16384"
).split()
# Another fault of early Cortex-A53s, which the linker goes round.  Linkers of distributions do so unasked.
LINK_AARCH64 = ["--fix-cortex-a53-843419"]

VERSIONS = "{{ global: {}; local: *; }};\n"
# The manifest has a second name, hidden, since exported data is reached through a table.
ASSEMBLER = """\
        .section .rodata.{manifest}, "a", %progbits
        .globl {manifest}
        .type {manifest}, %object
        .globl tsn_manifest_text
        .hidden tsn_manifest_text
{manifest}:
tsn_manifest_text:
        .incbin "{folder}/manifest"
        .byte 0
        .size {manifest}, . - {manifest}

        .section .rodata.tsn_weights, "a", %progbits
        .balign 64
        .globl tsn_weights_data
        .hidden tsn_weights_data
tsn_weights_data:
        .incbin "{folder}/weights"

        .section .rodata.tsn_labels, "a", %progbits
        .globl tsn_labels_data
        .hidden tsn_labels_data
tsn_labels_data:
        .incbin "{folder}/labels"
        .byte 0

        .section .note.GNU-stack, "", %progbits
"""


def link(
    object_file: Path,
    weights: Sequence[np.ndarray],
    manifest: dict,
    *,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    workspace_bytes: int,
    spec: TargetSpec,
    output: Path,
    cc: str | None = None,
    source: Path = SOURCE,
    functions: Sequence[str] = (),
    team: tuple[Path, int] | None = None,
    emit: str = "so",
    prefix: str = PREFIX,
) -> dict:
    """Writes the library to `output`, all or nothing.  Returns the manifest as the library has it.

    `object_file` is TVM's for `spec`, its function "main" taking the input, each output, and a workspace of
    `workspace_bytes`.  `weights` are arrays of any dtype, which come to lie one behind the other.  The manifest
    gets what `tvm_shufflenet.h` promises of it; tsn_supported() asks the processor for its "needs".  `cc` is the
    command of another C compiler for the target, with its options.  `source` is a C file that includes runtime.c, and
    `functions` are what it adds to the exported ones.
    `team` is a second object file, with "tsn_team_main", and the bytes of scratch that each thread of a team but the
    first needs; without one the library has no functions for teams.  `emit` is a key of `SUFFIXES`: other files than a
    shared library have no global symbols but the interface, whose functions are called as `prefix` says.  Raises
    `UserError` where a tool fails or `output` cannot be written.
    """
    if workspace_bytes < ALIGNMENT or workspace_bytes % ALIGNMENT:
        raise ValueError(f"a workspace of {workspace_bytes} bytes: expected a multiple of {ALIGNMENT}")
    output = Path(os.path.realpath(output))  # a link stays a link
    arrays = {key: [asdict(port) for port in given] for key, given in (("inputs", inputs), ("outputs", outputs))}
    workspace = workspace_bytes + room(outputs)
    known = {"format": FORMAT, **arrays, "workspace_bytes": workspace, "arch": spec.arch}
    known |= {} if prefix == PREFIX else {"prefix": prefix}
    known |= {"threads": THREADS, "team_bytes": [TEAM_BYTES, round_up(team[1])]} if team else {}
    text = json.dumps({**known, **manifest, **known}, separators=(",", ":"))  # what is known comes first
    if output.exists() and not output.is_file():
        raise UserError(f"cannot write {output}: it is not a file")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
            folder = Path(name)
            (folder / "manifest").write_text(text)
            (folder / "labels").write_bytes(labels(manifest))
            with (folder / "weights").open("wb") as file:
                for array in weights:
                    file.write(np.ascontiguousarray(array).data)
            macros = [
                f"-DTSN_INPUT={_initialiser(*inputs)}",
                f"-DTSN_OUTPUTS={','.join(map(_initialiser, outputs))}",
                f"-DTSN_WORKSPACE_FLOATS={workspace_bytes // 4}",
            ]
            objects, exported = [Path(object_file)], [*FUNCTIONS_OF[FORMAT], MANIFEST, TVM_FUNCTION, *functions]
            if team:
                objects.append(team[0])
                exported += TEAM_FUNCTIONS
                macros.append(f"-DTSN_TEAM_SCRATCH={team[1]}")
            macros += needs_macros(spec.arch, manifest.get("needs", ()))
            macros.append(f"-DTSN_NETWORK={network_of(manifest, inputs[0], outputs[0])}")
            extra = (*variant(manifest, inputs[0]), *([] if cc else vector_options(spec)))
            compiled = _compile(folder, objects, source, macros, extra, spec, cc)
            library = _put_together(folder, compiled, exported, output.name, emit, prefix, spec, cc)
            os.replace(library, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    return json.loads(text)


def _initialiser(port: Port) -> str:
    """The port's shape as an initialiser of runtime.c's type `Shape`."""
    return f"{{{len(port.shape)},{{{','.join(map(str, port.shape))}}}}}"


def _compile(
    folder: Path,
    objects: Sequence[Path],
    source: Path,
    macros: list[str],
    extra: tuple[str, ...],
    spec: TargetSpec,
    cc: str | None,
) -> list[Path]:
    """All objects of a library, with everything that the tools write in `folder`."""
    compiler, assembler, _, _ = _tools(spec.arch, cc)
    runtime, extras, embedded = folder / "runtime.o", folder / "extras.o", folder / "embedded.o"
    quoted = str(folder).replace("\\", r"\\").replace('"', r"\"")
    (folder / "embedded.s").write_bytes(os.fsencode(ASSEMBLER.format(manifest=MANIFEST, folder=quoted)))
    _call(f"compiling {source.name}", [*compiler, *COMPILE, *macros, "-c", str(source), "-o", str(runtime)])
    if (arch := read_elf(runtime).arch) != spec.arch:
        raise UserError(f"--cc {cc} compiles for {arch}, but target {spec.name} is {spec.arch}")
    extras.write_bytes(_compiled(EXTRAS, spec.arch, cc, extra))
    _call("embedding the weights", [*assembler, "-c", str(folder / "embedded.s"), "-o", str(embedded)])
    return [runtime, extras, *objects, embedded]


def _put_together(
    folder: Path,
    objects: list[Path],
    exported: Sequence[str],
    name: str,
    emit: str,
    prefix: str,
    spec: TargetSpec,
    cc: str | None,
) -> Path:
    """Links the objects to what `emit` says; of a shared library `name` is the SONAME."""
    _, _, linker, before = _tools(spec.arch, cc)
    library, joined = folder / "library", folder / "network.o"
    names = {each: renamed(each, prefix) for each in exported}
    if emit != "so" or prefix != PREFIX:
        options = [argument for option in JOIN for argument in (*before, option)]
        _call("joining the objects", [*linker, "-r", *options, "-o", str(joined), *map(str, objects)])
        whole = bytearray(joined.read_bytes())
        try:
            only_interface(whole, names)
        except ValueError as error:
            raise UserError(f"the compiler made objects that cannot be joined: {error}") from None
        joined.write_bytes(whole)
        objects = [joined]
    if emit == "object":
        return joined
    if emit == "static":
        _call("making the archive", [zig(), "ar", "rcsD", str(library), str(joined)])
        return library
    (folder / "versions").write_text(VERSIONS.format("; ".join(names.values())))
    options = [*LINK, "-soname", name, "--version-script", str(folder / "versions")]
    if spec.arch == "aarch64" and not cc:
        options += LINK_AARCH64
    options = [argument for option in options for argument in (*before, option)]
    _call("linking", [*linker, "-shared", *options, "-o", str(library), *map(str, objects)])
    return library


def memory_functions(arch: str) -> bytes:
    """The object file of memory.c for an architecture."""
    return _compiled(MEMORY, arch, None, ())


@functools.cache
def _compiled(source: Path, arch: str, cc: str | None, options: tuple[str, ...]) -> bytes:
    """The object file of a C file that is the same for many networks."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        found, (compiler, *_) = Path(folder, "compiled.o"), _tools(arch, cc)
        _call(f"compiling {source.name}", [*compiler, *COMPILE, *options, "-c", str(source), "-o", str(found)])
        return found.read_bytes()


def _tools(arch: str, cc: str | None) -> tuple[list[str], list[str], list[str], list[str]]:
    """Commands that compile C, assemble and link, and what goes before each option for the linker."""
    if cc is not None:
        command = compiler_command(cc)
        return command, command, [*command, "-nostdlib"], ["-Xlinker"]
    if not importlib.util.find_spec("ziglang"):
        raise UserError("nothing to link with: pip install ziglang, or give a C compiler for the target with --cc")
    tools = [sys.executable, "-m", "ziglang"]
    target = ["-target", ZIG_TARGETS[arch]]
    return [*tools, "cc", *target], [*tools, "clang", *target], [*tools, "ld.lld"], []


def compiler_command(cc: str) -> list[str]:
    """The words of --cc; `UserError` where there are none."""
    try:
        command = shlex.split(cc)
    except ValueError as error:
        raise UserError(f"--cc {cc}: {error}") from None
    if not command:
        raise UserError("--cc: expected the command of a C compiler, such as aarch64-linux-gnu-gcc")
    return command


def _call(what: str, argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise UserError(f"{what}: cannot run {argv[0]}: {error.strerror}") from None
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        telling = [line for line in lines if re.search("error|undefined|unrecognized", line) and "collect2" not in line]
        raise UserError(f"{what} failed: {(telling or lines[-1:])[0].strip()}")
