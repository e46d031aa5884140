"""The estimate: exact counts of hand-written code, known misses, the same figures on every run."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from tvm_shufflenet.cli.command import run
from tvm_shufflenet.cli.estimate import main
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation import mca, pricing, tools
from tvm_shufflenet.estimation.barriers import LINE_CYCLES, count_barriers
from tvm_shufflenet.estimation.counting import Block, count, is_branch, straighten, subtract
from tvm_shufflenet.estimation.estimates import COUNTED, TWICE, estimate, figures, inference, miss_cycles
from tvm_shufflenet.estimation.instructions import disassemble, kind, words_of
from tvm_shufflenet.estimation.pricing import model_note, price, with_model
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.targets import APPLE, TARGETS
from tvm_shufflenet.targets.cores import CORES, FOUND, NOT_FOUND, Level, core

MODEL, SIZE = "shufflenet-v1-0.25x-g4", (64, 64)


def _missing() -> str:
    try:
        tools.qemu(), tools.llvm()
    except UserError as error:
        return str(error)
    return ""


emulated = [pytest.mark.emulator, pytest.mark.skipif(bool(_missing()), reason=_missing())]
EXIT = "  mov x0, #0\n  mov x8, #93\n  svc #0\n.bss\n.balign 65536\nbuffer: .space 131072\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Prices are computed anew, not taken from whoever runs the tests."""
    folder = tmp_path_factory.mktemp("prices")
    monkeypatch.setattr("tvm_shufflenet.estimation.pricing.cache_folder", lambda: folder)


@pytest.fixture
def assemble(tmp_path):
    """A program of these instructions alone, behind `x1 = buffer`."""

    def one(text: str):
        source, program = tmp_path / "program.S", tmp_path / "program"
        start = ".text\n.globl _start\n_start:\n  adrp x1, buffer\n  add x1, x1, :lo12:buffer\n"
        source.write_text(f"{start}{text}{EXIT}")
        tools.compile_c(source, program, tools.BARE)
        return program

    return one


def measured(blocks, name="cortex-a72"):
    return figures("", blocks, price(blocks, core(name)))


# ------------------------------------------------------------------------------- counting


LOOP = """
  mov x2, #1000
1:
  ldr q0, [x1]
  ldp q2, q3, [x1, #32]
  fmla v1.4s, v0.4s, v2.s[1]
  fmla v4.2s, v0.2s, v2.2s
  fmadd s5, s0, s2, s3
  str q1, [x1, #64]
  subs x2, x2, #1
  b.ne 1b
"""


