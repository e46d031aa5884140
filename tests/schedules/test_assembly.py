"""What LLVM makes of the grouped pointwise kernels on AArch64: the instructions of their hottest blocks."""

from __future__ import annotations

import dataclasses
import re
from itertools import groupby

import pytest
import tvm
from tvm import tirx

from tvm_shufflenet.lowering.emit_module import scheduled_kernel
from tvm_shufflenet.lowering.program import ScheduledKernel
from tvm_shufflenet.lowering.to_object import compile_module
from tvm_shufflenet.schedules import RELU, Depthwise, LongConv, Plane, Pointwise
from tvm_shufflenet.targets import resolve
from tvm_shufflenet.targets.cores import core

# Of ShuffleNet 1x, stages 2 and 3: into the bottleneck, shuffled, and out of it, with the residual.
LAYERS = {
    "g3-80-20": Pointwise(3, 80, 20, Plane.dense(28, 28), 4, activation=RELU, shuffle=True),
    "g3-20-80": Pointwise(3, 20, 80, Plane.dense(28, 28), 4, activation=RELU, residual=True),
    "g3-160-40": Pointwise(3, 160, 40, Plane.dense(14, 14), 4, activation=RELU, shuffle=True),
    "g3-40-160": Pointwise(3, 40, 160, Plane.dense(14, 14), 4, activation=RELU, residual=True),
    "g8-48-12": Pointwise(8, 48, 12, Plane.dense(28, 28), 4, activation=RELU, shuffle=True),
    "g8-12-48": Pointwise(8, 12, 48, Plane.dense(28, 28), 4, activation=RELU, residual=True),
    "g8-96-24": Pointwise(8, 96, 24, Plane.dense(14, 14), 4, activation=RELU, shuffle=True),
    "g8-24-96": Pointwise(8, 24, 96, Plane.dense(14, 14), 4, activation=RELU, residual=True),
}


def assembly(workload, target: str, **knobs: int) -> list[str]:
    """The instructions and labels of the kernel, one text each."""
    spec = resolve(target)
    kernel = ScheduledKernel("kernel", workload, {**workload.knobs(spec.machine), **knobs})
    function, variable = scheduled_kernel(kernel), tvm.ir.GlobalVar("kernel")
    buffers = [tirx.decl_buffer((1,), "float32", p.name) for p in function.params]
    call = tirx.Evaluate(variable(*(tirx.address_of(tirx.BufferLoad(b, [0])) for b in buffers)))
    main = tirx.PrimFunc(buffers, call).with_attrs({"global_symbol": "main", "s_tir": True})
    module = compile_module(tvm.IRModule({tvm.ir.GlobalVar("main"): main, variable: function}), spec.tvm)
    text = re.search(r"^kernel:$(.*?)^\.Lfunc_end", module.inspect_source("asm"), re.M | re.S)[1]
    lines = [" ".join(line.split("//")[0].split()) for line in text.splitlines()]
    return [line for line in lines if line and not re.match(r"\.(?!LBB)|\.Ltmp", line)]


def hottest(lines: list[str]) -> list[str]:
    """The basic block with the most multiply-adds."""
    blocks = [[]]
    for line in lines:
        if line.endswith(":"):
            blocks.append([])
        else:
            blocks[-1].append(line)
            if re.match(r"(b|bl|cbn?z|tbn?z|ret)\b", line):
                blocks.append([])
    return max(blocks, key=lambda block: sum(line.startswith("fmla") for line in block))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("target", ["cortex-a72", "cortex-a53"])
