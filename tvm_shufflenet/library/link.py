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
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..targets import APPLE_LEAST, TargetSpec
from ..zig import zig
from . import FORMAT, FUNCTIONS_OF, MANIFEST, TEAM_FUNCTIONS_OF, THREADS, TVM_FUNCTION, apple
from .elf import read_elf
from .embedding import texts
from .extras import EXTRAS, labels, network_of, variant, vector_options
from .instructions import macros as needs_macros
from .interface import ALIGNMENT, REST_BYTES, TEAM_BYTES, Port, room, round_up
from .relocatable import only_interface
from .symbols import PREFIX, renamed

SOURCE, MEMORY = (Path(__file__).with_name(name) for name in ("runtime.c", "memory.c"))
ZIG_TARGETS = {"aarch64": "aarch64-linux-gnu", "arm": "arm-linux-gnueabihf", "x86_64": "x86_64-linux-gnu"}
APPLE_TARGETS = {system: f"aarch64-{system}.{least}" for system, least in APPLE_LEAST.items()}
# What a library is put out as, and the end of its file: a shared library; an archive to link into programs; its one
# member alone.
SUFFIXES = {"so": ".so", "static": ".a", "object": ".o"}
DYLIB = ".dylib"  # of a shared library for macOS
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


@dataclass(frozen=True)
class Network:
    """What a library runs by functions of one prefix: a network in one size.

    `object_file` is TVM's for the target, its function "main" taking the input, each output, and a workspace of
    `workspace_bytes`.  The `manifest` gets what `tvm_shufflenet.h` promises of it.  `team` is a second object file,
    with "tsn_team_main"; without one there are no functions for teams.
    """

    object_file: Path
    manifest: dict
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    workspace_bytes: int
    team: Path | None = None
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        size = self.workspace_bytes
        if size < ALIGNMENT or size % ALIGNMENT:
            raise ValueError(f"a workspace of {size} bytes: expected a multiple of {ALIGNMENT}")

    def known(self, spec: TargetSpec, team_scratch: int) -> dict:
        """The keys that come first in the manifest of the library."""
        arrays = {"inputs": [asdict(each) for each in self.inputs], "outputs": [asdict(each) for each in self.outputs]}
        workspace = self.workspace_bytes + room(self.outputs)
        known = {"format": FORMAT, **arrays, "workspace_bytes": workspace, "arch": spec.arch}
        known |= {} if self.prefix == PREFIX else {"prefix": self.prefix}
        return known | (
            {"threads": THREADS, "team_bytes": [TEAM_BYTES, REST_BYTES + round_up(team_scratch)]} if self.team else {}
        )

    def macros(self, arch: str, team_scratch: int) -> list[str]:
        """The macros of runtime.c; tsn_supported() asks the processor for what the manifest "needs"."""
        return [
            f"-DTSN_INPUT={_initialiser(*self.inputs)}",
            f"-DTSN_OUTPUTS={','.join(map(_initialiser, self.outputs))}",
            f"-DTSN_WORKSPACE_FLOATS={self.workspace_bytes // 4}",
            *([f"-DTSN_TEAM_SCRATCH={team_scratch}"] if self.team else []),
            *needs_macros(arch, self.manifest.get("needs", ())),
            f"-DTSN_NETWORK={network_of(self.manifest, self.inputs[0], self.outputs[0])}",
        ]

    def names(self, functions: Sequence[str] = ()) -> dict[str, str]:
        """All that is exported, by the names in the object files, as the library calls it."""
        team = TEAM_FUNCTIONS_OF[FORMAT] if self.team else ()
        exported = (*FUNCTIONS_OF[FORMAT], MANIFEST, TVM_FUNCTION, *functions, *team)
        return {each: renamed(each, self.prefix) for each in exported}


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
    team: tuple[Path, int] | None = None,
    prefix: str = PREFIX,
    **options: Any,
) -> dict:
    """A library of one network; see `Network`, and `link_networks`, whose `options` there are.  Returns its manifest.

    Behind the file of `team` are the bytes of scratch.
    """
    file, scratch = team or (None, 0)
    only = Network(Path(object_file), manifest, inputs, outputs, workspace_bytes, file, prefix)
    (described,) = link_networks([only], weights, spec=spec, output=output, team_scratch=scratch, **options)
    return described


