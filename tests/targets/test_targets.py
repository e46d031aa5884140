"""The table of targets, this machine, and targets given as JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tvm
from tvm.target import Target, codegen

from tvm_shufflenet.cli import targets
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.targets import AARCH64, detect, resolve, target_names


def features(spec):
    return {str(name) for name in codegen.llvm_get_cpu_features(Target(spec.tvm))}


@pytest.mark.parametrize("name", target_names())
def test_llvm_knows_every_target(name, capfd):
    spec = resolve(name)
    cpu, triple = spec.tvm["mcpu"], spec.tvm["mtriple"]
    assert codegen.llvm_is_valid_cpu(cpu, triple)
    assert spec.tvm["num-cores"] >= 1 and spec.name == name
    machine = spec.machine
    assert (machine.lanes, machine.registers) == (spec.lanes, spec.registers)
    found = features(spec)
    for feature in spec.tvm["mattr"]:
        assert (feature[1:] in found) == (feature[0] == "+")
    if spec.arch != "x86_64":
        assert "neon" in found and machine.lanes == 4
    assert capfd.readouterr().err == ""  # where LLVM tells what it does not know


def test_arm_targets_run_where_they_say():
    assert {"vfp4", "hwdiv"}.isdisjoint(features(resolve("armv7")))
    assert resolve("armv7").registers == 16
    for name in AARCH64:
        assert "sve" not in features(resolve(name))  # no phone of the list offers it to programs
        assert resolve(name).registers == 32
    assert "dotprod" not in features(resolve("arm"))
    little = resolve("cortex-a510")
    assert {"dotprod", "i8mm", "fullfp16"} <= features(little) and little.machine.in_order


def test_native_is_what_the_kernel_says():
    spec = resolve("native")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    if spec.arch != "x86_64":
        assert spec.lanes == 4
        return
    lanes = 16 if "avx512f" in flags else 8 if "avx" in flags else 4
    assert (spec.lanes, spec.registers) == (lanes, 32 if lanes == 16 else 16)
    assert ("fma" in features(spec)) == ("fma" in flags)


@pytest.fixture
def host(monkeypatch):
    def pretend(triple, cpu, **found):
        monkeypatch.setattr(codegen, "llvm_get_system_triple", lambda: triple)
        monkeypatch.setattr(codegen, "llvm_get_system_cpu", lambda: cpu)
        monkeypatch.setattr(detect, "_host_features", lambda: found)
        return resolve("native")

    return pretend


def test_native_on_other_machines(host):
    spec = host("aarch64-unknown-linux-gnu", "neoverse-v1", neon=True, sve=False, sve2=False)
    assert spec.tvm["mtriple"] == "aarch64-linux-gnu" and spec.tvm["mattr"] == ["-sve"]
    assert (spec.arch, spec.lanes, spec.registers) == ("aarch64", 4, 32)
    spec = host("x86_64-conda-linux-gnu", "znver4", avx512f=False, avx512vl=False, avx512bw=False)
    assert (spec.lanes, spec.registers) == (8, 16) and "avx512f" not in features(spec)
    spec = host("x86_64-linux-gnu", "x86-64", avx=True, fma=True)
    assert spec.lanes == 8 and {"avx", "fma"} <= features(spec)
    assert host("x86_64-linux-gnu", "x86-64").lanes == 4
    spec = host("armv7l-unknown-linux-gnueabihf", "cortex-a7", neon=True)
    assert (spec.arch, spec.lanes, spec.registers) == ("arm", 4, 16)
    with pytest.raises(UserError, match="this machine is 'arm64-apple-darwin23': expected Linux"):
        host("arm64-apple-darwin23", "apple-m1")


def test_json_targets():
    given = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}
    spec = resolve(json.dumps(given))
    assert (spec.name, spec.arch, spec.lanes) == ("custom-haswell", "x86_64", 8)
    assert spec.tvm["num-cores"] and given.items() <= spec.tvm.items()
    spec = resolve(' {"kind": "llvm", "mtriple": "aarch64-linux-android", "mattr": ["+neon", "+dotprod"]}')
    assert (spec.name, spec.arch, spec.registers) == ("custom", "aarch64", 32)


@pytest.mark.parametrize("text", [
    '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon", "+crc"], '
    '"num-cores": 4}',
    '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": "+neon,+crc", "num-cores": "4"}',
    '{"kind": "llvm", "keys": ["arm_cpu", "cpu"], "device": "arm_cpu", "model": "bcm2711", "mattr": "+neon, +crc,", '
    '"mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "host": {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}}',
    "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72 -mattr=+neon,+crc",
    "llvm -keys=arm_cpu,cpu -device=arm_cpu -mtriple aarch64-linux-gnu -mcpu cortex-a72 "
    "-mattr=+neon,+crc --num-cores=4",
    '"llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72 -mattr=+neon,+crc"',
    '{"tag": "raspberry-pi/4b-aarch64", "mattr": ["+neon", "+crc"]}',
    str(Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon", "+crc"]})),
])  # fmt: skip
def test_forms_of_the_same_target(text, capfd):
    """All that TVM takes, or took, or writes itself."""
    spec = resolve(text)
    assert spec.tvm == {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72",
                        "mattr": ["+neon", "+crc"],
                        "num-cores": 4}  # fmt: skip
    assert (spec.name, spec.arch, spec.lanes, spec.registers) == ("custom-cortex-a72", "aarch64", 4, 32)
    assert capfd.readouterr().err == ""


def test_tags():
    assert resolve("raspberry-pi/4b-aarch64").tvm["mcpu"] == "cortex-a72"
    spec = resolve("arm/rasp3b")
    assert spec.arch == "arm" and spec.tvm["mfloat-abi"] == "hard"


ARM = '"kind": "llvm", "mtriple": "aarch64-linux-gnu"'


@pytest.mark.parametrize(
    "text, message",
    [
        ("cortexa72", "unknown target 'cortexa72': did you mean cortex-a72 or "),
        ("Cortex-A72", "did you mean cortex-a72 or "),
        ("toaster", "unknown target 'toaster': expected native, arm, cortex-a53, "),
        ("", "expected native"),
        ('{"kind": "llvm"', "malformed JSON"),
        ('{"kind": "cuda"}', 'expected {"kind": "llvm"'),
        ('{"kind": "llvm"}', "expected Linux on AArch64, Armv7 or x86-64"),
        ('{"kind": "llvm", "mtriple": 1}', "mtriple is 1, expected a name"),
        ('{"kind": "llvm", "mtriple": "nonsense-linux-gnu"}', "expected Linux on AArch64"),
        ('{"kind": "llvm", "mtriple": "arm64-apple-darwin"}', "expected Linux on AArch64"),
        (f'{{{ARM}, "mcpu": "cortex-b1"}}', "LLVM knows no mcpu 'cortex-b1'"),
        (f'{{{ARM}, "mattr": ["+nonsense"]}}', "LLVM knows no feature '+nonsense'"),
        (f'{{{ARM}, "mattr": 3}}', "mattr is 3, expected a list"),
        (f'{{{ARM}, "mattr": ["neon"]}}', "mattr has 'neon', expected features such as +neon"),
        (f'{{{ARM}, "mattr": [["+neon"]]}}', "mattr has ['+neon']"),
        (f'{{{ARM}, "mattr": "+neon,-nonsense"}}', "LLVM knows no feature '-nonsense'"),
        (f'{{{ARM}, "mattr": ["+neon\\u0000"]}}', "mattr has '+neon"),
        (f'{{{ARM}, "num-cores": -4}}', "num-cores is -4, expected 1 to 1024"),
        (f'{{{ARM}, "num-cores": true}}', "num-cores is True"),
        (f'{{{ARM}, "num-cores": 1e300}}', "num-cores is 1e+300"),
        (f'{{{ARM}, "libs": ["cblas"]}}', "libs is not supported"),
        (f'{{{ARM}, "cl-opt": ["-nonsense"]}}', "cl-opt is not supported"),
        (f'{{{ARM}, "fast-math-nnan": true}}', "results would not be those of the network"),
        (f'{{{ARM}, "host": {{"kind": "llvm", "mtriple": "x86_64-linux-gnu"}}}}', "its host is another processor"),
        (f'{{{ARM}, "host": "cuda"}}', "its host is another processor"),
        (f'{{{ARM}, "mcpu": "native"}}', "LLVM knows no mcpu 'native'"),
        (f'{{{ARM}, "mcpu": ""}}', "LLVM knows no mcpu ''"),
        ('{"kind": "llvm", "mtriple": "x86_64-linux-gnux32"}', "expected Linux on AArch64"),
        ('{"kind": "llvm", "mtriple": "aarch64_be-linux-gnu"}', "expected Linux on AArch64"),
        (
            '{"kind": "llvm", "mtriple": "arm-linux-gnueabihf", "mfloat-abi": "soft"}',
            "mfloat-abi is 'soft', expected hard",
        ),
        ('{"a":' * 1000, "malformed JSON"),
        ('{"kind": ' + "[" * 9000, "malformed JSON"),
        ('{"kind": "' + "x" * 20000, "expected at most 10000"),
        ('{"tag": "toaster"}', "TVM knows no tag 'toaster'"),
        ('{"tag": 5}', "TVM knows no tag 5"),
        ("raspberry-pi/9z", "TVM knows no tag 'raspberry-pi/9z': did you mean raspberry-pi/"),
        ("nvidia/geforce-rtx-3090", 'expected {"kind": "llvm"'),
        ("llvm", "expected Linux on AArch64"),
        ("llvm -mcpu", "expected options such as -mtriple="),
        ("llvm mcpu=x", "expected options such as -mtriple="),
        ('llvm -mcpu="x', "No closing quotation"),
        ("x" * 5000, "unknown target 'xxx"),
        (f'{{{ARM}, "mattr": ["-neon"]}}', "without NEON is not supported"),
        (f'{{{ARM}, "colour": 1}}', "unknown option 'colour', expected kind, mtriple"),
        ('{"kind": "llvm", "mtriple": "arm-linux-gnueabi", "mcpu": "arm926ej-s"}', "without NEON"),
    ],
)
def test_errors(text, message, capfd):
    with pytest.raises(UserError) as caught:
        resolve(text)
    assert message in str(caught.value) and str(caught.value).isprintable()
    assert capfd.readouterr().err == ""  # LLVM, too, says nothing


def test_command(tmp_path, capsys):
    targets.main(["--json", str(tmp_path / "targets.json")])
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "targets.json").read_text())
    assert [row["name"] for row in rows] == target_names()
    for row in rows:
        assert row["name"] in printed and tvm.target.Target(row["tvm"])


def test_a_line_for_each_target(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    targets.main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(target_names()) + 1
    assert max(map(len, lines)) <= 100


def test_details(capsys):
    targets.main(["cortex-a53"])
    printed = capsys.readouterr().out
    assert "mattr: +neon +fix-cortex-a53-835769" in printed and "aarch64-linux-gnu" in printed
    with pytest.raises(UserError, match="unknown target 'cortex-z1'"):
        targets.main(["cortex-z1"])


def test_the_table_needs_no_tvm():
    code = "import sys; from tvm_shufflenet.targets import resolve; resolve('arm'); sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
