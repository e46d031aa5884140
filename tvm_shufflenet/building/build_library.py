"""From a model's name to a library on disk: what the command `build` does, as a function."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..architectures import DEFAULT_MODEL, Network, network
from ..architectures.registry import usual_size
from ..bridge import random_parameters
from ..bridge.parameters import digest
from ..errors import UserError
from ..exchange import OURS, Reading, load_network
from ..files import write_bytes, write_json
from ..library.apple import check_emit
from ..library.interface import BATCH, LARGEST, ports
from ..library.link import DYLIB, SUFFIXES, compiler_command, link_networks, suffix
from ..library.link import Network as Linked
from ..library.symbols import HEADER, PREFIX, check_prefix, header_of, of_size, prefix_in
from ..records.store import FOLDER, Records
from ..targets import APPLE_LEAST, DEFAULT_TARGET, TargetSpec, resolve
from ..targets.calibration import Calibration, calibration_in
from ..targets.precision import FP16, FP32, Precision, precision_of
from .origin import Origin
from .work import Share, Work, unheard

if TYPE_CHECKING:
    from ..pipeline import Compiled

STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")  # of a file, which --name gives


@dataclass(frozen=True)
class BuildOptions:
    """What to build.  `weights` is a file that `exchange.load_network` reads; without one `seed` makes them.

    Where `model`, `size` or `classes` are None, the file of the weights says them; without a file they are the default
    network, and the size and classes that are usual for it.  No weights are taken that were not asked for:
    `bridge.shipped` finds the file of those that the project holds.  `reading` says what a foreign file leaves open;
    its size does not matter here.  `precision` and `weights_precision` are names of `targets.precision`.  `records` is
    the folder of tuning records; None leaves every kernel its default schedule.  `network` is one that was built in
    code, in the place of `model`, `size` and `classes`; its parameters are those of `seed`.  With `team` the library
    has code for several threads, too, which takes as long to compile again.

    `emit` is "so", "static" or "object" (`library.link.SUFFIXES`), `prefix` begins the names of the functions, and
    `name` is the file without its ending.  `calibration` has the scales for int8; without it the file of the weights
    does.  A call takes `batch` pictures, 1 to `BATCH`.

    `further` are more sizes of the same network in the library, which weights are in once; see docs/sizes.md.
    """

    model: str | None = None
    target: str = DEFAULT_TARGET
    size: tuple[int, int] | None = None
    classes: int | None = None
    weights: Path | None = None
    seed: int = 0
    output: Path = Path("build")
    debug_dump: Path | None = None
    cc: str | None = None
    records: Path | None = FOLDER
    reading: Reading = Reading()
    network: Network | None = None
    team: bool = False
    precision: str = "fp32"
    weights_precision: str | None = None
    emit: str = "so"
    prefix: str = PREFIX
    name: str | None = None
    calibration: Calibration | None = None
    batch: int = 1
    further: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Built:
    """The library, its manifest, which `tsn_describe()` gives too, and the SHA-256 of the file.

    Beside the library are `described`, the .json, and `header`, with the prototypes of its functions.  Of several sizes
    these are those of the first; `further` are the manifests of the others, which have headers of their own.

    The same network, weights, target, records and versions give the same bytes, in whatever folder and process.  The
    digest is in the .json beside the library, key "library_sha256"; the library itself cannot hold it.

    `notices` are what the user should hear of the tuning records: torn lines, and lines that are none.
    """

    path: Path
    manifest: dict
    sha256: str
    notices: tuple[str, ...] = ()
    further: tuple[dict, ...] = ()

    @property
    def described(self) -> Path:
        """The .json beside the library; its name has the library's ending where that is not of a shared library."""
        return described_beside(self.path)

    @property
    def header(self) -> Path:
        """The header that declares the library's functions."""
        return self.headers.get(prefix_in(self.manifest), self.path.with_name(HEADER.name))

    @property
    def headers(self) -> dict[str, Path]:
        """The headers beside `tvm_shufflenet.h`: those of prefixes and further sizes, by prefix."""
        prefixes = [prefix_in(manifest) for manifest in (self.manifest, *self.further)]
        return {prefix: self.path.with_name(f"{prefix}.h") for prefix in prefixes if prefix != PREFIX}


