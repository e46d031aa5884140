"""The model of cores in order: measured sequences, loops of known cycles, and the table's form."""

from __future__ import annotations

import pytest

from benchmarks import kernel_pairs, kernel_times
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.estimation.pricing import model_note, with_model
from tvm_shufflenet.published import BOARDS
from tvm_shufflenet.targets.cores import CORES, FOUND, NOT_FOUND, core
from tvm_shufflenet.targets.inorder import MODELS, ROWS, UNIT_ROWS, cycles_once, cycles_per_round, instruction
from tvm_shufflenet.targets.inorder_rules import SOURCES, TABLE

A53, A55, A55_R0 = (MODELS[name] for name in ("cortex-a53", "cortex-a55", "cortex-a55-r0"))


def test_measured_sequences_are_exact():
    measured = kernel_times.sequences()
    wrong = {"; ".join(texts): (cycles, cycles_once(texts, A53)) for cycles, texts in measured}
    assert len(measured) == 107 and kernel_times.exact_sequences() == (107, 107)
    assert {text: pair for text, pair in wrong.items() if pair[0] != pair[1]} == {}
    assert all(instruction(text, A53).known for _, texts in measured for text in texts)


def test_a_measured_loop():
    """Four additions, a counter and the branch: 5 cycles (qsdr); cmp and b.ne issue together."""
    body = [f"fadd v{i}.4s, v{i}.4s, v31.4s" for i in range(4)] + ["add x1, x1, #16", "cmp x1, x2", "b.ne #-24"]
    assert cycles_per_round(body, A53) == 5


HALVES = """fmla v{}.4s, v2.4s, v3.s[0]
ldr d0, [x1]
fmla v{}.4s, v2.4s, v3.s[0]
ldr x3, [x1]
fmla v{}.4s, v2.4s, v3.s[0]
mov v6.d[1], x4
"""


@pytest.mark.parametrize("name,text,cycles", [
    ("fmla through the accumulator", "fmla v0.4s, v1.4s, v2.4s", (4, 4, 4)),
    ("fmla through a factor", "fmla v0.4s, v0.4s, v2.4s", (8, 4, 4)),
    ("a whole vector", "ldr q0, [x1]", (2, 2, 2)),
    ("half a vector beside fmla", HALVES.format(1, 4, 5) + HALVES.format(7, 8, 9), (14, 6, 10)),
    ("stores", "str q0, [x1]\nstr q1, [x1, #16]", (2, 4, 4)),
    ("smlal", "smlal v0.4s, v1.4h, v2.4h", (1, 2, 2)),
    ("four tables", "tbl v0.16b, { v1.16b, v2.16b, v3.16b, v4.16b }, v5.16b", (4, 4, 4)),
    ("ld4", "ld4 { v0.4s, v1.4s, v2.4s, v3.4s }, [x1]", (8, 9, 9)),
])  # fmt: skip
def test_loops(name, text, cycles):
    found = tuple(cycles_per_round(text.splitlines(), model) for model in (A53, A55, A55_R0))
    assert found == cycles, name


def test_a_vector_load_waits_while_a_multiply_add_enters_the_adder():
    """Loads that are spread over multiply-adds cost more than loads together, on Cortex-A53 alone."""
    products = [f"fmla v{i}.4s, v30.4s, v31.s[0]" for i in range(16)]
    loads = [f"ldr q{i}, [x1, #{16 * i}]" for i in range(16, 20)]
    together = [*loads, *products]
    spread = [text for i in range(4) for text in (loads[i], *products[4 * i : 4 * i + 4])]
    assert cycles_per_round(spread, A53) > cycles_per_round(together, A53) + 4
    assert cycles_per_round(spread, A55) == cycles_per_round(together, A55) == 24


@pytest.mark.parametrize("text,reads,writes", [
    ("ldr q0, [x1], #16", "x1", "v0 x1"), ("ldp q0, q1, [x1, #32]!", "x1", "v0 v1 x1"),
    ("ldr q0, [x1, x2, lsl #4]", "x1 x2", "v0"), ("st1 { v0.4s, v1.4s }, [x2], #32", "v0 v1 x2", "x2"),
    ("ld1 { v0.s }[1], [x1]", "x1", "v0"), ("st1 { v0.s }[1], [x1]", "v0 x1", ""),
    ("fmla v0.4s, v1.4s, v2.s[3]", "v1 v2", "v0"), ("fmadd s0, s1, s2, s3", "v1 v2", "v0"),
    ("mov v0.d[1], x1", "x1", "v0"), ("mov x1, v0.d[1]", "v0", "x1"), ("bsl v0.16b, v1.16b, v2.16b", "v0 v1 v2", "v0"),
    ("stp x29, x30, [sp, #-16]!", "x29 x30 sp", "sp"), ("subs w1, w2, #1", "x2", "x1 nzcv"),
    ("cmp x1, x2", "x1 x2", "nzcv"),
    ("csel x0, x1, x2, eq", "x1 x2 nzcv", "x0"), ("cbnz x3, #-8", "x3", ""), ("b.ne #-8", "nzcv", ""),
    ("mov x0, xzr", "", "x0"), ("add v0.4s, v1.4s, v2.4s", "v1 v2", "v0"), ("prfm pldl1keep, [x1, #64]", "x1", ""),
])  # fmt: skip
def test_registers(text, reads, writes):
    one = instruction(text, A53)
    assert sorted(one.reads) == sorted(reads.split())
    assert [result.register for result in one.results] == writes.split()
    assert one.known


