"""The compiler on one page: a network and its parameters become object code for a target.

phase             what it leaves                                                  file
1 relax           the network in TVM's graph IR, parameters bound                 bridge/relax_module.py
2 read_relax      nodes with constants in numpy                                   graph/read_relax.py
3 simplify        nothing that changes nothing; activations before concatenations graph/simplify.py
4 fold_affine     convolutions with bias                                          graph/fold.py
5 fold_attention  scales that are known before what they multiply                 graph/attention.py
6 fuse_epilogues  one node per kernel                                             graph/fuse.py
  quantise        of int8: integers in the place of weights                       graph/quantise.py
7 select_kernels  calls of kernels of `schedules/`; tensors are views of roots    lowering/select_kernels.py
  batches         for several pictures: which calls run for one, which for all    lowering/batches.py
8 plan_memory     every root's place in one workspace                             lowering/plan_memory.py
9 emit_module     scheduled TIR: private kernels, one entry function              lowering/emit_module.py
10 to_object      LLVM's object code                                              lowering/to_object.py

The sizes of a library of several share the weights that 9 packs alike (lowering/packed_weights.py).

Libraries for teams of threads go through 9 and 10 once more: lowering/emit_team.py has each kernel in parts.

Behind 7 and 8 `lowering/verify.py` proves what the kernels rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from .architectures import Network
from .bridge import to_relax
from .bridge.relax_module import relax_module
from .errors import UserError
from .graph import Graph, Node
from .graph.attention import fold_attention
from .graph.byte_steps import add_ends, as_convolutions
from .graph.byte_tensors import any_scales, takes_activation
from .graph.fold import fold_affine
from .graph.fuse import fuse_epilogues
from .graph.quantise import quantise
from .graph.read_relax import read_relax
from .graph.region_pixels import regions_as_pixels
from .graph.simplify import simplify
from .library.interface import ports, room
from .lowering.abilities import is_pointwise, reads_floats
from .lowering.batches import batch
from .lowering.choose_knobs import choose_knobs
from .lowering.emit_module import emit_module
from .lowering.packed_weights import PackedWeights
from .lowering.plan_memory import MemoryPlan, plan_memory
from .lowering.program import Program, ScheduledKernel
from .lowering.select_kernels import select_kernels
from .lowering.to_object import compile_module
from .lowering.verify import InvalidProgram, verify, verify_plan
from .records.store import Chooser
from .targets import DEFAULT_TARGET, TargetSpec, resolve
from .targets.calibration import Calibration
from .targets.precision import FP32, INT8, Precision, precision_of


@dataclass(frozen=True)
class Compiled:
    """What `library` links: object code, packed weights, and what became of the network.

    `ignored` counts records of its kernels that do not apply, by reason.  `team` is the object code for teams of
    threads, with the bytes of scratch that each but the first needs.

    Of a library of several sizes `weights` are all arrays up to this size, of which its calls read `weight_bytes`;
    earlier sizes read `shared_weight_bytes` of those, too.
    """

    network: Network
    target: TargetSpec
    program: Program
    plan: MemoryPlan
    kernels: list[ScheduledKernel]
    tir: tvm.IRModule
    code: tvm.runtime.Module
    weights: list[np.ndarray]
    ignored: dict[str, int]
    team: tuple[tvm.runtime.Module, int] | None
    precision: Precision = FP32
    weight_bytes: int = 0
    shared_weight_bytes: int = 0


def compile_network(
    network: Network,
    parameters: dict[str, np.ndarray],
    target: TargetSpec,
    debug_dump: Path | None = None,
    ticking: bool = False,
    records: Chooser | None = None,
    team: bool = False,
    precision: Precision = FP32,
    pictures: int = 1,
    done: Callable[[str], None] = lambda phase: None,
) -> Compiled:
    """Compiles one network; see `compile_sizes`.  What each phase leaves is written to the folder `debug_dump`."""
    (compiled,) = compile_sizes(
        [network], parameters, target, debug_dump, ticking, records, team, precision, pictures, done
    )  # fmt: skip
    return compiled


def compile_sizes(
    networks: Sequence[Network],
    parameters: dict[str, np.ndarray],
    target: TargetSpec,
    debug_dump: Path | None = None,
    ticking: bool = False,
    records: Chooser | None = None,
    team: bool = False,
    precision: Precision = FP32,
    pictures: int = 1,
    done: Callable[[str], None] = lambda phase: None,
) -> list[Compiled]:
    """Compiles a network in one size or more, for one library: weights that are packed alike are there once.

    With `debug_dump`, a folder, what each phase leaves is written there, of several sizes to a folder of each.
    With `team` there is code for teams of threads, too.  A call takes so many `pictures`.

    `parameters` are fp32 arrays under the names of `network.parameters()`, the same for all.  `ticking` is for
    `measure/clocked.py`: the code reads a clock around each kernel.  Without `records` every kernel has
    its default knobs.  `done` is told of each size when it is through "plan", "emit", "compile" and, with `team`,
    "compile team".  All sizes have the largest workspace, in which `tsn_run` leaves outputs, too.
    """
    sizes = ["x".join(map(str, network.size)) if len(networks) > 1 else "" for network in networks]
    dumps = [_Dump(debug_dump and debug_dump / size) for size in sizes]
    planned = []
    for network, dump in zip(networks, dumps, strict=True):
        planned.append(_planned(network, parameters, target, dump, precision, pictures))
        done("plan")
    rooms = [room(ports(network, pictures)[1]) for network in networks]
    largest = max(plan.bytes + behind for (_, plan), behind in zip(planned, rooms, strict=True))
    packed, found = PackedWeights(), []
    for network, dump, (program, plan), behind in zip(networks, dumps, planned, rooms, strict=True):
        plan = replace(plan, bytes=largest - behind)
        dump(plan.describe(program), "plan_memory")
        kernels = choose_knobs(program, target.machine, records)
        packed.next_size()
        emitted = emit_module(program, plan, kernels, network.shapes.of_pictures(pictures), packed, ticking, team)
        dump(emitted.module, "emit_module")
        done("emit")
        code = dump(compile_module(emitted.module, target.tvm), "to_object")
        done("compile")
        ignored = records.ignored(program.workloads()) if records else {}
        threads = None
        if emitted.team:
            dump(emitted.team.module, "emit_team")
            threads = dump(compile_module(emitted.team.module, target.tvm), "to_object"), emitted.team.scratch_bytes
            done("compile team")
        found.append(Compiled(
            network, target, program, plan, kernels, emitted.module, code, packed.arrays, ignored, threads, precision,
            packed.used, packed.shared,
        ))  # fmt: skip
    return found


def check_compiles(
    network: Network, parameters: dict[str, np.ndarray], target: TargetSpec | None = None, precision: Precision = FP32
) -> None:
    """`UserError` for a network that `compile_network` cannot compile; no code is made."""
    _planned(network, parameters, target or resolve(DEFAULT_TARGET), precision=precision)


def check_int8(network: Network, parameters: dict[str, np.ndarray]) -> None:
    """`UserError`, with a layer's name, for a network that int8 has no kernels for."""
    precision = precision_of(INT8.name, None, resolve(DEFAULT_TARGET))
    check_compiles(network, parameters, precision=with_scales(precision, network, parameters))