def build_library(options: BuildOptions, done: Share = unheard) -> Built:
    """Compiles and links; writes the library, the manifest beside it and the header.  `done` is told the progress.

    A prefix has a header of its own, which includes that one.  Raises `UserError` for bad options, checkpoints that do
    not fit and folders that cannot be written.  A library that is already there stays whole until the new one replaces
    it.
    """
    _check_names(options)
    if options.cc is not None:
        compiler_command(options.cc)  # before the compilation, not after it
    if (target := resolve(options.target)).system in APPLE_LEAST:
        check_emit(target.name, target.system, options.emit, options.cc)
    nets, parameters, origin, names, prepared, metadata = _sizes(options)
    net = nets[0]
    precision = precision_of(options.precision, options.weights_precision, target)
    if net.two_stages and precision.activations != FP32.activations:
        raise UserError(
            f"--precision {precision.name}: {net.name} chooses its regions by scores that {precision.name} does not "
            "tell apart: build it with --precision fp32"
        )
    for each in nets:
        check_batch(each, options.batch)
        if precision.dot:
            precision = _calibrated(precision, options, each, parameters, metadata, target)
    for folder in filter(None, (options.output, options.debug_dump)):
        make_writable(folder)

    work = Work(done, target, precision, len(nets), options.team)
    # Slow to import: only once the input is known to be good.
    from ..pipeline import compile_sizes

    work.started()
    if precision.activations == FP16.activations:
        from ..bridge.ranges import check_ranges

        for each in nets:
            check_ranges(each, parameters, precision.largest, precision.name)
            work("ranges")
    records = Records.read(options.records, target) if options.records else None
    compiled = compile_sizes(
        nets, parameters, target, options.debug_dump, records=records, team=options.team, precision=precision,
        pictures=options.batch, done=work,
    )  # fmt: skip
    if (workspace := compiled[0].plan.bytes) > LARGEST:
        raise UserError(f"{net.name} needs a workspace of {workspace} bytes, expected at most {LARGEST}: "
                        "build it for smaller pictures, or fewer with --batch")  # fmt: skip
    stem = options.name or library_name(nets, target, precision, options.batch)
    path = options.output / (stem + suffix(target, options.emit))
    first, *further = _linked(compiled, parameters, origin, names, prepared, options, path, work)
    # A file cannot hold its own digest: the manifest inside is the same without it.
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    built = Built(path, first, sha256, tuple(records.notices) if records else (), tuple(further))
    write_json(built.described, {**first, "library_sha256": sha256})
    write_bytes(options.output / HEADER.name, HEADER.read_bytes())
    for prefix, header in built.headers.items():
        write_bytes(header, header_of(prefix, options.team).encode())
    done(1)
    return built


def _linked(
    compiled: list[Compiled], parameters: dict[str, np.ndarray], origin: Origin, names: list[str] | None,
    prepared: dict | None, options: BuildOptions, path: Path, work: Work,
) -> list[dict]:  # fmt: skip
    """Links the library to `path`; gives the manifest of each size."""
    from ..lowering.to_object import write_object
    from .manifest import entries, manifest

    prefixes = [options.prefix, *(of_size(options.prefix, each.network.size) for each in compiled[1:])]
    several = {"entries": entries(compiled, prefixes)} if len(compiled) > 1 else {}
    scratch_bytes = max(each.team[1] if each.team else 0 for each in compiled)
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as scratch:
        networks = []
        for prefix, each in zip(prefixes, compiled, strict=True):
            object_file = Path(scratch, f"{prefix}.o")
            write_object(each.code, each.target.tvm, object_file, partial(work, "write"))
            work("write")
            team, _ = written_team(each, Path(scratch, f"{prefix}.team.o"), partial(work, "write team")) or (None, 0)
            if team:
                work("write team")
            about = {**several, **manifest(each, parameters, origin, names, prepared)}
            arrays = ports(each.network, options.batch)
            networks.append(Linked(object_file, about, *arrays, each.plan.bytes, team, prefix))
        return link_networks(
            networks, compiled[0].weights, spec=compiled[0].target, output=path, cc=options.cc,
            team_scratch=scratch_bytes, emit=options.emit,
        )  # fmt: skip


def described_beside(path: Path) -> Path:
    """Where `build` writes the manifest of the library at `path`."""
    return path.with_suffix(".json") if path.suffix in (SUFFIXES["so"], DYLIB) else path.with_name(path.name + ".json")


def _check_names(options: BuildOptions) -> None:
    """`UserError` for names that files or functions cannot have."""
    if options.prefix != PREFIX:
        check_prefix(options.prefix)
    if options.emit not in SUFFIXES:
        raise UserError(f"--emit {options.emit}: expected {', '.join(SUFFIXES)}")
    if options.name is not None and not STEM.fullmatch(options.name):
        raise UserError(f"--name {options.name!r}: expected a file's name without its ending: letters, digits and ._+-")
    for size in options.further:
        check_prefix(of_size(options.prefix, size))


