"""Where the time of a network goes: the clock between its kernels, the figures, the command, boards over RPC.

Nothing here expects a speed: only that the figures are there, fit together, and are of what they say.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.boards.processor import Processor
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.building import manifest
from tvm_shufflenet.building.build_library import BuildOptions, build_library
from tvm_shufflenet.cli import profile as command
from tvm_shufflenet.cli.command import run
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.library import link
from tvm_shufflenet.library.elf import read_elf
from tvm_shufflenet.library.loading import read_manifest
from tvm_shufflenet.lowering import costs
from tvm_shufflenet.measure import entries, place, profiling
from tvm_shufflenet.measure.attention import attention_parts
from tvm_shufflenet.measure.clocked import SOURCE, clocked_copy, seconds_of
from tvm_shufflenet.measure.entries import Entry
from tvm_shufflenet.measure.profiling import ProfileOptions, profile
from tvm_shufflenet.pipeline import compile_network, lower_graph
from tvm_shufflenet.targets import APPLE, resolve, target_names

from .. import emulator
from ..boards.test_rpc import HOST, daemon, free_port, relay, wait_for
from ..interrupting import Interrupting

SMALL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
NATIVE = resolve("native")
FOREIGN = "arm" if NATIVE.arch == "x86_64" else '{"kind": "llvm", "mtriple": "x86_64-linux-gnu"}'
EMULATED = Processor("emulated aarch64 (host: x86)", False, True)
ZIG = [sys.executable, "-m", "ziglang", "cc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(scope="module")
def library(folder):
    return build_library(BuildOptions(SMALL, "native", SIZE, 10, output=folder)).path


@pytest.fixture(scope="module")
def clocked(library, tmp_path_factory):
    return clocked_copy(Entry("small", library, read_manifest(library)), NATIVE, tmp_path_factory.mktemp("clocked"))


# ----------------------------------------------------------------------------- the library shipped


def test_the_library_is_not_changed(library, folder, clocked, tmp_path):
    """Neither the file that is profiled nor what `build` makes afterwards; and of the clocked copy nothing is in it."""
    before = library.read_bytes()
    profile(ProfileOptions(str(library), rounds=1))
    again = build_library(BuildOptions(SMALL, "native", SIZE, 10, output=tmp_path)).path
    assert library.read_bytes() == again.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == [
        library.with_suffix(".json").name, library.name, "tvm_shufflenet.h"
    ]  # fmt: skip

    elf, profiled = read_elf(library), read_elf(clocked.path)
    assert set(profiled.exported) - set(elf.exported) == {"__tvm_ffi_profile"}
    assert not [f.name for f in elf.functions if "tick" in f.name or "profile" in f.name] and b"tsn_tick" not in before
    assert "tsn_tick" in {f.name for f in profiled.functions}


def test_only_the_entry_ticks():
    """The kernels are the same; without ticking, nothing of it is in the object code."""
    net = network(SMALL, SIZE, 10)
    plain, ticking = (compile_network(net, random_parameters(net), resolve("arm"), ticking=on) for on in (False, True))
    assert plain.tir.script().count("tsn_tick") == 0 and "tsn_tick" not in plain.code.inspect_source("ll")
    assert ticking.tir.script().count("tsn_tick") == len(ticking.program.calls) + 1
    assert [k.knobs for k in plain.kernels] == [k.knobs for k in ticking.kernels]
    assert plain.plan.bytes == ticking.plan.bytes
    texts = [{v.name_hint: f.script() for v, f in c.tir.functions.items()} for c in (plain, ticking)]
    assert {name for name in texts[0] if texts[0][name] != texts[1][name]} == {"main"}


def test_the_clocked_copy_computes_the_same(library, clocked):
    here = place.Place(NATIVE.arch)
    entry = Entry("small", library, read_manifest(library))
    expected = here.load(library, "main", *entry.arguments).run(result=1)
    np.testing.assert_array_equal(here.load(clocked.path, "main", *clocked.arguments).run(result=1), expected)
    ticks = np.zeros((3, clocked.steps + 3), np.int64)
    profiled = here.load(clocked.path, "profile", *clocked.arguments, ticks)
    np.testing.assert_array_equal(profiled.run(result=1), expected)
    assert clocked.differences(Entry("small", library, read_manifest(library))) == []


# -------------------------------------------------------------------------------------- the clock

# Two "kernels" that wait, 2 and 1 ms, behind one another; and what is wrong with other tensors.
HARNESS = f"""
#include "{SOURCE}"
#include <stdio.h>
const char tsn_manifest_text[1];
const float tsn_weights_data[1];
static void wait(int64_t time) {{ for (time += nanoseconds(); nanoseconds() < time;); }}
int __tvm_ffi_main(void *self, const Any *arguments, int32_t count, Any *result) {{
  tsn_tick(), wait(2000000), tsn_tick(), wait(1000000), tsn_tick();
  return !count;
}}
int main(void) {{
  static int64_t data[8][7];
  int64_t shapes[][2] = {{{{8, 5}}, {{8, 3}}, {{1, 7}}, {{8, 7}}}};
  for (int i = 0; i < 4; ++i) {{
    Tensor ticks = {{data, CPU, 0, 2, INT, 64, 1, shapes[i], 0, 0}};
    Any arguments[4] = {{[3] = {{TENSOR_POINTER, 0, {{0}}}}}}, result;
    arguments[3].v_ptr = &ticks;
    printf("%d ", __tvm_ffi_profile(0, arguments, i == 2 ? 3 : 4, &result));
  }}
  for (int i = 0; i < 8 * 7; ++i) printf("%lld ", (long long)data[i / 7][i % 7]);
  return 0;
}}
"""


def assert_ticks(output):
    numbers = [int(number) for number in output.split()]
    assert numbers[:4] == [0, -1, -1, 0]  # 5 columns hold three ticks and a pair; no tensor
    turn = np.array(numbers[4:]).reshape(8, 7)
    runs = turn[0, 0]
    assert 1 <= runs <= 7
    assert 0.009e9 < turn[0, 3] - turn[0, 1]
    assert (
        (np.diff(turn[1 : 1 + runs].ravel()) >= 0).all() and turn[0, 2] <= turn[1, 0] and turn[runs, -1] <= turn[0, 4]
    )
    seconds, whole, tick = seconds_of([turn], steps=2)
    assert seconds.shape == (1, 2) and whole.shape == tick.shape == (1,)
    assert 0.0019 < seconds[0, 0] and 0.0009 < seconds[0, 1] and 0 <= tick[0] < 0.0005
    assert seconds.sum() <= whole[0] < (turn[0, 3] - turn[0, 1]) / 1e9 / runs * 1.01


def compile_harness(folder, triple):
    (folder / "clock.c").write_text(HARNESS)
    flags = [flag for flag in link.COMPILE if flag != "-fvisibility=hidden"]
    macros = ["-DTSN_INPUT={1,{1}}", "-DTSN_OUTPUTS={1,{1}}", "-DTSN_WORKSPACE_FLOATS=1", "-DTSN_NETWORK={0}"]
    argv = [*ZIG, "-target", triple, *flags, *macros, str(folder / "clock.c"), "-o", str(folder / "clock")]
    subprocess.run(argv, check=True)
    return folder / "clock"


def test_clock(tmp_path):
    program = compile_harness(tmp_path, link.ZIG_TARGETS[NATIVE.arch])
    assert_ticks(subprocess.run([program], check=True, capture_output=True, text=True, timeout=600).stdout)


@pytest.mark.emulator
@pytest.mark.parametrize("arch", ["aarch64", "arm"])
def test_clock_in_the_emulator(arch, tmp_path):
    program = compile_harness(tmp_path, link.ZIG_TARGETS[arch])
    argv = emulator.command(str(program), arch={"arm": "armhf"}.get(arch, arch))
    assert_ticks(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=600).stdout)


def test_ticks_become_seconds():
    """Two rounds of a network of two kernels; a tick is 2 ns and takes 5 of its own."""

    def turn(start, *runs):
        rows = [np.cumsum([start, 105 * slow, 55 * slow, 17, 5, 5]) for slow in runs]
        head = [len(runs), 2 * start, start, 2 * start + 2000, start + 1000, 0]
        return np.array([head, *rows, [0] * 6])  # and a row that was not used

    seconds, whole, tick = seconds_of([turn(10**15, 1, 3), turn(10**15 + 10**6, 1)], steps=2)
    np.testing.assert_allclose(seconds, np.array([[205, 105], [100, 50]]) * 2e-9)
    np.testing.assert_allclose(whole, np.array([320, 160]) * 2e-9)
    np.testing.assert_allclose(tick, [10e-9, 10e-9])


def test_a_disturbed_tick_makes_no_call_short():
    """Something took 100 between two ticks of the second round."""
    rows = [np.cumsum([0, 105, 55, 17, 5, last]) for last in (5, 100)]
    turns = [np.array([[1, 0, 2000 * n, 1000, 1000 + 2000 * n, 0], row]) for n, row in enumerate(rows)]
    turns[-1][0, 3:5] = 2000, 1000
    turns[0][0, 1:3] = 0, 0
    seconds, _, tick = seconds_of(turns, steps=2)
    np.testing.assert_allclose(seconds, np.array([[100, 50], [100, 50]]) * 2e-9)
    assert tick[1] > 10 * tick[0]


# ------------------------------------------------------------------------------- what a call does


AVX512 = '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512", "mattr": ["-prefer-256-bit"]}'


def calls_of(net, target="arm"):
    return lower_graph(net, random_parameters(net), resolve(target)).calls


@pytest.mark.parametrize("name", ["shufflenet-v1-1x-g3", "shufflenet-v1-0.5x-g8", "mobilenet-v1-0.25", "alexnet"])
@pytest.mark.parametrize("target", ["arm", AVX512], ids=["neon", "avx512"])
def test_the_multiply_adds_are_all_there(name, target):
    """Those of the pixels, whatever pads the planes."""
    net = network(name, (128, 160))
    calls = calls_of(net, target)
    assert sum(costs.call_multiply_adds(call) for call in calls) == net.multiply_adds()


def test_what_the_calls_do():
    calls = calls_of(network("shufflenet-v1-1x-g3"))
    told = [f"{call.workload.name}: {costs.what(call)}" for call in calls]
    assert told[:4] == ["conv2d: 3x3/2 3->24, 112x112", "max_pool: 3x3/2 24, 56x56", "pointwise: 24->60, 56x56",
                        "depthwise: 3x3/2 60, 28x28"]  # fmt: skip
    assert told[-2:] == ["global_avg_pool: 960", "dense: 960->1000"]
    assert {"pointwise: g=3 240->60, 28x28, shuffle", "pointwise: g=3 60->240, 28x28, residual"} <= set(told)
    padded = 112 * 112 + 16  # a large plane is an odd number of cache lines
    assert costs.call_bytes(calls[0]) == 4 * (3 * 224 * 224 + 24 * padded + 24 * 27 + 24)
    residual = next(call for call in calls if costs.what(call).endswith("28x28, residual"))
    assert costs.call_bytes(residual) == 4 * (28 * 28 * (60 + 2 * 240) + 240 * 20 + 240)
    alexnet = [costs.what(call) for call in calls_of(network("alexnet"))]
    assert {"9216->4096", "g=2 5x5 96->256, 27x27"} <= set(alexnet)


# ------------------------------------------------------------------------------------ the command


def test_command(library, tmp_path, capsys):
    file = tmp_path / "figures.json"
    arguments = [str(library), "--rounds", "3", "--json", str(file)]
    assert command.main(arguments) == 0
    printed, data = capsys.readouterr().out, json.loads(file.read_text())
    about, calls, kernels = read_manifest(library), data["calls"], data["kernels"]
    assert f"python -m tvm_shufflenet.profile {' '.join(arguments)}" in printed and "NOT" not in printed
    assert data["twin_differs"] == [] and data["rounds"] == data["rounds_asked"] == 3 and data["threads"] == 1
    assert data["processor"]["measurable"] and data["processor"]["name"] in printed
    assert data["model"] == SMALL and data["size"] == [*SIZE] and data["built_with"] == about["versions"]

    for rows in (kernels, calls):
        assert sum(row["multiply_adds"] for row in rows) == data["multiply_adds"] == about["multiply_adds"]
        assert sum(row["calls"] for row in rows) == len(calls)
        assert sum(row["ms"] for row in rows) == pytest.approx(data["sum_of_kernels_ms"])
        assert sum(row["share_of_sum"] for row in rows) == pytest.approx(1)
        for row in rows:
            assert 0 < row["ms"] <= row["median_ms"] and row["bytes"] > 0 and row["what"]
            assert row["multiply_adds_per_second"] == pytest.approx(row["multiply_adds"] / row["ms"] * 1e3)
            assert row["share_of_peak"] == pytest.approx(
                row["multiply_adds_per_second"] / data["peak_multiply_adds_per_second"]
            )
            assert row["bytes_per_second"] == pytest.approx(row["bytes"] / row["ms"] * 1e3)
    assert [row["call"] for row in calls] == list(range(len(calls)))
    assert all(row["ms"] == min(row["ms_of_rounds"]) and len(row["ms_of_rounds"]) == 3 for row in calls)
    assert [row["ms"] for row in kernels] == sorted((row["ms"] for row in kernels), reverse=True)
    assert len(kernels) == about["kernels"]["total"] and len({row["kernel"] for row in kernels}) == len(kernels)
    assert data["library"]["ms"] == min(data["library"]["ms_of_rounds"])
    assert data["sum_of_kernels_share_of_library"] == pytest.approx(data["sum_of_kernels_ms"] / data["library"]["ms"])
    assert all(0 < nanoseconds < 1e5 for nanoseconds in data["tick_ns_of_rounds"])
    assert len(data["twin_ms_of_rounds"]) == len(data["library"]["ms_of_rounds"]) == 3

    rows = [line.split()[0] for line in printed.splitlines() if re.match(r"[a-z_0-9]+_\d+ ", line)]
    assert rows == [row["kernel"] for row in kernels]
    assert f"{100 * data['sum_of_kernels_share_of_library']:.1f} % of the whole" in printed
    assert data["channel_attention"] == {} and "channel attention" not in printed
    assert f"peak of one core in the same rounds: {data['peak_multiply_adds_per_second'] / 1e9:.1f} GMAC/s" in printed


def test_calls_of_a_network(capsys):
    """By its name, at a size, in the order of execution."""
    assert command.main([SMALL, "--size", "64x96", "--rounds", "1", "--calls"]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if re.match(r"[a-z_0-9]+_\d+ ", line)]
    assert "64x96: 55 calls" in printed and len(rows) == 55
    assert re.match(r"conv2d_1 +3x3/2 3->12, 32x48 +0 ", rows[0]) and re.match(r"dense_1 +240->1000 +54 ", rows[-1])


ATTENTION, BEFORE_CONVOLUTIONS = "shufflenet-v1-0.25x-g3-se", "shufflenet-v2-0.5x-se"


def test_calls_of_channel_attention():
    """Two fully connected layers a unit; v1 multiplies in calls of its own in its three first units alone."""
    for name, units, products in ((ATTENTION, 16, 3), (BEFORE_CONVOLUTIONS, 16, 0), (SMALL, 0, 0)):
        calls = calls_of(network(name, SIZE))
        found = list(zip(attention_parts(calls), calls))
        for part, suffixes, count in (
            ("means", ("pool",), units), ("fully connected layers", ("fc1", "fc2"), 2 * units),
            ("multiplications", ("scale",), products), ("other steps", (), 0),
        ):  # fmt: skip
            layers = [call.layer for its, call in found if its == part]
            assert len(layers) == count and all(
                layer.split(".")[-2:] in [["se", s] for s in suffixes] for layer in layers
            )


def test_channel_attention_is_summed_below_the_table(tmp_path, capsys):
    net, file = network(ATTENTION, SIZE), tmp_path / "figures.json"
    assert command.main([ATTENTION, "--size", "64", "--rounds", "2", "--json", str(file)]) == 0
    printed, data = capsys.readouterr().out, json.loads(file.read_text())
    parts = data["channel_attention"]
    assert {part: found["calls"] for part, found in parts.items()} == {
        "means": 16, "fully connected layers": 32, "multiplications": 3
    }  # fmt: skip
    dense = [row["ms"] for row in data["calls"] if row["outputs"] and row["kernel"].startswith("dense")][:-1]
    assert parts["fully connected layers"]["ms"] == pytest.approx(sum(dense))
    biases = 4 * sum(shape[0] for key, shape in net.parameters().items() if re.search(r"\.se\.fc\d\.bias", key))
    multiply_adds = [row["multiply_adds"] for row in data["calls"] if row["kernel"].startswith("dense")][:-1]
    assert parts["fully connected layers"]["weight_bytes"] == 4 * sum(multiply_adds) + biases
    whole = sum(part["ms"] for part in parts.values())
    share = 100 * whole / data["sum_of_kernels_ms"]
    assert f"channel attention: {whole:.4f} ms, {share:.1f} % of the sum: means " in printed
    assert re.search(r"fully connected layers [\d.]+ ms \(which read [\d.]+ MB of weights, each once: ", printed)


def test_other_kernels_than_the_librarys_are_said(library, tmp_path, capsys, monkeypatch):
    """After a change of knobs, and of another version."""
    from tvm_shufflenet.schedules import Pointwise

    knobs = Pointwise.knobs
    with monkeypatch.context() as change:
        change.setattr(Pointwise, "knobs", lambda self, machine: {**knobs(self, machine), "rows": 1})
        old = build_library(BuildOptions(SMALL, "native", SIZE, 10, output=tmp_path)).path
    assert command.main([str(old), "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    said = r"NOT the kernels of \S+: the present compiler makes other code of (pointwise_\d+(, )?)+; build it anew"
    assert re.search(said, printed)

    with monkeypatch.context() as change:
        change.setattr(manifest, "__version__", "0.0.1")
        old = build_library(BuildOptions(SMALL, "native", SIZE, 10, output=tmp_path)).path
    result = profile(ProfileOptions(str(old), rounds=1))
    assert result.differences == [f"built with tvm_shufflenet 0.0.1, now {manifest.__version__}"]


def test_interrupt(library):
    """The rounds so far are a result."""
    result = profile(ProfileOptions(str(library), rounds=1000), Interrupting(2))
    assert result.rounds == 2 == len(result.library_seconds) == len(result.twin_seconds) == len(result.calls[0].seconds)
    assert any(line.startswith("interrupted: 2 of 1000 rounds") for line in command.footer(result, ""))


def test_help_has_an_example():
    done = subprocess.run([sys.executable, "-m", "tvm_shufflenet.profile", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "python -m tvm_shufflenet.profile" in done.stdout.partition("example")[2]


# -------------------------------------------------------------------------------------- bad input


def test_libraries_and_networks_of_another_architecture(folder):
    foreign = build_library(BuildOptions(SMALL, FOREIGN, SIZE, 10, output=folder / "foreign")).path
    for options in (ProfileOptions(str(foreign)), ProfileOptions(SMALL, FOREIGN)):
        with pytest.raises(
            UserError, match=r"is for \w+, but this machine is .*--rpc HOST:PORT.*tvm_shufflenet.estimate"
        ):
            profile(options)


@pytest.mark.parametrize("arguments, says", [
    (["shufflenet"], "unknown model 'shufflenet'"),
    (["missing.so"], "no such library: missing.so"),
    ([__file__], "ELF"),
    (["--target", "cortex-z99"], "unknown target 'cortex-z99'"),
    (["alexnet", "--size", "32"], "input size 32x32 is too small"),
    (["--size", "x"], "--size x: expected pixels"),
    (["--rounds", "0"], "--rounds 0: expected 1 or more"),
    (["--timeout", "nan"], "--timeout nan: expected seconds"),
    (["--key", "rpi4"], "give its address with --rpc"),
    (["--rpc", "board"], "malformed address 'board'"),
    (["--json", "no/such/folder/x.json"], "--json no/such/folder/x.json: there is no such folder"),
])  # fmt: skip
def test_bad_input(arguments, says):
    with pytest.raises(UserError) as caught:
        command.main(arguments)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("options, says", [
    (["--target", "native"], "--target is of networks: .* is compiled already"),
    (["--size", "97"], "is built for .*, not 97x97"),
])  # fmt: skip
def test_a_library_is_compiled_already(library, options, says):
    with pytest.raises(UserError, match=says):
        command.main([str(library), *options])


def test_nothing_is_timed_on_an_emulated_machine(library, monkeypatch):
    for processor, why in (
        (EMULATED, "wall time there says nothing"),
        (Processor("unknown", False, False), "recognised"),
    ):
        monkeypatch.setattr(place, "describe_processor", lambda processor=processor: processor)
        with pytest.raises(UserError, match=f"{re.escape(processor.name)}: .*{why}.*tvm_shufflenet.estimate"):
            profile(ProfileOptions(str(library)))


def test_nothing_listens(capsys):
    """As `python -m` runs the command: one line and exit status 2, before anything is built."""
    address = f"{HOST}:{free_port()}"
    assert run(lambda: command.main(["--rpc", address, "--target", "cortex-a72"])) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"error: nothing listens at {address}") and said.err.count("\n") == 1


# ---------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("name", [name for name in target_names() if name not in APPLE])
def test_the_target_of_a_library(name):
    """By its name, if that still means the same, else as the manifest describes it."""
    spec = resolve(name)
    about = {"target": name, "triple": spec.tvm["mtriple"], "cpu": spec.tvm["mcpu"], "features": spec.tvm["mattr"]}
    assert profiling._target_of(about) == spec
    other = profiling._target_of({**about, "target": "custom"})
    assert other.machine == spec.machine and other.arch == spec.arch
    assert all(other.tvm[key] == spec.tvm[key] for key in ("mtriple", "mcpu", "mattr"))
    elsewhere = {"target": "native", "triple": "aarch64-linux-gnu", "cpu": "cortex-a57", "features": ["+neon"]}
    assert profiling._target_of(elsewhere).tvm["mcpu"] == "cortex-a57"


# ----------------------------------------------------------------------------------------- boards


def test_board(library):
    """An RPC server on this machine stands in for a board."""
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        address = wait_for(port)
        result = profile(ProfileOptions(str(library), rpc=address, key="board", rounds=2))
        named = profile(ProfileOptions(SMALL, "native", SIZE, address, "board", rounds=1))
    assert result.place == f"the board at {address}" and result.core is None and result.rounds == 2
    assert result.peak > 0 and result.differences == named.differences == []
    assert all(call.minimum > 0 for call in result.calls) and 0.1 < result.sum / min(result.library_seconds) < 10
    assert len(named.calls) == len(result.calls) and named.manifest["outputs"][0]["shape"] == [1, 1000]


def test_a_board_that_is_wrong_or_freezes(library, tmp_path, monkeypatch):
    with daemon("tvm.exec.rpc_server", "--key", "board") as port:
        address = wait_for(port)
        right = entries.expected_outputs
        monkeypatch.setattr(entries, "expected_outputs", lambda entry: tuple(1.001 * x for x in right(entry)))
        with pytest.raises(UserError, match=f"{library.stem}: its outputs on the board at {address} differ"):
            profile(ProfileOptions(str(library), rpc=address, key="board", rounds=1))
        with relay(address, tmp_path / "frozen", limit=100_000) as frozen:
            with pytest.raises(UserError, match="no answer within 3 s: it hangs, or is slower than --timeout allows"):
                profile(ProfileOptions(str(library), rpc=frozen, key="board", timeout=3))


@pytest.mark.emulator
def test_emulated_board(tmp_path):
    """Nothing is timed there; but the clocked copy runs, with AArch64's own counter."""
    from tvm_shufflenet.boards import rpc

    path = build_library(BuildOptions(SMALL, "arm", SIZE, 10, output=tmp_path)).path
    entry, spec = Entry("small", path, read_manifest(path)), resolve("arm")
    with emulator.tracker() as (host, port), emulator.rpc_server((host, port), key="arm"):
        with pytest.raises(UserError, match=f"emulated aarch64.*: wall time there says nothing.*estimate {path}"):
            profile(ProfileOptions(str(path), rpc=f"{host}:{port}", key="arm"))
        with rpc.connect(f"{host}:{port}", "arm", timeout=60) as session:
            clocked = clocked_copy(entry, spec, tmp_path)
            turn = clocked.load(place.Place("aarch64", session, "emulated"))()
    assert turn[0, 0] >= 1 and clocked.differences(entry) == []
    seconds, whole, tick = seconds_of([turn], clocked.steps)
    assert (seconds > 0).all() and seconds.sum() <= whole[0] < 100 and tick[0] >= 0
