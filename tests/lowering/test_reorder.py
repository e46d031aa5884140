"""Code in another order for cores in order: the same values in every register, in fewer cycles of the model."""

from __future__ import annotations

import re

import pytest

from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.lowering import to_object
from tvm_shufflenet.lowering.reorder import reorder
from tvm_shufflenet.targets.inorder import MODELS, cycles_per_round

from ..boards.test_aarch64 import board, run_on  # noqa: F401
from ..conftest import picture

ROWS, VECTORS = range(8), range(2)


def products(step: int) -> list[str]:
    """Of one step: 8 rows x 2 vectors, whose operands have registers of their own."""
    return [f"fmla v{2 * row + vector}.4s, v{18 + 4 * step + vector}.4s, v{16 + 4 * step + row // 4}.s[{row % 4}]"
            for row in ROWS for vector in VECTORS]  # fmt: skip


def function(body: list[str], behind: tuple[str, ...] = ("str q0, [x2]",), label: str = ".LBB0_1") -> str:
    """A function with this loop, as LLVM writes one."""
    lines = [f"\t{text}" for text in ["mov w3, #16", "mov x1, x0"]] + [f"{label}:"]
    lines += [text if text.endswith(":") else f"\t{text}" for text in body] + [
        "\tb.ne\t" + label,
        *(f"\t{text}" for text in behind),
        "\tret",
    ]
    return "\n".join(["kernel:", ".Lfunc_begin0:", *lines, ".Lfunc_end0:", ""])


STEPS = 4
LOADS = [text for step in range(STEPS) for text in (
    f"ldp q{16 + 4 * step}, q{17 + 4 * step}, [x0, #{32 * step - 64}]",
    f"ldp q{18 + 4 * step}, q{19 + 4 * step}, [x1, #{32 * step}]",
)]  # fmt: skip
BODY = [*LOADS[:6], ".Ltmp1:", *LOADS[6:], "subs x3, x3, #1", *products(0), *products(1), *products(2), *products(3),
        "add x0, x0, #128", "add x1, x1, #128"]  # fmt: skip


def loop_of(text: str, label: str = ".LBB0_1") -> list[str]:
    """The instructions of the loop, with its branch."""
    label = f"{label}_loop" if f"{label}_loop:" in text else label
    block = text.split(f"\n{label}:\n")[1].split(f"{label}\n")[0] + label
    return [" ".join(line.split()) for line in block.splitlines() if line.startswith("\t")]


# Planes apart: no load of 64 bits reaches what `ldr q` does.
FAR_LOADS = [text for step in range(STEPS) for text in (
    LOADS[2 * step], *(f"ldr q{18 + 4 * step + i}, [x1, #{40000 + 32 * step + 16 * i}]" for i in (0, 1)))]  # fmt: skip
FAR = [*FAR_LOADS, *BODY[9:]]

# The count alone; one that is read as well, which then needs another register; one that counts up to zero; a limit.
COUNTS = {
    "alone": (BODY, lambda rounds: {"x3": rounds}),
    "far": (FAR, lambda rounds: {"x3": rounds}),
    "read": ([*BODY, "add x5, x3, #1"], lambda rounds: {"x3": rounds}),
    "up": ([*BODY[:9], "adds x3, x3, #16", *BODY[10:], "add x5, x3, #1"], lambda rounds: {"x3": -16 * rounds}),
    "limit": ([*BODY[:9], *BODY[10:], "add x3, x3, #4", "cmp x3, x4"], lambda rounds: {"x3": 0, "x4": 4 * rounds}),
}