def written_team(compiled: Compiled, path: Path, done: Share = unheard) -> tuple[Path, int] | None:
    """The object file for teams of threads, written to `path`, as `link` takes it; None if there is none."""
    if compiled.team is None:
        return None
    from ..lowering.to_object import write_object

    code, scratch_bytes = compiled.team
    write_object(code, compiled.target.tvm, path, done)
    return path, scratch_bytes


def check_batch(net: Network, batch: int) -> None:
    """`UserError` for a number of pictures of a call that no library of this network has."""
    if type(batch) is not int or not 1 <= batch <= BATCH:
        raise UserError(f"--batch {batch}: expected 1 to {BATCH}")
    if batch > 1 and net.two_stages:
        raise UserError(f"--batch {batch}: {net.name} goes through the regions of one picture a call: leave it out")
    shapes = net.shapes.of_pictures(batch)
    if batch > 1 and (most := max(4 * math.prod(shape) for shape in (shapes.input, *shapes.outputs))) > LARGEST:
        raise UserError(f"--batch {batch}: {most} bytes of an array, expected at most {LARGEST}: take fewer pictures")


def library_name(nets: Sequence[Network], target: TargetSpec, precision: Precision = FP32, batch: int = 1) -> str:
    """MODEL-TARGET, precision, sizes and batch where they are not fp32, the usual one and 1."""
    model = nets[0].name
    name = f"{model}-{target.name}" + ("" if precision.name == FP32.name else f"-{precision.name}")
    sizes = [each.size for each in nets]
    if sizes != [usual_size(model)]:
        name += "".join(f"-{height}x{width}" for height, width in sizes)
    return name + (f"-batch{batch}" if batch > 1 else "")


def _sizes(
    options: BuildOptions,
) -> tuple[list[Network], dict[str, np.ndarray], Origin, list[str] | None, dict | None, dict[str, str]]:
    """The network in each size; the rest as `_parameters`.  `UserError` where sizes cannot share one library."""
    net, parameters, origin, names, prepared, metadata = _parameters(options)
    nets, weights = [net], digest(parameters)
    for size in options.further:
        if options.network:
            raise UserError(f"{net.name} was built in code, for one size: it has no further one")
        other, others, *_ = _parameters(dataclasses.replace(options, size=size))
        shown = "x".join(map(str, other.size))
        if other.size in [each.size for each in nets]:
            raise UserError(f"--size {shown} is given twice: name each size of the library once")
        if digest(others) != weights:
            raise UserError(
                f"--size {shown}: {net.name} has other weights there than at {'x'.join(map(str, net.size))}: build a "
                "library for each size"
            )
        nets.append(other)
    return nets, parameters, origin, names, prepared, metadata


def _parameters(
    options: BuildOptions,
) -> tuple[Network, dict[str, np.ndarray], Origin, list[str] | None, dict | None, dict[str, str]]:
    """The network, its parameters and where they are from; names of classes and preprocessing if the file has them.

    Last what else the file says.
    """
    if options.network or options.weights is None:
        net = options.network or network(options.model or DEFAULT_MODEL, options.size, options.classes)
        return net, random_parameters(net, options.seed), Origin(f"random, seed {options.seed}"), None, None, {}
    reading = dataclasses.replace(options.reading, size=options.size)
    found = load_network(options.weights, options.model, options.classes, reading)
    style, *earlier = (found.metadata.get("origin", "") if found.style == OURS else found.style).split("\n")
    source = options.weights.name + (f" ({style})" if style else "")
    origin = Origin(source, (*earlier, *found.notes))
    return found.network, found.parameters, origin, found.class_names, found.preprocessing, found.metadata


def _calibrated(
    precision: Precision, options: BuildOptions, net: Network, parameters: dict[str, np.ndarray],
    metadata: dict[str, str], target: TargetSpec,
) -> Precision:  # fmt: skip
    """int8 with the scales of these weights; `UserError`, before anything is written, where that cannot be."""
    from ..pipeline import check_compiles

    if not (options.calibration or options.weights):
        raise UserError(
            "int8 needs the scales of the network's tensors, which random weights lack: run `python -m "
            "tvm_shufflenet.quantize CHECKPOINT --data DIR|TAR -o FILE` and build FILE"
        )
    scales = options.calibration or calibration_in(metadata, digest(parameters), str(options.weights))
    found = dataclasses.replace(precision, calibration=scales)
    check_compiles(net, parameters, target, found)
    return found


def make_writable(folder: Path) -> None:
    """Creates the folder; `UserError` before the compilation, not after it, if nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to the folder {folder}: permission denied")
    if shutil.disk_usage(folder).free < 1 << 20:
        raise UserError(f"cannot write to the folder {folder}: the disk is full")
