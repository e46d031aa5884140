"""One static program that times networks on a machine with nothing but Linux or Android: what `bench` makes.

    pack(PackOptions(("shufflenet-v1-1x-g3", "mobilenet-v1-1.0"), target="cortex-a72", output=Path("bench")))

The program, bench.c, holds static libraries of the networks, the kernel of peak.py, what this machine computes of
the same picture, and the RPC server in boards/server.  `bench_results` reads what the program prints.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..architectures import own_name
from ..building.build_library import BuildOptions, build_library, described_beside, make_writable
from ..building.work import Share
from ..errors import UserError
from ..files import write_bytes
from ..library.interface import inputs, normalised, outputs
from ..library.link import compiler_command
from ..library.manifest_checks import wrong
from ..library.symbols import PREFIX, prefix_in
from ..records.store import FOLDER
from ..targets import DEFAULT_TARGET, TargetSpec, resolve
from ..targets.precision import precision_in
from ..zig import call, zig
from .beside_peak import Progress, Silent
from .entries import Entry, expected_outputs
from .peak import FACTOR, chains, compile_peak

SOURCE = Path(__file__).with_name("bench.c")
SERVER = Path(__file__).parents[1] / "boards" / "server"
# The C library is within: such programs run on every Linux of the architecture, and on Android.
ZIG_TARGETS = {"aarch64": "aarch64-linux-musl", "arm": "arm-linux-musleabihf", "x86_64": "x86_64-linux-musl"}
FAULT = "--fix-cortex-a53-843419"  # of early Cortex-A53s, which the linker goes round
COMPILE = "-std=gnu11 -O2 -static -s -fno-sanitize=all -Wl,--gc-sections".split()


@dataclass(frozen=True)
class PackOptions:
    """What to pack: `names` are networks, and static libraries of a prefix with their manifests beside them; none for a
    program that only serves.

    `target`, `size` and `records` are for networks, as in `BuildOptions`; libraries are for that target's architecture.
    `cc` is another C compiler for the target, which links statically.
    """

    names: tuple[str, ...]
    target: str = DEFAULT_TARGET
    size: tuple[int, int] | None = None
    output: Path = Path("bench")
    records: Path | None = FOLDER
    cc: str | None = None


@dataclass(frozen=True)
class Program:
    """The program, the networks in it, the bytes of their libraries, and those whose outputs it cannot check."""

    path: Path
    target: TargetSpec
    entries: list[Entry]
    library_bytes: int
    unchecked: dict[str, str]  # why not, by label


def pack(options: PackOptions, progress: Progress = Silent()) -> Program:
    """Builds the networks and the program; `UserError` for names, targets and files that are none."""
    target = resolve(options.target)
    if target.system != "linux":
        raise UserError(f"--target {target.name}: the program is one for Linux or Android, expected such as cortex-a72")
    if options.cc is not None:
        compiler_command(options.cc)
    for name in options.names:
        if not own_name(name):
            _read(Path(name), target)  # before anything slow
    make_writable(options.output.parent)
    if options.output.is_dir():
        raise UserError(f"cannot write {options.output}: it is a folder")
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as name:
        scratch, count = Path(name), len(options.names)
        entries = []
        for number, each in enumerate(options.names):
            with progress.step(f"building {each} for {target.name}", number + 1, count) as done:
                entries.append(_entry(each, number, options, target, scratch, done))
        prefixes = [prefix_in(entry.manifest) for entry in entries]
        if twice := {prefix for prefix in prefixes if prefixes.count(prefix) > 1}:
            raise UserError(f"several libraries have the prefix {min(twice)}: build them with others")
        expected = []
        for number, entry in enumerate(entries, 1):
            with progress.step(f"computing what {entry.label} gives", number, count):
                given = numbers(inputs(entry.manifest)[0].shape)
                expected.append(None if "detector" in entry.manifest else expected_outputs(entry, given))
        with progress.step("linking the program"):
            _link(entries, expected, target, scratch, options)
        library_bytes = sum(entry.path.stat().st_size for entry in entries)
    unchecked = {
        entry.label: "rounding decides a detector's boxes" if "detector" in entry.manifest
        else "its weights are not at hand"
        for entry, results in zip(entries, expected) if results is None
    }  # fmt: skip
    return Program(options.output, target, entries, library_bytes, unchecked)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """The input that bench.c computes: float32 numbers from -2 to 2, in the place of a preprocessed picture."""
    mixed = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1)
    mixed = (mixed ^ mixed >> np.uint32(15)) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(13)
    return ((mixed >> np.uint32(8)).astype(np.float32) * np.float32(2**-22) - np.float32(2)).reshape(shape)


def _entry(name: str, number: int, options: PackOptions, target: TargetSpec, folder: Path, done: Share) -> Entry:
    model = own_name(name)
    if not model:
        return _read(Path(name), target)
    prefix = f"network_{number}"
    built = build_library(
        BuildOptions(
            model, options.target, options.size, output=folder, records=options.records, emit="static", prefix=prefix,
            name=prefix,
        ),
        done,
    )  # fmt: skip
    return Entry(name, built.path, built.manifest, notices=built.notices)


def _read(path: Path, target: TargetSpec) -> Entry:
    """A static library that is there already, by the manifest beside it."""
    if path.suffix != ".a" or not path.is_file():
        raise UserError(
            f"{path} is neither a network nor a static library: `python -m tvm_shufflenet.models` lists networks, "
            "`python -m tvm_shufflenet.build --emit static --prefix NAME` makes such libraries"
        )
    beside = described_beside(path)
    try:
        found = json.loads(beside.read_bytes())
        digest = found.pop("library_sha256")
        manifest = normalised(found)
        if wrong(manifest):
            raise ValueError("no manifest")
    except OSError as error:
        raise UserError(f"cannot read {beside}, the manifest of {path.name}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{beside} is damaged: expected what `build` wrote beside {path.name}") from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise UserError(f"{beside} is of another file than {path.name}: build it anew")
    if manifest["arch"] != target.arch:
        raise UserError(
            f"{path} is for {manifest['arch']}, but target {target.name} is {target.arch}: name its --target"
        )
    if prefix_in(manifest) == PREFIX:
        raise UserError(f"{path} has no prefix: build it with --prefix NAME")
    return Entry(path.stem, path, manifest)


def _link(
    entries: list[Entry],
    expected: list[tuple[np.ndarray, ...] | None],
    target: TargetSpec,
    folder: Path,
    options: PackOptions,
) -> None:
    table, peak, program = folder / "packed.c", folder / "peak.o", folder / "program"
    table.write_text(_table(entries, expected, target))
    compile_peak(target.machine, target.tvm).write_to_file(str(peak), "o")
    files = [SOURCE, *sorted(SERVER.glob("*.c")), table, peak, *(entry.path for entry in entries)]
    argv = [*COMPILE, f"-I{SOURCE.parent}", *map(str, files), "-o", str(program)]
    what, faulty = "linking the program", target.arch == "aarch64"
    if options.cc is not None:
        call(what, [*compiler_command(options.cc), *argv, *([f"-Wl,{FAULT}"] if faulty else [])])
    else:
        told = call(what, [zig(), "cc", "-target", ZIG_TARGETS[target.arch], *argv, "-v"])
        if faulty:  # which Zig's driver takes no option against: the linker is called as it was, and with that option
            calls = [line for line in told.splitlines() if line.startswith("ld.lld ")]
            call(what, [zig(), *shlex.split(calls[-1] if calls else "ld.lld"), FAULT])
    write_bytes(options.output, program.read_bytes())
    os.chmod(options.output, 0o755)


def _table(entries: list[Entry], expected: list[tuple[np.ndarray, ...] | None], target: TargetSpec) -> str:
    """The C file of what bench.h declares."""
    lines = ['#include "bench.h"']
    rows = []
    for number, (entry, results) in enumerate(zip(entries, expected)):
        prefix, (given,), wanted = prefix_in(entry.manifest), inputs(entry.manifest), outputs(entry.manifest)
        lines += [
            f"extern const char *{prefix}_describe(void);",
            f"extern int {prefix}_supported(void);",
            f"extern size_t {prefix}_workspace_bytes(void);",
            f"extern int {prefix}_run_outputs(const float *, float *const[], void *);",
            f"static const size_t sizes_{number}[] = {{{', '.join(str(each.bytes // 4) for each in wanted)}}};",
        ]
        if results is not None:
            values = ", ".join(float(value).hex() + "f" for result in results for value in result.ravel())
            lines.append(f"static const float expected_{number}[] = {{{values}}};")
        rows.append(
            f"  {{{json.dumps(entry.label)}, {prefix}_describe, {prefix}_supported, {prefix}_workspace_bytes, "
            f"{prefix}_run_outputs, {given.bytes // 4}, {len(wanted)}, sizes_{number}, "
            f"{'0' if results is None else f'expected_{number}'}, {precision_in(entry.manifest).tolerance!r}}},"
        )
    machine = target.machine
    described = json.dumps(dataclasses.asdict(target))
    return "\n".join([
        *lines, "const Packed packed[] = {", *rows, "};", f"const int packed_count = {len(entries)};",
        f"const char packed_target[] = {json.dumps(described)};",
        f"const char packed_target_name[] = {json.dumps(target.name)};",
        f"const int64_t peak_chains = {chains(machine)}, peak_lanes = {machine.lanes};",
        f"const float peak_factor = {FACTOR}f;", "",
    ])  # fmt: skip
