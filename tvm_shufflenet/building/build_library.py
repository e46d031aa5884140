"""From a model's name to a library on disk: what the command `build` does, as a function."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..architectures import DEFAULT_MODEL, Network, network
from ..bridge import random_parameters
from ..errors import UserError
from ..exchange import OURS, Reading, load_network
from ..files import write_bytes, write_json
from ..library.interface import ports
from ..library.link import link
from ..records.store import FOLDER, Records
from ..targets import DEFAULT_TARGET, TargetSpec, resolve

HEADER = Path(__file__).parents[1] / "library" / "tvm_shufflenet.h"


@dataclass(frozen=True)
class BuildOptions:
    """What to build.  `weights` is a file that `exchange.load_network` reads; without one `seed` makes them.

    Where `model`, `size` or `classes` are None, the file of the weights says them; else they are the default network,
    224x224 pixels, and 1000 classes.  `reading` says what a foreign file leaves open; its size does not matter here.
    `records` is the folder of tuning records; None leaves every kernel its default schedule.  `network` is one that was
    built in code, in the place of `model`, `size` and `classes`; its parameters are those of `seed`.
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


@dataclass(frozen=True)
class Built:
    """The library and its manifest; `tsn_describe()` of the library gives the same manifest."""

    path: Path
    manifest: dict


def build_library(options: BuildOptions) -> Built:
    """Compiles and links; writes the library, the manifest beside it and the header.

    Raises `UserError` for bad options, checkpoints that do not fit and folders that cannot be
    written.  A library that is already there stays whole until the new one replaces it.
    """
    net, parameters, source, names, prepared = _parameters(options)
    target = resolve(options.target)
    for folder in filter(None, (options.output, options.debug_dump)):
        make_writable(folder)

    # Slow to import: only once the input is known to be good.
    from ..pipeline import compile_network
    from .manifest import manifest

    records = Records.read(options.records, target) if options.records else None
    compiled = compile_network(net, parameters, target, options.debug_dump, records=records)
    path = options.output / f"{library_name(net, target)}.so"
    with tempfile.TemporaryDirectory(prefix="tvm_shufflenet-") as scratch:
        object_file = Path(scratch, "network.o")
        compiled.code.write_to_file(str(object_file), "o")
        inputs, outputs = ports(net)
        description = link(
            object_file, compiled.weights, manifest(compiled, parameters, source, names, prepared), inputs=inputs,
            outputs=outputs, workspace_bytes=compiled.plan.bytes, spec=target, output=path, cc=options.cc,
        )  # fmt: skip
    write_json(path.with_suffix(".json"), description)
    write_bytes(options.output / HEADER.name, HEADER.read_bytes())
    return Built(path, description)


def library_name(net: Network, target: TargetSpec) -> str:
    """MODEL-TARGET, and the size where it is not 224x224."""
    height, width = net.size
    return f"{net.name}-{target.name}" + ("" if (height, width) == (224, 224) else f"-{height}x{width}")


def _parameters(
    options: BuildOptions,
) -> tuple[Network, dict[str, np.ndarray], str, list[str] | None, dict | None]:
    """The network, its parameters and where they are from; names of classes and preprocessing if the file has them."""
    if options.network or options.weights is None:
        classes = 1000 if options.classes is None else options.classes
        net = options.network or network(options.model or DEFAULT_MODEL, options.size or (224, 224), classes)
        return net, random_parameters(net, options.seed), f"random, seed {options.seed}", None, None
    reading = dataclasses.replace(options.reading, size=options.size)
    found = load_network(options.weights, options.model, options.classes, reading)
    source = options.weights.name
    origin = found.metadata.get("origin") if found.style == OURS else found.style
    if said := [*filter(None, [origin]), *found.notes]:
        source += f" ({'; '.join(said)})"
    return found.network, found.parameters, source, found.class_names, found.preprocessing


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