def test_pointwise_is_multiply_adds_of_vectors(target, layer):
    workload = LAYERS[layer]
    knobs = workload.knobs(resolve(target).machine)
    tile = knobs["rows"] * knobs["vectors"]
    block = hottest(assembly(workload, target))
    products = [line for line in block if re.match(r"f?n?m(ul|la|ls|add|sub)\b|fn?m(add|sub)\b|fmul", line)]
    assert len(products) >= knobs["unroll"] * tile
    by_element = re.compile(r"fmla v\d+\.4s, v\d+\.4s, v\d+\.s\[[0-3]\]")
    assert all(by_element.fullmatch(line) for line in products), "scalar or unfused multiplications"
    # What is only read there are pixels that all row tiles share, which LLVM copied in front of them.
    spilled = [line for line in block if re.match(r"st.*\b[qdsv]\d+\b.*\[sp\b", line)]
    assert not spilled, "the register tile is spilled"
    if knobs["unroll"] < workload.inputs:  # a loop, of nothing but loads and multiply-adds
        assert len(products) == knobs["unroll"] * tile
        assert not [line for line in block if "[sp" in line]
        vectors_loaded = sum(len(re.findall(r"\b[qd]\d+", line)) for line in block if line.startswith("ld"))
        assert vectors_loaded == knobs["unroll"] * (-(-knobs["rows"] // 4) + knobs["vectors"])
        asked = [line for line in block if line.startswith("prfm")]
        assert len(asked) == bool(workload.loads_ahead(knobs)) * knobs["unroll"]
        assert len(block) <= len(products) + vectors_loaded + len(asked) + 6, "more than pointers and a counter"


def test_prefetches_are_a_knob():
    """One for each run of pixels that a tile loads or stores, which is half a line."""
    workload, target = LAYERS["g8-48-12"], "cortex-a72"
    knobs = workload.knobs(resolve(target).machine)
    assert not [line for line in assembly(workload, target) if line.startswith("prfm")]
    lines = assembly(workload, target, prefetch=64, unroll=1)
    assert len([line for line in hottest(lines) if line.startswith("prfm pldl1keep")]) == 1
    stores = [line for line in lines if line.startswith("prfm pstl1keep")]
    assert knobs["rows"] <= len(stores) < knobs["rows"] * knobs["vectors"]
    wide = assembly(workload, target, prefetch=64, unroll=1, rows=4, vectors=5)  # longer than a line
    assert len([line for line in hottest(wide) if line.startswith("prfm pldl1keep")]) == 5


DEPTHWISE = {f"3x3 {size}": Depthwise(24, *[Plane.padded(size, size, 4)] * 2, 3, 1, 1, 4) for size in (56, 28, 14)}


@pytest.mark.parametrize("name", [*LAYERS, *DEPTHWISE])
@pytest.mark.parametrize("target,products_a_cycle,unaligned,stored", [
    # Cycles of an unaligned load of a vector, and of a stored vector: measured on Cortex-A72, on Neoverse N1 (A76).
    ("cortex-a72", 1, 2, 2), ("cortex-a73", 1, 2, 2), ("cortex-a76", 2, 1, 1), ("cortex-a78", 2, 1, 1),
])  # fmt: skip
def test_what_is_dear_fits_beside_multiply_adds(target, products_a_cycle, unaligned, stored, name):
    """Loads of no vector that is aligned, and stores, keep their units busy for less time than multiply-adds theirs."""
    block = hottest(assembly({**LAYERS, **DEPTHWISE}[name], target))
    assert not [line for line in block if re.match(r"(ld|st)[1-4] \{[^}]*[,-]", line)], "several registers at a time"

    def vectors(kind: str) -> int:
        return sum(len(re.findall(r"\bq\d+", line)) for line in block if line.startswith(kind))

    products = sum(bool(re.match(r"fml[as]|fmul", line)) for line in block) / products_a_cycle
    assert products and unaligned * vectors("ld") <= products and stored * vectors("st") <= products


def test_cores_in_order_ask_for_what_their_caches_do_not_keep():
    """A tile ahead, which takes longer than memory; stores alone where they are most of what is moved."""
    machine, last = resolve("cortex-a53").machine, core("cortex-a53").caches[-1]
    assert (machine.caches, machine.fetch) == (last.kilobytes * 512, last.latency)
    reading, storing = (Pointwise(3, *sides, Plane.dense(28, 28), 4, activation=RELU) for sides in ((80, 20), (20, 80)))
    for workload, loads in ((reading, 8), (storing, 0)):
        knobs = workload.knobs(machine)
        assert knobs["prefetch"] == 8 and workload.loads_ahead(knobs) == loads
        assert workload.knobs(resolve("cortex-a72").machine)["prefetch"] == 0
        assert dataclasses.replace(workload, plane=Plane.dense(8, 8)).knobs(machine)["prefetch"] == 0
    plane = Plane.padded(56, 56, 4)
    few = Depthwise(60, plane, plane, 3, 1, 1, 4)
    assert few.knobs(machine)["prefetch"] > 0 == few.knobs(resolve("cortex-a72").machine)["prefetch"]


@pytest.mark.parametrize("layer", LAYERS)
def test_loads_come_together_on_cortex_a53(layer):
    """Its loads wait for the multiply-adds in front of them: one gap in each turn of the loop."""
    block = hottest(assembly(LAYERS[layer], "cortex-a53"))
    kinds = [line.startswith("fmla") for line in block if line.startswith(("fmla", "ld"))]
    assert [multiplies for multiplies, _ in groupby(kinds)] == [False, True]


@pytest.mark.parametrize("kernel,pad", [((15, 1), (7, 0)), ((1, 15), (0, 7))], ids=["tall", "wide"])
@pytest.mark.parametrize("target", ["cortex-a72", "cortex-a53"])
def test_long_windows_are_multiply_adds_of_vectors(target, kernel, pad):
    """Of Light-Head R-CNN at 800x1200."""
    plane = Plane.dense(50, 75)
    block = hottest(assembly(LongConv(1, 464, 64, plane, plane, kernel, 1, pad, (1, 1), 4), target))
    products = [line for line in block if line.startswith("fmla")]
    assert all(re.fullmatch(r"fmla v\d+\.4s, v\d+\.4s, v\d+\.s\[[0-3]\]", line) for line in products)
    assert len(products) >= 0.65 * len(block) and not [line for line in block if "[sp" in line]
