"""Networks side by side: interleaved rounds, the peak kernel, the table, and boards over RPC.

Nothing here expects a speed: only that the figures are there, fit together, and are of what they say.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tvm_shufflenet import published
from tvm_shufflenet.boards.processor import Processor
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import compare as command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.measure import entries, peak, place, rounds
from tvm_shufflenet.measure.comparison import CompareOptions, Comparison, compare
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.targets import APPLE, resolve, target_names

from .. import emulator
from ..boards.test_rpc import HOST, daemon, free_port, relay, wait_for
from ..interrupting import Interrupting

SMALL, OTHER, SIZE = "shufflenet-v1-0.25x-g3", "mobilenet-v1-0.25", (64, 64)
EMULATED = Processor("emulated aarch64 (host: x86)", False, True)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Paths of SMALL for this machine and for an architecture that it doesn't have."""
    foreign = "arm" if resolve("native").arch == "x86_64" else '{"kind": "llvm", "mtriple": "x86_64-linux-gnu"}'
    folder = tmp_path_factory.mktemp("libraries")
    return [build_library(BuildOptions(SMALL, t, SIZE, 10, output=folder)).path for t in ("native", foreign)]


# --------------------------------------------------------------------------- interleaved rounds


class Machine:
    """A fake clock, and functions that take a number of fake seconds each."""

    def __init__(self, *seconds):
        self.now, self.seconds, self.turns = 0.0, seconds, []

    def slowness(self):
        return 1.0

    def prepare(self, which):
        def make(number):
            def turn():
                self.turns.append((which, number))
                once = self.seconds[which] * self.slowness()
                self.now += number * once
                return once

            return turn

        return make


def test_turns_are_as_long_as_asked():
    machine = Machine(0.0004, 0.5)
    for which, number in ((0, 25), (1, 1)):
        rounds.calibrate(machine.prepare(which), turn_seconds=0.010)()
        assert machine.turns[-1] == (which, number)


def test_a_cold_start_does_not_shorten_turns():
    machine = Machine(0.001)
    machine.slowness = lambda: 100 if len(machine.turns) == 1 else 1
    rounds.calibrate(machine.prepare(0), turn_seconds=0.010)()
    assert machine.turns[-1] == (0, 10)


def test_rounds_are_interleaved():
    machine = Machine(1, 2, 3)
    found = rounds.interleave([machine.prepare(which)(1) for which in range(3)], rounds=6)
    assert found == [[1, 2, 3]] * 6  # in the order of the functions, whatever that of the turns
    order = [which for which, _ in machine.turns]
    assert [sorted(order[at : at + 3]) for at in range(0, 18, 3)] == [[0, 1, 2]] * 6
    assert len({tuple(order[at : at + 3]) for at in range(0, 18, 3)}) == 6  # each order once
    assert {order[at] for at in range(0, 18, 3)} == {0, 1, 2}  # all have been first


def test_noise_falls_on_all_alike():
    """The machine is three times slower half of the time: one behind the other, ratios would be wrong."""
    machine = Machine(0.010, 0.020)
    machine.slowness = lambda: 3 if machine.now % 2 > 1 else 1
    found = rounds.interleave([machine.prepare(which)(1) for which in range(2)], rounds=200)
    ours, theirs = zip(*found)
    assert min(theirs) / min(ours) == pytest.approx(2)
    assert np.median(theirs) / np.median(ours) == pytest.approx(2, rel=0.01)
    assert max(ours) == pytest.approx(0.030)


def test_an_incomplete_round_does_not_count():
    stop, turns = threading.Event(), []

    def turn():
        turns.append(1)
        if len(turns) == 5:  # the first turn of the third round
            stop.set()
        return 1.0

    assert rounds.interleave([turn, turn], 10, stop) == [[1, 1]] * 2
    assert len(turns) == 5


def test_one_core():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system can't choose cores")
    before = os.sched_getaffinity(0)
    best = max(before)
    with rounds.one_core(lambda: 1.0 if os.sched_getaffinity(0) == {best} else 2.0) as core:
        assert core == best and os.sched_getaffinity(0) == {best}
    assert os.sched_getaffinity(0) == before


# -------------------------------------------------------------------------------------- the peak


def loop(assembly, wanted):
    """The instructions of the loop: the block between jumps and labels with the most of those wanted."""
    blocks = [[]]
    for line in map(str.strip, assembly.splitlines()):
        if line.startswith(".LBB"):
            blocks.append([])
        elif line and line[0] not in ".@#/":
            blocks[-1].append(line)
            if re.match(r"(j|b\.|b[a-z]{2}\s|cbn?z)", line):
                blocks.append([])
    return max(blocks, key=lambda block: sum(bool(wanted.match(line)) for line in block))


