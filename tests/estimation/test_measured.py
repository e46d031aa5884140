"""Cortex-A72 by what was measured of its instructions: rates, latencies, chains."""

from __future__ import annotations

import pytest

from tvm_shufflenet.estimation.estimates import Figures
from tvm_shufflenet.targets.measured import SOURCES, TABLE, bound


def cycles(*texts: str) -> float:
    found, lacking = bound(texts)
    assert not lacking
    return found


def apart(text: str, count: int = 8) -> list[str]:
    """The instruction, with another first register each time: no result is waited for."""
    return [text.format(i, (i + 1) % 30) for i in range(0, 2 * count, 2)]


@pytest.mark.parametrize("text, each", [
    ("fmla v{}.4s, v30.4s, v31.s[0]", 1), ("fadd v{}.4s, v30.4s, v31.4s", 1), ("fmax v{}.4s, v30.4s, v31.4s", 0.67),
    ("mul v{}.4s, v30.4s, v31.4s", 2), ("smull v{}.8h, v30.8b, v31.8b", 1), ("xtn v{}.4h, v30.4s", 0.5),
    ("zip1 v{}.4s, v30.4s, v31.4s", 0.67), ("ldr q{}, [x1]", 1), ("ldp q{}, q{}, [x1]", 2), ("str q{}, [x1]", 2),
    ("stp q{}, q{}, [x1]", 4), ("ld1 {{ v{}.4s, v{}.4s }}, [x1]", 2), ("ldr x{}, [x30]", 1),
    ("add x{}, x29, x30", 0.5), ("add x{}, x29, x30, lsl #2", 1),
])  # fmt: skip
def test_rates(text, each):
    """As insn_bench measured them, of instructions that do not wait for each other."""
    assert cycles(*apart(text)) == pytest.approx(8 * each)


@pytest.mark.parametrize("text, latency", [
    ("fmla v0.4s, v30.4s, v31.s[0]", 3), ("fmla v0.4s, v0.4s, v31.4s", 7), ("fadd v0.4s, v0.4s, v31.4s", 4),
    ("smlal v0.4s, v30.4h, v31.4h", 1), ("mla v0.4s, v30.4s, v31.4s", 2), ("ldr x0, [x0]", 4), ("add x0, x0, #1", 1),
    ("add x0, x0, x1, lsl #2", 2), ("ldr q0, [x0], #16", 1),
])  # fmt: skip
def test_chains(text, latency):
    """An accumulator is there earlier than a factor, an address that is moved on at once."""
    assert cycles(text) == pytest.approx(latency)


def test_the_larger_bound_counts():
    loop = [f"fmla v{i}.4s, v30.4s, v31.s[0]" for i in range(6)] + ["ldr q30, [x1], #16", "subs x2, x2, #1", "b.ne 0"]
    assert cycles(*loop) == 6  # multiply-adds; what is loaded is waited for by no later round
    assert cycles("nop", "nop", "nop", "nop") == pytest.approx(4 / 3)  # three are decoded a cycle
    assert cycles(*["fmla v0.4s, v30.4s, v31.s[0]"] * 6) == 18


def test_two_pipes():
    """A product of integers and a pairwise sum go side by side, a multiply-add of floats takes both."""
    products, sums = apart("smull v{}.8h, v30.8b, v31.8b", 4), apart("sadalp v{}.4s, v30.8h", 4)
    assert cycles(*products, *sums) == 4
    assert cycles(*products, *sums, "fmla v9.4s, v30.4s, v31.4s") == 5


def test_what_no_row_names_is_told():
    found, lacking = bound(["aese v0.16b, v1.16b", "fadd v2.4s, v3.4s, v4.4s"])
    assert lacking == ("aese",) and found > 0


def test_every_row_has_a_source():
    assert {line.split()[-1] for line in TABLE.strip().splitlines()} <= {*SOURCES}


def test_a_second_opinion_is_of_the_same_cycles():
    assert Figures("one", cycles=100, second_cycles=125).second_opinion == pytest.approx(0.25)
    assert Figures("one", cycles=100).second_opinion == 0