def any_calibration(network: Network, parameters: dict[str, np.ndarray], parts: bool = False) -> Calibration:
    """Scales that are right for no weights: int8 takes the same time with any; `parts` as of `byte_graph`."""
    return replace(any_scales(byte_graph(network, parameters, parts=parts)), parts=parts)


def with_scales(
    precision: Precision, network: Network, parameters: dict[str, np.ndarray], parts: bool = False
) -> Precision:
    """The precision as `compile_network` takes it, with any scales where it needs some; `parts` as of `byte_graph`."""
    return replace(precision, calibration=any_calibration(network, parameters, parts)) if precision.dot else precision


def _planned(
    network: Network,
    parameters: dict[str, np.ndarray],
    target: TargetSpec,
    dump: Callable = lambda value, phase: value,
    precision: Precision = FP32,
    pictures: int = 1,
) -> tuple[Program, MemoryPlan]:
    """Phases 1 to 8, verified; what the verifier finds is a `UserError`, as nothing wrong may be made."""
    try:
        program = lower_graph(network, parameters, target, dump, precision)
        if pictures > 1:
            batch(program, pictures)
            verify(program)
        plan = plan_memory(program)
        verify_plan(program, plan)
    except InvalidProgram as error:
        raise UserError(f"{network.name} cannot be compiled, which is a fault of this compiler: {error}") from None
    return program, plan