class Machine:
    """Registers as terms over what they were at the start: vectors as two halves, addresses as a base and an offset."""

    def __init__(self, counts: dict[str, int]):
        self.x: dict[str, tuple] = {f"x{i}": (f"x{i}", 0) for i in range(31)}
        self.x |= {register: ("count", count) for register, count in counts.items()}
        self.v = {i: (f"low{i}", f"high{i}") for i in range(32)}
        self.zero = False
        self.read: set = set()
        self.memory: list = []

    def run(self, text: str) -> None:
        lines = text.splitlines()
        places = {line[:-1]: number for number, line in enumerate(lines) if line.endswith(":")}
        at = lines.index(next(line for line in lines if line.startswith(".LBB")))
        for _ in range(100_000):
            words = " ".join(lines[at].split())
            at += 1
            if words == "ret":
                return
            if branch := re.fullmatch(r"b\.(ne|eq) (\S+)", words):
                at = places[branch[2]] if self.zero == (branch[1] == "eq") else at
            elif words and not words.startswith("."):
                self.one(words)
        raise AssertionError("no end")

    def one(self, text: str) -> None:
        name, _, operands = text.partition(" ")
        number = [int(n) for n in re.findall(r"\b[vqd](\d+)", operands)]
        if name in ("ldr", "ldur", "ldp", "str"):
            base, _, offset = re.search(r"\[(x\d+)(, #(-?\d+))?\]", text).groups()
            start, moved = self.x[base]
            address = (start, moved + int(offset or 0))
            if name == "str":
                self.memory.append((address, self.v[number[0]]))
                return
            registers = re.findall(r"\b([qdx])(\d+)\b", operands.split("[")[0])
            for index, (kind, n) in enumerate(registers):
                low, high = ((address[0], address[1] + 16 * index + half) for half in (0, 8))
                self.read |= {low, high} if kind == "q" else {low}
                if kind == "x":
                    self.x[f"x{n}"] = ("load", low)
                else:
                    self.v[int(n)] = (("load", low), ("load", high) if kind == "q" else "zero")
        elif name == "mov" and ".d[1]" in text:
            self.v[number[0]] = (self.v[number[0]][0], self.x[re.search(r"x\d+$", text)[0]])
        elif name == "fmla":
            lane = int(re.search(r"\[(\d)\]", text)[1])
            out, a, b = (self.v[n] for n in number)
            factor = hash((b[lane // 2], lane % 2))
            self.v[number[0]] = tuple(hash((out[half], a[half], factor)) for half in (0, 1))
        elif name in ("add", "adds", "sub", "subs"):
            register, source, number, pages = re.search(r"(x\d+), (x\d+), #(\d+)(, lsl #12)?", text).groups()
            start, moved = self.x[source]
            amount = int(number) << (12 if pages else 0)
            self.x[register] = (start, moved + (-amount if name.startswith("sub") else amount))
            self.zero = self.x[register][1] == 0 if name.endswith("s") else self.zero
        elif name == "cmp":
            one, other = (self.x[register] for register in operands.split(", "))
            self.zero = one == other
        else:
            raise AssertionError(text)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55"])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_the_same_values_are_computed_and_the_same_bytes_read(name, count, rounds):
    body, counts = COUNTS[count]
    plain = function(body)
    text = reorder(plain, MODELS[name])
    before, after = Machine(counts(rounds)), Machine(counts(rounds))
    before.run(plain), after.run(text)
    assert after.v == before.v and after.read == before.read and after.memory == before.memory
    for register in ("x0", "x1", "x2", *counts(rounds)):
        assert after.x[register] == before.x[register]
    assert len(before.read) == rounds * 2 * 16 and (name == "cortex-a53" or "_loop:" in text)


def test_planes_apart_are_loaded_as_halves_too():
    """The address of a far vector goes through the register of its upper half."""
    loop = loop_of(reorder(function(FAR), MODELS["cortex-a55"]))
    assert sum(bool(re.fullmatch(r"add (x\d+), x1, #9, lsl #12", line)) for line in loop) == 8
    assert not re.search(r"ldu?r q", "\n".join(loop)) and cycles_per_round(loop, MODELS["cortex-a55"]) <= 1.05 * 64


@pytest.mark.parametrize("name,most", [("cortex-a53", 1.32), ("cortex-a55", 1.05)])
def test_halves_are_loaded_beside_multiply_adds(name, most):
    """On A53 three multiply-adds and a load take turns while loads are left, then multiply-adds alone: 84 cycles of 64.

    The labels of lines stay.
    """
    model, plain = MODELS[name], function(BODY)
    text = reorder(plain, model)
    loop, old = loop_of(text), [line for line in loop_of(plain) if not line.startswith(".")]
    assert sum(line.startswith("fmla") for line in loop) == 64
    assert not re.search(r"ld[pu]?r? q", "\n".join(loop))
    assert sum(".d[1]" in line for line in loop) == sum(bool(re.match(r"ldu?r d", line)) for line in loop) == 16
    assert cycles_per_round(loop, model) <= most * 64 < cycles_per_round(old, model)
    assert text.count(".Ltmp1:") == 1 and text.count("\tret") == 1


def test_registers_in_use_stay_as_they_are():
    """Behind the loop all but x9, x10, x16 and x17 are read; at the return callee's registers are."""
    others = tuple(f"str x{i}, [x2, #{8 * i}]" for i in range(16) if i not in (2, 9, 10))
    text = reorder(function(BODY, others), MODELS["cortex-a55"])
    scratch = set(re.findall(r"\.d\[1\], (x\d+)", text))
    assert scratch == {"x9", "x10", "x16", "x17"}
    everything = (*others, *(f"str {register}, [x2]" for register in scratch))
    assert not re.search(r"\.d\[1\], x", reorder(function(BODY, everything), MODELS["cortex-a55"]))
    called = function(BODY, ("bl other",))
    assert not re.search(r"\.d\[1\], x", reorder(called, MODELS["cortex-a55"]))


@pytest.mark.parametrize("change", [
    lambda body: [*body, "sm4e v0.4s, v1.4s"],  # what the model does not know
    lambda body: [*body, "dmb ish"],
    lambda body: [*body, "sub sp, sp, #16"],
])  # fmt: skip
def test_blocks_that_stay(change):
    text = function(change(BODY))
    assert reorder(text, MODELS["cortex-a53"]) == text


@pytest.mark.parametrize("change", [
    lambda body: [*body, "str q31, [x2]"],  # of what may be read next
    lambda body: [*body, "cmp x0, x4"],  # flags of another instruction
    lambda body: ["add x0, x0, #16", *body],  # an address of what would go ahead
    lambda body: ["fmla v4.4s, v5.4s, v16.s[0]", *body],  # a reader of what they write
    lambda body: [text for text in body if not text.startswith("subs")] + ["cmp x0, x4", "add x0, x0, #8"],
])  # fmt: skip
def test_loads_do_not_go_ahead_where_it_is_not_safe(change):
    assert "_loop:" in reorder(function(BODY), MODELS["cortex-a55"])
    assert "_loop:" not in reorder(function(change(BODY)), MODELS["cortex-a55"])


def test_stores_and_loads_keep_their_order():
    body = [*BODY, "str q0, [x2]", "ldr q1, [x4]", "str q2, [x4]", "ldr q3, [x2]"]
    loop = loop_of(reorder(function(body), MODELS["cortex-a53"]))
    places = [next(i for i, line in enumerate(loop) if re.match(text, line)) for text in
              (r"str q0", r"ldr [qd]1, \[x4", r"str q2", r"ldr [qd]3, \[x2")]  # fmt: skip
    assert places == sorted(places)


def test_a_nop_stands_between_a_memory_access_and_a_multiply_add():
    """Early Cortex-A53s get such a multiplication wrong (fault 835769)."""
    behind = ("ldr x6, [x2]", "nop", "madd x7, x4, x5, x8", "ldr x9, [x2, #8]", "nop", "madd x10, x4, x5, x7",
              "fadd v0.4s, v1.4s, v2.4s", "fadd v3.4s, v0.4s, v2.4s", "fadd v4.4s, v3.4s, v2.4s",
              "stp x7, x10, [x2]", "str q4, [x2, #16]")  # fmt: skip
    lines = [line.strip() for line in reorder(function(BODY, behind), MODELS["cortex-a53"]).splitlines()]
    pairs = list(zip(lines, lines[1:]))
    assert any(second.startswith("madd") for _, second in pairs)
    assert not any(re.match("ld|st", first) and second.startswith("madd") for first, second in pairs)


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-a53", pytest.param("cortex-a55", marks=pytest.mark.slow)])
def test_a_network_gives_the_same_bits(
    board,  # noqa: F811
    tmp_path,
    monkeypatch,
    target,
):
    name, size, found = "shufflenet-v1-0.25x-g4", (64, 64), []
    for folder, order in (("order", to_object.order_of), ("plain", lambda target: None)):
        monkeypatch.setattr(to_object, "order_of", order)
        built = build_library(BuildOptions(name, target, size, output=tmp_path / folder, records=None))
        found.append((built.path.read_bytes(), run_on(board, built.path, built.manifest, picture(size)).tobytes()))
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]
