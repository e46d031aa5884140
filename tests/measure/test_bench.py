"""The static program that times networks on boards: packed, run here and in the emulator, its figures read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.cli import bench as bench_command
from tvm_shufflenet.cli import compare as compare_command
from tvm_shufflenet.cli import report as report_command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.measure import packing
from tvm_shufflenet.measure.bench_results import read_results
from tvm_shufflenet.measure.entries import Entry, expected_outputs
from tvm_shufflenet.measure.packing import PackOptions, Program, numbers, pack
from tvm_shufflenet.targets import resolve

from .. import emulator

MODEL, SIZE = "shufflenet-v1-0.25x-g3", (64, 64)
ARCHIVE = f"{MODEL}-native-64x64"
BEYOND = 1 << 20  # bytes of a program beside its libraries


@pytest.fixture(scope="module")
def archive(build):
    """A static library whose weights are at hand again."""
    return build(MODEL, size=SIZE, emit="static", prefix="first", team=True)  # which other tests build, too


@pytest.fixture(scope="module")
def program(archive, tmp_path_factory) -> Program:
    """With a library, and with a network that is built for it, by this machine's compiler."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    output = tmp_path_factory.mktemp("bench") / "bench"
    return pack(PackOptions((str(archive.path), "shufflenet-v1-0.25x-g4"), "native", SIZE, output, cc=compiler))


@pytest.fixture(scope="module")
def results(program, tmp_path_factory) -> Path:
    """What the program prints."""
    path = tmp_path_factory.mktemp("results") / "results.json"
    path.write_text(run(program.path, "--rounds", 7))
    return path


def run(*command) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fnv(outputs: list[np.ndarray]) -> str:
    """FNV-1a of all bits."""
    total = 0xCBF29CE484222325
    for byte in b"".join(output.tobytes() for output in outputs):
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return f"{total:016x}"


# ---------------------------------------------------------------------------------------- here


def test_what_the_program_prints(program, results, build):
    found = json.loads(results.read_text())
    assert [row["label"] for row in found["networks"]] == [ARCHIVE, "shufflenet-v1-0.25x-g4"]
    assert found["rounds"] == found["rounds_asked"] == 7 and not found["emulated"] and found["minutes"] == 0
    assert {"kilohertz", "celsius"} == found["before"].keys() == found["after"].keys()
    for row in [found["peak"], *found["networks"]]:
        seconds = np.array(row["seconds_of_rounds"])
        assert len(seconds) == 7 and (seconds > 0).all()
        assert row["minimum_ms"] == pytest.approx(1e3 * seconds.min())
        assert row["median_ms"] == pytest.approx(1e3 * np.median(seconds))
        assert row["p90_ms"] == pytest.approx(1e3 * np.sort(seconds)[6])
    assert [row["manifest"]["prefix"] for row in found["networks"]] == ["first", "network_1"]
    library = tvm_shufflenet.load(build(MODEL, size=SIZE).path)
    outputs = library.run(numbers(library.inputs[0].shape))
    assert found["networks"][0]["output_checksum"] == fnv(list(outputs))
    assert all(row["output_difference"] < 1e-4 for row in found["networks"])
    assert program.unchecked == {} and program.path.stat().st_size - program.library_bytes < BEYOND


def test_the_input_is_spread():
    found = numbers((1, 3, 64, 64))
    assert found.dtype == np.float32 and -2 <= found.min() < -1.99 and 1.99 < found.max() < 2
    assert abs(found.mean()) < 0.03 and len(np.unique(found)) > 12000


def test_a_core_and_longer_turns(program):
    import os

    core = max(os.sched_getaffinity(0))
    short, long = (
        json.loads(run(program.path, "--core", core, "--rounds", 2, *more)) for more in ((), ("--minutes", "0.02"))
    )
    assert short["core"] == long["core"] == core and long["minutes"] == 0.02