def lower_graph(
    network: Network,
    parameters: dict[str, np.ndarray],
    target: TargetSpec,
    dump: Callable = lambda value, phase: value,
    precision: Precision = FP32,
) -> Program:
    """Phases 1 to 7; `dump(value, phase)` is given what each leaves, and passes it on."""
    if precision.dot:
        assert precision.calibration, "int8 needs scales"
        graph = byte_graph(network, parameters, dump, precision.calibration.parts)
        quantise(graph, precision.calibration)
        dump(graph, "quantise")
    else:
        graph = fused_graph(network, parameters, dump, precision)
    program = dump(select_kernels(graph, target.machine, network.layout, precision), "select_kernels")
    verify(program)
    return program


def fused_graph(
    network: Network,
    parameters: dict[str, np.ndarray],
    dump: Callable = lambda value, phase: value,
    precision: Precision = FP32,
) -> Graph:
    """Phases 1 to 6: the steps that kernels compute, in floats."""

    def fuse(graph: Graph) -> None:
        regions_as_pixels(graph, dense=precision.dense_weights == precision.activations)
        fuse_epilogues(graph, is_pointwise)

    return _fused(network, parameters, dump, is_pointwise, fuse)


def byte_graph(
    network: Network,
    parameters: dict[str, np.ndarray],
    dump: Callable = lambda value, phase: value,
    parts: bool = False,
) -> Graph:
    """The same of int8: fewer steps together, and steps at the ends.  Weights are floats until `quantise`.

    With `parts` what channel attention is of stays as it is: each part is a step, and so has a scale of its own.
    """

    def takes(graph: Graph, node: Node, activation: Node) -> bool:
        return takes_activation(graph, node, activation, factors=not parts)

    def fuse(graph: Graph) -> None:
        as_convolutions(graph)
        fuse_epilogues(graph, is_pointwise, takes)
        add_ends(graph, reads_floats)

    return _fused(network, parameters, dump, (lambda node: False) if parts else is_pointwise, fuse)


def _fused(
    network: Network, parameters: dict[str, np.ndarray], dump: Callable, takes_scale: Callable[[Node], bool],
    fuse: Callable[[Graph], None],
) -> Graph:  # fmt: skip
    module = dump(relax_module(network), "relax")
    module = relax.transform.BindParams("main", to_relax(parameters))(module)
    graph = dump(read_relax(module), "read_relax")
    for name, graph_pass in (
        ("simplify", simplify),
        ("fold_affine", fold_affine),
        ("fold_attention", lambda graph: fold_attention(graph, takes_scale)),
        ("fuse_epilogues", fuse),
    ):
        graph_pass(graph)
        dump(graph, name)
    return graph


class _Dump:
    """Writes what a phase leaves, numbered, and passes it on."""

    def __init__(self, folder: Path | None):
        self.folder, self.count = folder, 0

    def __call__(self, value, phase: str):
        self.count += 1
        if self.folder is None:
            return value
        self.folder.mkdir(exist_ok=True)
        if isinstance(value, tvm.IRModule):
            suffix, text = "py", value.script(show_meta=False)
        elif isinstance(value, tvm.runtime.Module):
            suffix, text = "ll", value.inspect_source("ll")
        else:
            suffix, text = "txt", value if isinstance(value, str) else value.describe()
        (self.folder / f"{self.count:02}_{phase}.{suffix}").write_text(text)
        return value