AVX2 = '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}'
AVX512 = '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512", "mattr": ["-prefer-256-bit"]}'


@pytest.mark.parametrize("target", [*(name for name in target_names() if name not in APPLE), AVX2, AVX512])
def test_the_loop_of_the_peak_kernel(target):
    spec = resolve(target)
    wanted = re.compile({
        "aarch64": r"fmla\s+v\d+\.4s, v\d+\.4s, v\d+\.4s$",
        "x86_64": rf"vfmadd\d+ps\s+(%{'z' if spec.lanes == 16 else 'y'}mm\d+(, )?){{3}}$",
        "arm": r"v(mul|add)\.f32\s+q\d+, q\d+, q\d+$",
    }[spec.arch])  # fmt: skip
    lines = loop(peak.compile_peak(spec.machine, spec.tvm).inspect_source("asm"), wanted)
    vectors = [line for line in lines if wanted.match(line)]
    count = peak.UNROLL * peak.chains(spec.machine)
    assert len(vectors) == (2 * count if spec.arch == "arm" else count)
    rest = [line for line in lines if line not in vectors]
    assert not [line for line in lines if re.search(r"[(\[]|^v?(ld|st)", line)]  # no loads, stores or spills
    assert len(rest) <= (6 if spec.arch == "arm" else 3), rest  # the counter; 32-bit Arm moves some registers


def test_the_peak_kernel_computes(monkeypatch, tmp_path):
    monkeypatch.setattr(peak, "ITERATIONS", 3)
    monkeypatch.setattr(peak, "FACTOR", 0.25)
    spec = resolve("native")
    peak.build_peak(spec, tmp_path / "peak.so")
    found = peak.load_peak(place.Place(spec.arch), spec, tmp_path / "peak.so").run(result=1)
    count = peak.chains(spec.machine)
    chain = [1.0] * count
    for step in range(3 * peak.UNROLL * count):
        chain[step % count] += 0.25 * chain[(step + 1) % count]
    np.testing.assert_allclose(found, np.repeat(np.array(chain)[:, None], spec.lanes, axis=1), rtol=1e-5)
    assert peak.multiply_adds(spec.machine) == 3 * peak.UNROLL * found.size


# ------------------------------------------------------------------------------------- the table