def test_the_cores_of_a_cluster(program):
    """The fastest of those that there are; one that the program was not started on may be among them."""
    import os

    first, *others = sorted(os.sched_getaffinity(0))
    assert json.loads(run(program.path, "--core", f"{first}-1023", "--rounds", 1))["core"] in (first, *others)
    if others:
        last = others[-1]
        bound = ("taskset", "-c", first, program.path, "--rounds", 1)
        assert json.loads(run(*bound))["core"] == first
        assert json.loads(run(*bound, "--core", f"{last}-{last + 1}"))["core"] == last


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--core", "1023"], "--core 1023: "),
        (["--core", "one"], "--core one: expected a whole number from 0"),
        (["--core", "1022-1023"], "--core 1022-1023: "),
        (["--core", "3-2"], "--core 2: expected a whole number from 3"),
        (["--core", "0-"], "--core : expected a whole number from 0"),
        (["--core"], "--core: expected [--core N[-M]]"),
        (["--rounds", "0"], "--rounds 0: expected a whole number from 1"),
        (["--rounds"], "--rounds : expected a whole number"),
        (["--minutes", "nan"], "--minutes nan: expected a number of minutes"),
        (["--threads", "2"], "--threads: expected [--core N[-M]]"),
    ],
)
def test_the_program_refuses(program, argv, message):
    done = subprocess.run([program.path, *argv], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and not done.stdout


def test_other_outputs_are_refused(archive, tmp_path, monkeypatch):
    """As of a faulty machine: the program stops before it prints a figure."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    right = packing.expected_outputs
    monkeypatch.setattr(packing, "expected_outputs", lambda *args: tuple(1.001 * x for x in right(*args)))
    made = pack(PackOptions((str(archive.path),), "native", output=tmp_path / "bench", cc=compiler))
    done = subprocess.run([made.path], capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert f"{ARCHIVE}: its output 0 differs from that of the machine that built it by 1.0e-03" in done.stderr


def test_weights_that_are_not_at_hand(archive, tmp_path, monkeypatch, capsys):
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
    monkeypatch.setattr(packing, "expected_outputs", lambda *args: None)
    argv = [str(archive.path), "--target", "native", "-o", str(tmp_path / "bench"), "--cc", compiler]
    bench_command.main([*argv, "--json", str(tmp_path / "made.json")])
    assert f"{ARCHIVE}: its outputs will not be checked" in capsys.readouterr().out
    assert json.loads((tmp_path / "made.json").read_text())["unchecked"] == [ARCHIVE]
    found = json.loads(run(tmp_path / "bench", "--rounds", 1))
    assert found["networks"][0]["output_difference"] is None


# --------------------------------------------------------------------------- what is no input


@pytest.mark.parametrize(
    "argv, message",
    [
        (["no-such.a"], "no-such.a is neither a network nor a static library"),
        (["alexnet", "alexnet"], "alexnet is named twice"),
        (["one.a", "--size", "64"], "--size is of networks: one.a is compiled already"),
        (["--target", "nothing"], "unknown target 'nothing'"),
        (["--size", "0"], "size"),
    ],
)
def test_what_cannot_be_packed(tmp_path, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        bench_command.main([*argv, "-o", str(tmp_path / "bench")])
    assert not (tmp_path / "bench").exists()


def test_libraries_that_cannot_be_packed(archive, build, tmp_path):
    def refused(path, target="native"):
        with pytest.raises(UserError) as error:
            pack(PackOptions((str(path),), target, output=tmp_path / "bench"))
        return str(error.value)

    copy = Path(shutil.copy(archive.path, tmp_path / "copy.a"))
    assert "cannot read" in refused(copy) and "copy.a.json" in refused(copy)
    beside = tmp_path / "copy.a.json"
    beside.write_text("[1]")
    assert "copy.a.json is damaged" in refused(copy)
    shutil.copy(archive.described, beside)
    copy.write_bytes(copy.read_bytes() + b"\n")
    assert "copy.a.json is of another file" in refused(copy)
    assert ".a is for x86_64, but target arm is aarch64" in refused(archive.path, "arm")
    assert "plain.a has no prefix" in refused(build(MODEL, size=SIZE, emit="static", name="plain").path)
    assert refused(archive.described).startswith(f"{archive.described} is neither a network")


# ------------------------------------------------------------------------------ `compare FILE`


def test_compare_reads_figures(results, tmp_path, capsys):
    compare_command.main([str(results), "--json", str(tmp_path / "compared.json")])
    printed, found = capsys.readouterr().out, json.loads(results.read_text())
    assert "the machine of results.json" in printed and "7 interleaved rounds" in printed
    compared = json.loads((tmp_path / "compared.json").read_text())
    assert [row["network"] for row in compared["networks"]] == [ARCHIVE, "shufflenet-v1-0.25x-g4"]
    for row, measured in zip(compared["networks"], found["networks"]):
        assert row["minimum_ms"] == pytest.approx(measured["minimum_ms"])
        assert row["share_of_peak"] == pytest.approx(row["multiply_adds_per_second"] / compared[
            "peak_multiply_adds_per_second"])  # fmt: skip
    assert compared["core"] == found["core"]


def test_report_shows_figures(results, tmp_path, capsys):
    """Alone, and beside a network; those of an emulator are refused before a page is written."""
    found, path = json.loads(results.read_text()), tmp_path / "report.html"
    for names in ([], [MODEL]):
        report_command.main([str(results), *names, "--no-measure", "--size", "64", "-o", str(path)])
        page = path.read_text()
        for row in found["networks"]:
            assert f"<td>{row['label']}</td>" in page and f"<td>{row['minimum_ms']:.3f}</td>" in page
        assert "the machine of results.json" in page and ("unit by unit" in page) == bool(names)
        assert "results.json" in capsys.readouterr().out
    path.unlink()
    (tmp_path / "emulated.json").write_text(json.dumps({**found, "emulated": True}))
    with pytest.raises(UserError, match="where times say nothing"):
        report_command.main([str(tmp_path / "emulated.json"), "-o", str(path)])
    assert not path.exists()


def test_compare_refuses_figures_of_an_emulator(results, tmp_path):
    found = json.loads(results.read_text())
    path = tmp_path / "emulated.json"
    for change, message in (
        ({"emulated": True}, "its processor is emulated, where times say nothing"),
        ({"cpuinfo": found["cpuinfo"] + "\nmodel name : QEMU Virtual CPU\n"}, "its processor is emulated"),
        ({"cpuinfo": ""}, "not recognised, so no latency is given"),
    ):
        path.write_text(json.dumps({**found, **change}))
        with pytest.raises(UserError, match=message):
            compare_command.main([str(path)])


def test_compare_refuses_other_files(results, tmp_path):
    path, found = tmp_path / "other.json", json.loads(results.read_text())

    def refused(text):
        path.write_text(text)
        with pytest.raises(UserError) as error:
            read_results(path)
        return str(error.value)

    assert "is not JSON" in refused("{")
    assert "expected what a program of" in refused("[]")
    assert "has format 2, expected 1" in refused(json.dumps({**found, "format": 2}))
    for key in ("target", "cpuinfo", "networks", "peak", "rounds", "core", "seconds_since_1970", "emulated"):
        for value in (None, [], "x"):
            if value != found[key] and not (key == "cpuinfo" and value == "x"):
                assert "is damaged" in refused(json.dumps({**found, key: value})), (key, value)
    del found["networks"][0]["manifest"]["inputs"]
    assert "is damaged" in refused(json.dumps(found))
    with pytest.raises(UserError, match="name it alone"):
        compare_command.main([str(results), "alexnet"])
    with pytest.raises(UserError, match="leave out --rounds, which is for measuring"):
        compare_command.main([str(results), "--rounds", "5"])


# ------------------------------------------------------------------------------- in the emulator


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("target", ["arm", "armv7"])
def test_in_the_emulator(tmp_path, target):
    """The C library is musl, within the program; figures are marked."""
    made = pack(PackOptions((MODEL,), target, SIZE, tmp_path / "bench"))
    assert made.path.stat().st_size - made.library_bytes < BEYOND
    arch = {"arm": "armhf"}.get(resolve(target).arch, resolve(target).arch)
    (tmp_path / "results.json").write_text(run(*emulator.command(made.path, "--rounds", 2, arch=arch)))
    (row,) = json.loads((tmp_path / "results.json").read_text())["networks"]
    entry = Entry(MODEL, made.path, row["manifest"])
    assert expected_outputs(entry) is not None and row["output_difference"] < 1e-4
    assert json.loads((tmp_path / "results.json").read_text())["emulated"]
    with pytest.raises(UserError, match=f"its processor is emulated {resolve(target).arch}"):
        read_results(tmp_path / "results.json")


@pytest.mark.full
def test_a_program_of_this_machine_with_musl(tmp_path):
    made = pack(PackOptions((MODEL,), "native", SIZE, tmp_path / "bench"))
    assert made.path.stat().st_size - made.library_bytes < BEYOND
    assert json.loads(run(made.path, "--rounds", 1))["rounds"] == 1