class TestCounting:
    pytestmark = emulated

    def test_a_loop_of_known_counts(self, assemble):
        found = measured(straighten(count([assemble(LOOP)])))
        assert (found.instructions, found.loads, found.stores) == (6 + 8 * 1000, 2000, 1000)
        assert (found.vector_fma, found.multiply_adds) == (2000, 7000)
        assert not found.refused

    def test_blocks_are_those_of_the_code_not_of_the_translation(self, assemble):
        """The emulator has the loop's first round and what precedes it in one block."""
        blocks = straighten(count([assemble(LOOP)]))
        assert [(len(block.code) // 4, block.executions) for block in blocks] == [(3, 1), (8, 1000), (3, 1)]

    def test_a_block_that_two_pages_share_is_one(self, assemble):
        blocks = straighten(count([assemble("  mov x2, #50\n1:\n" + "  add x3, x3, #1\n" * 3000
                                            + "  subs x2, x2, #1\n  b.ne 1b\n")]))  # fmt: skip
        assert (3002, 50) in [(len(block.code) // 4, block.executions) for block in blocks]

    def test_subtraction_leaves_what_was_executed_more(self, assemble):
        fewer, more = count([assemble(LOOP)]), count([assemble(LOOP)])
        assert subtract(more, fewer) == []
        more[1] = Block(more[1].address, more[1].code, more[1].executions + 7)
        assert [(b.address, b.executions) for b in subtract(more, fewer)] == [(more[1].address, 7)]

    def test_code_that_llvm_does_not_know_is_a_nop(self, assemble):
        blocks = [Block(0, bytes.fromhex("ffffffff1f2003d5"), 1)]
        assert measured(blocks).refused == {".inst": 1} == measured(blocks, "cortex-a53").refused

    def test_atomics_and_calls_do_not_stop_pricing(self, assemble):
        text = ".arch armv8.1-a\n  mov x9, #3\n  bl 2f\n  ldadd x9, x10, [x1]\n  b 3f\n2: ret\n3:\n"
        found = measured(straighten(count([assemble(text)])))
        assert found.instructions == 10 and found.cycles < 40

    def test_a_program_that_fails_says_so(self, assemble):
        with pytest.raises(UserError, match="program failed in the emulator"):
            count([assemble("  mov x0, #3\n  mov x8, #93\n  svc #0\n")])


MATRIX = r"""
#include <arm_neon.h>
enum { N = 32 };
float a[N][N], b[N][N], c[N][N];
#ifdef NAIVE
static void product(void) {
  for (int i = 0; i < N; ++i) for (int j = 0; j < N; ++j) {
    float sum = 0;
    for (int k = 0; k < N; ++k) sum += a[i][k] * b[k][j];
    c[i][j] = sum;
  }
}
#else
static void product(void) {
  for (int i = 0; i < N; i += 4) for (int j = 0; j < N; j += 16) {
    float32x4_t sum[4][4] = {0};
    for (int k = 0; k < N; ++k) for (int y = 0; y < 4; ++y) for (int x = 0; x < 4; ++x)
      sum[y][x] = vfmaq_n_f32(sum[y][x], vld1q_f32(&b[k][j + 4 * x]), a[i + y][k]);
    for (int y = 0; y < 4; ++y) for (int x = 0; x < 4; ++x) vst1q_f32(&c[i + y][j + 4 * x], sum[y][x]);
  }
}
#endif
void _start(void) {
  product();
  __asm__ volatile("mov x0, #0\n mov x8, #93\n svc #0");
}
"""


class TestPricing:
    pytestmark = emulated

    def test_a_tiled_product_costs_less_than_a_naive_one(self, tmp_path):
        source = tmp_path / "product.c"
        source.write_text(MATRIX)

        def blocks_of(*options):
            tools.compile_c(source, tmp_path / "product", ["-O2", "-fno-vectorize", *options, *tools.BARE])
            return straighten(count([tmp_path / "product"]))

        naively, by_tiles = blocks_of("-DNAIVE", "-ffp-contract=fast"), blocks_of()
        for name in ("cortex-a53", "cortex-a72", "cortex-a76"):
            naive, tiled = measured(naively, name), measured(by_tiles, name)
            assert naive.multiply_adds == tiled.multiply_adds == 32**3
            assert tiled.vector_fma == 32**3 / 4
            assert tiled.cycles < naive.cycles / 3
            assert tiled.cycles >= 32**3 / core(name).lanes

    def test_prices_are_kept(self, assemble, monkeypatch):
        blocks = straighten(count([assemble(LOOP)]))
        first = price(blocks, core("cortex-a57"))
        monkeypatch.setattr("tvm_shufflenet.estimation.pricing.cycles_of", None)
        assert price(blocks, core("cortex-a72")) == first  # the same model

    def test_a_damaged_file_of_prices_starts_anew(self, assemble):
        from tvm_shufflenet.estimation import pricing

        blocks = straighten(count([assemble(LOOP)]))
        first = price(blocks, core("cortex-a57"))
        (file,) = pricing.cache_folder().glob("prices-*")
        file.write_text("no data base at all" * 100)
        assert price(blocks, core("cortex-a57")) == first

    def test_a_missing_model_is_said(self, monkeypatch):
        old, new = tools.Llvm("", "", "14.0.6"), tools.Llvm("", "", "19.1.7")
        monkeypatch.setattr("tvm_shufflenet.estimation.pricing.llvm", lambda: old)
        assert "LLVM 14.0.6 lacks that" in model_note(core("cortex-a76"))
        monkeypatch.setattr("tvm_shufflenet.estimation.pricing.llvm", lambda: new)
        assert "lacks" not in model_note(core("cortex-a76")) and "Neoverse N1" in model_note(core("cortex-a76"))
        assert model_note(core("cortex-a76")).endswith(NOT_FOUND) and FOUND["cortex-a72"] in model_note(
            core("cortex-a72")
        )
        assert NOT_FOUND in model_note(with_model(core("cortex-a53"), "llvm"))


# --------------------------------------------------------------------------------- caches


def walk(kilobytes: int, instruction: str, rounds: int = 2) -> str:
    """One access a line over so much memory, again and again."""
    return f"""
  mov x3, #{rounds}
1:
  mov x2, #{kilobytes * 16}
  mov x4, x1
2:
  {instruction}
  add x4, x4, #64
  subs x2, x2, #1
  b.ne 2b
  subs x3, x3, #1
  b.ne 1b
"""


CACHES = (Level("L1", 32, 2, 20, 5, 16, 16), Level("L2", 1024, 16, 220, 10, 4, 4))


class TestCaches:
    pytestmark = emulated

    @pytest.mark.parametrize("kilobytes,first,second", [
        (16, 256, 256),  # fits: missed once
        (32, 512, 512),
        (64, 2048, 1024),  # twice the first level: the least recently used line is always the next one
        (128, 4096, 2048),
    ])  # fmt: skip
    def test_a_walk_by_lines(self, assemble, kilobytes, first, second):
        found = measured(straighten(count([assemble(walk(kilobytes, "ldr x5, [x4]"))], caches=CACHES)))
        # Each round is a stream, which its first line begins.
        assert [sum(kinds) for kinds in found.misses] == [first, second]
        assert all(1 <= kinds[1] <= 2 and kinds[2] == 0 for kinds in found.misses)

    def test_lines_that_no_stream_foresees(self, assemble):
        """Every sixth line of as many as the second level holds, then lines that are near the one before."""
        far = walk(64, "ldr x5, [x4]").replace("add x4, x4, #64", "add x4, x4, #384").replace(f"#{64 * 16}", "#100")
        assert measured(straighten(count([assemble(far)], caches=CACHES))).misses[1] == [0, 100, 0]
        near = far.replace("#384", "#256")
        assert measured(straighten(count([assemble(near)], caches=CACHES))).misses[1] == [99, 1, 0]

    def test_stores_and_accesses_across_lines(self, assemble):
        found = measured(straighten(count([assemble(walk(16, "str x5, [x4]"))], caches=CACHES)))
        assert found.misses == [[0, 0, 256], [0, 0, 256]]
        across = "  add x4, x1, #60\n  ldr x5, [x4]\n"
        found = measured(straighten(count([assemble(across)], caches=CACHES)))
        assert found.misses == [[1, 1, 0], [1, 1, 0]]

    def test_every_way_of_a_set_is_used(self, assemble):
        """Lines 16 KiB apart share a set of the first level: two stay, three do not."""
        two = "  mov x3, #10\n1:\n  ldr x5, [x1]\n  ldr x5, [x1, #16384]\n  subs x3, x3, #1\n  b.ne 1b\n"
        three = two.replace("  subs", "  add x4, x1, #32768\n  ldr x5, [x4]\n  subs")
        assert measured(straighten(count([assemble(two)], caches=CACHES))).misses == [[0, 2, 0], [0, 2, 0]]
        assert measured(straighten(count([assemble(three)], caches=CACHES))).misses == [[0, 30, 0], [0, 3, 0]]

    @pytest.mark.parametrize("between,use,misses", [
        (300, "ldr x5, [x1, #2048]", [1, 0, 0]),  # there when it is needed
        (10, "ldr x5, [x1, #2048]", [1, 1, 0]),  # still on its way
        (300, "str x5, [x1, #2048]", [1, 0, 1]),  # to be written back
    ])  # fmt: skip
    def test_a_prefetched_line(self, assemble, between, use, misses):
        """A load into the zero register is what the runner makes of a prefetch, and counts as the prefetch."""
        text = f"  ldr xzr, [x1, #2048]\n  mov x3, #{between}\n1:\n  subs x3, x3, #1\n  b.ne 1b\n  {use}\n"
        found = measured(straighten(count([assemble(text)], caches=CACHES)))
        assert found.misses == [misses, misses] and found.loads == use.startswith("ldr")

    def test_the_runner_shows_prefetches(self, tmp_path):
        """Of any form, and of places behind all that is mapped."""
        source, library = tmp_path / "library.S", tmp_path / "library.so"
        source.write_text(""".text\n.globl tsn_run\n.type tsn_run, %function\ntsn_run:
  prfm pldl1keep, [x0, #512]\n  prfm pstl1keep, [x2, #32760]\n  prfum pldl1keep, [x0, #-63]\n  mov x3, #1 << 20
  prfm pldl1keep, [x1, x3]\n  mov x0, #0\n  ret\n.size tsn_run, . - tsn_run\n""")
        tools.compile_c(source, library, ["-target", "aarch64-linux-gnu", "-shared", "-nostdlib"])
        blocks = inference(library, read_elf(library), (64, 64, 64), core("cortex-a53"), True)
        assert sum(block.misses[0][0] for block in blocks) == 0  # they stay in the cache from the first inference on
        text = disassemble({word for block in blocks for word in words_of(block.code)}).values()
        assert len([line for line in text if line.startswith(("prfm pldl1keep", "prfum pldl1keep"))]) == 4


def test_what_misses_cost():
    """In a stream latency over lines in flight, or bytes; alone in order the latency; stores their bytes."""
    big, little = CORES["cortex-a72"], CORES["cortex-a53"]
    for entry in (big, little):
        for level in entry.caches:
            assert level.cycles_per_line == max(level.latency / level.in_flight, 64 / level.read)
            assert level.cycles_per_stored_line == 64 / level.write
            lone = level.latency if entry is little else level.cycles_per_line
            assert entry.cycles_per_lone_line(level) == lone
        one, two = entry.caches
        # 10 + 5 loads miss the first level, 3 + 1 of them the second too; 7 stores miss the first, 2 the second.
        assert miss_cycles([[10, 5, 7], [3, 1, 2]], entry) == pytest.approx(
            7 * one.cycles_per_line + 4 * entry.cycles_per_lone_line(one) + 5 * one.cycles_per_stored_line
            + 3 * two.cycles_per_line + entry.cycles_per_lone_line(two) + 2 * two.cycles_per_stored_line
        )  # fmt: skip
    assert 27 <= little.cycles_per_lone_line(little.caches[0]) <= 35
    for entry in (CORES["cortex-a510"], with_model(CORES["cortex-a55"], "llvm")):  # in order, whoever prices them
        assert [entry.cycles_per_lone_line(level) for level in entry.caches] == [each.latency for each in entry.caches]


def test_figures_without_a_source_are_marked():
    """Sizes apart, each figure of a cache has a source or is named as assumed."""
    for entry in CORES.values():
        assert entry.board
        for level in entry.caches:
            assumed = level.assumed.split()
            assert set(assumed) <= {field.name for field in dataclasses.fields(Level)}
            assert level.source or {"latency", "in_flight", "read", "write"} <= set(assumed), (entry.name, level.name)


# -------------------------------------------------------------------------------- library


class TestLibrary:
    pytestmark = emulated

    @pytest.fixture
    def library(self, build):
        return build(MODEL, target="cortex-a72", size=SIZE).path

    def test_two_runs_give_the_same_figures(self, library, tmp_path):
        """To the last digit, with other paths, and prices from the cache or not."""
        elsewhere = tmp_path / ("another-rather-long-name" * 5 + ".so")
        shutil.copy(library, elsewhere)
        one, two = (estimate(path, core("cortex-a72")) for path in (library, elsewhere))
        assert one.kernels == two.kernels and one.network == two.network

    def test_what_is_done_is_told(self, library, monkeypatch):
        """Through both counts, and block by block of pricing; by LLVM's models once for each of its calls."""
        told: list[float] = []
        estimate(library, core("cortex-a53"), caches=False, done=told.append)
        assert told == sorted(told) and {TWICE, COUNTED} <= set(told) and told[-1] > 0.99
        monkeypatch.setattr(pricing._Kept, "find", lambda self, keys: {})
        monkeypatch.setattr(mca, "BATCH", 1)
        told.clear()
        code = [bytes.fromhex(word)[::-1] for word in ("4e20cc20", "91000421")]
        price([Block(0, each, 1) for each in code], core("cortex-a72"), told.append)
        assert told == [0.5, 1]

    def test_kernels_are_told_apart(self, library):
        found = estimate(library, core("cortex-a72"))
        names = [kernel.name for kernel in found.kernels]
        assert {"conv2d_1", "max_pool_1", "pointwise_1", "depthwise_1", "dense_1"} <= set(names)
        assert "(unnamed)" not in names
        kernels = found.manifest["kernels"]["total"]
        called = [kernel for kernel in found.kernels if kernel.name not in ("(calls)", "memset", "memcpy")]
        assert len(called) == kernels and all(kernel.calls >= 1 for kernel in called)
        for name in ("instructions", "loads", "stores", "multiply_adds"):
            assert sum(getattr(kernel, name) for kernel in found.kernels) == getattr(found.network, name) > 0
        useful = found.manifest["multiply_adds"]
        # Depthwise kernels leave out what falls on the padding: a few per cent of these small planes.
        assert 0.95 * useful <= found.network.multiply_adds < 2 * useful
        assert found.network.cycles >= 0.95 * useful / 4
        assert next(k for k in found.kernels if k.name == "(calls)").instructions < found.network.instructions / 100

    def test_caches_change_no_count(self, library):
        with_caches, without = (estimate(library, core("cortex-a53"), caches=flag) for flag in (True, False))
        assert without.network.miss_cycles is None and without.network.misses == []
        assert without.network.instructions == with_caches.network.instructions
        assert without.network.cycles == with_caches.network.cycles == without.network.total_cycles
        assert with_caches.network.total_cycles > with_caches.network.cycles

    def test_the_command(self, library, tmp_path, capsys):
        out = tmp_path / "figures.json"
        assert run(lambda: main([str(library), "--target", "cortex-a53", "--json", str(out)])) == 0
        text = capsys.readouterr().out
        assert "model, not a measurement" in text and "1.2 GHz (Raspberry Pi 3)" in text
        assert "Weights: random, seed 0; 1000 classes" in text
        found = json.loads(out.read_text())
        assert found["core"] == "cortex-a53" and found["compiled_for"] == "cortex-a72"
        assert all(found["network"]["missed_lines"]["L1"][kind] > 0 for kind in ("streamed_loads", "stores"))
        assert {kernel["name"] for kernel in found["kernels"]} >= {"conv2d_1", "dense_1"}

    def test_the_command_builds(self, capsys):
        assert run(lambda: main([MODEL, "--size", "64", "--classes", "10", "--no-cache"])) == 0
        text = capsys.readouterr().out
        assert "compiled for cortex-a72" in text and "Second opinion: " in text


@pytest.mark.slow
@pytest.mark.skipif(bool(_missing()), reason=_missing())
class TestBarriers:
    def test_they_are_those_of_the_code(self, build):
        """Behind each kernel that is cut, and behind runs of others: at most one for each step of a kernel."""
        built = build(MODEL, target="cortex-a72", size=SIZE, classes=10, team=True)
        found = count_barriers(built.path, core("cortex-a72"), 4)
        calls = len(built.manifest["plan"]["calls"]["rows"])
        assert calls // 2 < found.count <= calls and 20 < found.instructions < 200 and 0 < found.cycles < 200
        assert found.all_cycles == found.count * (found.cycles + 8 * LINE_CYCLES)
        assert found.share(4 * found.all_cycles) == 0.5

    def test_the_command(self, build, tmp_path, capsys):
        library, out = build(MODEL, target="cortex-a72", size=SIZE, classes=10, team=True).path, tmp_path / "out.json"
        assert run(lambda: main([str(library), "--threads", "4", "--no-cache", "--json", str(out)])) == 0
        found = json.loads(out.read_text())
        text = " ".join(capsys.readouterr().out.split())
        assert f"4 threads, each on a core of its own: {found['threads']['barriers']} barriers" in text
        assert "(200 cycles each: assumed)" in text and 0 < found["threads"]["share"] < 1

    def test_a_library_without_teams(self, build, capsys):
        library = build(MODEL, target="cortex-a72", size=SIZE, classes=10).path
        assert "is not made for --threads 4" in fails(capsys, library, "--threads", "4")
        assert "--threads 65: expected 1 to 64" in fails(capsys, library, "--threads", "65")


# --------------------------------------------------------------------------------- errors


def fails(capsys, *argv) -> str:
    """The one line that the command ends with."""
    assert run(lambda: main([str(word) for word in argv])) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_targets_that_are_no_core(capsys):
    assert "unknown target 'cortex-a7': did you mean" in fails(capsys, MODEL, "--target", "cortex-a7")
    assert "arm is no core of its own" in fails(capsys, MODEL, "--target", "arm")
    assert "armv7 is arm: only AArch64" in fails(capsys, MODEL, "--target", "armv7")
    assert "expected 1 or more" in fails(capsys, MODEL, "--classes", "0")


@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_files_that_are_no_aarch64_library(capsys, build, tmp_path):
    other = build(MODEL, target="armv7", size=SIZE).path
    assert "is for arm: only AArch64" in fails(capsys, other)
    assert "is built for" in fails(capsys, other, "--size", "97")
    text = tmp_path / "text.so"
    text.write_text("no library")
    assert "is not an ELF library" in fails(capsys, text)
    assert "No such file" in fails(capsys, tmp_path / "none.so")
    assert "did you mean" in fails(capsys, "shufflenet-v1-0.5x-g9")


def test_missing_tools(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install qemu-user" in fails(capsys, MODEL)
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    assert "apt-get install llvm" in fails(capsys, MODEL)


def test_every_target_that_is_a_core_has_an_entry():
    assert set(CORES) == {name for name, spec in TARGETS.items() if spec.arch == "aarch64"} - {"arm", *APPLE}
    assert all(entry.caches and entry.clocks and entry.note for entry in CORES.values())


def test_branches():
    words = {"14000002": 1, "97fffff0": 1, "54000041": 1, "b4000040": 1, "36000040": 1, "d65f03c0": 1, "d61f0200": 1,
             "d503201f": 0, "4e20cc20": 0, "f9400020": 0, "3dc00020": 0, "91000421": 0}  # fmt: skip
    assert {word: is_branch(bytes.fromhex(word)[::-1]) for word in words} == words


@pytest.mark.skipif(bool(_missing()), reason=_missing())
def test_compare_in_model_cycles(capsys, tmp_path):
    """Table 8 without a board: the same figures as `estimate`, and speed-ups over AlexNet."""
    import json

    from tvm_shufflenet.cli import compare

    names = ["shufflenet-v1-0.25x-g3", "mobilenet-v1-0.25"]
    arguments = [*names, "--estimate", "--target", "cortex-a53", "--size", "64", "--json", str(tmp_path / "rows.json")]
    assert compare.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "model, not a measurement" in shown and "cortex-a53" in shown
    rows = json.loads((tmp_path / "rows.json").read_text())["networks"]
    assert [row["network"].split("-cortex")[0] for row in rows] == names
    for row in rows:
        assert row["total_cycles"] > row["cycles"] > row["multiply_adds"] / 4
        assert row["speedup"] is None and row["paper_ms"] is None
    with pytest.raises(UserError, match="leave out --rpc"):
        compare.main(["--estimate", "--rpc", "localhost:1"])
    with pytest.raises(UserError, match="only AArch64 cores"):
        compare.main(["--estimate", "--target", "armv7"])


@pytest.mark.skipif(bool(_missing()), reason=_missing())
@pytest.mark.parametrize("name", CORES)
def test_lanes_are_the_rate_of_fmla_in_the_model(name):
    """24 independent fmla of four lanes, over and over."""
    if tools.llvm().major < CORES[name].since:
        pytest.skip(f"LLVM {tools.llvm().version} has no model of {name}")
    code = b"".join((0x4F9F13C0 + i).to_bytes(4, "little") for i in range(24))  # fmla v<i>.4s, v30.4s, v31.s[0]
    assert disassemble([code[:4]])[code[:4]] == "fmla v0.4s, v30.4s, v31.s[0]"
    (cost,) = price([Block(0, code, 1)], CORES[name])
    assert 4 * 24 / cost.cycles == pytest.approx(CORES[name].lanes, rel=0.03)


def test_products_of_bytes_are_counted():
    """Eight times as many as of floats where there is smmla, four times with sdot, else twice as many."""
    texts = (
        "smmla v0.4s, v1.16b, v2.16b", "sdot v0.4s, v1.16b, v2.4b[0]", "smull v0.8h, v1.8b, v2.8b",
        "smull v0.4s, v1.4h, v2.4h",
    )  # fmt: skip
    found = [(kind(text).vector_fma, kind(text).lanes) for text in texts]
    assert found == [(True, 32), (True, 16), (True, 8), (False, 0)]
    cores = [CORES[name] for name in ("cortex-a710", "cortex-a76", "cortex-a72")]
    assert [core.computing("int8").lanes // core.lanes for core in cores] == [8, 4, 2]