def test_published_kernels_at_one_clock(tmp_path):
    """Within 12 %, and 5 % on average, of what tract published for each core; a checkout is read as its files are."""
    judged = kernel_times.judge(None)
    for name in kernel_times.CORES:
        errors = [abs(1 / each.factor - 1) for each in judged if each.core == name]
        assert len(errors) == 12 and max(errors) < 0.12 and sum(errors) / 12 < 0.05
    kernel = kernel_times.KERNELS[0]
    file = tmp_path / kernel_times.FOLDER / f"arm64simd_mmm_f32_{kernel.file}.S.raw"
    file.parent.mkdir(parents=True)
    file.write_text("fmla v8.4s, v0.4s, v4.s[0]  // a product\n\n  ld1 {{ v0.4s, v1.4s }}, [ x1 ], #32\n")
    # Four rounds of a product, which waits for its vector, and of two vectors; then the end of the loop.
    assert kernel_times.step(kernel, A55, tmp_path) == pytest.approx(5.5, abs=0.5)
    with pytest.raises(UserError, match="--sources: cannot read"):
        kernel_times.step(kernel_times.KERNELS[1], A55, tmp_path)


def test_published_pairs_of_kernels(tmp_path):
    """XNNPACK's product for A53 is 1.25 times as fast there as its product for A75, which a checkout says anew."""
    a53, a55 = kernel_pairs.pairs(None)
    assert a53.published == pytest.approx(1.25, abs=0.005) and a53.modelled == 1.25
    assert a55.published > a55.modelled > 1  # a miss: the model sees less than the commit measured
    product = "FMLA  v1.4s, v2.4s, v3.s[0]  // one"
    for name, seconds in zip(a53.files, (2, 1)):
        file = tmp_path / kernel_pairs.FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        loads = ["LDR  q4, [x5], 16"] * seconds
        lines = [
            "1:",
            product,
            "# a loop",
            "2:",
            product,
            "# loads",
            *loads,
            "SUBS  x0, x0, 16",
            "B.HS  2b",
            "3:",
            product,
        ]
        file.write_text("\n".join(line if line.endswith(":") else f"        {line}" for line in lines))
    again = kernel_pairs.priced(a53, tmp_path)
    assert again.published == a53.published and again.cycles == (6, 4)
    file.write_text("2:\n  RET\n")
    with pytest.raises(UserError, match="holds no loop of multiply-adds"):
        kernel_pairs.priced(a53, tmp_path)
    with pytest.raises(UserError, match="git clone https://github.com/google/XNNPACK below"):
        kernel_pairs.priced(a55, tmp_path / "elsewhere")


def test_what_no_row_names_is_not_priced_in_silence():
    vector, general = instruction("sm4e v0.4s, v1.4s", A53), instruction("crc32b w0, w1, w2", A53)
    assert not vector.known and vector.pipes == 2
    assert not general.known and general.shared == "a"
    assert not instruction(".inst", A53).known


def test_the_table():
    rows = [line.split() for line in TABLE.strip().splitlines()]
    assert all(len(row) == 10 for row in rows)
    assert {row[2] for row in rows} == set(UNIT_ROWS)
    assert {letter for row in rows for source in row[-2:] for letter in source} <= set(SOURCES)
    assert {row[3] for row in rows} <= set("- acc addend merge part load store flags compare if jump".split())
    assert len({(row[0], row[1]) for row in rows}) == len(rows)
    assert all(ROWS[row[0]] for row in rows)


def test_every_note_says_how_wrong_the_model_was_found():
    """It stands under each table of its cycles; another model of the core was compared with nothing."""
    for entry in (entry for entry in CORES.values() if entry.in_order):
        assert FOUND.get(entry.name, NOT_FOUND) in model_note(entry)
    assert set(FOUND) == {board.core for board in BOARDS}
    assert NOT_FOUND in model_note(with_model(core("cortex-a55"), "cortex-a55-r0"))


def test_models_are_chosen():
    assert core("cortex-a53").priced_by == "cortex-a53 1, misses 1"
    assert core("cortex-a72").priced_by == "llvm, misses 1"
    assert with_model(core("cortex-a55"), "llvm").in_order == ""
    assert with_model(core("cortex-a55"), "cortex-a55-r0").in_order == "cortex-a55-r0"
    assert {entry.in_order for entry in CORES.values() if entry.in_order} <= set(MODELS)
    with pytest.raises(UserError, match="unknown model 'a53': expected llvm, cortex-a53"):
        with_model(core("cortex-a53"), "a53")
    with pytest.raises(UserError, match="runs out of order"):
        with_model(core("cortex-a72"), "cortex-a53")