def entry(model, macs, seconds=(), size=(224, 224), note=""):
    manifest = {
        "model": model, "multiply_adds": macs,
        "inputs": [{"name": "input", "shape": [1, 3, *size], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [{"name": "fc", "shape": [1, 1000], "dtype": "float32", "layout": "NC"}],
        "note": note, "kernels": {"tuned": 1, "total": 3, "default_schedule": ["conv2d_1", "dense_1"]},
        "weights": {"source": "random, seed 0"},
    }  # fmt: skip
    return Entry(model, Path(f"{model}.so"), manifest, seconds=list(seconds))


def figures(*entries, processor=Processor("Cortex-A72", True, False), **options):
    timed = len(entries[0].seconds)
    return Comparison("this machine", processor, resolve("arm"), list(entries), False, timed,
                      peak_seconds=[peak.multiply_adds(resolve("arm").machine) / 6e9] * timed, **options)  # fmt: skip


def text(result, width=100):
    from rich.console import Console

    console = Console(width=width, record=True, file=open(os.devnull, "w"))
    console.print(command.table(result, width))
    return console.export_text()


def test_figures_beside_the_paper():
    result = figures(entry("shufflenet-v1-1x-g3", 140e6, [0.042, 0.040, 0.041]),
                     entry("alexnet", 720e6, [0.200, 0.201, 0.220]))  # fmt: skip
    ours, alexnet = result.rows()
    assert ours["minimum_ms"] == 40 and ours["median_ms"] == 41
    assert ours["multiply_adds_per_second"] == pytest.approx(3.5e9)
    assert ours["share_of_peak"] == pytest.approx(3.5 / 6)
    assert ours["speedup"] == pytest.approx(5) and ours["theoretical_speedup"] == pytest.approx(720 / 140)
    assert ours["paper_ms"] == 37.8 and ours["paper_speedup"] == pytest.approx(184 / 37.8)
    assert alexnet["speedup"] == 1
    row = next(line for line in text(result).splitlines() if line.startswith("shufflenet"))
    assert row.split()[1:] == ["140.0", "40.00", "41.00", "3.5", "58", "5.0x", "5.1x", "37.8", "4.9x"]
    assert all(len(line) <= 80 for line in text(result, 80).splitlines())
    result.entries[1].manifest["kernels"] = {"tuned": 0, "total": 2, "default_schedule": ["conv2d_1", "dense_1"]}
    told = command.footer(result, "")
    at = told.index("1 of 5 kernels tuned; default schedules:")
    assert told[at + 1 : at + 3] == ["  shufflenet-v1-1x-g3: conv2d_1, dense_1", "  alexnet: all 2"]


def test_columns_that_nothing_fills_are_left_out():
    assert "Alex-" not in text(figures(entry("shufflenet-v1-1x-g3", 140e6, [0.04], size=(192, 192))))
    assert "paper" not in text(figures(entry("shufflenet-v1-1x-g8", 140e6, [0.04])))
    assert published.milliseconds("alexnet", (720, 1280)) == 3633.9
    assert published.milliseconds("alexnet", (1280, 720)) is None
    assert published.speedup("shufflenet-v1-0.5x-g3", (480, 640)) == pytest.approx(1156.7 / 87.4)


def test_speedups_are_over_alexnet_of_the_same_size():
    result = figures(entry("mobilenet-v1-1.0", 5e8, [0.1]), entry("mobilenet-v1-1.0", 1e9, [0.2], size=(320, 320)),
                     entry("alexnet", 7e8, [0.3]))  # fmt: skip
    assert [row["speedup"] for row in result.rows()] == [pytest.approx(3), None, 1]
    assert "mobilenet-v1-1.0 320x320" in text(result)


def test_notes_are_said_once():
    result = figures(entry("mobilenet-v1-1.0", 5e8, [0.1]), entry("alexnet", 7e8, [0.3], note="pooled"))
    assert command.notes(result) == ["weights: random, seed 0; 1000 classes", "alexnet: pooled"]


# ---------------------------------------------------------------------------------- this machine


def test_command(tmp_path, capsys):
    file = tmp_path / "figures.json"
    arguments = [SMALL, OTHER, "--size", "64", "--rounds", "2", "--json", str(file), "-o", str(tmp_path / "kept")]
    assert command.main(arguments) == 0
    printed, data = capsys.readouterr().out, json.loads(file.read_text())
    assert f"python -m tvm_shufflenet.compare {' '.join(arguments)}" in printed
    assert re.search(r"\d+ of \d+ kernels tuned", printed)
    assert "2 interleaved rounds" in printed and "weights: random, seed 0" in printed
    assert sorted(path.name for path in (tmp_path / "kept").glob("*.so")) == [
        f"{OTHER}-native-64x64.so", f"{SMALL}-native-64x64.so"
    ]  # fmt: skip

    assert [row["network"] for row in data["networks"]] == [SMALL, OTHER]
    assert data["rounds"] == data["rounds_asked"] == 2 and data["threads"] == 1
    assert data["processor"]["measurable"] and data["processor"]["name"] in printed
    assert data["peak_multiply_adds_per_second"] == max(data["peak_multiply_adds_per_second_of_rounds"])
    for row in data["networks"]:
        assert row["network"] in printed and f"{row['multiply_adds'] / 1e6:.1f}" in printed
        assert len(row["ms_of_rounds"]) == 2
        assert row["minimum_ms"] == min(row["ms_of_rounds"]) and 0 < row["minimum_ms"] <= row["median_ms"]
        assert row["speedup"] is None and row["paper_ms"] is None
        rate = row["multiply_adds"] / row["minimum_ms"] * 1e3
        assert row["multiply_adds_per_second"] == pytest.approx(rate)
        assert row["share_of_peak"] == pytest.approx(rate / data["peak_multiply_adds_per_second"])


def test_interrupt(libraries):
    """The rounds so far are a result, and a library that is named twice is measured twice."""
    before = signal.getsignal(signal.SIGINT)
    result = compare(CompareOptions((str(libraries[0]),) * 2, rounds=1000), Interrupting(2))
    assert result.rounds == 2 and [len(entry.seconds) for entry in result.entries] == [2, 2]
    assert any(line.startswith("interrupted: 2 of 1000 rounds") for line in command.footer(result, ""))
    assert [entry.label for entry in result.entries] == ["/".join(libraries[0].parts[-2:])] * 2
    with pytest.raises(KeyboardInterrupt):
        compare(CompareOptions((str(libraries[0]),)), Interrupting(0))
    assert signal.getsignal(signal.SIGINT) is before


def test_no_latency_of_an_emulated_machine(libraries, monkeypatch, capsys):
    monkeypatch.setattr(place, "describe_processor", lambda: EMULATED)
    assert command.main([str(libraries[0])]) == 0
    printed = capsys.readouterr().out
    assert f"{EMULATED.name}: wall time there says nothing\n" in printed
    assert "ms," not in printed and "peak" not in printed and "rounds" not in printed


# ------------------------------------------------------------------------------------- bad input


def test_library_for_another_architecture(libraries):
    foreign = "aarch64" if resolve("native").arch == "x86_64" else "x86_64"
    with pytest.raises(UserError, match=f"is built for {foreign}, but this machine is .*: measure it with --rpc"):
        compare(CompareOptions((str(libraries[1]),)))


def test_target_for_another_architecture():
    with pytest.raises(UserError, match="--target armv7 is for arm, but this machine is"):
        compare(CompareOptions((SMALL,), "armv7"))


@pytest.mark.parametrize("arguments, says", [
    (["shufflenet"], "unknown model 'shufflenet'"),
    (["missing.so"], "no such library: missing.so"),
    ([__file__], "ELF"),
    (["--size", "12"], "12x12"),
    (["--rounds", "0"], "--rounds 0: expected 1 or more"),
    (["--timeout", "nan"], "--timeout nan: expected seconds"),
    (["--key", "rpi4"], "give its address with --rpc"),
    (["--json", "no/such/folder/x.json"], "--json no/such/folder/x.json: there is no such folder"),
])  # fmt: skip
def test_bad_input(arguments, says):
    with pytest.raises(UserError) as caught:
        command.main(arguments)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_listens():
    """The command as users start it: one line and exit status 2, before anything is built."""
    address = f"{HOST}:{free_port()}"
    argv = [sys.executable, "-m", "tvm_shufflenet.compare", "--rpc", address, "--target", "cortex-a72"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: nothing listens at {address}") and done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------- boards


@pytest.fixture(scope="module")
def server():
    """An RPC server on this machine, which stands in for a board."""
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        yield wait_for(port)


def test_board(server, libraries):
    names = (OTHER, str(libraries[0]))
    result = compare(CompareOptions(names, "native", SIZE, server, "board", rounds=2))
    assert result.place == f"the board at {server}" and result.checked and result.core is None
    assert result.peak > 0 and [len(entry.seconds) for entry in result.entries] == [2, 2]
    assert all(0 <= entry.difference < 1e-6 for entry in result.entries)  # it is this machine
    assert "output" in text(result)


def test_wrong_outputs_of_a_board(server, libraries, monkeypatch):
    right = entries.expected_outputs
    options = CompareOptions((str(libraries[0]),), "native", rpc=server, key="board", rounds=1)
    for wrong in (lambda output: output + np.abs(output).max() * 2e-4, lambda output: output * np.nan):
        monkeypatch.setattr(entries, "expected_outputs", lambda entry, wrong=wrong: tuple(map(wrong, right(entry))))
        with pytest.raises(UserError, match=f"{libraries[0].stem}: its outputs on the board at .* differ"):
            compare(options)
    monkeypatch.setattr(entries, "expected_outputs", lambda entry: None)  # weights of a checkpoint
    assert any("output not checked" in note for note in command.notes(compare(options)))


def test_a_board_that_freezes_while_it_is_compared(server, libraries, tmp_path):
    """In the middle of the library, which is larger than all that comes before."""
    with relay(server, tmp_path / "frozen", limit=100_000) as address:
        with pytest.raises(UserError, match="no answer within 3 s: it hangs, or is slower than --timeout allows"):
            compare(CompareOptions((str(libraries[0]),), "native", rpc=address, key="board", rounds=1, timeout=3))
    assert (tmp_path / "frozen").exists()


@pytest.mark.emulator
def test_emulated_board(tmp_path, capsys):
    """By the tracker's address and the target's name as the key."""
    file = tmp_path / "figures.json"
    with emulator.tracker() as (host, port), emulator.rpc_server((host, port), key="arm"):
        assert command.main([SMALL, OTHER, "--size", "64", "--rpc", f"{host}:{port}", "--json", str(file)]) == 0
    printed, data = capsys.readouterr().out, json.loads(file.read_text())
    name = data["processor"]["name"]
    assert name.startswith("emulated aarch64") and not data["processor"]["measurable"]
    assert f"{name}: wall time there says nothing; outputs checked" in printed
    assert data["rounds"] == 0 and data["peak_multiply_adds_per_second"] is None
    for row in data["networks"]:
        assert row["ms_of_rounds"] == [] and row["minimum_ms"] is None and row["output_difference"] < 1e-4
    assert not re.search(r"ms,|GMAC|rounds|times", printed)  # no latency, nor anything made of one