def link_networks(
    networks: Sequence[Network],
    weights: Sequence[np.ndarray],
    *,
    spec: TargetSpec,
    output: Path,
    cc: str | None = None,
    source: Path = SOURCE,
    functions: Sequence[str] = (),
    team_scratch: int = 0,
    emit: str = "so",
) -> list[dict]:
    """Writes the library to `output`, all or nothing.  Returns the manifests as the library has them.

    `weights` are arrays of any dtype, which come to lie one behind the other, and are those of all networks.  Networks
    have prefixes of their own, and names of classes in common.  `cc` is the command of another C compiler for the
    target, with its options.  `source` is a C file that includes runtime.c, and `functions` are what it adds to the
    exported ones.  Each thread of a team but the first needs `team_scratch` bytes of its own.  `emit` is a key of
    `SUFFIXES`: other files than a shared library have no global symbols but the interface.  Raises `UserError` where a
    tool fails or `output` cannot be written.
    """
    output = Path(os.path.realpath(output))  # a link stays a link
    described = []
    for network in networks:
        known = network.known(spec, team_scratch)
        described.append(json.dumps({**known, **network.manifest, **known}, separators=(",", ":")))  # known comes first
    if output.exists() and not output.is_file():
        raise UserError(f"cannot write {output}: it is not a file")
    text_of, data_of = texts(spec.system)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as name:
            folder, groups = Path(name), []
            for number, (network, text) in enumerate(zip(networks, described)):
                its = folder / str(number)
                its.mkdir()
                (its / "manifest").write_text(text)
                macros = network.macros(spec.arch, team_scratch)
                extra = (
                    *variant(network.manifest, network.inputs[0]), *([] if cc else vector_options(spec))
                )  # fmt: skip
                compiled = _compile(its, source, macros, extra, spec, cc)
                groups.append(
                    [*compiled, network.object_file, *filter(None, [network.team]), _embed(its, text_of, spec, cc)]
                )
            (folder / "labels").write_bytes(labels(networks[0].manifest))
            with (folder / "weights").open("wb") as file:
                for array in weights:
                    file.write(np.ascontiguousarray(array).data)
            names = [network.names(functions) for network in networks]
            data = _embed(folder, data_of, spec, cc)
            library = _put_together(folder, groups, data, names, output.name, emit, spec, cc)
            os.replace(library, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    return [json.loads(text) for text in described]


def _initialiser(port: Port) -> str:
    """The port's shape as an initialiser of runtime.c's type `Shape`."""
    return f"{{{len(port.shape)},{{{','.join(map(str, port.shape))}}}}}"


def _compile(
    folder: Path, source: Path, macros: list[str], extra: tuple[str, ...], spec: TargetSpec, cc: str | None
) -> list[Path]:  # fmt: skip
    """The objects of runtime.c and extras.c, with everything that the tools write in `folder`."""
    compiler, *_ = _tools(zig_target(spec), cc)
    runtime, extras = folder / "runtime.o", folder / "extras.o"
    _call(f"compiling {source.name}", [*compiler, *COMPILE, *macros, "-c", str(source), "-o", str(runtime)])
    if cc and (arch := read_elf(runtime).arch) != spec.arch:
        raise UserError(f"--cc {cc} compiles for {arch}, but target {spec.name} is {spec.arch}")
    extras.write_bytes(_compiled(EXTRAS, zig_target(spec), cc, extra))
    return [runtime, extras]


def _embed(folder: Path, text: str, spec: TargetSpec, cc: str | None) -> Path:
    """An object with the files of the folder that the assembler's text names."""
    _, assembler, *_ = _tools(zig_target(spec), cc)
    source, embedded = folder / "embedded.s", folder / "embedded.o"
    quoted = str(folder).replace("\\", r"\\").replace('"', r"\"")
    source.write_bytes(os.fsencode(text.format(manifest=MANIFEST, folder=quoted)))
    _call("embedding the weights", [*assembler, "-c", str(source), "-o", str(embedded)])
    return embedded


def _put_together(
    folder: Path,
    groups: list[list[Path]],
    data: Path,
    names: list[dict[str, str]],
    soname: str,
    emit: str,
    spec: TargetSpec,
    cc: str | None,
) -> Path:
    """Links the objects of each network, and their `data`, to what `emit` says; `names` are `Network.names`."""
    if spec.system in APPLE_TARGETS:
        return apple.put_together(folder, groups, data, names, soname, emit, zig_target(spec))
    _, _, linker, before = _tools(zig_target(spec), cc)
    every = {new: new for each in names for new in each.values()}

    def join(objects: list[Path], kept: dict[str, str], joined: Path) -> Path:
        options = [argument for option in JOIN for argument in (*before, option)]
        _call("joining the objects", [*linker, "-r", *options, "-o", str(joined), *map(str, objects)])
        whole = bytearray(joined.read_bytes())
        try:
            only_interface(whole, kept)
        except ValueError as error:
            raise UserError(f"the compiler made objects that cannot be joined: {error}") from None
        joined.write_bytes(whole)
        return joined

    if len(groups) == 1:
        objects = [*groups[0], data]
        if emit != "so" or any(old != new for old, new in names[0].items()):
            objects = [join(objects, names[0], folder / "network.o")]
    else:  # each with symbols of its own
        objects = [join(group, kept, folder / f"network_{i}.o") for i, (group, kept) in enumerate(zip(groups, names))]
        objects.append(data)
        if emit != "so":
            objects = [join(objects, every, folder / "network.o")]
    library = folder / "library"
    if emit == "object":
        return objects[0]
    if emit == "static":
        _call("making the archive", [zig(), "ar", "rcsD", str(library), *map(str, objects)])
        return library
    (folder / "versions").write_text(VERSIONS.format("; ".join(every)))
    options = [*LINK, "-soname", soname, "--version-script", str(folder / "versions")]
    if spec.arch == "aarch64" and not cc:
        options += LINK_AARCH64
    options = [argument for option in options for argument in (*before, option)]
    _call("linking", [*linker, "-shared", *options, "-o", str(library), *map(str, objects)])
    return library


def suffix(spec: TargetSpec, emit: str) -> str:
    """The end of the name of a file for a target; `emit` is a key of `SUFFIXES`."""
    return DYLIB if spec.system in APPLE_TARGETS and emit == "so" else SUFFIXES[emit]


def zig_target(spec: TargetSpec) -> str:
    """What Zig calls the system and the architecture of a target."""
    return APPLE_TARGETS.get(spec.system) or ZIG_TARGETS[spec.arch]


def memory_functions(arch: str) -> bytes:
    """The object file of memory.c for an architecture."""
    return _compiled(MEMORY, ZIG_TARGETS[arch], None, ())


@functools.cache
def _compiled(source: Path, target: str, cc: str | None, options: tuple[str, ...]) -> bytes:
    """The object file of a C file that is the same for many networks."""
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as folder:
        found, (compiler, *_) = Path(folder, "compiled.o"), _tools(target, cc)
        _call(f"compiling {source.name}", [*compiler, *COMPILE, *options, "-c", str(source), "-o", str(found)])
        return found.read_bytes()


def _tools(target: str, cc: str | None) -> tuple[list[str], list[str], list[str], list[str]]:
    """Commands that compile C, assemble and link, and what goes before each option for the linker."""
    if cc is not None:
        command = compiler_command(cc)
        return command, command, [*command, "-nostdlib"], ["-Xlinker"]
    if not importlib.util.find_spec("ziglang"):
        raise UserError("nothing to link with: pip install ziglang, or give a C compiler for the target with --cc")
    tools = [sys.executable, "-m", "ziglang"]
    chosen = ["-target", target]
    return [*tools, "cc", *chosen], [*tools, "clang", *chosen], [*tools, "ld.lld"], []


def compiler_command(cc: str) -> list[str]:
    """The words of --cc; `UserError` where there are none, or no such command."""
    try:
        command = shlex.split(cc)
    except ValueError as error:
        raise UserError(f"--cc {cc}: {error}") from None
    if not command:
        raise UserError("--cc: expected the command of a C compiler, such as aarch64-linux-gnu-gcc")
    if not shutil.which(command[0]):
        raise UserError(f"--cc {cc}: cannot run {command[0]}: No such file or directory")
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
